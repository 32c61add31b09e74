package backendtest

import (
	"errors"
	"iter"
	"runtime"
	"strings"

	"github.com/google/uuid"

	"github.com/tributary-es/tributary/backend"
)

// several returns event streams that do not exist yet.
func several(t tester, b backend.Backend, n int) []*stream {
	t.Helper()
	streams := make([]*stream, n)
	for i := range streams {
		streams[i] = fresh(t, b)
	}
	return streams
}

// sequence yields appends.
func sequence(appends []backend.StreamAppend) iter.Seq2[backend.StreamAppend, error] {
	return func(yield func(backend.StreamAppend, error) bool) {
		for _, a := range appends {
			if !yield(a, nil) {
				return
			}
		}
	}
}

// appendOf is an append to the event stream, for an import.
func (s *stream) appendOf(expected backend.ExpectedVersion, events []backend.UnsavedEvent) backend.StreamAppend {
	return backend.StreamAppend{StreamUUID: s.name, Expected: expected, Events: events}
}

// inTurn returns rounds of appends to each of the event streams, which are new,
// of one to three events with ids, each at the exact version.
func inTurn(streams []*stream, rounds int) []backend.StreamAppend {
	var appends []backend.StreamAppend
	versions := make([]uint64, len(streams))
	for round := range rounds {
		for i, s := range streams {
			given := identified(1 + (round+i)%3)
			appends = append(appends, s.appendOf(backend.ExactVersion(versions[i]), given))
			versions[i] += uint64(len(given))
		}
	}
	return appends
}

// importAll imports appends, to whatever event streams.
func (s *stream) importAll(appends []backend.StreamAppend, options backend.ImportOptions) (backend.ImportProgress, error) {
	return backend.Import(s.ctx, s.b, sequence(appends), options, uuid.Nil)
}

// eventsTo returns those events of appends that go to s.
func eventsTo(s *stream, appends []backend.StreamAppend) (events []backend.UnsavedEvent) {
	for _, a := range appends {
		if a.StreamUUID == s.name {
			events = append(events, a.Events...)
		}
	}
	return events
}

func progressOf(appends []backend.StreamAppend) backend.ImportProgress {
	p := backend.ImportProgress{Appends: uint64(len(appends))}
	for _, a := range appends {
		p.Events += uint64(len(a.Events))
	}
	return p
}

// wantProgress checks that done says that appends are done, and no more.
func wantProgress(t tester, done backend.ImportProgress, appends []backend.StreamAppend) {
	t.Helper()
	if want := progressOf(appends); done != want {
		t.Fatalf("done are %+v, want %+v", done, want)
	}
}

// wantImport imports appends into event streams, which are to have nothing else
// then.
func wantImport(t tester, streams []*stream, appends []backend.StreamAppend, options backend.ImportOptions) {
	t.Helper()
	done, err := streams[0].importAll(appends, options)
	must(t, err)
	wantProgress(t, done, appends)
	wantImported(t, streams, appends)
}

// wantImported checks that the event streams have the events of appends, and no
// others, and that those of each append are of one commit.
func wantImported(t tester, streams []*stream, appends []backend.StreamAppend) {
	t.Helper()
	for _, s := range streams {
		given := eventsTo(s, appends)
		got := s.wantHistory(1, uint64(len(given)))
		wantRecorded(t, got, given)
		for _, a := range appends {
			if a.StreamUUID == s.name {
				wantOneCommit(t, got[:len(a.Events)], got[0].Position)
				got = got[len(a.Events):]
			}
		}
	}
}

// wantFirst checks that the event streams, whatever else they lack, have what is
// done of appends, and that each has the first of those to it.
func wantFirst(t tester, streams []*stream, appends []backend.StreamAppend, done backend.ImportProgress) {
	t.Helper()
	wantProgress(t, done, appends[:done.Appends])
	for _, s := range streams {
		got, err := s.read(1, noLimit)
		if !errors.Is(err, backend.ErrStreamNotFound) {
			must(t, err)
		}
		given := eventsTo(s, appends)
		if least := len(eventsTo(s, appends[:done.Appends])); len(got) < least || len(got) > len(given) {
			t.Fatalf("event stream %q has %d events, at least %d are done, of %d", s.name, len(got), least, len(given))
		}
		wantRecorded(t, got, given[:len(got)])
		wantVersions(t, got, s.name, 1, uint64(len(got)))
	}
}

// wantMerged checks that the event stream has the events of all writers, and no
// others, and those of each in their order.
func wantMerged(t tester, s *stream, writers ...[]backend.UnsavedEvent) {
	t.Helper()
	n := 0
	place := make(map[uuid.UUID][2]int) // the writer, and the number of his event
	for i, events := range writers {
		n += len(events)
		for j := range events {
			place[events[j].EventUUID] = [2]int{i, j}
		}
	}
	next := make([]int, len(writers))
	for _, e := range s.wantHistory(1, uint64(n)) {
		at, ok := place[e.EventUUID]
		if !ok || at[1] != next[at[0]] {
			t.Fatalf("version %d is event %d of writer %d (known: %t), whose next is %d", e.StreamVersion, at[1], at[0], ok, next[at[0]])
		}
		next[at[0]]++
	}
}

// wantImportError checks that err is an *ImportError that names the append, and
// is want.
func wantImportError(t tester, err error, index uint64, s *stream, want error) {
	t.Helper()
	wantErr(t, err, want)
	failed, ok := errors.AsType[*backend.ImportError](err)
	switch {
	case !ok:
		t.Fatalf("the error %q is no *ImportError", err)
	case failed.Index != index || failed.StreamUUID != s.name || !errors.Is(failed.Err, want):
		t.Fatalf("the error tells of append %d, to %q: %v; want append %d, to %q", failed.Index, failed.StreamUUID, failed.Err, index, s.name)
	}
}

// sentinel returns the verdict that err is.
func sentinel(t tester, err error) error {
	t.Helper()
	for _, verdict := range []error{backend.ErrStreamNotFound, backend.ErrStreamExists, backend.ErrStreamDeleted, backend.ErrWrongExpectedVersion} {
		if errors.Is(err, verdict) {
			return verdict
		}
	}
	t.Fatalf("unexpected error: %v", err)
	return nil
}

// goroutine names the goroutine that calls it.
func goroutine() string {
	buf := make([]byte, 64)
	name, _, _ := strings.Cut(string(buf[:runtime.Stack(buf, false)]), " [")
	return name
}
