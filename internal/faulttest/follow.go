package faulttest

import (
	"context"
	"fmt"
	"sync"

	"github.com/google/uuid"

	"github.com/tributary-es/tributary/backend"
)

// follower is a subscription, and all that it was told.
type follower struct {
	what    string
	inOrder bool // by position, and each event once
	ledger  *Ledger

	mu       sync.Mutex
	begun    bool
	position uint64
	last     map[string]uint64 // the last version of each event stream
	events   map[place]uuid.UUID
	lives    map[uuid.UUID]uint64 // what it was told of event streams that begin and end: positions
	latest   map[string]uint64    // the last position of each of those
	wrong    string               // what was told and should not have been; empty: nothing
	ended    error
}

func newFollower(ledger *Ledger, what string, inOrder bool) *follower {
	return &follower{ledger: ledger, what: what, inOrder: inOrder, last: make(map[string]uint64), events: make(map[place]uuid.UUID),
		lives: make(map[uuid.UUID]uint64), latest: make(map[string]uint64)}
}

// tell notes events, which must go on where those before ended: a follower in
// order has each once, a member of a named subscription may have some again.
func (f *follower) tell(events []backend.RecordedEvent) {
	f.ledger.mu.Lock()
	for i := range events {
		f.ledger.readLocked(f.what, &events[i])
	}
	f.ledger.mu.Unlock()
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, e := range events {
		if f.ledger.lives[e.StreamUUID] != nil {
			f.tellOfLife(e)
			continue
		}
		last := f.last[e.StreamUUID]
		bad := e.StreamVersion > last+1 || f.inOrder && (e.StreamVersion != last+1 || e.Position < f.position)
		if bad && f.wrong == "" {
			f.wrong = fmt.Sprintf("%s was told version %d of %s at %d, after version %d and position %d", f.what, e.StreamVersion, e.StreamUUID, e.Position, last, f.position)
		}
		if before, ok := f.events[place{e.StreamUUID, e.StreamVersion}]; ok && before != e.EventUUID && f.wrong == "" {
			f.wrong = fmt.Sprintf("%s was told version %d of %s as event %s and as %s", f.what, e.StreamVersion, e.StreamUUID, before, e.EventUUID)
		}
		f.last[e.StreamUUID] = max(last, e.StreamVersion)
		f.position = max(f.position, e.Position)
		f.events[place{e.StreamUUID, e.StreamVersion}] = e.EventUUID
	}
}

// tellOfLife notes an event of an event stream that is truncated, deleted and
// begun again: what is gone before it was told need not be told.
func (f *follower) tellOfLife(e backend.RecordedEvent) {
	_, again := f.lives[e.EventUUID]
	bad := f.inOrder && (again || e.Position < f.position) || !again && e.Position < f.latest[e.StreamUUID]
	if bad && f.wrong == "" {
		f.wrong = fmt.Sprintf("%s was told version %d of %s at %d, after positions %d and, of it, %d (again: %v)", f.what, e.StreamVersion, e.StreamUUID, e.Position, f.position, f.latest[e.StreamUUID], again)
	}
	f.lives[e.EventUUID] = e.Position
	f.latest[e.StreamUUID] = max(f.latest[e.StreamUUID], e.Position)
	f.position = max(f.position, e.Position)
}

// follow has a party follow the load, by itself and as a member of a named
// subscription that all parties share, until ctx ends.
func (l *Load) follow(ctx context.Context, p *party) {
	f := newFollower(l.Ledger, fmt.Sprintf("the subscription of process %d", p.number), true)
	l.Ledger.followers = append(l.Ledger.followers, f)
	l.followed.Go(func() {
		for batch, err := range p.b.Subscribe(ctx, backend.SubscribeOptions{Under: l.name, From: backend.AfterPosition(l.after)}) {
			if err != nil {
				f.end(ctx, err)
				return
			}
			f.tell(batch.Events)
			f.mu.Lock()
			f.begun = true
			f.position = max(f.position, batch.Position)
			f.mu.Unlock()
		}
	})
	if p.number == 0 {
		l.members = newFollower(l.Ledger, "the named subscription", false)
	}
	members := l.members
	l.followed.Go(func() {
		err := p.b.Consume(ctx, l.subscriptionName(), backend.ConsumeOptions{Under: l.name, From: backend.AfterPosition(l.after), Concurrency: 4},
			func(_ context.Context, c backend.Commit) error {
				members.tell(c.Events)
				return nil
			})
		members.end(ctx, err)
	})
}

func (f *follower) end(ctx context.Context, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if ctx.Err() == nil && f.ended == nil {
		f.ended = fmt.Errorf("%s ended: %w", f.what, err)
	}
}

// over returns the error with which the follower has ended.
func (f *follower) over() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.ended
}

// reached reports an error as long as the follower has not come to a position.
func (f *follower) reached(position uint64) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ended == nil && f.position < position {
		return fmt.Errorf("%s is at %d of %d", f.what, f.position, position)
	}
	return nil
}

// waitFollowing waits until everybody follows: what begins while the servers are
// away may be refused, what goes on is not.
func (l *Load) waitFollowing() {
	l.tb.Helper()
	must(l.tb, eventually("everybody follows", func() error {
		for _, f := range l.Ledger.followers {
			f.mu.Lock()
			begun := f.begun
			f.mu.Unlock()
			if !begun {
				return fmt.Errorf("%s has not begun", f.what)
			}
		}
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		all, err := l.parties[0].b.Subscriptions(ctx)
		if err != nil {
			return err
		}
		for _, s := range all {
			if s.Name == l.subscriptionName() && len(s.Members) == len(l.parties) {
				return nil
			}
		}
		return fmt.Errorf("not all are members: %v", all)
	}))
}
