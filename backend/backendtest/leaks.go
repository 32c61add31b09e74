package backendtest

import (
	"context"
	"iter"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/tributary-es/tributary/backend"
)

// leakClauses count goroutines, so none of them is parallel.
func leakClauses(t *testing.T, b backend.Backend) {
	parent, children := family(t, b, 1)
	s := children[0]
	s.add(slices.Repeat([]int{1, 9}, 20)...)

	iterations := map[string]func(ctx context.Context) iter.Seq2[[]backend.RecordedEvent, error]{
		"StreamForward": func(ctx context.Context) iter.Seq2[[]backend.RecordedEvent, error] {
			return b.StreamForward(ctx, s.name, 1, uuid.Nil)
		},
	}
	if _, ok := b.(backend.AllReader); ok {
		iterations["ReadAll"] = func(ctx context.Context) iter.Seq2[[]backend.RecordedEvent, error] {
			return backend.ReadAll(ctx, b, backend.ReadAllOptions{Under: parent.name, BatchSize: 1}, uuid.Nil)
		}
	}
	for name, open := range iterations {
		t.Run("breaking out of "+name+" leaves nothing behind", func(t *testing.T) {
			wantNothingHeld(t, b, func() {
				for range open(t.Context()) {
					break
				}
			})
		})
		t.Run("running "+name+" to its end leaves nothing behind", func(t *testing.T) {
			wantNothingHeld(t, b, func() {
				_, err := collect(t, open(t.Context()))
				must(t, err)
			})
		})
		t.Run("cancelling the context in the middle of "+name+" leaves nothing behind", func(t *testing.T) {
			wantNothingHeld(t, b, func() {
				ctx, cancel := context.WithCancel(t.Context())
				for range open(ctx) {
					cancel()
				}
				cancel()
			})
		})
		t.Run("cancelling the context and breaking out of "+name+" leaves nothing behind", func(t *testing.T) {
			wantNothingHeld(t, b, func() {
				ctx, cancel := context.WithCancel(t.Context())
				for range open(ctx) {
					cancel()
					break
				}
				cancel()
			})
		})
		t.Run("stopping a pull on "+name+" leaves nothing behind", func(t *testing.T) {
			wantNothingHeld(t, b, func() {
				next, stop := iter.Pull2(open(t.Context()))
				next()
				next()
				stop()
			})
		})
		t.Run("a panic in the body of a range over "+name+" leaves nothing behind", func(t *testing.T) {
			wantNothingHeld(t, b, func() {
				defer func() { _ = recover() }()
				for range open(t.Context()) {
					panic("in the loop's body")
				}
			})
		})
	}
	if _, ok := b.(backend.Subscriber); ok {
		for what, options := range map[string]backend.SubscribeOptions{
			"to an event stream": {Stream: s.name, BatchSize: 1},
			"to a prefix":        {Under: parent.name, BatchSize: 1},
			"to event types":     {Under: parent.name, EventTypes: []string{"None"}},
			"from now":           {Stream: s.name, From: backend.FromNow()},
		} {
			subscribeLeakClauses(t, b, s, what, options)
		}
	}
	if _, ok := b.(backend.Consumer); ok {
		consumeLeakClauses(t, b)
	}
	t.Run("a StreamForward that is never ranged over holds nothing", func(t *testing.T) {
		wantNothingHeld(t, b, func() { _ = s.forward(1) })
	})
	t.Run("StreamForward over a missing stream leaves nothing behind", func(t *testing.T) {
		wantNothingHeld(t, b, func() {
			_, err := collect(t, b.StreamForward(t.Context(), s.name+".missing", 1, uuid.Nil))
			wantErr(t, err, backend.ErrStreamNotFound)
		})
	})
	t.Run("appends and reads leave nothing behind", func(t *testing.T) {
		other := fresh(t, b)
		wantNothingHeld(t, b, func() {
			other.add(1)
			other.all()
			other.info()
		})
	})
	t.Run("appends and reads whose context ends leave nothing behind", func(t *testing.T) {
		other := fresh(t, b)
		other.add(1)
		wantNothingHeld(t, b, func() {
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Microsecond)
			defer cancel()
			_, _ = backend.Append(ctx, b, other.name, backend.AnyVersion(), events(1), uuid.Nil)
			_, _ = b.ReadStream(ctx, other.name, 1, noLimit, uuid.Nil)
			for range b.StreamForward(ctx, s.name, 1, uuid.Nil) {
			}
		})
	})
}

func subscribeLeakClauses(t *testing.T, b backend.Backend, s *stream, what string, options backend.SubscribeOptions) {
	open := func(ctx context.Context) iter.Seq2[backend.Batch, error] { return backend.Subscribe(ctx, b, options) }
	t.Run("a subscription "+what+" that is never ranged over holds nothing", func(t *testing.T) {
		wantNothingHeld(t, b, func() { _ = open(t.Context()) })
	})
	t.Run("breaking out of a subscription "+what+" leaves nothing behind", func(t *testing.T) {
		wantNothingHeld(t, b, func() {
			for _, err := range open(t.Context()) {
				must(t, err)
				break
			}
		})
	})
	t.Run("cancelling the context in the middle of a subscription "+what+" leaves nothing behind", func(t *testing.T) {
		wantNothingHeld(t, b, func() {
			ctx, cancel := context.WithCancel(t.Context())
			for range open(ctx) {
				cancel()
			}
			cancel()
		})
	})
	t.Run("cancelling the context of a subscription "+what+" that waits leaves nothing behind", func(t *testing.T) {
		wantNothingHeld(t, b, func() {
			ctx, cancel := context.WithCancel(t.Context())
			idle, ended := make(chan struct{}, 1), make(chan struct{})
			go func() {
				defer close(ended)
				for batch := range open(ctx) {
					if batch.CaughtUp {
						select {
						case idle <- struct{}{}:
						default:
						}
					}
				}
			}()
			select {
			case <-idle:
			case <-ended:
				t.Error("it ended by itself")
			}
			cancel()
			<-ended
		})
	})
	t.Run("cancelling the context and breaking out of a subscription "+what+" leaves nothing behind", func(t *testing.T) {
		wantNothingHeld(t, b, func() {
			ctx, cancel := context.WithCancel(t.Context())
			for range open(ctx) {
				cancel()
				break
			}
			cancel()
		})
	})
	t.Run("stopping a pull on a subscription "+what+" that was told of an append leaves nothing behind", func(t *testing.T) {
		wantNothingHeld(t, b, func() {
			next, stop := iter.Pull2(open(t.Context()))
			defer stop()
			for caughtUp := false; !caughtUp; {
				batch, err, ok := next()
				must(t, err)
				if !ok {
					t.Fatal("it ended without an error")
				}
				caughtUp = batch.CaughtUp
			}
			s.add(1)
			_, err, _ := next()
			must(t, err)
		})
	})
	t.Run("a panic in the body of a range over a subscription "+what+" leaves nothing behind", func(t *testing.T) {
		wantNothingHeld(t, b, func() {
			defer func() { _ = recover() }()
			for range open(t.Context()) {
				panic("in the loop's body")
			}
		})
	})
}

func consumeLeakClauses(t *testing.T, b backend.Backend) {
	s := subscribed(t, b, 3)
	s.options.Concurrency = 3
	c := s.start(nil)
	s.untilExists()
	c.stop()
	t.Run("a Consume whose context ends leaves nothing behind", func(t *testing.T) {
		wantNothingHeld(t, b, func() {
			for _, one := range s.streams {
				one.add(1)
			}
			ctx, cancel := context.WithCancel(t.Context())
			handled := 0
			err := backend.Consume(ctx, b, s.id, s.options, func(ctx context.Context, _ backend.Commit) error {
				s.mu.Lock()
				defer s.mu.Unlock()
				if handled++; handled == 2 {
					cancel() // with a commit under way, and another one to come
				}
				return nil
			})
			cancel()
			wantErr(t, err, context.Canceled)
		})
	})
	t.Run("a Consume that is refused leaves nothing behind", func(t *testing.T) {
		wantNothingHeld(t, b, func() {
			other := s.options
			other.OnPark = backend.SkipCommit
			err := backend.Consume(t.Context(), b, s.id, other, func(context.Context, backend.Commit) error { return nil })
			wantErr(t, err, backend.ErrSubscriptionConflict)
		})
	})
	t.Run("a WaitFor whose context ends leaves nothing behind", func(t *testing.T) {
		wantNothingHeld(t, b, func() {
			ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
			defer cancel()
			wantErr(t, backend.WaitFor(ctx, b, s.id, noLimit), context.DeadlineExceeded)
		})
	})
}

// more reports whether there is more of any kind after than before. There may be
// less: what was given up just before may be on its way out.
func more(after, before map[string]int) bool {
	for kind, n := range after {
		if n > before[kind] {
			return true
		}
	}
	return false
}

// wantNothingHeld checks that doing something leaves no goroutine behind, and
// nothing that a [Holder] tells of. A goroutine or two that others start
// meanwhile, such as a server in the same process, must not matter, so it is
// done many times, and compared with what one leaked goroutine each would be.
func wantNothingHeld(t *testing.T, b backend.Backend, do func()) {
	t.Helper()
	const times = 40
	do() // what is made once is made now
	held := func() map[string]int {
		if h, ok := b.(Holder); ok {
			return h.Held(t)
		}
		return nil
	}
	before, goroutines := held(), runtime.NumGoroutine()
	for range times {
		do()
	}
	after, left := held(), 0
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		after, left = held(), runtime.NumGoroutine()-goroutines
		if left < times/4 && !more(after, before) {
			return
		}
	}
	if more(after, before) {
		t.Errorf("held before: %v, after doing it %d times: %v", before, times, after)
	}
	if left >= times/4 {
		stacks := make([]byte, 64<<10)
		t.Errorf("doing it %d times left %d goroutines:\n%s", times, left, stacks[:runtime.Stack(stacks, true)])
	}
}
