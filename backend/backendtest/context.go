package backendtest

import (
	"context"
	"errors"
	"iter"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/tributary-es/tributary/backend"
)

func contextClauses(t *testing.T, b backend.Backend) {
	ended := map[string]func(*testing.T) (context.Context, error){
		"a cancelled context": func(t *testing.T) (context.Context, error) {
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			return ctx, context.Canceled
		},
		"a context past its deadline": func(t *testing.T) (context.Context, error) {
			ctx, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
			t.Cleanup(cancel)
			return ctx, context.DeadlineExceeded
		},
	}
	for what, end := range ended {
		t.Run(what+" is answered with its error in every method, and nothing is written", func(t *testing.T) {
			t.Parallel()
			s := fresh(t, b)
			s.add(2, 1)
			before := s.state()
			ctx, want := end(t)
			late := *s
			late.ctx = ctx
			for method, call := range calls(&late) {
				if err := call(); !errors.Is(err, want) {
					t.Errorf("%s returned the error %v", method, err)
				}
			}
			s.wantState(before)
		})
		t.Run(what+" is answered with its error in every method, and no missing stream is created", func(t *testing.T) {
			t.Parallel()
			s := fresh(t, b)
			ctx, want := end(t)
			late := *s
			late.ctx = ctx
			for method, call := range calls(&late) {
				if err := call(); !errors.Is(err, want) {
					t.Errorf("%s returned the error %v", method, err)
				}
			}
			_, err := s.readInfo()
			wantErr(t, err, backend.ErrStreamNotFound)
		})
	}
	t.Run("cancelling the context ends StreamForward with the context's error", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		s.add(slices.Repeat([]int{1, 9}, 20)...)
		wantCancelled(t, s, func(ctx context.Context) iter.Seq2[[]backend.RecordedEvent, error] {
			return b.StreamForward(ctx, s.name, 1, uuid.Nil)
		})
	})
	t.Run("cancelling the context ends ReadAll with the context's error", func(t *testing.T) {
		t.Parallel()
		if _, ok := b.(backend.AllReader); !ok {
			t.Skip("the backend is no backend.AllReader")
		}
		s, streams := family(t, b, 1)
		streams[0].add(slices.Repeat([]int{1, 9}, 20)...)
		wantCancelled(t, s, func(ctx context.Context) iter.Seq2[[]backend.RecordedEvent, error] {
			return backend.ReadAll(ctx, b, backend.ReadAllOptions{Under: s.name, BatchSize: 1}, uuid.Nil)
		})
	})
	t.Run("an append whose context ends is stored once or not at all, and not at all unless its outcome is unknown", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		s.add(1)
		acknowledged, refused, unknown := make(map[uuid.UUID]bool), make(map[uuid.UUID]bool), make(map[uuid.UUID]backend.UnsavedEvent)
		for i := range 60 {
			ctx, cancel := context.WithTimeout(s.ctx, time.Duration(i*i)*time.Microsecond)
			if i%2 == 1 {
				cancel()
				ctx, cancel = endingAt(s.ctx, i/2)
			}
			given := identified(1)
			_, err := backend.Append(ctx, b, s.name, backend.StreamExists(), given, uuid.Nil)
			cancel()
			switch id := given[0].EventUUID; {
			case err == nil:
				acknowledged[id] = true
			case errors.Is(err, backend.ErrOutcomeUnknown):
				unknown[id] = given[0]
			case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled), errors.Is(err, backend.ErrUnavailable):
				refused[id] = true
			default:
				t.Fatalf("an append whose context ends returned the error %v", err)
			}
		}
		if _, ok := b.(backend.Appender); ok {
			for _, e := range unknown { // repeating the call finds out
				if err := repeat(s, e); err != nil {
					t.Fatal(err)
				}
			}
		}
		count := make(map[uuid.UUID]int)
		for _, e := range s.wantHistory(1, s.info().Version) {
			count[e.EventUUID]++
			if refused[e.EventUUID] {
				t.Errorf("the event of version %d is stored, but its append returned an error that says that it is not", e.StreamVersion)
			}
		}
		for id := range acknowledged {
			if count[id] != 1 {
				t.Errorf("an acknowledged event is stored %d times", count[id])
			}
		}
		for id := range unknown {
			if _, ok := b.(backend.Appender); count[id] > 1 || ok && count[id] != 1 {
				t.Errorf("an event whose outcome was unknown is stored %d times", count[id])
			}
		}
		t.Logf("%d acknowledged, %d refused, %d unknown", len(acknowledged), len(refused), len(unknown))
	})
}

// endingContext ends when it is looked at for the nth time, so that it comes to
// an end at each point at which a method looks at it.
type endingContext struct {
	context.Context
	cancel context.CancelFunc
	left   atomic.Int64
}

func endingAt(parent context.Context, look int) (context.Context, context.CancelFunc) {
	e := &endingContext{}
	e.Context, e.cancel = context.WithCancel(parent)
	e.left.Store(int64(look))
	return e, e.cancel
}

func (e *endingContext) Err() error {
	if e.left.Add(-1) < 0 {
		e.cancel()
	}
	return e.Context.Err()
}

func (e *endingContext) Done() <-chan struct{} {
	_ = e.Err()
	return e.Context.Done()
}

// repeat repeats the append of an event whose outcome is unknown. Only the latest
// commits are searched for it when no exact version is expected, so it looks for
// the event itself first, as a caller would.
func repeat(s *stream, e backend.UnsavedEvent) error {
	got, err := s.read(1, noLimit)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(got, func(r backend.RecordedEvent) bool { return r.EventUUID == e.EventUUID }) {
		return nil
	}
	_, err = s.append(backend.StreamExists(), []backend.UnsavedEvent{e})
	return err
}

// wantCancelled checks that a range over a long sequence whose context is
// cancelled in the middle ends with the context's error before its end.
func wantCancelled(t tester, s *stream, open func(context.Context) iter.Seq2[[]backend.RecordedEvent, error]) {
	t.Helper()
	for _, after := range []int{1, 5} {
		ctx, cancel := context.WithCancel(s.ctx)
		n := 0
		var end error
		for batch, err := range open(ctx) {
			if end != nil {
				t.Fatal("after the error came another pair")
			}
			if end = err; err == nil && len(batch) == 0 {
				t.Fatal("a batch is empty")
			}
			if n++; n == after {
				cancel()
			}
		}
		cancel()
		if end == nil {
			t.Fatalf("cancelled after %d pairs, it went on to the end of %d without an error", after, n)
		}
		wantErr(t, end, context.Canceled)
	}
}
