package backendtest

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/tributary-es/tributary/backend"
)

// subscription is a clause's own named subscription, to the event streams of a
// family of its own.
type subscription struct {
	*stream // the name above all of streams, not an event stream itself
	streams []*stream
	id      string // its name
	options backend.ConsumeOptions

	mu      sync.Mutex
	handled []handledCommit       // in the order in which the handlers returned
	once    map[commitID]struct{} // the same, less repeats
	more    chan struct{}         // closed when there is more of them
}

// commitID identifies a commit: appends to one event stream may share a position.
type commitID struct {
	streamUUID string
	position   uint64
}

// handledCommit is a commit whose handler returned no error.
type handledCommit struct {
	backend.Commit
	member string
}

// subscription returns a named subscription to n event streams, which does not
// exist yet, and deletes it in the end.
func subscribed(t tester, b backend.Backend, n int) *subscription {
	t.Helper()
	parent, streams := family(t, b, n)
	s := &subscription{
		stream:  parent,
		streams: streams,
		id:      "clause-" + uuid.NewString(),
		options: backend.ConsumeOptions{
			Under:         parent.name,
			RetryDelay:    2 * time.Millisecond,
			MaxRetryDelay: 10 * time.Millisecond,
			TakeoverAfter: time.Second,
		},
		once: make(map[commitID]struct{}),
		more: make(chan struct{}),
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := backend.DeleteSubscription(ctx, b, s.id); err != nil && !errors.Is(err, backend.ErrSubscriptionNotFound) && !errors.Is(err, backend.ErrUnsupported) {
			t.Error(err)
		}
	})
	return s
}

// consumer is a member of a named subscription.
type consumer struct {
	t      tester
	cancel context.CancelFunc
	ended  chan struct{}
	err    error // once it has ended
}

// consume starts a member, which ends with the clause at the latest. What handler
// returns no error for is kept in s.handled; nil deals with everything.
func (s *subscription) consume(options backend.ConsumeOptions, handler backend.Handler) *consumer {
	s.t.Helper()
	ctx, cancel := context.WithCancel(s.ctx)
	c := &consumer{t: s.t, cancel: cancel, ended: make(chan struct{})}
	if options.Member == "" {
		options.Member = uuid.NewString()
	}
	go func() {
		defer close(c.ended)
		c.err = backend.Consume(ctx, s.b, s.id, options, func(ctx context.Context, commit backend.Commit) error {
			if handler != nil {
				if err := handler(ctx, commit); err != nil {
					return err
				}
			}
			s.mu.Lock()
			defer s.mu.Unlock()
			s.handled = append(s.handled, handledCommit{commit, options.Member})
			s.once[commitID{commit.StreamUUID, commit.Position}] = struct{}{}
			close(s.more)
			s.more = make(chan struct{})
			return nil
		})
	}()
	s.t.Cleanup(func() {
		cancel()
		<-c.ended
	})
	return c
}

// start starts a member with the subscription's own options.
func (s *subscription) start(handler backend.Handler) *consumer {
	s.t.Helper()
	return s.consume(s.options, handler)
}

// stop ends a member's context, and waits for it to end with its error.
func (c *consumer) stop() {
	c.t.Helper()
	c.cancel()
	<-c.ended
	wantErr(c.t, c.err, context.Canceled)
}

// wantEnd waits for a member to end with an error of its own.
func (c *consumer) wantEnd(want error) {
	c.t.Helper()
	<-c.ended // at the latest with the clause's context
	wantErr(c.t, c.err, want)
}

// snapshot returns what was handled so far.
func (s *subscription) snapshot() []handledCommit {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.handled)
}

// untilHandled waits for that many commits to be handled, repeats apart.
func (s *subscription) untilHandled(n int) []handledCommit {
	s.t.Helper()
	for {
		s.mu.Lock()
		distinct, more := len(s.once), s.more
		s.mu.Unlock()
		if distinct >= n {
			return s.snapshot()
		}
		select {
		case <-more:
		case <-s.ctx.Done():
			s.t.Fatalf("%d commits were handled, and then no more, want %d", distinct, n)
		}
	}
}

// until waits for that many commits to be handled, repeats apart, and checks that
// there are no others and that each event stream's were handled in order.
func (s *subscription) until(n int) []handledCommit {
	s.t.Helper()
	got := s.untilHandled(n)
	wantHandledInOrder(s.t, got)
	if distinct := len(got) - repeats(got); distinct > n {
		s.t.Fatalf("%d commits were handled, want %d", distinct, n)
	}
	return got
}

// repeats counts the commits that were handled before.
func repeats(got []handledCommit) int {
	once := make(map[commitID]struct{})
	for _, c := range got {
		once[commitID{c.StreamUUID, c.Position}] = struct{}{}
	}
	return len(got) - len(once)
}

// wantHandledInOrder checks that of each event stream a commit was followed by
// the next one, or by one that had been handled before. A subscription to event
// types passes over some, which is for the clause to check.
func wantHandledInOrder(t tester, got []handledCommit) {
	t.Helper()
	last := make(map[string]uint64)
	for _, c := range got {
		first, before := c.Events[0].StreamVersion, last[c.StreamUUID]
		if before != 0 && first > before+1 {
			t.Fatalf("of %q version %d was handled after version %d", c.StreamUUID, first, before)
		}
		last[c.StreamUUID] = c.Events[len(c.Events)-1].StreamVersion
	}
}

// eventsOf returns the events of what was handled of one event stream, without
// repeats.
func eventsOf(got []handledCommit, s *stream) (events []backend.RecordedEvent) {
	for _, c := range got {
		if c.StreamUUID == s.name && (len(events) == 0 || c.Position > events[len(events)-1].Position) {
			events = append(events, c.Events...)
		}
	}
	return events
}

// wantHandled checks that all events of all event streams were handled.
func (s *subscription) wantHandled(got []handledCommit) {
	s.t.Helper()
	for _, child := range s.streams {
		wantSameEvents(s.t, child.all(), eventsOf(got, child))
	}
}

// eventually looks again until it is so, or the clause's time is over.
func (s *subscription) eventually(what string, is func() bool) {
	s.t.Helper()
	for !is() {
		select {
		case <-time.After(5 * time.Millisecond):
		case <-s.ctx.Done():
			s.t.Fatalf("it never came that %s", what)
		}
	}
}

// describe returns what [backend.Subscriptions] says of the subscription, and
// whether it exists.
func (s *subscription) describe() (info backend.SubscriptionInfo, exists bool) {
	s.t.Helper()
	all, err := backend.Subscriptions(s.ctx, s.b)
	mustOrSkip(s.t, err)
	i := slices.IndexFunc(all, func(i backend.SubscriptionInfo) bool { return i.Name == s.id })
	if i < 0 {
		return backend.SubscriptionInfo{}, false
	}
	return all[i], true
}

// untilExists waits for the subscription to be made.
func (s *subscription) untilExists() {
	s.t.Helper()
	s.eventually("the subscription exists", func() bool { _, exists := s.describe(); return exists })
}

// waitFor waits for the subscription to have dealt with a position.
func (s *subscription) waitFor(position uint64) {
	s.t.Helper()
	must(s.t, backend.WaitFor(s.ctx, s.b, s.id, position))
}

// parked lists what is parked.
func (s *subscription) parked() []backend.ParkedCommit {
	s.t.Helper()
	got, err := backend.Parked(s.ctx, s.b, s.id)
	mustOrSkip(s.t, err)
	return got
}

// untilParked waits for commits, by their positions, to be all that is parked.
func (s *subscription) untilParked(positions ...uint64) (got []backend.ParkedCommit) {
	s.t.Helper()
	s.eventually("the commits are parked", func() bool {
		var err error
		if got, err = backend.Parked(s.ctx, s.b, s.id); errors.Is(err, backend.ErrSubscriptionNotFound) {
			return false // its first member has yet to make it
		}
		mustOrSkip(s.t, err)
		return slices.EqualFunc(got, positions, func(p backend.ParkedCommit, position uint64) bool { return p.Position == position })
	})
	return got
}
