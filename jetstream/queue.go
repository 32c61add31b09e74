package jetstream

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/tributary-es/tributary/backend"
)

// queues order the writers of this process to each event stream, first come
// first served: at the same time they would only fail each other's fences. While
// one writes, others wait; the appends among them are then written together.
type queues struct {
	group bool // write appends together
	mu    sync.Mutex
	open  map[string]*queue // by subject; only those in use; nil: nobody waits
}

// queue is the writers to one event stream that wait. Another has the turn.
type queue struct {
	waiting []*waiter
}

// waiter is a writer in a queue.
type waiter struct {
	append  *appendage    // what it appends; nil: it writes by itself
	turn    chan struct{} // closed when it has the turn
	done    chan struct{} // closed when others have written its append, or failed to
	outcome appendOutcome // of its append
	claim   atomic.Int32  // who has the append: claimFree, …
}

// An append that waits is claimed by those who write it, and withdrawn by its
// caller, who no longer waits: before it was claimed, it is not written, and
// afterwards not with another fence.
const (
	claimFree int32 = iota
	claimWriting
	claimWithdrawn
)

// appendOutcome is what became of an append.
type appendOutcome struct {
	res backend.AppendResult
	err error
}

func newQueues(group bool) *queues {
	return &queues{group: group, open: make(map[string]*queue)}
}

// claimed claims the append for writing, and reports whether it is still wanted.
func (w *waiter) claimed() bool {
	return w.claim.CompareAndSwap(claimFree, claimWriting) || w.claim.Load() == claimWriting
}

// enter returns nil where the caller has the turn at once, else its place in the
// queue.
func (q *queues) enter(subject string, a *appendage) *waiter {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.takeFree(subject) {
		return nil
	}
	line := q.open[subject]
	if line == nil {
		line = &queue{}
		q.open[subject] = line
	}
	w := &waiter{append: a, turn: make(chan struct{}), done: make(chan struct{})}
	line.waiting = append(line.waiting, w)
	return w
}

// enterFree takes the turn where nobody has it, and reports whether it did.
func (q *queues) enterFree(subject string) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.takeFree(subject)
}

// takeFree is enterFree with q.mu held.
func (q *queues) takeFree(subject string) bool {
	if _, busy := q.open[subject]; busy {
		return false
	}
	q.open[subject] = nil
	return true
}

// quit takes a waiter out of the queue. It reports whether it has the turn by
// now, and has to give it on.
func (q *queues) quit(subject string, w *waiter) (hasTurn bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if line := q.open[subject]; line != nil {
		if i := slices.Index(line.waiting, w); i >= 0 {
			line.waiting = slices.Delete(line.waiting, i, i+1)
			return false
		}
	}
	select {
	case <-w.turn:
		return true
	default:
		return false
	}
}

// maxGroup is how many appends are written together at most.
const maxGroup = 256

// next gives the turn on. Where the next waiters are several appends, it returns
// them: the turn is then with who writes them.
func (q *queues) next(subject string) []*waiter {
	q.mu.Lock()
	defer q.mu.Unlock()
	line := q.open[subject]
	if line == nil || len(line.waiting) == 0 {
		delete(q.open, subject)
		return nil
	}
	n := 0
	for q.group && n < min(len(line.waiting), maxGroup) && line.waiting[n].append != nil {
		n++
	}
	if n > 1 {
		group := slices.Clone(line.waiting[:n])
		line.waiting = slices.Delete(line.waiting, 0, n)
		return group
	}
	close(line.waiting[0].turn)
	line.waiting = slices.Delete(line.waiting, 0, 1)
	return nil
}

// lock waits for the turn to write to an event stream, or for the end of ctx.
func (b *Backend) lock(ctx context.Context, t target) error {
	w := b.queues.enter(t.subject, nil)
	if w == nil {
		return nil
	}
	select {
	case <-w.turn:
		return nil
	case <-ctx.Done():
		if b.queues.quit(t.subject, w) {
			b.unlock(t)
		}
		return ctx.Err()
	}
}

// unlock gives the turn on.
func (b *Backend) unlock(t target) {
	if group := b.queues.next(t.subject); group != nil {
		go b.appendGroup(t, group)
	}
}
