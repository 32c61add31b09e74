package backendtest

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tributary-es/tributary/backend"
)

// subscriptionClauses are about what is known of named subscriptions, and what
// can be done to them.
func subscriptionClauses(t *testing.T, b backend.Backend) {
	if _, ok := b.(backend.SubscriptionManager); !ok {
		t.Run("looking after named subscriptions without the capability is ErrUnsupported", func(t *testing.T) {
			_, err := backend.Subscriptions(t.Context(), b)
			wantErr(t, err, backend.ErrUnsupported)
			wantErr(t, backend.ResetSubscription(t.Context(), b, "projection", 1), backend.ErrUnsupported)
			wantErr(t, backend.DeleteSubscription(t.Context(), b, "projection"), backend.ErrUnsupported)
		})
		t.Skip("the backend is no backend.SubscriptionManager")
	}
	waitForClauses(t, b)
	describeClauses(t, b)
	resetClauses(t, b)
	resetWhileBusyClause(t, b)
	deleteSubscriptionClauses(t, b)
}

// gate is a handler that waits until it is opened.
type gate struct {
	opened  chan struct{}
	reached chan struct{} // has something when a handler waits
}

func newGate() *gate { return &gate{opened: make(chan struct{}), reached: make(chan struct{}, 1)} }

func (g *gate) handle(ctx context.Context, _ backend.Commit) error {
	select {
	case g.reached <- struct{}{}:
	default:
	}
	select {
	case <-g.opened:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func waitForClauses(t *testing.T, b backend.Backend) {
	t.Run("WaitFor returns when the handlers of all commits up to the position have returned", func(t *testing.T) {
		t.Parallel()
		s := subscribed(t, b, 3)
		s.options.Concurrency = 3
		s.start(nil)
		s.untilExists()
		for round := 1; round <= 10; round++ {
			var last uint64
			for _, one := range s.streams {
				last = one.add(1, 2).Position
			}
			s.waitFor(last)
			if got := s.snapshot(); len(got)-repeats(got) != 6*round {
				t.Fatalf("round %d: WaitFor returned after %d of %d commits", round, len(got), 6*round)
			}
		}
	})
	t.Run("WaitFor does not return while a handler is at a commit up to the position", func(t *testing.T) {
		t.Parallel()
		s := subscribed(t, b, 2)
		s.options.Concurrency = 2
		held := s.streams[0].add(1).Position
		later := s.streams[1].add(1).Position
		g := newGate()
		s.start(func(ctx context.Context, c backend.Commit) error {
			if c.StreamUUID != s.streams[0].name {
				return nil
			}
			return g.handle(ctx, c)
		})
		<-g.reached
		s.until(1) // the later one
		for _, position := range []uint64{held, later} {
			ctx, cancel := context.WithTimeout(s.ctx, 50*time.Millisecond)
			wantErr(t, backend.WaitFor(ctx, b, s.id, position), context.DeadlineExceeded)
			cancel()
		}
		waited := make(chan error, 1)
		go func() { waited <- backend.WaitFor(s.ctx, b, s.id, later) }()
		close(g.opened)
		must(t, <-waited)
		s.until(2)
	})
	t.Run("WaitFor returns for a position that is dealt with, without a member, and for 0", func(t *testing.T) {
		t.Parallel()
		s := subscribed(t, b, 1)
		var positions []uint64
		for range 3 {
			positions = append(positions, s.streams[0].add(1).Position)
		}
		c := s.start(nil)
		s.until(3)
		c.stop()
		for _, position := range append(positions, 0, 1) {
			s.waitFor(position)
		}
	})
	t.Run("WaitFor returns for a position at which nothing is stored that the subscription covers", func(t *testing.T) {
		t.Parallel()
		s := subscribed(t, b, 1)
		s.streams[0].add(1)
		s.start(nil)
		s.until(1)
		s.waitFor(fresh(t, b).add(1).Position)
	})
	t.Run("WaitFor takes what is parked for dealt with", func(t *testing.T) {
		t.Parallel()
		s := subscribed(t, b, 1)
		s.options.MaxAttempts = 1
		s.streams[0].add(1)
		second := s.streams[0].add(1).Position
		s.start(newFailing(1).handle)
		s.untilExists()
		s.waitFor(second)
		if got := s.parked(); len(got) != 2 {
			t.Fatalf("%d commits are parked, want 2", len(got))
		}
	})
	t.Run("WaitFor waits for a position beyond the end until the context ends, and returns its error", func(t *testing.T) {
		t.Parallel()
		s := subscribed(t, b, 1)
		s.streams[0].add(1)
		s.start(nil)
		s.until(1)
		ctx, cancel := context.WithTimeout(s.ctx, 50*time.Millisecond)
		defer cancel()
		wantErr(t, backend.WaitFor(ctx, b, s.id, 1<<60), context.DeadlineExceeded)
		ctx, cancel = context.WithCancel(s.ctx)
		cancel()
		wantErr(t, backend.WaitFor(ctx, b, s.id, 1<<60), context.Canceled)
	})
	t.Run("WaitFor waits for the subscription to be made", func(t *testing.T) {
		t.Parallel()
		s := subscribed(t, b, 1)
		position := s.streams[0].add(1).Position
		ctx, cancel := context.WithTimeout(s.ctx, time.Second) // in which it is found to be missing
		defer cancel()
		err := backend.WaitFor(ctx, b, s.id, position)
		wantErr(t, err, backend.ErrSubscriptionNotFound)
		wantErr(t, err, context.DeadlineExceeded)
		waited := make(chan error, 1)
		go func() { waited <- backend.WaitFor(s.ctx, b, s.id, position) }()
		s.start(nil)
		must(t, <-waited)
		s.until(1)
	})
	t.Run("WaitFor ends with ErrSubscriptionNotFound when the subscription is deleted", func(t *testing.T) {
		t.Parallel()
		s := subscribed(t, b, 1)
		s.streams[0].add(1)
		c := s.start(nil)
		s.until(1)
		c.stop()
		waited := make(chan error, 1)
		go func() { waited <- backend.WaitFor(s.ctx, b, s.id, 1<<60) }()
		select {
		case err := <-waited:
			t.Fatalf("it didn't wait, error %v", err)
		case <-time.After(20 * time.Millisecond): // by when it mostly has seen that it exists
		}
		must(t, backend.DeleteSubscription(s.ctx, b, s.id))
		wantErr(t, <-waited, backend.ErrSubscriptionNotFound)
	})
}

func describeClauses(t *testing.T, b backend.Backend) {
	t.Run("Subscriptions describes each, in the order of their names", func(t *testing.T) {
		t.Parallel()
		one, two := subscribed(t, b, 1), subscribed(t, b, 1)
		one.options.EventTypes = []string{"A", "B"}
		two.options.Under, two.options.Stream = "", two.streams[0].name
		for _, s := range []*subscription{one, two} {
			s.start(nil)
			s.untilExists()
		}
		all, err := backend.Subscriptions(one.ctx, b)
		must(t, err)
		if !slices.IsSortedFunc(all, func(a, b backend.SubscriptionInfo) int { return strings.Compare(a.Name, b.Name) }) {
			t.Errorf("they are not in order: %+v", all)
		}
		if info, _ := one.describe(); info.Under != one.name || info.Stream != "" || !slices.Equal(info.EventTypes, []string{"A", "B"}) {
			t.Errorf("one is %+v", info)
		}
		if info, _ := two.describe(); info.Under != "" || info.Stream != two.streams[0].name || len(info.EventTypes) != 0 {
			t.Errorf("the other is %+v", info)
		}
	})
	t.Run("Subscriptions tells how many commits a subscription is behind, and how old the first of them is", func(t *testing.T) {
		t.Parallel()
		s := subscribed(t, b, 1)
		before := time.Now()
		first := s.streams[0].add(1).Position
		s.streams[0].addSingly(4) // for a commit of more than one message may count as more
		g := newGate()
		s.start(g.handle)
		<-g.reached
		info, _ := s.describe()
		if info.Position >= first || info.Behind != 5 || info.OldestAge <= 0 || info.OldestAge > time.Since(before)+5*time.Second {
			t.Errorf("before anything is handled it is %+v; the first commit has position %d", info, first)
		}
		close(g.opened)
		s.waitFor(s.streams[0].add(1).Position)
		info, _ = s.describe()
		if info.Behind != 0 || info.OldestAge != 0 || info.Position < first {
			t.Errorf("when all is handled it is %+v", info)
		}
	})
	t.Run("Subscriptions counts what is appended while no member is there", func(t *testing.T) {
		t.Parallel()
		s := subscribed(t, b, 2)
		s.streams[0].add(1)
		c := s.start(nil)
		s.until(1)
		c.stop()
		s.streams[1].add(1, 1, 1)
		info, _ := s.describe()
		if info.Behind != 3 || len(info.Members) != 0 {
			t.Errorf("it is %+v", info)
		}
	})
	t.Run("Subscriptions counts what is parked", func(t *testing.T) {
		t.Parallel()
		s := subscribed(t, b, 1)
		s.options.MaxAttempts = 1
		s.streams[0].add(1)
		second := s.streams[0].add(1).Position
		s.start(newFailing(1).handle)
		s.untilExists()
		s.waitFor(second)
		if info, _ := s.describe(); info.Parked != 2 || info.Behind != 0 {
			t.Errorf("it is %+v", info)
		}
	})
	t.Run("Subscriptions lists the members, and those that ended no more", func(t *testing.T) {
		t.Parallel()
		s := subscribed(t, b, 1)
		before := time.Now()
		s.options.Member = "the first"
		one := s.start(nil)
		s.options.Member = "the second"
		s.start(nil)
		s.untilDivided(2)
		info, _ := s.describe()
		names := []string{info.Members[0].Name, info.Members[1].Name}
		slices.Sort(names)
		if !slices.Equal(names, []string{"the first", "the second"}) || info.Members[0].ID >= info.Members[1].ID {
			t.Errorf("the members are %+v", info.Members)
		}
		for _, m := range info.Members {
			wantNow(t, "SeenAt", m.SeenAt, before, 0)
		}
		one.stop()
		if info, _ := s.describe(); len(info.Members) != 1 || info.Members[0].Name != "the second" {
			t.Errorf("the members are %+v", info.Members)
		}
	})
	t.Run("a member that gives itself no name has one", func(t *testing.T) {
		t.Parallel()
		s := subscribed(t, b, 1)
		ctx, cancel := context.WithCancel(s.ctx)
		ended := make(chan error, 1)
		go func() {
			ended <- backend.Consume(ctx, b, s.id, s.options, func(context.Context, backend.Commit) error { return nil })
		}()
		s.eventually("it is a member", func() bool { info, _ := s.describe(); return len(info.Members) == 1 })
		if info, _ := s.describe(); info.Members[0].Name == "" || info.Members[0].ID == "" {
			t.Errorf("it is %+v", info.Members[0])
		}
		cancel()
		wantErr(t, <-ended, context.Canceled)
	})
}

func resetClauses(t *testing.T, b backend.Backend) {
	for what, running := range map[string]bool{"with a member": true, "without": false} {
		t.Run("ResetSubscription back has the commits after the position handled again, "+what, func(t *testing.T) {
			t.Parallel()
			s := subscribed(t, b, 1)
			var positions []uint64
			for range 6 {
				positions = append(positions, s.streams[0].add(1).Position)
			}
			c := s.start(nil)
			s.until(6)
			if !running {
				c.stop()
			}
			for round, from := range []int{2, 0, 4} {
				seen := len(s.snapshot())
				var position uint64
				if from > 0 {
					position = positions[from-1]
				}
				must(t, backend.ResetSubscription(s.ctx, b, s.id, position))
				if !running {
					c = s.start(nil)
				}
				s.waitFor(positions[5])
				again := s.snapshot()[seen:]
				if len(again) != 6-from || again[0].Position != positions[from] {
					t.Fatalf("round %d: %d commits were handled again, want the %d from position %d on: %+v", round, len(again), 6-from, positions[from], again)
				}
				wantHandledInOrder(t, again)
				if !running {
					c.stop()
				}
			}
		})
		t.Run("ResetSubscription forward passes over the commits up to the position, "+what, func(t *testing.T) {
			t.Parallel()
			s := subscribed(t, b, 1)
			s.streams[0].add(1)
			g := newGate()
			c := s.start(func(ctx context.Context, c backend.Commit) error {
				if c.Events[0].StreamVersion == 1 || c.Events[0].StreamVersion >= 5 {
					return nil
				}
				return g.handle(ctx, c)
			})
			s.until(1)
			var position uint64
			for range 3 {
				position = s.streams[0].add(1).Position
			}
			<-g.reached
			if !running {
				c.stop()
			}
			must(t, backend.ResetSubscription(s.ctx, b, s.id, position))
			if !running {
				s.start(nil)
			}
			s.streams[0].add(1)
			got := s.untilHandled(2)
			if got[1].Events[0].StreamVersion != 5 {
				t.Fatalf("version %d was handled", got[1].Events[0].StreamVersion)
			}
		})
		t.Run("ResetSubscription forgets what is parked after the position, for it comes again, "+what, func(t *testing.T) {
			t.Parallel()
			s := subscribed(t, b, 1)
			s.options.MaxAttempts, s.options.OnPark = 1, backend.SkipCommit
			var positions []uint64
			for range 5 {
				positions = append(positions, s.streams[0].add(1).Position)
			}
			f := newFailing(2, 4)
			c := s.start(f.handle)
			s.untilParked(positions[1], positions[3])
			if !running {
				c.stop()
			}
			f.repair(2)
			f.repair(4)
			must(t, backend.ResetSubscription(s.ctx, b, s.id, positions[2]))
			if !running {
				s.untilParked(positions[1])
				s.start(f.handle)
			}
			got := s.untilHandled(4)
			s.untilParked(positions[1])
			if got := ofVersion(got, 4); got != 1 {
				t.Errorf("version 4 was handled %d times", got)
			}
		})
	}
}

// resetWhileBusyClause has several members be reset while they are at something.
func resetWhileBusyClause(t *testing.T, b backend.Backend) {
	t.Run("ResetSubscription while members handle commits has all of them handled again, each event stream in order and by one member at a time", func(t *testing.T) {
		t.Parallel()
		s := subscribed(t, b, 20)
		s.options.Concurrency = 4
		busy := newBusy(t)
		for range 3 {
			s.start(busy.handle)
		}
		s.untilDivided(3)
		commits := 0
		for range 4 {
			for range 3 {
				for _, one := range s.streams {
					one.add(1)
					commits++
				}
			}
			s.untilHandled(commits - 30)
			seen := len(s.snapshot())
			must(t, backend.ResetSubscription(s.ctx, b, s.id, 0))
			var last uint64
			for _, one := range s.streams {
				last = one.add(1).Position
				commits++
			}
			s.waitFor(last)
			got := s.snapshot()
			wantHandledInOrder(t, got)
			for _, one := range s.streams {
				again := got[seen:]
				for i, c := range again { // less what was still handled when it was reset
					if c.StreamUUID == one.name && c.Events[0].StreamVersion == 1 {
						again = again[i:]
						break
					}
				}
				wantSameEvents(t, one.all(), eventsOf(again, one))
			}
		}
	})
}

// ofVersion counts the commits that begin with a version.
func ofVersion(got []handledCommit, version uint64) (n int) {
	for _, c := range got {
		if c.Events[0].StreamVersion == version {
			n++
		}
	}
	return n
}

func deleteSubscriptionClauses(t *testing.T, b backend.Backend) {
	t.Run("DeleteSubscription ends the members with ErrSubscriptionNotFound, and frees the name", func(t *testing.T) {
		t.Parallel()
		s := subscribed(t, b, 2)
		s.options.MaxAttempts = 1
		s.streams[0].add(1)
		position := s.streams[1].add(1).Position
		fails := func(_ context.Context, c backend.Commit) error {
			if c.StreamUUID == s.streams[1].name {
				return errors.New("can't be handled")
			}
			return nil
		}
		one, two := s.start(fails), s.start(fails)
		s.untilDivided(2)
		s.untilParked(position)
		must(t, backend.DeleteSubscription(s.ctx, b, s.id))
		one.wantEnd(backend.ErrSubscriptionNotFound)
		two.wantEnd(backend.ErrSubscriptionNotFound)
		if _, exists := s.describe(); exists {
			t.Error("it is still there")
		}
		_, err := backend.Parked(s.ctx, b, s.id)
		wantErr(t, err, backend.ErrSubscriptionNotFound)

		seen := len(s.snapshot())
		s.options.OnPark, s.options.Partitions = backend.SkipCommit, 3
		c := s.start(nil) // from the beginning, with other options
		s.waitForExisting(position)
		again := s.snapshot()[seen:]
		if len(again) != 2 {
			t.Errorf("of the new subscription %d commits were handled, want 2", len(again))
		}
		if parked := s.parked(); len(parked) != 0 {
			t.Errorf("of the new subscription %d commits are parked", len(parked))
		}
		c.stop()
	})
	t.Run("a subscription without members can be deleted, once", func(t *testing.T) {
		t.Parallel()
		s := subscribed(t, b, 1)
		s.streams[0].add(1)
		c := s.start(nil)
		s.until(1)
		c.stop()
		must(t, backend.DeleteSubscription(s.ctx, b, s.id))
		wantErr(t, backend.DeleteSubscription(s.ctx, b, s.id), backend.ErrSubscriptionNotFound)
	})
	t.Run("named subscriptions are independent of each other", func(t *testing.T) {
		t.Parallel()
		one := subscribed(t, b, 2)
		two := subscribed(t, b, 0)
		two.id = strings.TrimSuffix(one.id, one.id[len(one.id)-1:]) // whose name only begins alike
		two.options.Under, two.streams = one.options.Under, one.streams
		one.streams[0].add(1, 1)
		two.start(nil)
		two.until(2)
		one.start(nil)
		one.until(2)
		must(t, backend.DeleteSubscription(two.ctx, b, two.id))
		one.streams[1].add(1)
		one.wantHandled(one.until(3))
	})
}

// waitForExisting waits for the subscription to be made, and then as waitFor.
func (s *subscription) waitForExisting(position uint64) {
	s.t.Helper()
	s.untilExists()
	s.waitFor(position)
}
