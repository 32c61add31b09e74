package backendtest

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/uuid"
	"github.com/tributary-es/tributary/backend"
)

func concurrencyClauses(t *testing.T, b backend.Backend) {
	for _, row := range []struct{ writers, appends, events int }{{8, 25, 1}, {64, 6, 1}, {8, 10, 3}, {64, 2, 2}} {
		t.Run(fmt.Sprintf("%d goroutines appending %d to one stream, expecting any version, leave no gap and no duplicate", row.writers, row.events), func(t *testing.T) {
			t.Parallel()
			s := fresh(t, b)
			results := together(row.writers, row.appends, func(int) (backend.AppendResult, error) {
				return s.append(backend.AnyVersion(), events(row.events))
			})
			wantAllOnce(t, s, results, row.writers*row.appends*row.events)
		})
		t.Run(fmt.Sprintf("%d goroutines appending %d to one stream with ids, expecting that it exists, leave no gap and no duplicate", row.writers, row.events), func(t *testing.T) {
			t.Parallel()
			s := fresh(t, b)
			s.create()
			results := together(row.writers, row.appends, func(int) (backend.AppendResult, error) {
				return s.append(backend.StreamExists(), identified(row.events))
			})
			wantAllOnce(t, s, results, row.writers*row.appends*row.events)
		})
	}
	t.Run("goroutines appending commits of different sizes to one stream each get theirs whole", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		results := together(16, 8, func(i int) (backend.AppendResult, error) {
			return s.append(backend.AnyVersion(), events(1+i%5))
		})
		wantAllOnce(t, s, results, int(s.info().Version))
	})
	t.Run("goroutines using AppendToStream without versions leave no gap and no duplicate", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		s.create()
		var seen sync.Map
		results := together(16, 10, func(int) (backend.AppendResult, error) {
			ids, err := s.appendTo(events(2))
			for _, id := range ids {
				if _, twice := seen.LoadOrStore(id, true); twice {
					return backend.AppendResult{}, fmt.Errorf("the id %v was returned twice", id)
				}
			}
			return backend.AppendResult{}, err
		})
		for _, r := range results {
			must(t, r.err)
		}
		for _, e := range s.wantHistory(1, 320) {
			if _, ok := seen.LoadAndDelete(e.EventUUID); !ok {
				t.Fatalf("version %d was never acknowledged, or is there twice", e.StreamVersion)
			}
		}
	})
	t.Run("of goroutines that expect one exact version exactly one wins, in every round", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		for version := range uint64(25) {
			expected := backend.ExactVersion(version)
			if version == 0 {
				expected = backend.NoStream()
			}
			results := together(16, 1, func(int) (backend.AppendResult, error) { return s.append(expected, identified(1)) })
			winners := 0
			for _, r := range results {
				switch {
				case r.err == nil && r.Version == version+1:
					winners++
				case version == 0 && errors.Is(r.err, backend.ErrStreamExists):
				default:
					wantWrongVersion(t, r.err, s.name, expected, version+1)
				}
			}
			if winners != 1 {
				t.Fatalf("%d of 16 appends at version %d succeeded", winners, version)
			}
		}
		s.wantHistory(1, 25)
	})
	t.Run("of goroutines that use AppendToStream with one version exactly one wins, in every round", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		s.create()
		for version := uint64(1); version <= 15; version++ {
			var winners atomic.Int64
			for _, r := range together(16, 1, func(int) (backend.AppendResult, error) {
				_, err := s.appendTo(versioned(version, 1))
				if err == nil {
					winners.Add(1)
				}
				return backend.AppendResult{}, err
			}) {
				if r.err != nil {
					wantWrongVersion(t, r.err, s.name, backend.ExactVersion(version-1), version)
				}
			}
			if winners.Load() != 1 {
				t.Fatalf("%d of 16 appends of version %d succeeded", winners.Load(), version)
			}
		}
		s.wantHistory(1, 15)
	})
	t.Run("goroutines that read, decide and append at the version read, and try again, all get through", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		results := together(8, 6, func(int) (backend.AppendResult, error) {
			for {
				got, err := s.read(1, noLimit)
				if err != nil && !errors.Is(err, backend.ErrStreamNotFound) {
					return backend.AppendResult{}, err
				}
				sum := backend.UnsavedEvent{EventType: "Counted", Data: fmt.Appendf(nil, "%d", len(got)+1)}
				res, err := s.append(backend.ExactVersion(uint64(len(got))), []backend.UnsavedEvent{sum})
				if !errors.Is(err, backend.ErrWrongExpectedVersion) {
					return res, err
				}
			}
		})
		for i, e := range wantAllOnce(t, s, results, 48) {
			if want := fmt.Sprint(i + 1); string(e.Data) != want {
				t.Fatalf("version %d counted %s", i+1, e.Data)
			}
		}
	})
	t.Run("of goroutines that create one stream exactly one wins", func(t *testing.T) {
		t.Parallel()
		for range 5 {
			s := fresh(t, b)
			wantOneWinner(t, 16, backend.ErrStreamExists, func() error {
				_, err := b.CreateStream(s.ctx, backend.Stream{UUID: s.name}, uuid.Nil)
				return err
			})
			s.wantHistory(1, 0)
		}
	})
	t.Run("of goroutines that expect no stream exactly one wins", func(t *testing.T) {
		t.Parallel()
		for range 5 {
			s := fresh(t, b)
			wantOneWinner(t, 16, backend.ErrStreamExists, func() error { _, err := s.append(backend.NoStream(), events(2)); return err })
			s.wantHistory(1, 2)
		}
	})
	t.Run("of goroutines that delete one stream exactly one wins", func(t *testing.T) {
		t.Parallel()
		for range 5 {
			s := fresh(t, b)
			s.add(2)
			wantOneWinner(t, 8, backend.ErrStreamNotFound, func() error { return s.delete(0) })
			wantNotFound(t, s)
		}
	})
	t.Run("of goroutines that soft-delete one stream exactly one wins", func(t *testing.T) {
		t.Parallel()
		for range 5 {
			s := fresh(t, b)
			s.add(2)
			if _, ok := b.(backend.SoftDeleter); !ok {
				t.Skip("the backend is no backend.SoftDeleter")
			}
			wantOneWinner(t, 8, backend.ErrStreamDeleted, func() error { return s.softDelete(backend.AnyVersion()) })
			wantDeleted(t, s)
		}
	})
	t.Run("goroutines appending to streams of their own don't disturb each other", func(t *testing.T) {
		t.Parallel()
		streams := make([]*stream, 64)
		for i := range streams {
			streams[i] = fresh(t, b)
		}
		positions := make(map[uint64]bool)
		for _, r := range together(len(streams), 5, func(i int) (backend.AppendResult, error) {
			s := streams[i%len(streams)]
			return s.append(backend.ExactVersion(uint64(2*(i/len(streams)))), events(2))
		}) {
			must(t, r.err)
			if positions[r.Position] {
				t.Fatalf("the position %d was given twice", r.Position)
			}
			positions[r.Position] = true
		}
		for _, s := range streams {
			s.wantHistory(1, 10)
		}
	})
	t.Run("a goroutine reads its own appends, and never goes back in time, while others append too", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		var latest [8]uint64
		results := together(len(latest), 10, func(i int) (backend.AppendResult, error) {
			seen := &latest[i%len(latest)] // one goroutine's own
			res, err := s.append(backend.AnyVersion(), events(1))
			if err != nil {
				return res, err
			}
			for range 3 {
				*seen = max(*seen, res.Version)
				got, err := s.read(1, noLimit)
				if err != nil {
					return res, err
				}
				if uint64(len(got)) < *seen {
					return res, fmt.Errorf("a read returned %d events after version %d was seen", len(got), *seen)
				}
				if i := slices.IndexFunc(got, func(e backend.RecordedEvent) bool { return e.EventUUID == res.EventUUIDs[0] }); uint64(i)+1 != res.Version {
					return res, fmt.Errorf("the event acknowledged at version %d is the %dth", res.Version, i+1)
				}
				*seen = uint64(len(got))
				info, err := s.readInfo()
				if err != nil || info.Version < *seen {
					return res, fmt.Errorf("info has version %d after %d was seen, error %v", info.Version, *seen, err)
				}
				*seen = info.Version
			}
			return res, nil
		})
		wantAllOnce(t, s, results, 80)
	})
}

type result struct {
	backend.AppendResult
	err error
}

// together lets n goroutines begin at the same time and call call rounds times
// each, and returns all results. Goroutine g calls with g, n+g, 2n+g, …
func together(n, rounds int, call func(i int) (backend.AppendResult, error)) []result {
	results := make([]result, n*rounds)
	start := make(chan struct{})
	var wg sync.WaitGroup
	for g := range n {
		wg.Go(func() {
			<-start
			for round := range rounds {
				r := &results[round*n+g]
				r.AppendResult, r.err = call(round*n + g)
			}
		})
	}
	close(start)
	wg.Wait()
	return results
}

// wantAllOnce checks that all appends succeeded, and that s consists of exactly
// their events, each commit at the version and position that its append
// returned.
func wantAllOnce(t tester, s *stream, results []result, n int) []backend.RecordedEvent {
	t.Helper()
	got := s.wantHistory(1, uint64(n))
	count := 0
	for i, r := range results {
		if r.err != nil {
			t.Fatalf("append %d: %v", i, r.err)
		}
		first := r.Version - uint64(len(r.EventUUIDs)) + 1
		for k, id := range r.EventUUIDs {
			version := first + uint64(k)
			if version < 1 || version > uint64(n) {
				t.Fatalf("append %d returned version %d of %d", i, version, n)
			}
			if e := got[version-1]; e.EventUUID != id || e.Position != r.Position {
				t.Fatalf("append %d returned that version %d has the id %v and position %d, but there is %v at position %d",
					i, version, id, r.Position, e.EventUUID, e.Position)
			}
			count++
		}
	}
	if count != n {
		t.Fatalf("%d events are stored, %d were acknowledged", n, count)
	}
	return got
}

// wantOneWinner calls n times at once and checks that one call succeeds and the
// others fail with the error that losing is.
func wantOneWinner(t tester, n int, losing error, call func() error) {
	t.Helper()
	winners := 0
	for _, r := range together(n, 1, func(int) (backend.AppendResult, error) { return backend.AppendResult{}, call() }) {
		if r.err == nil {
			winners++
		} else {
			wantErr(t, r.err, losing)
		}
	}
	if winners != 1 {
		t.Fatalf("%d of %d won", winners, n)
	}
}
