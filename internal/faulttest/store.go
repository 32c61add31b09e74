package faulttest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/tributary-es/tributary/backend"
	"github.com/tributary-es/tributary/jetstream"
)

// party is a process as far as the promises go: a backend on a connection of its
// own, whose reads never go back in time.
type party struct {
	number int
	client *Client
	b      *jetstream.Backend
	leads  bool // reads are the leader's word
	ledger *Ledger
	acked  atomic.Int64

	mu    sync.Mutex
	floor map[string]uint64 // the versions it has seen, or was acknowledged
}

func (p *party) saw(stream string, version uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.floor[stream] = max(p.floor[stream], version)
}

func (p *party) knows(stream string) uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.floor[stream]
}

// append appends within a time.
func (p *party) append(ctx context.Context, within time.Duration, stream string, expected backend.ExpectedVersion, events []backend.UnsavedEvent) (backend.AppendResult, error) {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	floor := p.knows(stream)
	res, err := p.ledger.Append(ctx, p.number, p.b, stream, expected, events)
	if err == nil {
		p.acked.Add(1)
		p.saw(stream, res.Version)
	} else if conflict, ok := errors.AsType[*backend.WrongExpectedVersionError](err); ok {
		// It tells the version as a read does.
		if conflict.Actual < floor {
			p.ledger.violate("append to %s: process %d was refused at version %d after it saw %d", stream, p.number, conflict.Actual, floor)
		}
		p.saw(stream, conflict.Actual)
	}
	return res, err
}

// look reads the version of an event stream; 0: there is none.
func (p *party) look(ctx context.Context, within time.Duration, stream string) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	floor := p.knows(stream)
	seen := look{client: p.number, stream: stream, call: time.Since(p.ledger.began), linearizable: p.leads}
	info, err := p.b.ReadStreamInfo(ctx, stream, uuid.Nil)
	seen.ret = time.Since(p.ledger.began)
	if errors.Is(err, backend.ErrStreamNotFound) {
		info, err = backend.Stream{}, nil
	}
	seen.version = info.Version
	p.noteRead(ctx, "info of "+stream, floor, info.Version, err)
	if err == nil {
		p.ledger.mu.Lock()
		p.ledger.looks = append(p.ledger.looks, seen)
		p.ledger.mu.Unlock()
		p.saw(stream, info.Version)
	}
	return info.Version, err
}

// read reads an event stream, from the end backward, or all of it.
func (p *party) read(ctx context.Context, within time.Duration, stream string, all bool) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	floor := p.knows(stream)
	var events []backend.RecordedEvent
	var err error
	if all {
		for batch, batchErr := range p.b.StreamForward(ctx, stream, 100, uuid.Nil) {
			if batchErr != nil {
				err = batchErr
				break
			}
			events = append(events, batch...)
		}
	} else {
		events, err = p.b.ReadStreamBackward(ctx, stream, 0, 10, uuid.Nil)
		for i, j := 0, len(events)-1; i < j; i, j = i+1, j-1 {
			events[i], events[j] = events[j], events[i]
		}
	}
	if errors.Is(err, backend.ErrStreamNotFound) {
		err = nil
	}
	version := uint64(0)
	if len(events) > 0 {
		version = events[len(events)-1].StreamVersion
	}
	p.noteRead(ctx, "read of "+stream, floor, version, err)
	if err != nil {
		return err
	}
	p.saw(stream, version)
	p.ledger.mu.Lock()
	defer p.ledger.mu.Unlock()
	for i, e := range events {
		if want := version - uint64(len(events)-1-i); e.StreamVersion != want || e.StreamUUID != stream {
			p.ledger.violateLocked("read of %s: version %d of %s where %d is due", stream, e.StreamVersion, e.StreamUUID, want)
		}
		p.ledger.readLocked("read of "+stream, &e)
	}
	if all && len(events) > 0 && events[0].StreamVersion != 1 {
		p.ledger.violateLocked("read of %s begins at version %d", stream, events[0].StreamVersion)
	}
	return nil
}

func (p *party) noteRead(ctx context.Context, what string, floor, version uint64, err error) {
	l := p.ledger
	l.mu.Lock()
	defer l.mu.Unlock()
	l.reads++
	l.lateLocked(ctx, what, err)
	switch {
	case errors.Is(err, backend.ErrCorrupted):
		l.violateLocked("%s: %v", what, err)
	case err == nil && version < floor:
		l.violateLocked("%s: process %d saw version %d after %d", what, p.number, version, floor)
	case err != nil && !errors.Is(err, backend.ErrUnavailable) && !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, context.Canceled):
		l.violateLocked("%s: %v", what, err)
	}
}

// readAll reads all event streams of a load that are stored after a position.
// known are versions that must be there by then.
func (p *party) readAll(ctx context.Context, within time.Duration, under string, after uint64, known map[string]uint64) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	var events []backend.RecordedEvent
	var err error
	for batch, batchErr := range p.b.ReadAll(ctx, backend.ReadAllOptions{Under: under, After: after, BatchSize: 100}, uuid.Nil) {
		if batchErr != nil {
			err = batchErr
			break
		}
		events = append(events, batch...)
	}
	what := fmt.Sprintf("ReadAll after %d", after)
	p.noteRead(ctx, what, 0, 0, err)
	p.ledger.mu.Lock()
	defer p.ledger.mu.Unlock()
	// What comes before an error is good, too.
	last, position := make(map[string]uint64), after
	for i := range events {
		e := &events[i]
		p.ledger.readLocked(what, e)
		if e.Position < position || e.Position == after {
			p.ledger.violateLocked("%s: position %d after %d", what, e.Position, position)
		}
		position = e.Position
		if p.ledger.lives[e.StreamUUID] != nil {
			continue // parts of which may be erased
		}
		if before, ok := last[e.StreamUUID]; ok && e.StreamVersion != before+1 {
			p.ledger.violateLocked("%s: version %d of %s after %d", what, e.StreamVersion, e.StreamUUID, before)
		}
		last[e.StreamUUID] = e.StreamVersion
	}
	if err != nil {
		return err
	}
	for stream, version := range known {
		if last[stream] < version {
			p.ledger.violateLocked("%s: %s ends at version %d, %d was known before", what, stream, last[stream], version)
		}
	}
	return nil
}

// insist calls what can be repeated until its outcome is certain, within a while
// after ctx has ended.
func insist(ctx context.Context, within time.Duration, call func(context.Context) error) error {
	unknown, ended := false, time.Time{}
	for {
		attempt, cancel := context.WithTimeout(context.WithoutCancel(ctx), within)
		err := call(attempt)
		cancel()
		switch {
		case errors.Is(err, backend.ErrOutcomeUnknown):
			unknown = true
		case errors.Is(err, backend.ErrUnavailable), errors.Is(err, context.DeadlineExceeded):
			// An attempt before this one may be stored.
			if !unknown && ctx.Err() != nil {
				return err
			}
		default:
			return err
		}
		if ctx.Err() == nil {
			continue
		}
		if ended.IsZero() {
			ended = time.Now()
		}
		if time.Since(ended) > patience {
			return fmt.Errorf("not certain after %v: %v", patience, err) // nothing that is allowed
		}
	}
}
