package backendtest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/tributary-es/tributary/backend"
	"github.com/tributary-es/tributary/internal/racedetector"
)

// memberClauses are about several members of one subscription.
func memberClauses(t *testing.T, b backend.Backend) {
	if _, ok := b.(backend.Consumer); !ok {
		t.Skip("the backend is no backend.Consumer")
	}
	t.Run("members divide the event streams among themselves, each handled by one member at a time and in order", func(t *testing.T) {
		t.Parallel()
		s := subscribed(t, b, 60)
		busy := newBusy(t)
		s.options.Concurrency = 4
		for range 3 {
			s.start(busy.handle)
		}
		s.untilDivided(3)
		for range 5 {
			for _, one := range s.streams {
				one.add(1)
			}
		}
		got := s.until(300)
		s.wantHandled(got)
		if n := len(membersOf(got)); n != 3 {
			t.Errorf("%d members handled something, want 3", n)
		}
	})
	t.Run("when a member ends with its context the others go on with its event streams, and nothing is repeated", func(t *testing.T) {
		t.Parallel()
		s := subscribed(t, b, 12)
		s.options.TakeoverAfter = time.Hour // which a member that leaves need not be waited for
		busy := newBusy(t)
		members := []*consumer{s.start(busy.handle), s.start(busy.handle), s.start(busy.handle)}
		s.untilDivided(3)
		for n, c := range members {
			for _, one := range s.streams {
				one.add(1, 1)
			}
			s.until(24 * (n + 1))
			if n < len(members)-1 {
				c.stop()
				s.untilDivided(len(members) - 1 - n)
			}
		}
		got := s.snapshot()
		if n := repeats(got); n > 0 {
			t.Errorf("%d commits were repeated", n)
		}
		s.wantHandled(got)
	})
	t.Run("when a member comes it is given event streams, and nothing is left out or out of order", func(t *testing.T) {
		t.Parallel()
		s := subscribed(t, b, 40)
		busy := newBusy(t)
		appended := make(chan error, 1)
		go func() {
			for range 20 {
				for _, one := range s.streams {
					if _, err := one.append(backend.AnyVersion(), events(1)); err != nil {
						appended <- err
						return
					}
				}
			}
			appended <- nil
		}()
		for n := range 3 {
			s.start(busy.handle)
			s.untilDivided(n + 1)
		}
		must(t, <-appended)
		for _, one := range s.streams {
			one.add(1)
		}
		got := s.until(40 * 21)
		t.Logf("%d repeats", repeats(got))
		s.wantHandled(got)
	})
	t.Run("a commit whose handler fails while its part is given to another member is that member's, and not tried again by the first", func(t *testing.T) {
		t.Parallel()
		s := subscribed(t, b, 12) // of which not all parts have one
		s.options.Concurrency = 12
		s.options.RetryDelay, s.options.MaxRetryDelay = 300*time.Millisecond, time.Second
		for _, one := range s.streams {
			one.add(1)
		}
		busy := newBusy(t)
		var inside sync.WaitGroup // all first attempts are under way
		inside.Add(len(s.streams))
		fail := make(chan struct{})
		s.start(func(ctx context.Context, c backend.Commit) error {
			if c.Attempt > 1 || c.Events[0].StreamVersion > 1 {
				return busy.handle(ctx, c)
			}
			inside.Done()
			select {
			case <-fail:
				return errors.New("too late")
			case <-ctx.Done():
				return ctx.Err()
			}
		})
		inside.Wait()
		s.start(busy.handle)
		// Parts without a commit are given at once, by when those of the others have
		// been decided on, too.
		s.eventually("the second member has a part", func() bool {
			info, _ := s.describe()
			return len(info.Members) == 2 && min(info.Members[0].Partitions, info.Members[1].Partitions) > 0
		})
		close(fail)
		s.until(12)
		s.untilDivided(2)
		for _, one := range s.streams {
			one.add(1)
		}
		got := s.until(24)
		if n := repeats(got); n > 0 {
			t.Errorf("%d commits were handled twice", n)
		}
		s.wantHandled(got)
	})
	t.Run("a part whose commits wait for another attempt is given to another member at once, which need not wait", func(t *testing.T) {
		t.Parallel()
		s := subscribed(t, b, 12)
		s.options.Concurrency = 12
		s.options.RetryDelay, s.options.MaxRetryDelay, s.options.TakeoverAfter = 24*time.Hour, 24*time.Hour, time.Hour
		for _, one := range s.streams {
			one.add(1, 1)
		}
		var failed sync.WaitGroup
		failed.Add(len(s.streams))
		busy := newBusy(t)
		first := s.start(func(context.Context, backend.Commit) error {
			failed.Done()
			return errors.New("not here")
		})
		failed.Wait()
		second := s.start(busy.handle)
		s.untilDivided(2)
		s.untilHandled(2) // of what it was given
		first.stop()
		s.wantHandled(s.until(24))
		second.stop()
		if n := repeats(s.snapshot()); n > 0 {
			t.Errorf("%d commits were handled twice", n)
		}
	})
	t.Run("a member that has no part yet takes over when another leaves", func(t *testing.T) {
		t.Parallel()
		s := subscribed(t, b, 3)
		s.options.Partitions = 1
		one, two := s.start(nil), s.start(nil)
		s.eventually("both are members", func() bool {
			info, exists := s.describe()
			return exists && len(info.Members) == 2 && info.Members[0].Partitions+info.Members[1].Partitions == 1
		})
		for _, child := range s.streams {
			child.add(1)
		}
		first := membersOf(s.until(3))
		if len(first) != 1 {
			t.Fatalf("%d members handled the only part", len(first))
		}
		one.stop()
		for _, child := range s.streams {
			child.add(1)
		}
		s.wantHandled(s.until(6))
		two.stop()
	})
	t.Run("a handler that is slower than the takeover time keeps its event streams, for its member is not silent", func(t *testing.T) {
		t.Parallel()
		s := subscribed(t, b, 8)
		s.options.TakeoverAfter = 150 * time.Millisecond
		s.options.Concurrency = 8
		slow := func(ctx context.Context, c backend.Commit) error {
			select {
			case <-time.After(600 * time.Millisecond): // what is slow
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		s.start(slow)
		s.start(slow)
		s.untilDivided(2)
		for _, one := range s.streams {
			one.add(1)
		}
		s.wantHandled(s.until(8))
	})
	for _, n := range []int{1, 3} {
		t.Run(fmt.Sprintf("%d members that are all stopped and started anew go on where they were", n), func(t *testing.T) {
			t.Parallel()
			s := subscribed(t, b, 10)
			for round := range 3 {
				for _, one := range s.streams {
					one.add(1, 1)
				}
				var members []*consumer
				for range n {
					members = append(members, s.start(nil))
				}
				s.until(20 * (round + 1))
				for _, c := range members {
					c.stop()
				}
			}
			got := s.snapshot()
			if n := repeats(got); n > 0 {
				t.Errorf("%d commits were repeated", n)
			}
			s.wantHandled(got)
		})
	}
	t.Run("members that stop and start anew while event streams are written to handle every commit, in order within its event stream", func(t *testing.T) {
		t.Parallel()
		stress(t, b)
	})
}

// stress is three members, two of which stop and start anew in turn, while many
// event streams are written to.
func stress(t *testing.T, b backend.Backend) {
	const (
		streams  = 200
		restarts = 10
	)
	rounds := 10 // of one commit to each event stream, per restart
	if testing.Short() || racedetector.On {
		rounds = 1
	}
	s := subscribed(t, b, streams)
	s.options.Concurrency = 4
	busy := newBusy(t)
	s.start(busy.handle)
	members := []*consumer{s.start(busy.handle), s.start(busy.handle)}
	s.untilDivided(3)
	commits := 0
	for range restarts {
		appended := make(chan []result, 1)
		go func() {
			appended <- together(streams, rounds, func(i int) (backend.AppendResult, error) {
				return s.streams[i%streams].append(backend.AnyVersion(), events(1+i%3))
			})
		}()
		halfway := commits + streams*rounds/2
		s.untilHandled(halfway)
		members[0].stop()
		members = []*consumer{members[1], s.start(busy.handle)}
		for _, r := range <-appended {
			must(t, r.err)
		}
		commits += streams * rounds
	}
	got := s.until(commits)
	s.wantHandled(got)
	t.Logf("%d commits over %d event streams, %d restarts, %d repeats", commits, streams, restarts, repeats(got))
}

// untilDivided waits for the members to be so many, and each to have a part of
// the event streams.
func (s *subscription) untilDivided(members int) {
	s.t.Helper()
	s.eventually(fmt.Sprintf("%d members have divided the event streams", members), func() bool {
		info, exists := s.describe()
		if !exists || len(info.Members) != members {
			return false
		}
		partitions := 0
		for _, m := range info.Members {
			if m.Partitions == 0 {
				return false
			}
			partitions += m.Partitions
		}
		return partitions == backend.DefaultPartitions
	})
}

// membersOf returns the members that handled something.
func membersOf(got []handledCommit) []string {
	var members []string
	for _, c := range got {
		if !slices.Contains(members, c.member) {
			members = append(members, c.member)
		}
	}
	return members
}
