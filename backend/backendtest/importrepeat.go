package backendtest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/tributary-es/tributary/backend"
)

func importRepeatClauses(t *testing.T, b backend.Backend) {
	if _, ok := b.(backend.Appender); !ok {
		return
	}
	t.Run("an import with ids and exact versions, repeated, stores nothing twice", func(t *testing.T) {
		t.Parallel()
		streams := several(t, b, 8)
		appends := inTurn(streams, 40)
		for _, window := range []int{0, 3} {
			wantImport(t, streams, appends, backend.ImportOptions{Window: window})
		}
		// With some more behind it.
		version := streams[2].info().Version
		appends = append(appends, streams[2].appendOf(backend.ExactVersion(version), identified(1)))
		wantImport(t, streams, appends, backend.ImportOptions{})
	})
	t.Run("an import with ids and any version, repeated within the bounds of Append, stores nothing twice", func(t *testing.T) {
		t.Parallel()
		streams := several(t, b, 20)
		appends := inTurn(streams, remembered)
		for i := range appends {
			appends[i].Expected = backend.AnyVersion()
		}
		for range 2 {
			wantImport(t, streams, appends, backend.ImportOptions{})
		}
	})
	t.Run("an append that comes twice in an import with the same ids is stored once", func(t *testing.T) {
		t.Parallel()
		streams := several(t, b, 1)
		var appends, twice []backend.StreamAppend
		version := uint64(0)
		for i := range 30 {
			given := identified(1 + i%3)
			expected := backend.AnyVersion()
			if i%2 == 0 {
				expected = backend.ExactVersion(version)
			}
			version += uint64(len(given))
			a := streams[0].appendOf(expected, given)
			appends, twice = append(appends, a), append(twice, a, a)
		}
		done, err := streams[0].importAll(twice, backend.ImportOptions{})
		must(t, err)
		wantProgress(t, done, twice)
		wantImported(t, streams, appends)
	})
	t.Run("an import taken up again after what is done stores the rest, and nothing twice", func(t *testing.T) {
		t.Parallel()
		streams := several(t, b, 8)
		appends := inTurn(streams, 30)
		ended := errors.New("ended")
		from, rounds := 0, 0
		for ; from < len(appends); rounds++ {
			n := 0
			ctx, cancel := context.WithCancel(streams[0].ctx)
			done, err := backend.Import(ctx, b, func(yield func(backend.StreamAppend, error) bool) {
				for _, a := range appends[from:] {
					if n++; n == 37 && rounds%2 == 0 {
						cancel()
					} else if n == 37 {
						yield(backend.StreamAppend{}, ended)
						return
					}
					if !yield(a, nil) {
						return
					}
				}
			}, backend.ImportOptions{}, uuid.Nil)
			cancel()
			if err != nil && !errors.Is(err, ended) && !errors.Is(err, context.Canceled) {
				t.Fatalf("round %d: %v", rounds, err)
			}
			if from += int(done.Appends); rounds > 10*len(appends) {
				t.Fatalf("after %d rounds %d of %d appends are done", rounds, from, len(appends))
			}
		}
		wantImported(t, streams, appends)
	})
	t.Run("two imports of the same appends at the same time store them once", func(t *testing.T) {
		t.Parallel()
		streams := several(t, b, 6)
		appends := inTurn(streams, 30)
		var wg sync.WaitGroup
		for range 2 {
			wg.Go(func() {
				done, err := streams[0].importAll(appends, backend.ImportOptions{})
				if err != nil || done != progressOf(appends) {
					t.Errorf("Import returned %+v and the error %v", done, err)
				}
			})
		}
		wg.Wait()
		wantImported(t, streams, appends)
	})
}

func importContextClauses(t *testing.T, b backend.Backend) {
	t.Run("an import with a cancelled context returns its error, and nothing is stored", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		done, err := backend.Import(ctx, b, sequence(inTurn([]*stream{s}, 10)), backend.ImportOptions{}, uuid.Nil)
		wantErr(t, err, context.Canceled)
		if done != (backend.ImportProgress{}) {
			t.Errorf("Import returned %+v", done)
		}
		wantNotFound(t, s)
	})
	t.Run("an import with a context past its deadline returns its error, and nothing is stored", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		ctx, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
		defer cancel()
		_, err := backend.Import(ctx, b, sequence(inTurn([]*stream{s}, 10)), backend.ImportOptions{}, uuid.Nil)
		wantErr(t, err, context.DeadlineExceeded)
		wantNotFound(t, s)
	})
	for _, after := range []int{1, 50, 399} {
		t.Run(fmt.Sprintf("an import that is cancelled after %d appends ends with the context's error, and what it says is done is stored", after), func(t *testing.T) {
			t.Parallel()
			streams := several(t, b, 20)
			appends := inTurn(streams, 20)
			ctx, cancel := context.WithCancel(streams[0].ctx)
			defer cancel()
			n := 0
			done, err := backend.Import(ctx, b, func(yield func(backend.StreamAppend, error) bool) {
				for a, err := range sequence(appends) {
					if n++; n == after {
						cancel()
					}
					if !yield(a, err) {
						return
					}
				}
			}, backend.ImportOptions{}, uuid.Nil)
			wantErr(t, err, context.Canceled)
			wantFirst(t, streams, appends, done)
		})
	}
	t.Run("an import whose context has ended takes no more appends", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		ctx, cancel := context.WithCancel(s.ctx)
		defer cancel()
		n := 0
		_, err := backend.Import(ctx, b, func(yield func(backend.StreamAppend, error) bool) {
			for ; yield(s.appendOf(backend.AnyVersion(), events(1)), nil); n++ {
				if n == 10 {
					cancel()
				}
				if n > 10 {
					t.Errorf("append %d was taken", n)
					return
				}
			}
		}, backend.ImportOptions{}, uuid.Nil)
		wantErr(t, err, context.Canceled)
	})
	t.Run("wherever its context ends, an import has stored what it says, and of every event stream what came first", func(t *testing.T) {
		t.Parallel()
		for look := range 40 {
			streams := several(t, b, 3)
			appends := inTurn(streams, 8)
			ctx, cancel := endingAt(streams[0].ctx, look*look/4)
			done, err := backend.Import(ctx, b, sequence(appends), backend.ImportOptions{}, uuid.Nil)
			cancel()
			if err == nil {
				wantProgress(t, done, appends)
				wantImported(t, streams, appends)
				continue
			}
			wantErr(t, err, context.Canceled)
			wantFirst(t, streams, appends, done)
		}
	})
}
