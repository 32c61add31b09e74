package backendtest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/tributary-es/tributary/backend"
)

func importClauses(t *testing.T, b backend.Backend) {
	t.Run("an import makes each append as Append does: ids, versions, all of its events in one commit", func(t *testing.T) {
		t.Parallel()
		streams := several(t, b, 3)
		var appends []backend.StreamAppend
		for i, size := range []int{1, 3, 1, 10, 2, 1, 100, 1, 1} {
			given := identified(size)
			if i%3 == 1 {
				given = events(size)
			}
			for j := range given {
				given[j].Metadata = fmt.Appendf(nil, "metadata %d", j)
				given[j].CausationID = uuid.New()
				given[j].CreatedAt = time.Date(2020, 1, 2, 3, 4, 5, j, time.UTC)
			}
			appends = append(appends, streams[i%3].appendOf(backend.AnyVersion(), given))
		}
		wantImport(t, streams, appends, backend.ImportOptions{})
	})
	t.Run("an event without an id gets a UUIDv7, one without a correlation id the import's", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		own, call := uuid.New(), uuid.New()
		given := events(3)
		given[1].CorrelationID = own
		_, err := backend.Import(s.ctx, b, sequence([]backend.StreamAppend{s.appendOf(backend.AnyVersion(), given)}), backend.ImportOptions{}, call)
		must(t, err)
		seen := make(map[uuid.UUID]bool)
		for i, e := range s.wantHistory(1, 3) {
			if want := []uuid.UUID{call, own, call}[i]; e.CorrelationID != want {
				t.Errorf("event %d has the correlation id %v, want %v", i, e.CorrelationID, want)
			}
			if e.EventUUID.Version() != 7 || seen[e.EventUUID] {
				t.Errorf("event %d has the id %v: version %d, seen before: %t", i, e.EventUUID, e.EventUUID.Version(), seen[e.EventUUID])
			}
			seen[e.EventUUID] = true
		}
	})
	for _, window := range []int{0, 1, 2, 100_000_000} {
		t.Run(fmt.Sprintf("appends to one event stream keep their order, with a window of %d", window), func(t *testing.T) {
			t.Parallel()
			streams := several(t, b, 1)
			appends := make([]backend.StreamAppend, 1000)
			for i := range appends {
				appends[i] = streams[0].appendOf(backend.AnyVersion(), identified(1))
			}
			wantImport(t, streams, appends, backend.ImportOptions{Window: window})
		})
		t.Run(fmt.Sprintf("each append finds the version that the one before it left, with a window of %d", window), func(t *testing.T) {
			t.Parallel()
			streams := several(t, b, 50)
			wantImport(t, streams, inTurn(streams, 10), backend.ImportOptions{Window: window})
		})
	}
	t.Run("an import into event streams that exist goes on behind what is there", func(t *testing.T) {
		t.Parallel()
		streams := several(t, b, 4)
		streams[0].create()
		streams[1].add(2)
		streams[2].addSingly(30)
		var appends []backend.StreamAppend
		for i, s := range streams {
			version := []uint64{0, 2, 30, 0}[i]
			for _, expected := range []backend.ExpectedVersion{backend.ExactVersion(version), backend.AnyVersion(), backend.StreamExists(), backend.ExactVersion(version + 3)} {
				appends = append(appends, s.appendOf(expected, identified(1)))
			}
		}
		done, err := streams[0].importAll(appends, backend.ImportOptions{})
		must(t, err)
		wantProgress(t, done, appends)
		for i, s := range streams {
			before := []uint64{0, 2, 30, 0}[i]
			wantRecorded(t, s.wantHistory(1, before+4)[before:], eventsTo(s, appends))
		}
	})
	t.Run("large appends and small ones are imported alike", func(t *testing.T) {
		t.Parallel()
		streams := several(t, b, 3)
		var appends []backend.StreamAppend
		for i, size := range []int{10, 700_000, 0, 300_000, 20, 900_000, 1, 200_000, 100, 400_000, 400_000, 2} {
			appends = append(appends, streams[i%2].appendOf(backend.AnyVersion(), padded(identified(1+i%3), size)))
		}
		appends = append(appends, streams[2].appendOf(backend.NoStream(), padded(identified(500), 3000)), streams[2].appendOf(backend.ExactVersion(500), identified(1)))
		wantImport(t, streams, appends, backend.ImportOptions{})
	})
	t.Run("an import without appends does nothing", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		calls := 0
		done, err := s.importAll(nil, backend.ImportOptions{Progress: func(backend.ImportProgress) { calls++ }})
		must(t, err)
		if done != (backend.ImportProgress{}) || calls == 0 {
			t.Fatalf("Import returned %+v, and called Progress %d times", done, calls)
		}
	})
	t.Run("an append of no events in an import checks the expectation, and writes and creates nothing", func(t *testing.T) {
		t.Parallel()
		s, missing := fresh(t, b), fresh(t, b)
		nothing := func(s *stream, expected backend.ExpectedVersion) backend.StreamAppend {
			return s.appendOf(expected, nil)
		}
		appends := []backend.StreamAppend{
			nothing(s, backend.NoStream()), s.appendOf(backend.AnyVersion(), identified(2)), nothing(s, backend.ExactVersion(2)),
			s.appendOf(backend.AnyVersion(), identified(1)), s.appendOf(backend.AnyVersion(), identified(1)),
			nothing(s, backend.ExactVersion(4)), nothing(s, backend.StreamExists()), nothing(s, backend.AnyVersion()),
			nothing(missing, backend.AnyVersion()), nothing(missing, backend.NoStream()),
		}
		done, err := s.importAll(appends, backend.ImportOptions{})
		must(t, err)
		wantProgress(t, done, appends)
		wantRecorded(t, s.wantHistory(1, 4), eventsTo(s, appends))
		wantNotFound(t, missing)

		_, err = s.importAll([]backend.StreamAppend{nothing(s, backend.AnyVersion()), nothing(missing, backend.StreamExists())}, backend.ImportOptions{})
		wantImportError(t, err, 1, missing, backend.ErrStreamNotFound)
		_, err = s.importAll([]backend.StreamAppend{nothing(s, backend.ExactVersion(3))}, backend.ImportOptions{})
		wantImportError(t, err, 0, s, backend.ErrWrongExpectedVersion)
	})

	t.Run("an import refuses what Append refuses", func(t *testing.T) {
		t.Parallel()
		for what, prepare := range map[string]func(*stream){
			"missing":           func(*stream) {},
			"without events":    func(s *stream) { s.create() },
			"at version 2":      func(s *stream) { s.add(1, 1) },
			"erased":            func(s *stream) { s.add(2); must(t, s.delete(0)) },
			"erased, and anew":  func(s *stream) { s.add(1); must(t, s.delete(0)); s.add(2) },
			"longer than known": func(s *stream) { s.addSingly(40) },
		} {
			for _, expected := range allExpectations() {
				one, other := fresh(t, b), fresh(t, b)
				prepare(one)
				prepare(other)
				_, want := one.append(expected, events(2))
				done, got := other.importAll([]backend.StreamAppend{other.appendOf(expected, events(2))}, backend.ImportOptions{})
				if want == nil {
					must(t, got)
					if done.Appends != 1 || done.Events != 2 {
						t.Errorf("%s, expected %v: Import returned %+v", what, expected, done)
					}
				} else {
					wantImportError(t, got, 0, other, sentinel(t, want))
				}
				if a, b := one.state(), other.state(); a.exists != b.exists || a.info.Version != b.info.Version {
					t.Errorf("%s, expected %v: after Append it is %+v, after Import %+v", what, expected, a.info, b.info)
				}
			}
		}
	})
	for _, after := range []int{0, 1, 7, 300} {
		t.Run(fmt.Sprintf("an append that fails after %d others ends the import: they are stored, and nothing that follows on its event stream", after), func(t *testing.T) {
			t.Parallel()
			s := fresh(t, b)
			var appends []backend.StreamAppend
			for range after {
				appends = append(appends, s.appendOf(backend.AnyVersion(), identified(1)))
			}
			appends = append(appends, s.appendOf(backend.ExactVersion(9999), identified(1)))
			for range 400 {
				appends = append(appends, s.appendOf(backend.AnyVersion(), identified(1)))
			}
			done, err := s.importAll(appends, backend.ImportOptions{})
			wantImportError(t, err, uint64(after), s, backend.ErrWrongExpectedVersion)
			wantWrongVersion(t, err, s.name, backend.ExactVersion(9999), uint64(after))
			wantProgress(t, done, appends[:after])
			if after == 0 {
				return // where Append takes several steps, it is created
			}
			wantRecorded(t, s.wantHistory(1, uint64(after)), eventsTo(s, appends[:after]))
		})
	}
	t.Run("an append that fails ends the import: of every event stream, what is stored is what came first", func(t *testing.T) {
		t.Parallel()
		streams := several(t, b, 20)
		streams[13].add(1)
		appends := inTurn(streams, 10) // of which the first to number 13 fails
		done, err := streams[0].importAll(appends, backend.ImportOptions{})
		wantImportError(t, err, 13, streams[13], backend.ErrWrongExpectedVersion)
		if done.Appends > 13 {
			t.Fatalf("Import returned %+v, but append 13 failed", done)
		}
		streams[13].wantHistory(1, 1)
		wantFirst(t, slices.Delete(streams, 13, 14), appends, done)
	})
	t.Run("an error that the iterator yields is returned as it is, after what came before it is done", func(t *testing.T) {
		t.Parallel()
		streams := several(t, b, 10)
		appends := inTurn(streams, 20)
		broken := errors.New("broken")
		done, err := backend.Import(streams[0].ctx, b, func(yield func(backend.StreamAppend, error) bool) {
			for _, a := range appends {
				if !yield(a, nil) {
					t.Error("the import ended before the error")
					return
				}
			}
			if yield(backend.StreamAppend{}, broken) {
				t.Error("the import went on after the error")
			}
		}, backend.ImportOptions{}, uuid.Nil)
		if err != broken {
			t.Fatalf("Import returned the error %v", err)
		}
		wantProgress(t, done, appends)
		wantImported(t, streams, appends)
	})
	t.Run("an append that is invalid or too large is refused by its index, after what came before it is done, and nothing of it is stored", func(t *testing.T) {
		t.Parallel()
		valid := events(1)[0]
		with := func(change func(*backend.UnsavedEvent)) []backend.UnsavedEvent {
			given := identified(2)
			change(&given[1])
			return given
		}
		for what, row := range map[string]struct {
			name   string // empty: that of an event stream
			events []backend.UnsavedEvent
			want   error
		}{
			"no name":        {"\x00", []backend.UnsavedEvent{valid}, backend.ErrInvalidStreamUUID},
			"a long name":    {strings.Repeat("a", 256), []backend.UnsavedEvent{valid}, backend.ErrInvalidStreamUUID},
			"no type":        {"", with(func(e *backend.UnsavedEvent) { e.EventType = "" }), backend.ErrInvalidEvent},
			"a missing id":   {"", with(func(e *backend.UnsavedEvent) { e.EventUUID = uuid.Nil }), backend.ErrInvalidEvent},
			"another stream": {"", with(func(e *backend.UnsavedEvent) { e.StreamUUID = "account-42" }), backend.ErrInvalidEvent},
			"a version":      {"", versioned(7, 1), backend.ErrInvalidEvent},
			"metadata": {"", with(func(e *backend.UnsavedEvent) { e.Metadata = make([]byte, backend.MaxMetadataBytes+1) }),
				backend.ErrEventTooLarge},
		} {
			s := fresh(t, b)
			var appends []backend.StreamAppend
			for range 100 {
				appends = append(appends, s.appendOf(backend.AnyVersion(), identified(1)))
			}
			refused := s.appendOf(backend.AnyVersion(), row.events)
			if row.name != "" {
				refused.StreamUUID = row.name
			}
			done, err := s.importAll(slices.Concat(appends, []backend.StreamAppend{refused}, appends), backend.ImportOptions{})
			failed, ok := errors.AsType[*backend.ImportError](err)
			if !ok || failed.Index != 100 || failed.StreamUUID != refused.StreamUUID || !errors.Is(err, row.want) {
				t.Errorf("%s: Import returned the error %v, want one of append 100 that is %q", what, err, row.want)
			}
			wantProgress(t, done, appends)
			wantRecorded(t, s.wantHistory(1, 100), eventsTo(s, appends))
		}
	})
	t.Run("a negative option is ErrInvalidArgument, and nothing is taken", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		for _, options := range []backend.ImportOptions{{Window: -1}, {ProgressEvery: -1}} {
			done, err := backend.Import(s.ctx, b, func(func(backend.StreamAppend, error) bool) {
				t.Error("the appends were asked for")
			}, options, uuid.Nil)
			wantErr(t, err, backend.ErrInvalidArgument)
			if done != (backend.ImportProgress{}) {
				t.Errorf("Import returned %+v", done)
			}
		}
	})
	t.Run("an import into a soft-deleted event stream is ErrStreamDeleted, and succeeds once it is restored", func(t *testing.T) {
		t.Parallel()
		s, other := fresh(t, b), fresh(t, b)
		s.add(2)
		mustOrSkip(t, s.softDelete(backend.AnyVersion()))
		before := s.state()
		for _, expected := range allExpectations() {
			_, err := s.importAll([]backend.StreamAppend{other.appendOf(backend.AnyVersion(), identified(1)), s.appendOf(expected, identified(1))}, backend.ImportOptions{})
			wantImportError(t, err, 1, s, backend.ErrStreamDeleted)
			s.wantState(before)
		}
		must(t, s.restore())
		_, err := s.importAll([]backend.StreamAppend{s.appendOf(backend.ExactVersion(2), identified(1))}, backend.ImportOptions{})
		must(t, err)
		s.wantHistory(1, 3)
	})
	t.Run("an import does not change the events", func(t *testing.T) {
		t.Parallel()
		streams := several(t, b, 3)
		appends := inTurn(streams, 5)
		for i := range appends {
			if i%2 == 0 {
				appends[i].Events = events(2) // the others have ids
			}
			appends[i].Expected = backend.AnyVersion()
		}
		before := make([][]backend.UnsavedEvent, len(appends))
		for i := range appends {
			before[i] = cloneUnsaved(appends[i].Events)
		}
		_, err := streams[0].importAll(appends, backend.ImportOptions{})
		must(t, err)
		for i := range appends {
			for j, e := range appends[i].Events {
				if was := before[i][j]; fmt.Sprint(e) != fmt.Sprint(was) {
					t.Errorf("event %d of append %d is now %+v, was %+v", j, i, e, was)
				}
			}
		}
	})

	importProgressClauses(t, b)
	importRepeatClauses(t, b)
	importContextClauses(t, b)
	importConcurrencyClauses(t, b)
	importLeakClauses(t, b)
}

func importProgressClauses(t *testing.T, b backend.Backend) {
	t.Run("Progress never goes back, and ends with what Import returns", func(t *testing.T) {
		t.Parallel()
		streams := several(t, b, 10)
		appends := inTurn(streams, 30)
		var told []backend.ImportProgress
		done, err := streams[0].importAll(appends, backend.ImportOptions{ProgressEvery: 1, Progress: func(p backend.ImportProgress) { told = append(told, p) }})
		must(t, err)
		wantProgress(t, done, appends)
		for i := range told {
			if n := told[i].Appends; n > uint64(len(appends)) || told[i] != progressOf(appends[:n]) {
				t.Fatalf("Progress was told %+v", told[i])
			}
			if i > 0 && told[i].Appends < told[i-1].Appends {
				t.Fatalf("Progress was told %+v after %+v", told[i], told[i-1])
			}
		}
		if len(told) == 0 || told[len(told)-1] != done {
			t.Fatalf("Progress was called %d times, and not with %+v in the end", len(told), done)
		}
	})
	t.Run("Progress is called in the goroutine that called Import", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		caller, calls := goroutine(), 0
		_, err := s.importAll(inTurn([]*stream{s}, 100), backend.ImportOptions{ProgressEvery: 1, Progress: func(backend.ImportProgress) {
			calls++ // which the race detector watches, too
			if got := goroutine(); got != caller {
				t.Errorf("Progress was called in %q, Import in %q", got, caller)
			}
		}})
		must(t, err)
		if calls == 0 {
			t.Error("Progress was never called")
		}
	})
	t.Run("what Progress is told of is stored", func(t *testing.T) {
		t.Parallel()
		streams := several(t, b, 3)
		appends := inTurn(streams, 20)
		last := backend.ImportProgress{}
		_, err := streams[0].importAll(appends, backend.ImportOptions{ProgressEvery: 1, Progress: func(p backend.ImportProgress) {
			if p.Appends >= last.Appends+10 {
				wantFirst(t, streams, appends, p)
				last = p
			}
		}})
		must(t, err)
	})
	t.Run("where an import fails, Progress ends with what Import returns", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		appends := append(inTurn([]*stream{s}, 10), s.appendOf(backend.NoStream(), identified(1)))
		var last backend.ImportProgress
		done, err := s.importAll(appends, backend.ImportOptions{Progress: func(p backend.ImportProgress) { last = p }})
		wantImportError(t, err, 10, s, backend.ErrStreamExists)
		wantProgress(t, done, appends[:10])
		wantProgress(t, last, appends[:10])
	})
}
