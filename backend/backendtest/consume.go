package backendtest

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tributary-es/tributary/backend"
)

func consumeClauses(t *testing.T, b backend.Backend) {
	if _, ok := b.(backend.Consumer); !ok {
		t.Run("named subscriptions without the capability are ErrUnsupported", func(t *testing.T) {
			nothing := func(context.Context, backend.Commit) error { return nil }
			wantErr(t, backend.Consume(t.Context(), b, "projection", backend.ConsumeOptions{}, nothing), backend.ErrUnsupported)
			wantErr(t, backend.WaitFor(t.Context(), b, "projection", 1), backend.ErrUnsupported)
		})
		t.Skip("the backend is no backend.Consumer")
	}
	handleClauses(t, b)
	consumeFromClauses(t, b)
	concurrentHandleClauses(t, b)
	retryClauses(t, b)
	consumeArgumentClauses(t, b)
}

func handleClauses(t *testing.T, b backend.Backend) {
	for _, concurrency := range []int{0, 8} {
		t.Run(fmt.Sprintf("every commit is handled, what is stored and what is appended, in order within its event stream, with a concurrency of %d", concurrency), func(t *testing.T) {
			t.Parallel()
			s := subscribed(t, b, 5)
			for i := range 30 {
				s.streams[i%5].add(1 + i%3)
			}
			s.options.Concurrency = concurrency
			s.start(nil)
			s.until(30)
			for i := range 30 {
				s.streams[i%5].add(1 + i%3)
			}
			s.wantHandled(s.until(60))
		})
	}
	t.Run("a handler is given the events of a commit together, and which commit it is", func(t *testing.T) {
		t.Parallel()
		s := subscribed(t, b, 1)
		sizes := []int{1, 5, 1, 100, 2}
		var positions []uint64
		for _, n := range sizes {
			positions = append(positions, s.streams[0].add(n).Position)
		}
		s.start(nil)
		for i, c := range s.until(len(sizes)) {
			if c.StreamUUID != s.streams[0].name || c.Position != positions[i] || len(c.Events) != sizes[i] || c.Attempt != 1 {
				t.Errorf("commit %d is of %q, at position %d, of %d events, attempt %d; want %d, %d events, attempt 1",
					i, c.StreamUUID, c.Position, len(c.Events), c.Attempt, positions[i], sizes[i])
			}
		}
	})
	t.Run("a named subscription to one event stream handles its commits alone", func(t *testing.T) {
		t.Parallel()
		s := subscribed(t, b, 2)
		s.options.Under, s.options.Stream = "", s.streams[0].name
		child := named(t, b, s.streams[0].name+".child")
		for range 3 {
			for _, one := range []*stream{s.streams[1], child, s.streams[0]} {
				one.add(1)
			}
		}
		s.start(nil)
		s.until(3)
		for _, one := range []*stream{s.streams[1], child, s.streams[0]} {
			one.add(1)
		}
		wantSameEvents(t, s.streams[0].all(), eventsOf(s.until(4), s.streams[0]))
	})
	t.Run("a named subscription to an event stream that does not exist handles it when it comes to be", func(t *testing.T) {
		t.Parallel()
		s := subscribed(t, b, 1)
		s.options.Under, s.options.Stream = "", s.streams[0].name
		s.start(nil)
		s.untilExists()
		s.streams[0].add(2, 1)
		s.wantHandled(s.until(2))
	})
	t.Run("a handler is given only events of the types asked for, and no commit without any", func(t *testing.T) {
		t.Parallel()
		s := subscribed(t, b, 2)
		s.options.EventTypes = []string{"A", "B"}
		for i, types := range [][]string{{"C"}, {"A", "C"}, {"C"}, {"C", "B", "A"}, {"B"}, {"C", "C"}} {
			s.streams[i%2].mustAppend(backend.AnyVersion(), typed(types...))
		}
		s.start(nil)
		got := s.untilHandled(3)
		for _, one := range s.streams {
			wantSameEvents(t, ofTypes(one.all(), "A", "B"), eventsOf(got, one))
		}
	})
	t.Run("an event stream that is deleted and made again is handled from version 1 again", func(t *testing.T) {
		t.Parallel()
		s := subscribed(t, b, 1)
		s.start(nil)
		for life := range 3 {
			s.streams[0].add(1, 2)
			got := s.until(2 * (life + 1))
			wantSameEvents(t, s.streams[0].all(), slices.Concat(got[len(got)-2].Events, got[len(got)-1].Events))
			must(t, s.streams[0].delete(0))
		}
	})
}

func consumeFromClauses(t *testing.T, b backend.Backend) {
	t.Run("a new subscription starts after the position asked for", func(t *testing.T) {
		t.Parallel()
		s := subscribed(t, b, 1)
		s.options.From = backend.AfterPosition(s.streams[0].add(1, 1).Position)
		s.streams[0].add(1, 2)
		s.start(nil)
		wantSameEvents(t, s.streams[0].all()[2:], eventsOf(s.until(2), s.streams[0]))
	})
	t.Run("a new subscription from now handles what is appended after it was made, also when no member is there", func(t *testing.T) {
		t.Parallel()
		s := subscribed(t, b, 1)
		s.streams[0].add(1, 1)
		s.options.From = backend.FromNow()
		c := s.start(nil)
		s.untilExists()
		s.streams[0].add(1)
		s.until(1)
		c.stop()
		s.streams[0].add(2)
		s.start(nil)
		wantSameEvents(t, s.streams[0].all()[2:], eventsOf(s.until(2), s.streams[0]))
	})
	for what, from := range map[string]backend.Start{"a later position": backend.AfterPosition(1 << 60), "now": backend.FromNow()} {
		t.Run("a subscription that exists goes on where it was, though its next member is to start from "+what, func(t *testing.T) {
			t.Parallel()
			s := subscribed(t, b, 1)
			s.streams[0].add(1, 2)
			c := s.start(nil)
			s.until(2)
			c.stop()
			s.streams[0].add(1)
			s.options.From = from
			s.start(nil)
			s.wantHandled(s.until(3))
		})
	}
	for _, concurrency := range []int{1, 4} {
		t.Run(fmt.Sprintf("a subscription goes on where it stopped, and repeats nothing when its member ended with its context, with a concurrency of %d", concurrency), func(t *testing.T) {
			t.Parallel()
			s := subscribed(t, b, 4)
			s.options.Concurrency = concurrency
			for round := 1; round <= 4; round++ {
				for _, one := range s.streams {
					one.add(1, 2, 1)
				}
				c := s.start(nil)
				s.until(12 * round)
				c.stop()
			}
			got := s.snapshot()
			if n := repeats(got); n > 0 {
				t.Fatalf("%d of %d commits were repeated", n, len(got))
			}
			s.wantHandled(got)
		})
	}
	t.Run("a member that ends in the middle waits for its handlers, whose contexts end, and what they did not do is done by the next", func(t *testing.T) {
		t.Parallel()
		s := subscribed(t, b, 1)
		s.streams[0].add(1, 1, 1)
		inside, returned := make(chan struct{}), make(chan struct{})
		c := s.start(func(ctx context.Context, c backend.Commit) error {
			if c.Events[0].StreamVersion < 2 {
				return nil
			}
			defer close(returned)
			close(inside)
			<-ctx.Done()
			return ctx.Err()
		})
		<-inside
		c.stop()
		select {
		case <-returned:
		default:
			t.Fatal("Consume returned before its handler")
		}
		s.start(nil)
		got := s.until(3)
		if n := repeats(got); n > 0 {
			t.Errorf("%d commits were repeated", n)
		}
		s.wantHandled(got)
	})
	for what, row := range map[string]struct {
		end  func(context.Context) (context.Context, context.CancelFunc)
		want error
	}{
		"is cancelled": {context.WithCancel, context.Canceled},
		"is past its deadline": {func(ctx context.Context) (context.Context, context.CancelFunc) {
			return context.WithTimeout(ctx, 20*time.Millisecond)
		}, context.DeadlineExceeded},
	} {
		t.Run("Consume returns the context's error when that "+what, func(t *testing.T) {
			t.Parallel()
			s := subscribed(t, b, 1)
			s.streams[0].add(1)
			ctx, cancel := row.end(s.ctx)
			defer cancel()
			err := backend.Consume(ctx, b, s.id, s.options, func(ctx context.Context, _ backend.Commit) error {
				if row.want == context.Canceled {
					cancel()
				}
				<-ctx.Done()
				return nil
			})
			wantErr(t, err, row.want)
		})
	}
}

func concurrentHandleClauses(t *testing.T, b backend.Backend) {
	t.Run("commits of as many event streams as the concurrency says are handled at the same time", func(t *testing.T) {
		t.Parallel()
		const concurrency = 5
		s := subscribed(t, b, concurrency)
		for _, one := range s.streams {
			one.add(1, 1)
		}
		s.options.Concurrency = concurrency
		inside, all := make(chan struct{}), make(chan struct{})
		go func() {
			for range concurrency {
				<-inside
			}
			close(all)
		}()
		s.start(func(ctx context.Context, c backend.Commit) error {
			if c.Events[0].StreamVersion > 1 {
				return nil
			}
			select {
			case inside <- struct{}{}:
			case <-ctx.Done():
				return ctx.Err()
			}
			select { // until all of them are inside
			case <-all:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
		s.wantHandled(s.until(2 * concurrency))
	})
	for _, concurrency := range []int{1, 3, 16} {
		t.Run(fmt.Sprintf("no more commits are handled at a time than a concurrency of %d says, and never two of one event stream", concurrency), func(t *testing.T) {
			t.Parallel()
			s := subscribed(t, b, 6)
			for range 8 {
				for _, one := range s.streams {
					one.add(1)
				}
			}
			s.options.Concurrency = concurrency
			busy := newBusy(t)
			s.start(busy.handle)
			s.wantHandled(s.until(48))
			if most := busy.most.Load(); most > int64(concurrency) {
				t.Fatalf("%d were handled at a time", most)
			}
		})
	}
	t.Run("a slow handler of one event stream does not hold up others", func(t *testing.T) {
		t.Parallel()
		s := subscribed(t, b, 3)
		for _, one := range s.streams {
			one.add(1, 1, 1)
		}
		s.options.Concurrency = 2
		release := make(chan struct{})
		s.start(func(ctx context.Context, c backend.Commit) error {
			if c.StreamUUID == s.streams[0].name {
				select {
				case <-release:
				case <-ctx.Done():
				}
			}
			return ctx.Err()
		})
		s.until(6)
		close(release)
		s.wantHandled(s.until(9))
	})
}

// busy sees to it that of no event stream two commits are handled at a time.
type busy struct {
	t       tester
	streams sync.Map // name to *atomic.Int64
	now     atomic.Int64
	most    atomic.Int64
}

func newBusy(t tester) *busy { return &busy{t: t} }

func (b *busy) handle(_ context.Context, c backend.Commit) error {
	n, _ := b.streams.LoadOrStore(c.StreamUUID, new(atomic.Int64))
	if n.(*atomic.Int64).Add(1) > 1 {
		b.t.Error("two commits of one event stream are handled at a time: ", c.StreamUUID)
	}
	for most, now := b.most.Load(), b.now.Add(1); now > most && !b.most.CompareAndSwap(most, now); most = b.most.Load() {
	}
	runtime.Gosched() // so that there is a chance to be two at all
	b.now.Add(-1)
	n.(*atomic.Int64).Add(-1)
	return nil
}

func retryClauses(t *testing.T, b backend.Backend) {
	t.Run("a handler that fails is called again with the same commit, which says how often, before any later one of the event stream", func(t *testing.T) {
		t.Parallel()
		s := subscribed(t, b, 1)
		s.streams[0].add(1, 3, 1)
		var calls []string // of one event stream, so one at a time
		s.start(func(_ context.Context, c backend.Commit) error {
			calls = append(calls, fmt.Sprintf("%d.%d", c.Events[0].StreamVersion, c.Attempt))
			if c.Events[0].StreamVersion == 2 && c.Attempt < 4 {
				return errors.New("not yet")
			}
			return nil
		})
		s.wantHandled(s.until(3))
		if want := []string{"1.1", "2.1", "2.2", "2.3", "2.4", "5.1"}; !slices.Equal(calls, want) {
			t.Fatalf("the calls, version and attempt, were %q, want %q", calls, want)
		}
	})
	t.Run("while an event stream waits for another attempt, others are handled", func(t *testing.T) {
		t.Parallel()
		s := subscribed(t, b, 3)
		for _, one := range s.streams {
			one.add(1, 1, 1)
		}
		s.options.MaxAttempts = 1 << 20
		var well atomic.Bool
		s.start(func(_ context.Context, c backend.Commit) error { // one at a time
			if c.StreamUUID == s.streams[0].name && !well.Load() {
				return errors.New("not well")
			}
			return nil
		})
		s.until(6)
		well.Store(true)
		s.wantHandled(s.until(9))
	})
	t.Run("what a commit has gone through does not count for the next", func(t *testing.T) {
		t.Parallel()
		s := subscribed(t, b, 1)
		s.streams[0].add(1, 1, 1, 1)
		s.options.MaxAttempts = 3
		s.start(func(_ context.Context, c backend.Commit) error {
			if c.Attempt < 3 {
				return errors.New("not yet")
			}
			return nil
		})
		s.wantHandled(s.until(4))
	})
}
