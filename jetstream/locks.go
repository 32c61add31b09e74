package jetstream

import (
	"context"
	"sync"
)

// locks lets the writers of this process to one event stream go one after the
// other, first come first served: they would only fail each other's fences.
type locks struct {
	mu   sync.Mutex
	held map[string]*lock // by subject; only those in use
}

type lock struct {
	users int // holding or waiting
	turn  chan struct{}
}

func newLocks() *locks { return &locks{held: make(map[string]*lock)} }

// lock waits for its turn, or for the end of ctx.
func (l *locks) lock(ctx context.Context, subject string) error {
	l.mu.Lock()
	k, ok := l.held[subject]
	if !ok {
		k = &lock{turn: make(chan struct{}, 1)}
		l.held[subject] = k
	}
	k.users++
	l.mu.Unlock()
	select {
	case k.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		l.leave(subject, k)
		return ctx.Err()
	}
}

// unlock gives the turn to the next.
func (l *locks) unlock(subject string) {
	l.mu.Lock()
	k := l.held[subject]
	l.mu.Unlock()
	<-k.turn
	l.leave(subject, k)
}

func (l *locks) leave(subject string, k *lock) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if k.users--; k.users == 0 {
		delete(l.held, subject)
	}
}
