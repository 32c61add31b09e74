package backendtest

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/tributary-es/tributary/backend"
)

// liveClauses are about subscriptions to what changes under them.
func liveClauses(t *testing.T, b backend.Backend) {
	if _, ok := b.(backend.Subscriber); !ok {
		t.Skip("the backend is no backend.Subscriber")
	}
	writtenToClauses(t, b)
	caughtUpClauses(t, b)
	changedUnderClauses(t, b)
	subscribeContextClauses(t, b)
}

func writtenToClauses(t *testing.T, b backend.Backend) {
	const (
		writers = 4
		rounds  = 40
	)
	types := []string{"A", "B", "C"}
	for what, over := range map[string]func(parent, child *stream) backend.SubscribeOptions{
		"to one event stream": func(_, child *stream) backend.SubscribeOptions {
			return backend.SubscribeOptions{Stream: child.name}
		},
		"to one event stream, a commit at a time": func(_, child *stream) backend.SubscribeOptions {
			return backend.SubscribeOptions{Stream: child.name, BatchSize: 1}
		},
		"to one event stream, from a version": func(_, child *stream) backend.SubscribeOptions {
			return backend.SubscribeOptions{Stream: child.name, From: backend.FromVersion(17)}
		},
		"to a prefix": func(parent, _ *stream) backend.SubscribeOptions {
			return backend.SubscribeOptions{Under: parent.name}
		},
		"to a prefix, in small batches": func(parent, _ *stream) backend.SubscribeOptions {
			return backend.SubscribeOptions{Under: parent.name, BatchSize: 3}
		},
		"to an event type": func(parent, _ *stream) backend.SubscribeOptions {
			return backend.SubscribeOptions{Under: parent.name, EventTypes: types[1:2]}
		},
	} {
		t.Run(fmt.Sprintf("while %d write, there is no gap, repetition or other order between what is stored and what is appended, subscribed %s", writers, what), func(t *testing.T) {
			t.Parallel()
			parent, streams := family(t, b, writers)
			options := over(parent, streams[0])
			for range 5 {
				for _, s := range streams {
					s.mustAppend(backend.AnyVersion(), typed(types...))
				}
			}
			stored := make(chan []result)
			go func() {
				stored <- together(writers, rounds, func(i int) (backend.AppendResult, error) {
					s := streams[i%writers]
					if options.Stream != "" {
						s = streams[0]
					}
					return s.append(backend.AnyVersion(), typed(types[:1+i%len(types)]...))
				})
			}()

			first := parent.follow(options)
			first.until(len(first.batch().Events)) // with luck in the middle of the writing, as what follows
			for range 10 {
				if len(first.events) == 0 {
					first.batch()
				}
			}
			done := len(first.events)
			options.From = backend.AfterPosition(first.last.Position)
			second := parent.follow(options)
			second.batch()

			for _, r := range <-stored {
				must(t, r.err)
			}
			for _, s := range streams { // so that a repetition at the end would be seen
				s.mustAppend(backend.AnyVersion(), typed("B"))
			}
			whole := parent.mustReadAll(backend.ReadAllOptions{Under: parent.name})
			if options.Stream != "" {
				whole = only(whole, streams[0])
			}
			if len(options.EventTypes) > 0 {
				whole = ofTypes(whole, options.EventTypes...)
			}
			if version, ok := first.options.From.Version(); ok {
				whole = whole[version-1:]
			}
			wantSameEvents(t, whole, first.until(len(whole)))
			wantSameEvents(t, whole[done:], second.until(len(whole)-done))
		})
	}
	t.Run("a slow loop loses nothing", func(t *testing.T) {
		t.Parallel()
		s, streams := family(t, b, 3)
		f := s.follow(backend.SubscribeOptions{Under: s.name, BatchSize: 4})
		fast := s.follow(backend.SubscribeOptions{Under: s.name})
		f.untilCaughtUp()
		n := 0
		for i := range 300 {
			streams[i%3].add(1 + i%2)
			n += 1 + i%2
		}
		fast.until(n) // which is not held up
		streams[0].add(1)
		wantSameEvents(t, s.mustReadAll(backend.ReadAllOptions{Under: s.name}), f.until(n+1))
	})
}

func caughtUpClauses(t *testing.T, b backend.Backend) {
	t.Run("a subscription tells that it has caught up when it has, without anything being appended", func(t *testing.T) {
		t.Parallel()
		for _, batchSize := range []int{0, 1, 4, 5, 100} {
			s := fresh(t, b)
			s.addSingly(20)
			f := s.follow(backend.SubscribeOptions{Stream: s.name, BatchSize: batchSize})
			f.until(20)
			f.untilCaughtUp()
			f.stop()
		}
	})
	t.Run("a subscription to event types that are nowhere tells that it has caught up", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		s.addSingly(20)
		f := s.follow(backend.SubscribeOptions{Stream: s.name, EventTypes: []string{"Nothing"}, BatchSize: 2})
		f.untilCaughtUp()
	})
	t.Run("while there is more, a subscription has not caught up", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		s.addSingly(60)
		f := s.follow(backend.SubscribeOptions{Stream: s.name, BatchSize: 2})
		for len(f.events) < 40 {
			if f.batch().CaughtUp {
				t.Fatalf("after %d of 60 events it has caught up", len(f.events))
			}
		}
		f.until(60)
		f.untilCaughtUp()
	})
	t.Run("a subscription that has caught up remains so with what is appended now and then", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		s.add(1)
		f := s.follow(backend.SubscribeOptions{Stream: s.name, BatchSize: 10})
		f.until(1)
		f.untilCaughtUp()
		for range 20 {
			s.add(1, 2)
			for want := int(s.info().Version); len(f.events) < want; {
				if !f.batch().CaughtUp {
					t.Fatalf("with %d of %d events it has fallen behind", len(f.events), want)
				}
			}
		}
	})
	t.Run("a subscription that falls behind by more commits than the batch size tells so, and when it has caught up again", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		f := s.follow(backend.SubscribeOptions{Stream: s.name, BatchSize: 4})
		f.untilCaughtUp()
		n := 0
		for range 3 {
			n += 50
			s.addSingly(50) // meanwhile the loop is not there
			fell := false
			for len(f.events) < n {
				fell = !f.batch().CaughtUp || fell
			}
			if !fell {
				t.Fatal("it had not fallen behind with 50 commits to come")
			}
			f.untilCaughtUp()
		}
	})
}

func changedUnderClauses(t *testing.T, b backend.Backend) {
	overs := map[string]func(parent *stream) backend.SubscribeOptions{
		"it": func(parent *stream) backend.SubscribeOptions {
			return backend.SubscribeOptions{Stream: parent.name + ".0", BatchSize: 1}
		},
		"a prefix": func(parent *stream) backend.SubscribeOptions {
			return backend.SubscribeOptions{Under: parent.name, BatchSize: 1}
		},
	}
	for what, over := range overs {
		t.Run("an event stream that is deleted and made again starts at version 1 again, subscribed to "+what, func(t *testing.T) {
			t.Parallel()
			parent, streams := family(t, b, 1)
			s := streams[0]
			f := parent.follow(over(parent))
			n := 0
			for life := range 4 {
				s.add(2, 1)
				n += 3
				wantVersions(t, f.until(n)[n-3:], s.name, 1, 3)
				must(t, s.delete(0))
				if life%2 == 1 {
					s.create()
				}
			}
			s.add(1)
			wantSameEvents(t, s.all(), f.until(n + 1)[n:])
		})
		t.Run("of an event stream that was deleted nothing is yielded, and of its next life all, subscribed to "+what, func(t *testing.T) {
			t.Parallel()
			parent, streams := family(t, b, 1)
			s := streams[0]
			s.add(3, 1)
			must(t, s.delete(0))
			f := parent.follow(over(parent))
			f.untilCaughtUp()
			s.add(2)
			wantSameEvents(t, s.all(), f.until(2))
		})
		t.Run("what is deleted before it was yielded need not be, and what comes after is, subscribed to "+what, func(t *testing.T) {
			t.Parallel()
			parent, streams := family(t, b, 1)
			s := streams[0]
			s.addSingly(30)
			f := parent.follow(over(parent))
			f.until(1)
			must(t, s.delete(0))
			last := s.add(1, 2)
			f.untilPosition(last.Position)
			n := len(f.events) - 3
			wantSameEvents(t, s.all(), f.events[n:])
			wantVersions(t, f.events[:n], s.name, 1, uint64(n))
		})
		t.Run("truncated events are left out by whole commits, and what is kept is yielded, subscribed to "+what, func(t *testing.T) {
			t.Parallel()
			parent, streams := family(t, b, 1)
			s := streams[0]
			s.add(2, 3, 1, 4)
			whole := s.all()
			for _, row := range []struct{ before, first uint64 }{{2, 1}, {3, 3}, {4, 3}, {6, 6}, {7, 7}, {10, 7}} {
				mustOrSkip(t, s.truncate(row.before))
				f := parent.follow(over(parent))
				wantSameEvents(t, whole[row.first-1:], f.until(int(11-row.first)))
				f.stop()
			}
			must(t, s.truncate(noLimit))
			f := parent.follow(over(parent))
			s.add(2)
			wantVersions(t, f.until(2), s.name, 11, 12)
		})
		t.Run("what is truncated before it was yielded need not be, and what is kept is, subscribed to "+what, func(t *testing.T) {
			t.Parallel()
			for _, before := range []uint64{2, 3, 20, 30, noLimit} {
				parent, streams := family(t, b, 1)
				s := streams[0]
				s.addSingly(30)
				whole := s.all()
				f := parent.follow(over(parent))
				f.until(1)
				mustOrSkip(t, s.truncate(before))
				s.add(2)
				kept := s.all()
				f.untilPosition(kept[len(kept)-1].Position)
				n := len(f.events) - len(kept)
				wantSameEvents(t, kept, f.events[n:])
				wantSameEvents(t, whole[:n], f.events[:n])
				f.stop()
			}
		})
		t.Run("the events of a soft-deleted event stream are yielded, and those after it is restored, subscribed to "+what, func(t *testing.T) {
			t.Parallel()
			parent, streams := family(t, b, 1)
			s := streams[0]
			s.add(2, 1)
			whole := s.all()
			early := parent.follow(over(parent))
			early.until(2)
			mustOrSkip(t, s.softDelete(backend.AnyVersion()))
			late := parent.follow(over(parent))
			for _, f := range []*following{early, late} {
				wantSameEvents(t, whole, f.until(3))
			}
			must(t, s.restore())
			s.add(2)
			for _, f := range []*following{early, late} {
				wantSameEvents(t, s.all(), f.until(5))
			}
		})
	}
}

func subscribeContextClauses(t *testing.T, b backend.Backend) {
	for what, row := range map[string]struct {
		end  func(context.Context) (context.Context, context.CancelFunc)
		want error
	}{
		"cancelled": {context.WithCancel, context.Canceled},
		"past its deadline": {func(ctx context.Context) (context.Context, context.CancelFunc) {
			return context.WithTimeout(ctx, 100*time.Millisecond)
		}, context.DeadlineExceeded},
	} {
		t.Run("a subscription that waits ends with the context's error when that is "+what, func(t *testing.T) {
			t.Parallel()
			s := fresh(t, b)
			s.add(1)
			ctx, cancel := row.end(s.ctx)
			defer cancel()
			idle, ended := make(chan struct{}), make(chan error, 1)
			go func() {
				told := false
				for batch, err := range backend.Subscribe(ctx, b, backend.SubscribeOptions{Stream: s.name}) {
					if err != nil {
						ended <- err
						return
					}
					if batch.CaughtUp && !told {
						told = true
						close(idle)
					}
				}
				ended <- nil
			}()
			select {
			case <-idle:
				if row.want == context.Canceled {
					cancel()
				}
			case <-ctx.Done(): // a slow machine
			}
			select {
			case err := <-ended:
				wantErr(t, err, row.want)
			case <-s.ctx.Done():
				t.Fatal("it did not end")
			}
		})
	}
	t.Run("cancelling the context in the loop ends a subscription with the context's error, whatever is stored yet", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		s.add(slices.Repeat([]int{1, 9}, 20)...)
		for _, after := range []int{1, 5} {
			ctx, cancel := context.WithCancel(s.ctx)
			batches, n := 0, 0
			var end error
			for batch, err := range backend.Subscribe(ctx, b, backend.SubscribeOptions{Stream: s.name, BatchSize: 1}) {
				if end != nil {
					t.Fatal("after the error came another pair")
				}
				end = err
				n += len(batch.Events)
				if batches++; batches == after {
					cancel()
				}
			}
			cancel()
			wantErr(t, end, context.Canceled)
			if n == 200 {
				t.Fatalf("cancelled after %d batches, it yielded all events", after)
			}
		}
	})
	t.Run("a subscription whose context ends does not disturb others", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		s.add(1)
		ctx, cancel := context.WithCancel(s.ctx)
		short := *s
		short.ctx = ctx
		one, two := short.follow(backend.SubscribeOptions{Stream: s.name}), s.follow(backend.SubscribeOptions{Stream: s.name})
		one.until(1)
		two.until(1)
		cancel()
		one.wantEnd(context.Canceled)
		s.add(1)
		wantVersions(t, two.until(2), s.name, 1, 2)
	})
}
