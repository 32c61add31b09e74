package backendtest

import (
	"errors"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/tributary-es/tributary/backend"
)

func expectedClauses(t *testing.T, b backend.Backend) {
	const version = 3
	situations := []struct {
		name    string
		prepare func(*stream) error
		version uint64
	}{
		{"a missing stream", func(s *stream) error { return nil }, 0},
		{"an erased stream", func(s *stream) error { s.add(version); return s.delete(0) }, 0},
		{"a stream without events", func(s *stream) error { s.create(); return nil }, 0},
		{"a stream with events", func(s *stream) error { s.add(1, version-1); return nil }, version},
		{"a stream whose events are truncated", func(s *stream) error { s.add(version); return s.truncate(noLimit) }, version},
		{"a restored stream", func(s *stream) error {
			s.add(version)
			return errors.Join(s.softDelete(backend.AnyVersion()), s.restore())
		}, version},
		{"a soft-deleted stream", func(s *stream) error { s.add(version); return s.softDelete(backend.AnyVersion()) }, version},
		{"a soft-deleted stream without events", func(s *stream) error { s.create(); return s.softDelete(backend.NoStream()) }, 0},
	}
	// what comes of each expectation in each situation; nil: the append succeeds
	wrong := backend.ErrWrongExpectedVersion
	exists, missing, deleted := backend.ErrStreamExists, backend.ErrStreamNotFound, backend.ErrStreamDeleted
	table := []struct {
		expected backend.ExpectedVersion
		want     []error // in the order of situations
	}{
		{backend.AnyVersion(), []error{nil, nil, nil, nil, nil, nil, deleted, deleted}},
		{backend.NoStream(), []error{nil, nil, nil, exists, exists, exists, deleted, deleted}},
		{backend.StreamExists(), []error{missing, missing, nil, nil, nil, nil, deleted, deleted}},
		{backend.ExactVersion(0), []error{nil, nil, nil, wrong, wrong, wrong, deleted, deleted}},
		{backend.ExactVersion(version - 1), []error{wrong, wrong, wrong, wrong, wrong, wrong, deleted, deleted}},
		{backend.ExactVersion(version), []error{wrong, wrong, wrong, nil, nil, nil, deleted, deleted}},
		{backend.ExactVersion(version + 1), []error{wrong, wrong, wrong, wrong, wrong, wrong, deleted, deleted}},
		{backend.ExactVersion(noLimit), []error{wrong, wrong, wrong, wrong, wrong, wrong, deleted, deleted}},
	}
	for _, row := range table {
		for i, situation := range situations {
			outcome := "succeeds"
			if row.want[i] != nil {
				outcome = "returns " + row.want[i].Error() + ", and writes nothing"
			}
			for _, n := range []int{2, 0} {
				of := "an append"
				if n == 0 {
					of = "an append of no events"
				}
				t.Run(of+" to "+situation.name+" that expects "+row.expected.String()+" "+outcome, func(t *testing.T) {
					t.Parallel()
					s := fresh(t, b)
					mustOrSkip(t, situation.prepare(s))
					before := s.state()
					res, err := s.append(row.expected, events(n))
					switch {
					case row.want[i] == wrong:
						wantWrongVersion(t, err, s.name, row.expected, situation.version)
						s.wantState(before)
					case row.want[i] != nil:
						wantErr(t, err, row.want[i])
						s.wantState(before)
					case n == 0:
						must(t, err)
						if res.Version != situation.version || res.Position != 0 || len(res.EventUUIDs) != 0 {
							t.Fatalf("Append returned %+v, want version %d", res, situation.version)
						}
						s.wantState(before)
					default:
						must(t, err)
						if want := situation.version + uint64(n); res.Version != want || s.info().Version != want {
							t.Fatalf("Append returned version %d, info has %d, want %d", res.Version, s.info().Version, want)
						}
					}
				})
			}
		}
	}

	t.Run("AppendToStream of no events checks that the stream exists, and writes nothing", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		s.add(2)
		before := s.state()
		for _, none := range [][]backend.UnsavedEvent{nil, {}} {
			ids, err := s.appendTo(none)
			must(t, err)
			if len(ids) != 0 {
				t.Fatalf("it returned %d ids", len(ids))
			}
			_, err = fresh(t, b).appendTo(none)
			wantErr(t, err, backend.ErrStreamNotFound)
		}
		s.wantState(before)
	})
	t.Run("an error about the version tells what the caller must know to go on", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		s.add(2)
		_, err := s.append(backend.ExactVersion(1), events(1))
		wrong, ok := errors.AsType[*backend.WrongExpectedVersionError](err)
		if !ok {
			t.Fatalf("got the error %v", err)
		}
		s.mustAppend(backend.ExactVersion(wrong.Actual), events(1))
		s.wantHistory(1, 3)
	})
	t.Run("an error comes with no result", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		s.add(2)
		for _, expected := range []backend.ExpectedVersion{backend.NoStream(), backend.ExactVersion(1), backend.ExactVersion(3)} {
			res, err := s.append(expected, identified(1))
			if err == nil || res.Version != 0 || res.Position != 0 || res.EventUUIDs != nil {
				t.Fatalf("with the error %v came %+v", err, res)
			}
		}
	})
	t.Run("versions given in events may say the same as what is expected", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		s.mustAppend(backend.NoStream(), versioned(1, 2))
		s.mustAppend(backend.ExactVersion(2), versioned(3, 1))
		s.wantHistory(1, 3)
		other := fresh(t, b)
		other.mustAppend(backend.ExactVersion(0), versioned(1, 1))
		other.wantHistory(1, 1)
	})
	t.Run("versions given in events that say something else than what is expected are ErrInvalidEvent", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		for _, expected := range []backend.ExpectedVersion{backend.AnyVersion(), backend.StreamExists(), backend.NoStream(), backend.ExactVersion(2), backend.ExactVersion(4)} {
			_, err := s.append(expected, versioned(4, 2))
			wantErr(t, err, backend.ErrInvalidEvent)
		}
		_, err := s.readInfo()
		wantErr(t, err, backend.ErrStreamNotFound)
		s.add(3)
		before := s.state()
		for _, expected := range []backend.ExpectedVersion{backend.AnyVersion(), backend.StreamExists(), backend.NoStream(), backend.ExactVersion(2)} {
			_, err := s.append(expected, versioned(4, 2))
			wantErr(t, err, backend.ErrInvalidEvent)
		}
		s.wantState(before)
	})

	valid := func() backend.UnsavedEvent { return backend.UnsavedEvent{EventType: "Happened", Data: []byte("x")} }
	at := func(version uint64) backend.UnsavedEvent {
		e := valid()
		e.StreamVersion = version
		return e
	}
	for _, invalid := range []struct {
		what   string
		events []backend.UnsavedEvent
	}{
		{"an event without a type", []backend.UnsavedEvent{{Data: []byte("x")}}},
		{"a second event without a type", []backend.UnsavedEvent{valid(), {Data: []byte("x")}}},
		{"an event of another stream", []backend.UnsavedEvent{{EventType: "Happened", StreamUUID: "another"}}},
		{"a second event of another stream", []backend.UnsavedEvent{valid(), {EventType: "Happened", StreamUUID: "another"}}},
		{"an event of the year 0", []backend.UnsavedEvent{{EventType: "Happened", CreatedAt: time.Date(0, 1, 1, 0, 0, 0, 0, time.UTC)}}},
		{"an event of the year 10000", []backend.UnsavedEvent{valid(), {EventType: "Happened", CreatedAt: time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)}}},
		{"versions with a gap", []backend.UnsavedEvent{at(1), at(3)}},
		{"versions that count down", []backend.UnsavedEvent{at(2), at(1)}},
		{"versions that stay the same", []backend.UnsavedEvent{at(1), at(1)}},
		{"a version after none", []backend.UnsavedEvent{valid(), at(2)}},
		{"no version after one", []backend.UnsavedEvent{at(1), valid()}},
	} {
		t.Run(invalid.what+" is ErrInvalidEvent, and nothing is written", func(t *testing.T) {
			t.Parallel()
			missing := fresh(t, b)
			for _, expected := range []backend.ExpectedVersion{backend.AnyVersion(), backend.NoStream(), backend.ExactVersion(0)} {
				_, err := missing.append(expected, invalid.events)
				wantErr(t, err, backend.ErrInvalidEvent)
			}
			_, err := missing.appendTo(invalid.events)
			wantErr(t, err, backend.ErrInvalidEvent) // arguments are checked before the stream is looked at
			_, err = missing.readInfo()
			wantErr(t, err, backend.ErrStreamNotFound)

			s := fresh(t, b)
			s.create()
			before := s.state()
			_, err = s.appendTo(invalid.events)
			wantErr(t, err, backend.ErrInvalidEvent)
			_, err = s.b.AppendToStream(s.ctx, s.name, invalid.events, uuid.New())
			wantErr(t, err, backend.ErrInvalidEvent)
			s.wantState(before)
		})
	}
}
