package backendtest

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/tributary-es/tributary/backend"
)

func importConcurrencyClauses(t *testing.T, b backend.Backend) {
	t.Run("appends made while an import is under way, to the same event streams, lose and double nothing", func(t *testing.T) {
		t.Parallel()
		streams := several(t, b, 3)
		var appends []backend.StreamAppend
		for i := range 240 {
			appends = append(appends, streams[i%3].appendOf(backend.AnyVersion(), identified(1+i%2)))
		}
		others := make([][]backend.UnsavedEvent, 6) // of each goroutine
		var wg sync.WaitGroup
		for i := range others {
			wg.Go(func() {
				for range 40 {
					given := identified(1)
					if _, err := streams[i%3].append(backend.AnyVersion(), given); err != nil {
						t.Error(err)
						return
					}
					others[i] = append(others[i], given...)
				}
			})
		}
		done, err := streams[0].importAll(appends, backend.ImportOptions{})
		wg.Wait()
		must(t, err)
		wantProgress(t, done, appends)
		for i, s := range streams {
			wantMerged(t, s, eventsTo(s, appends), others[i], others[i+3])
		}
	})
	t.Run("imports at the same time, to the same event streams, lose and double nothing", func(t *testing.T) {
		t.Parallel()
		streams := several(t, b, 4)
		imports := make([][]backend.StreamAppend, 3)
		var wg sync.WaitGroup
		for i := range imports {
			for j := range 120 {
				imports[i] = append(imports[i], streams[j%4].appendOf(backend.AnyVersion(), identified(1)))
			}
			wg.Go(func() {
				if done, err := streams[0].importAll(imports[i], backend.ImportOptions{}); err != nil || done != progressOf(imports[i]) {
					t.Errorf("Import returned %+v and the error %v", done, err)
				}
			})
		}
		wg.Wait()
		for _, s := range streams {
			wantMerged(t, s, eventsTo(s, imports[0]), eventsTo(s, imports[1]), eventsTo(s, imports[2]))
		}
	})
	t.Run("the iterator of an import may append and read itself", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		var imported, own []backend.UnsavedEvent
		done, err := backend.Import(s.ctx, b, func(yield func(backend.StreamAppend, error) bool) {
			for range 100 {
				given := identified(2)
				s.mustAppend(backend.AnyVersion(), given[:1])
				s.info()
				own, imported = append(own, given[0]), append(imported, given[1])
				if !yield(s.appendOf(backend.AnyVersion(), given[1:]), nil) {
					return
				}
			}
		}, backend.ImportOptions{Window: 3}, uuid.Nil)
		must(t, err)
		if done.Appends != 100 || done.Events != 100 {
			t.Errorf("Import returned %+v", done)
		}
		wantMerged(t, s, imported, own)
	})
	t.Run("an import goes on while the iterator waits", func(t *testing.T) {
		t.Parallel()
		streams := several(t, b, 5)
		appends := inTurn(streams, 4)
		if _, ok := b.(backend.Importer); !ok {
			t.Skip("the backend is no backend.Importer")
		}
		done, err := backend.Import(streams[0].ctx, b, func(yield func(backend.StreamAppend, error) bool) {
			for _, a := range appends {
				if !yield(a, nil) {
					return
				}
			}
			for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
				stored := uint64(0)
				for _, s := range streams {
					if info, err := s.readInfo(); err == nil {
						stored += info.Version
					}
				}
				if stored == progressOf(appends).Events {
					return
				}
				if time.Now().After(deadline) {
					t.Error("it does not")
					return
				}
			}
		}, backend.ImportOptions{}, uuid.Nil)
		must(t, err)
		wantProgress(t, done, appends)
	})
}

// importLeakClauses count goroutines, so none of them is parallel.
func importLeakClauses(t *testing.T, b backend.Backend) {
	s := fresh(t, b)
	s.add(1)
	batch := func() []backend.StreamAppend {
		appends := make([]backend.StreamAppend, 20)
		for i := range appends {
			appends[i] = s.appendOf(backend.AnyVersion(), events(1))
		}
		return appends
	}
	t.Run("an import leaves nothing behind", func(t *testing.T) {
		wantNothingHeld(t, b, func() {
			_, err := s.importAll(batch(), backend.ImportOptions{})
			must(t, err)
		})
	})
	t.Run("an import that fails leaves nothing behind", func(t *testing.T) {
		wantNothingHeld(t, b, func() {
			_, err := s.importAll(append(batch(), s.appendOf(backend.NoStream(), events(1))), backend.ImportOptions{})
			wantErr(t, err, backend.ErrStreamExists)
		})
	})
	t.Run("an import that is cancelled leaves nothing behind", func(t *testing.T) {
		wantNothingHeld(t, b, func() {
			ctx, cancel := context.WithCancel(s.ctx)
			_, err := backend.Import(ctx, b, func(yield func(backend.StreamAppend, error) bool) {
				for i, a := range batch() {
					if i == 10 {
						cancel()
					}
					if !yield(a, nil) {
						return
					}
				}
			}, backend.ImportOptions{}, uuid.Nil)
			wantErr(t, err, context.Canceled)
		})
	})
	t.Run("a panic of the iterator comes out of Import, and leaves nothing behind", func(t *testing.T) {
		wantNothingHeld(t, b, func() {
			defer func() {
				if got := recover(); got != "in the iterator" {
					t.Errorf("recovered %v", got)
				}
			}()
			_, _ = backend.Import(s.ctx, b, func(yield func(backend.StreamAppend, error) bool) {
				for _, a := range batch() {
					yield(a, nil)
				}
				panic("in the iterator")
			}, backend.ImportOptions{}, uuid.Nil)
		})
	})
	t.Run("a panic of Progress comes out of Import, and leaves nothing behind", func(t *testing.T) {
		wantNothingHeld(t, b, func() {
			defer func() {
				if got := recover(); got != "in Progress" {
					t.Errorf("recovered %v", got)
				}
			}()
			_, _ = s.importAll(batch(), backend.ImportOptions{ProgressEvery: 1, Progress: func(backend.ImportProgress) { panic("in Progress") }})
		})
	})
}
