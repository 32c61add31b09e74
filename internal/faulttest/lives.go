package faulttest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/google/uuid"

	"github.com/tributary-es/tributary/backend"
)

// errStopped ends a life early, because the load ends.
var errStopped = errors.New("the load ends")

// workLife has an event stream, which no other party writes to, begin, be hidden,
// shown, truncated and deleted. Each step is repeated until it is certain, and
// then the event stream must be as the step makes it.
func (l *Load) workLife(ctx context.Context, p *party, r *rand.Rand) error {
	life := &life{load: l, ctx: ctx, p: p, stream: l.life(p.number), within: deadline(r)}
	err := life.run(r)
	if errors.Is(err, errStopped) {
		return nil
	}
	return err
}

type life struct {
	load   *Load
	ctx    context.Context
	p      *party
	stream string
	within time.Duration
	events []uuid.UUID // those that must be there
	first  uint64      // the version of the first
}

func (f *life) run(r *rand.Rand) error {
	f.first = 1
	if err := f.do("create", backend.ErrStreamExists, func(ctx context.Context) error {
		_, err := f.p.b.CreateStream(ctx, backend.Stream{UUID: f.stream}, uuid.Nil)
		return err
	}); err != nil {
		return err
	}
	if err := f.append(1 + r.IntN(4)); err != nil {
		return err
	}
	if err := f.do("soft delete", backend.ErrStreamDeleted, func(ctx context.Context) error {
		return f.p.b.SoftDelete(ctx, f.stream, backend.AnyVersion(), uuid.Nil)
	}); err != nil {
		return err
	}
	if err := f.want(backend.ErrStreamDeleted); err != nil {
		return err
	}
	if err := f.do("restore", nil, func(ctx context.Context) error {
		return f.p.b.Restore(ctx, f.stream, uuid.Nil)
	}); err != nil {
		return err
	}
	if err := f.append(1 + r.IntN(2)); err != nil {
		return err
	}
	n := r.IntN(len(f.events) + 1)
	before := f.first + uint64(n)
	if err := f.do("truncate", nil, func(ctx context.Context) error {
		return f.p.b.Truncate(ctx, f.stream, before, uuid.Nil)
	}); err != nil {
		return err
	}
	f.events, f.first = f.events[n:], before
	if err := f.append(1); err != nil {
		return err
	}
	if err := f.do("delete", backend.ErrStreamNotFound, func(ctx context.Context) error {
		return f.p.b.DeleteStream(ctx, backend.Stream{UUID: f.stream}, uuid.Nil)
	}); err != nil {
		return err
	}
	return f.want(backend.ErrStreamNotFound)
}

// do does something until it is certain. done is what it says where it was done
// before.
func (f *life) do(what string, done error, step func(context.Context) error) error {
	if f.ctx.Err() != nil {
		return errStopped
	}
	repeated := false
	err := insist(f.ctx, f.within, func(ctx context.Context) error {
		err := step(ctx)
		f.p.ledger.mu.Lock()
		f.p.ledger.lateLocked(ctx, what+" of "+f.stream, err)
		f.p.ledger.mu.Unlock()
		if repeated && done != nil && errors.Is(err, done) {
			return nil
		}
		repeated = repeated || errors.Is(err, backend.ErrOutcomeUnknown)
		return err
	})
	switch {
	case err == nil:
		return nil
	case f.ctx.Err() != nil && (errors.Is(err, backend.ErrUnavailable) || errors.Is(err, context.DeadlineExceeded)):
		return errStopped
	}
	return fmt.Errorf("%s of %s, version %d: %w", what, f.stream, f.first+uint64(len(f.events))-1, err)
}

func (f *life) append(n int) error {
	events := Events(n)
	version := f.first + uint64(len(f.events)) - 1
	if err := f.do("append", nil, func(ctx context.Context) error {
		res, err := backend.Append(ctx, f.p.b, f.stream, backend.ExactVersion(version), events, uuid.Nil)
		if err == nil && res.Version != version+uint64(n) {
			return fmt.Errorf("acknowledged version %d, want %d", res.Version, version+uint64(n))
		}
		return err
	}); err != nil {
		return err
	}
	f.p.ledger.acked.Add(1)
	for i := range events {
		f.events = append(f.events, events[i].EventUUID)
	}
	return f.want(nil)
}

// want checks that reading the event stream yields its events, or an error.
func (f *life) want(want error) error {
	var events []backend.RecordedEvent
	err := insist(f.ctx, f.within, func(ctx context.Context) (err error) {
		events, err = f.p.b.ReadStream(ctx, f.stream, 0, 1000, uuid.Nil)
		return err
	})
	switch {
	case want != nil && errors.Is(err, want):
		return nil
	case errors.Is(err, backend.ErrUnavailable), errors.Is(err, context.DeadlineExceeded):
		return errStopped // insist gives up on them only then
	case err != nil || want != nil:
		return fmt.Errorf("read of %s: %d events, error %v, want error %v", f.stream, len(events), err, want)
	}
	if len(events) != len(f.events) {
		return fmt.Errorf("read of %s: %d events, want %d from version %d", f.stream, len(events), len(f.events), f.first)
	}
	for i, e := range events {
		if e.EventUUID != f.events[i] || e.StreamVersion != f.first+uint64(i) {
			return fmt.Errorf("read of %s: event %s has version %d, want %s with %d", f.stream, e.EventUUID, e.StreamVersion, f.events[i], f.first+uint64(i))
		}
	}
	return nil
}
