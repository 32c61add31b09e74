package durable

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/tributary-es/tributary/backend"
)

// errBehind is why a commit is parked without having been tried.
var errBehind = errors.New("an earlier commit of the event stream is parked")

// errExited is what became of a handler that ended its goroutine.
var errExited = errors.New("the handler called runtime.Goexit")

// errGone is why a parked commit can't be handled again.
var errGone = errors.New("the commit is no longer stored: it was truncated or deleted")

// do does what an item wants, in a goroutine of its own.
func (t *term) do(it *item, d *document) result {
	switch {
	case it.request != nil:
		held, err := t.carryOut(t.ctx, d, *it.request)
		return result{item: it, held: held, err: err}
	case it.parked != nil:
		return result{item: it, err: t.s.record(t.ctx, t.name, eventParked, *it.parked)}
	}
	it.commit.Attempt++
	stack, err := t.call(t.ctx, it.commit)
	return result{item: it, err: err, stack: stack}
}

// call calls the handler; stack: where it panicked.
func (t *term) call(ctx context.Context, c backend.Commit) (stack string, err error) {
	defer func() {
		if p := recover(); p != nil {
			stack, err = string(debug.Stack()), fmt.Errorf("panic: %v", p)
		}
	}()
	return "", t.handler(ctx, c)
}

// finish goes on from what became of an item. An error ends the term.
func (t *term) finish(r result) error {
	it := r.item
	t.work.ended(r)
	switch {
	case it.dropped:
	case r.woken:
		t.work.runnable = append(t.work.runnable, it.lane)
	case r.err == nil:
		t.finished(it, r.held)
	case it.part.releasing: // to try it again is for the next member
		t.work.abandon(it)
	case t.ctx.Err() != nil: // what failed, failed because of that
	case (it.request != nil || it.parked != nil) && t.s.store.Final(r.err):
		return fmt.Errorf("parking position %d of %q: %w", it.commit.Position, it.commit.StreamUUID, r.err)
	case it.request != nil || it.parked != nil: // the store was away, or is full
		t.s.log.DebugContext(t.ctx, "parking", "subscription", t.name, "position", it.commit.Position, "error", r.err)
		t.work.again(it, t.retryDelay(it.commit.Attempt+1))
	case r.stack != "" || it.commit.Attempt >= t.options.MaxAttempts:
		it.parked = t.parkedEvent(it.commit, r)
		t.work.again(it, 0)
	default:
		t.work.again(it, t.retryDelay(it.commit.Attempt))
	}
	return nil
}

// finished goes on after an item that is dealt with.
func (t *term) finished(it *item, held bool) {
	switch {
	case it.request != nil:
		t.carried = append(t.carried, *it.request)
		if held {
			t.hold(it.request.Stream, it.request.Position)
		} else {
			delete(t.held, it.request.Stream)
		}
	case it.parked != nil && t.options.OnPark == backend.HoldStream:
		t.hold(it.commit.StreamUUID, it.commit.Position)
	}
	if t.dealt.IsZero() {
		t.dealt = time.Now()
	}
	t.work.complete(it)
}

// hold has an event stream wait from a position on. What comes before was handled
// when that was parked, and may be given once more.
func (t *term) hold(streamUUID string, position uint64) {
	if first, held := t.held[streamUUID]; !held || position < first {
		t.held[streamUUID] = position
	}
}

// retryDelay is how long to wait after an attempt, counted from 1.
func (t *term) retryDelay(attempt int) time.Duration {
	delay := t.options.MaxRetryDelay
	if doubled := min(attempt-1, 62); t.options.RetryDelay <= delay>>doubled {
		delay = t.options.RetryDelay << doubled
	}
	return delay*3/4 + rand.N(delay/2+1) // so that what failed together isn't repeated together
}

// parkedEvent says how a commit is parked, after the result of the last attempt.
func (t *term) parkedEvent(c backend.Commit, r result) *parkedEvent {
	return &parkedEvent{
		Stream:   c.StreamUUID,
		Position: c.Position,
		First:    c.Events[0].StreamVersion,
		Last:     c.Events[len(c.Events)-1].StreamVersion,
		Attempts: c.Attempt,
		Error:    shortened(r.err.Error(), maxErrorBytes),
		Stack:    shortened(r.stack, maxStackBytes),
		ParkedAt: time.Now().UTC(),
		Member:   t.options.Member,
		Life:     t.doc.Life,
		Epoch:    t.epoch,
	}
}

// carryOut does what is asked for about a parked commit, and with [backend.HoldStream]
// handles those behind it. It reports whether the event stream still has to wait.
// It is called when nothing else of the event stream is being dealt with. What was
// asked for may have been done before, by a member that died.
func (t *term) carryOut(ctx context.Context, d *document, r request) (held bool, err error) {
	hold := t.options.OnPark == backend.HoldStream
	p, err := t.s.readParking(ctx, t.name, d)
	if err != nil {
		return false, err
	}
	t.s.tidy(ctx, t.name, p)
	begun := false
	for _, e := range p.of(r.Stream) {
		done := true
		switch {
		case e.Position == r.Position && r.Discard:
			err = t.s.record(ctx, t.name, eventDiscarded, parkedEvent{Stream: e.Stream, Position: e.Position, Life: e.Life})
		case e.Position == r.Position:
			done, err = t.replay(ctx, e)
		case !hold:
			continue
		case e.Position < r.Position, !begun && e.Attempts > 0:
			return true, nil
		default:
			done, err = t.replay(ctx, e)
		}
		if err != nil || !done {
			return hold, err
		}
		begun = true
	}
	return false, nil
}

// replay handles a parked commit once more. Where that fails it is parked anew.
func (t *term) replay(ctx context.Context, e parkedEvent) (handled bool, err error) {
	c, failed := t.readAgain(ctx, e)
	var stack string
	if failed == nil {
		stack, failed = t.call(ctx, c)
	} else if errors.Is(failed, backend.ErrUnavailable) {
		return false, failed
	}
	if failed == nil {
		return true, t.s.record(ctx, t.name, eventReplayed, parkedEvent{Stream: e.Stream, Position: e.Position, Life: e.Life})
	}
	if ctx.Err() != nil {
		return false, ctx.Err()
	}
	e.Attempts++
	e.Error, e.Stack = shortened(failed.Error(), maxErrorBytes), shortened(stack, maxStackBytes)
	e.ParkedAt, e.Member, e.Epoch = time.Now().UTC(), t.options.Member, t.epoch
	return false, t.s.record(ctx, t.name, eventParked, e)
}

// readAgain reads a parked commit.
func (t *term) readAgain(ctx context.Context, e parkedEvent) (backend.Commit, error) {
	events, err := t.s.store.ReadStream(ctx, e.Stream, e.First, e.Last-e.First+1, uuid.Nil)
	if err != nil {
		return backend.Commit{}, fmt.Errorf("reading it again: %w", err)
	}
	events = slices.DeleteFunc(events, func(r backend.RecordedEvent) bool {
		return r.Position != e.Position || len(t.options.EventTypes) > 0 && !slices.Contains(t.options.EventTypes, r.EventType)
	})
	if len(events) == 0 {
		return backend.Commit{}, errGone
	}
	return backend.Commit{StreamUUID: e.Stream, Position: e.Position, Events: events, Attempt: e.Attempts + 1}, nil
}
