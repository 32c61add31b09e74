package faulttest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/google/uuid"

	"github.com/tributary-es/tributary/backend"
	"github.com/tributary-es/tributary/jetstream"
)

// errStopped ends a life early, because the load ends.
var errStopped = errors.New("the load ends")

// lived is what an event stream that begins and ends is to be: it is certain
// between two steps.
type lived struct {
	events []uuid.UUID // that must be there
	first  uint64      // the version of the first
	hidden error       // what reading it returns; nil: its events

	begun map[uuid.UUID]uint64 // all events that were ever appended to it, and their versions
	acked int                  // appends that were acknowledged
}

// workLife has an event stream, which no other party writes to, begin, be hidden,
// shown, truncated and deleted. Each step is repeated until it is certain, and
// then the event stream must be as the step makes it.
func (l *Load) workLife(ctx context.Context, p *party, r *rand.Rand) error {
	life := &life{ctx: ctx, p: p, stream: l.life(p.number), within: deadline(r), lived: l.Ledger.lives[l.life(p.number)]}
	err := life.run(r)
	if errors.Is(err, errStopped) {
		return nil
	}
	return err
}

// life is one life of an event stream.
type life struct {
	ctx    context.Context
	p      *party
	stream string
	within time.Duration
	*lived
}

func (f *life) run(r *rand.Rand) error {
	if err := f.do("create", backend.ErrStreamExists, func(ctx context.Context) error {
		_, err := f.p.b.CreateStream(ctx, backend.Stream{UUID: f.stream}, uuid.Nil)
		return err
	}); err != nil {
		return err
	}
	f.becomes(nil)
	if err := f.append(1 + r.IntN(4)); err != nil {
		return err
	}
	if err := f.do("soft delete", backend.ErrStreamDeleted, func(ctx context.Context) error {
		return f.p.b.SoftDelete(ctx, f.stream, backend.AnyVersion(), uuid.Nil)
	}); err != nil {
		return err
	}
	f.becomes(backend.ErrStreamDeleted)
	if err := f.want(); err != nil {
		return err
	}
	if err := f.do("restore", nil, func(ctx context.Context) error {
		return f.p.b.Restore(ctx, f.stream, uuid.Nil)
	}); err != nil {
		return err
	}
	f.becomes(nil)
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
	f.p.ledger.mu.Lock()
	f.events, f.first = f.events[n:], before
	f.p.ledger.mu.Unlock()
	if err := f.append(1); err != nil {
		return err
	}
	if err := f.do("delete", backend.ErrStreamNotFound, func(ctx context.Context) error {
		return f.p.b.DeleteStream(ctx, backend.Stream{UUID: f.stream}, uuid.Nil)
	}); err != nil {
		return err
	}
	f.p.ledger.mu.Lock()
	f.events, f.first, f.hidden = nil, 1, backend.ErrStreamNotFound
	f.p.ledger.mu.Unlock()
	return f.want()
}

// becomes notes what reading the event stream returns from now on.
func (f *life) becomes(hidden error) {
	f.p.ledger.mu.Lock()
	defer f.p.ledger.mu.Unlock()
	f.hidden = hidden
}

// do does something until it is certain: errStopped means that it was not done.
// done is what it says where it was done before.
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
	l := f.p.ledger
	l.ask(events)
	l.mu.Lock()
	for i := range events {
		f.begun[events[i].EventUUID] = version + 1 + uint64(i)
	}
	l.mu.Unlock()
	if err := f.do("append", nil, func(ctx context.Context) error {
		res, err := backend.Append(ctx, f.p.b, f.stream, backend.ExactVersion(version), events, uuid.Nil)
		if err == nil && res.Version != version+uint64(n) {
			return fmt.Errorf("acknowledged version %d, want %d", res.Version, version+uint64(n))
		}
		return err
	}); err != nil {
		return err
	}
	l.acked.Add(1)
	l.mu.Lock()
	for i := range events {
		f.events = append(f.events, events[i].EventUUID)
	}
	f.acked++
	l.mu.Unlock()
	return f.want()
}

// want checks that reading the event stream yields its events, or an error.
func (f *life) want() error {
	var events []backend.RecordedEvent
	err := insist(f.ctx, f.within, func(ctx context.Context) (err error) {
		events, err = f.p.b.ReadStream(ctx, f.stream, 0, 1000, uuid.Nil)
		return err
	})
	if errors.Is(err, backend.ErrUnavailable) || errors.Is(err, context.DeadlineExceeded) {
		return errStopped // insist gives up on them only then
	}
	f.p.ledger.mu.Lock()
	defer f.p.ledger.mu.Unlock()
	for i := range events {
		f.p.ledger.readLocked("read of "+f.stream, &events[i])
	}
	return f.differs(f.stream, events, err)
}

// differs returns an error where what was read of the event stream is not what it
// is to be.
func (v *lived) differs(stream string, events []backend.RecordedEvent, err error) error {
	switch {
	case v.hidden != nil && errors.Is(err, v.hidden):
		return nil
	case err != nil || v.hidden != nil:
		return fmt.Errorf("read of %s: %d events, error %v, want error %v", stream, len(events), err, v.hidden)
	case len(events) != len(v.events):
		return fmt.Errorf("read of %s: %d events, want %d from version %d", stream, len(events), len(v.events), v.first)
	}
	for i, e := range events {
		if e.EventUUID != v.events[i] || e.StreamVersion != v.first+uint64(i) {
			return fmt.Errorf("read of %s: event %s has version %d, want %s with %d", stream, e.EventUUID, e.StreamVersion, v.events[i], v.first+uint64(i))
		}
	}
	return nil
}

// checkLives reads the lives as they are in the end, by themselves, and compares
// them with what they are to be, and with what ReadAll had of them. That may have
// what was erased: a server that was killed in the midst of that leaves it there.
func (l *Ledger) checkLives(ctx context.Context, b *jetstream.Backend, all []backend.RecordedEvent, res *Result) {
	for stream, v := range l.lives {
		events, err := readStream(ctx, b, stream)
		l.mu.Lock()
		l.compareLifeLocked(stream, v, events, err, all, res)
		l.mu.Unlock()
	}
}

func (l *Ledger) compareLifeLocked(stream string, v *lived, events []backend.RecordedEvent, err error, all []backend.RecordedEvent, res *Result) {
	for i := range events {
		l.readLocked("the last read of "+stream, &events[i])
	}
	if err := v.differs(stream, events, err); err != nil {
		l.violateLocked("in the end: %v", err)
	}
	res.Acknowledged += v.acked
	res.Events += len(events)
	there := make(map[uuid.UUID]int)
	for _, e := range all {
		if e.StreamUUID != stream {
			continue
		}
		if there[e.EventUUID]++; there[e.EventUUID] > 1 {
			res.Doubled++
			l.violateLocked("event %s of %s is there more than once", e.EventUUID, stream)
		}
		if version, ok := v.begun[e.EventUUID]; !ok || version != e.StreamVersion {
			l.violateLocked("ReadAll has event %s as version %d of %s, where it was appended as %d (0: never)", e.EventUUID, e.StreamVersion, stream, version)
		}
	}
	for i, id := range v.events {
		if there[id] == 0 {
			res.Lost++
			l.violateLocked("lost: event %s, version %d of %s, is not there", id, v.first+uint64(i), stream)
		}
	}
}
