package backendtest

import (
	"bytes"
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/tributary-es/tributary/backend"
)

func appendClauses(t *testing.T, b backend.Backend) {
	t.Run("what an append returns equals what a later read returns", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		var version uint64
		for _, n := range []int{1, 3, 1, 10} {
			given := events(n)
			res := s.mustAppend(backend.AnyVersion(), given)
			version += uint64(n)
			if res.Version != version || len(res.EventUUIDs) != n || res.Position == 0 {
				t.Fatalf("Append returned %+v, want version %d and %d ids", res, version, n)
			}
			got, err := s.read(version-uint64(n)+1, noLimit)
			must(t, err)
			wantRecorded(t, got, given)
			for i := range got {
				if got[i].EventUUID != res.EventUUIDs[i] || got[i].Position != res.Position {
					t.Fatalf("event %d was read with the id %v and position %d; Append returned %v and %d",
						i, got[i].EventUUID, got[i].Position, res.EventUUIDs[i], res.Position)
				}
			}
		}
		s.wantHistory(1, version)
	})
	t.Run("AppendToStream returns the ids in order", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		s.create()
		given := identified(5)
		ids, err := s.appendTo(given)
		must(t, err)
		got := s.wantHistory(1, 5)
		wantRecorded(t, got, given)
		for i := range got {
			if ids[i] != got[i].EventUUID {
				t.Fatalf("id %d is %v, read was %v", i, ids[i], got[i].EventUUID)
			}
		}
	})
	t.Run("every field of an event comes back as it was given", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		var given []backend.UnsavedEvent
		for i := range 3 {
			given = append(given, backend.UnsavedEvent{
				EventUUID:     uuid.New(),
				CausationID:   uuid.New(),
				CorrelationID: uuid.New(),
				EventType:     fmt.Sprintf("Type%d", i),
				Data:          fmt.Appendf(nil, `{"data":%d}`, i),
				Metadata:      fmt.Appendf(nil, `{"metadata":%d}`, i),
				StreamUUID:    s.name,
				StreamVersion: uint64(i + 1),
				CreatedAt:     time.Date(2020+i, 1, 2, 3, 4, 5, 6, time.UTC),
			})
		}
		s.mustAppend(backend.ExactVersion(0), given)
		wantRecorded(t, s.wantHistory(1, 3), given)
	})
	t.Run("fields that only some events of an append have stay with those", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		var given []backend.UnsavedEvent
		for i := range 32 {
			e := backend.UnsavedEvent{EventUUID: uuid.New(), EventType: "Happened"}
			if i&1 != 0 {
				e.CausationID = uuid.New()
			}
			if i&2 != 0 {
				e.CorrelationID = uuid.New()
			}
			if i&4 != 0 {
				e.Data = fmt.Appendf(nil, "data %d", i)
			}
			if i&8 != 0 {
				e.Metadata = fmt.Appendf(nil, "metadata %d", i)
			}
			if i&16 != 0 {
				e.CreatedAt = time.Date(2020, 1, 2, 3, 4, 5, i, time.UTC)
			}
			given = append(given, e)
			s.mustAppend(backend.AnyVersion(), given[i:])
		}
		wantRecorded(t, s.wantHistory(1, 32), given)
		s.mustAppend(backend.ExactVersion(32), given)
		got := s.wantHistory(1, 64)[32:]
		wantRecorded(t, got, given)
		for i := range got {
			if (got[i].CausationID != uuid.Nil) != (i&1 != 0) || (got[i].CorrelationID != uuid.Nil) != (i&2 != 0) {
				t.Fatalf("event %d has the causation id %v and the correlation id %v", i, got[i].CausationID, got[i].CorrelationID)
			}
		}
	})
	t.Run("an event without an id gets a UUIDv7, each its own", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		seen := make(map[uuid.UUID]bool)
		for range 3 {
			for _, id := range s.add(5).EventUUIDs {
				if id.Version() != 7 || seen[id] {
					t.Fatalf("id %v: version %d, seen before: %t", id, id.Version(), seen[id])
				}
				seen[id] = true
			}
		}
	})
	t.Run("an event without CreatedAt was created now, by the appending process's clock", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		before := time.Now()
		s.add(2)
		for _, e := range s.all() {
			wantNow(t, "CreatedAt", e.CreatedAt, before, 0)
		}
	})
	t.Run("CreatedAt comes back in UTC, to the nanosecond, from the year 1 to 9999", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		east := time.FixedZone("east", 14*3600)
		var given []backend.UnsavedEvent
		for _, at := range []time.Time{
			time.Date(1, 1, 1, 0, 0, 0, 1, time.UTC), // one nanosecond after the zero Time
			time.Date(1, 6, 1, 12, 0, 0, 0, east),
			time.Date(1677, 1, 1, 0, 0, 0, 1, time.UTC), // before what 64 bits of nanoseconds hold
			time.Date(1969, 12, 31, 23, 59, 59, 999999999, time.UTC),
			time.Unix(0, 0),
			time.Date(2024, 2, 29, 23, 59, 59, 123456789, east),
			time.Date(2024, 2, 29, 23, 59, 59, 120000000, time.FixedZone("", -(3*3600+25*60+45))),
			time.Now(),
			time.Date(2262, 12, 31, 23, 59, 59, 999999999, time.UTC), // after it
			time.Date(9999, 12, 31, 23, 59, 59, 999999999, time.UTC),
		} {
			given = append(given, backend.UnsavedEvent{EventType: "Happened", CreatedAt: at})
		}
		s.mustAppend(backend.NoStream(), given)
		for i := range given {
			s.mustAppend(backend.AnyVersion(), given[i:i+1])
		}
		for i, e := range s.wantHistory(1, uint64(2*len(given))) {
			if want := given[i%len(given)].CreatedAt.UTC().Round(0); e.CreatedAt != want {
				t.Fatalf("event %d was created at %v, want %v", i, e.CreatedAt, want)
			}
		}
	})
	t.Run("RecordedAt is when an append was stored, the same in every read", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		before := time.Now()
		s.add(2, 1)
		for _, e := range s.all() {
			wantNow(t, "RecordedAt", e.RecordedAt, before, 5*time.Second) // the store may have a clock of its own
		}
		wantSameEvents(t, s.all(), s.all())
	})
	t.Run("an event without a correlation id gets the call's, and keeps its own", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		own, call := uuid.New(), uuid.New()
		given := events(3)
		given[1].CorrelationID = own
		_, err := backend.Append(s.ctx, b, s.name, backend.AnyVersion(), given, call)
		must(t, err)
		_, err = b.AppendToStream(s.ctx, s.name, given, call)
		must(t, err)
		_, err = b.AppendToStream(s.ctx, s.name, given, uuid.Nil)
		must(t, err)
		for i, want := range []uuid.UUID{call, own, call, call, own, call, uuid.Nil, own, uuid.Nil} {
			if got := s.all()[i].CorrelationID; got != want {
				t.Fatalf("event %d has the correlation id %v, want %v", i, got, want)
			}
		}
	})
	t.Run("events appended together share a position, and later ones have a greater one", func(t *testing.T) {
		t.Parallel()
		first, second := fresh(t, b), fresh(t, b)
		var last uint64
		for i := range 6 {
			s := []*stream{first, second}[i%2]
			res := s.add(i + 1)
			got, err := s.read(res.Version-uint64(i), noLimit)
			must(t, err)
			wantVersions(t, got, s.name, res.Version-uint64(i), res.Version)
			for _, e := range got {
				if e.Position != res.Position || e.Position <= last {
					t.Fatalf("position %d, Append returned %d, the append before had %d", e.Position, res.Position, last)
				}
			}
			last = res.Position
		}
	})
	t.Run("AppendToStream without versions appends at whatever comes next", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		s.create()
		var given []backend.UnsavedEvent
		for n := range 5 {
			more := events(n + 1)
			given = append(given, more...)
			_, err := s.appendTo(more)
			must(t, err)
		}
		wantRecorded(t, s.wantHistory(1, 15), given)
	})
	t.Run("AppendToStream with versions appends where the first one is the next", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		s.create()
		given := slices.Concat(versioned(1, 1), versioned(2, 3), versioned(5, 2))
		for _, part := range [][]backend.UnsavedEvent{given[:1], given[1:4], given[4:]} {
			_, err := s.appendTo(part)
			must(t, err)
		}
		wantRecorded(t, s.wantHistory(1, 6), given)
	})
	t.Run("AppendToStream at another version returns *WrongExpectedVersionError and writes nothing", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		s.create()
		_, err := s.appendTo(versioned(2, 1))
		wantWrongVersion(t, err, s.name, backend.ExactVersion(1), 0)
		s.add(2, 1)
		before := s.state()
		for _, first := range []uint64{1, 2, 3, 5, 100, noLimit} {
			_, err := s.appendTo(versioned(first, 1))
			wantWrongVersion(t, err, s.name, backend.ExactVersion(first-1), 3)
		}
		_, err = s.appendTo(versioned(2, 5))
		wantWrongVersion(t, err, s.name, backend.ExactVersion(1), 3)
		s.wantState(before)
	})
	t.Run("a refused append leaves the stream as it was, and the next one succeeds", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		s.add(2)
		for range 3 {
			_, err := s.append(backend.ExactVersion(1), events(1))
			wantErr(t, err, backend.ErrWrongExpectedVersion)
			s.mustAppend(backend.ExactVersion(s.info().Version), events(1))
		}
		s.wantHistory(1, 5)
	})
	t.Run("inputs are not modified", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		given := events(3)
		given[1].Metadata = []byte("metadata")
		given[2].CreatedAt = time.Now().In(time.FixedZone("east", 3600))
		want := cloneUnsaved(given)
		s.mustAppend(backend.AnyVersion(), given)
		if !reflect.DeepEqual(given, want) {
			t.Fatalf("Append made %+v of %+v", given, want)
		}
		_, err := s.appendTo(given)
		must(t, err)
		if !reflect.DeepEqual(given, want) {
			t.Fatalf("AppendToStream made %+v of %+v", given, want)
		}
	})
	t.Run("inputs are not kept", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		given := identified(3)
		for i := range given {
			given[i].Metadata = []byte("metadata")
		}
		want := cloneUnsaved(given)
		s.mustAppend(backend.AnyVersion(), given)
		for i := range given {
			clear(given[i].Data)
			clear(given[i].Metadata)
		}
		clear(given)
		wantRecorded(t, s.wantHistory(1, 3), want)
	})
	t.Run("what an append and a read return belongs to the caller", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		given := identified(3)
		given[1].Metadata = []byte("metadata")
		res := s.mustAppend(backend.AnyVersion(), given)
		clear(res.EventUUIDs)
		reads := []func() []backend.RecordedEvent{
			s.all,
			func() []backend.RecordedEvent { return s.batches(10)[0] },
		}
		if _, ok := b.(backend.BackwardReader); ok {
			reads = append(reads, func() []backend.RecordedEvent {
				got, err := s.readBackward(0, noLimit)
				must(t, err)
				slices.Reverse(got)
				return got
			})
		}
		for range 2 {
			for _, read := range reads {
				got := read()
				wantVersions(t, got, s.name, 1, 3)
				wantRecorded(t, got, given)
				for i := range got {
					clear(got[i].Data)
					clear(got[i].Metadata)
					_ = append(got[i].Data, "some more"...)
				}
				clear(got)
			}
		}
	})
	t.Run("an event may appear under one id more than once: ids are not checked where the version is right", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		given := identified(2)
		given = append(given, given...)
		s.mustAppend(backend.ExactVersion(0), given)
		s.mustAppend(backend.ExactVersion(4), given)
		wantRecorded(t, s.wantHistory(1, 8), slices.Concat(given, given))
	})
	t.Run("an id that another stream has is no repetition", func(t *testing.T) {
		t.Parallel()
		given := identified(2)
		for _, expected := range []backend.ExpectedVersion{backend.AnyVersion(), backend.NoStream(), backend.ExactVersion(0)} {
			s := fresh(t, b)
			s.mustAppend(expected, given)
			wantRecorded(t, s.wantHistory(1, 2), given)
		}
	})
	t.Run("hundreds of appends each count one on", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		for i := range uint64(300) {
			if res := s.mustAppend(backend.ExactVersion(i), events(1)); res.Version != i+1 {
				t.Fatalf("append %d led to version %d", i+1, res.Version)
			}
		}
		s.wantHistory(1, 300)
	})
}

func cloneUnsaved(events []backend.UnsavedEvent) []backend.UnsavedEvent {
	events = slices.Clone(events)
	for i := range events {
		events[i].Data = bytes.Clone(events[i].Data)
		events[i].Metadata = bytes.Clone(events[i].Metadata)
	}
	return events
}
