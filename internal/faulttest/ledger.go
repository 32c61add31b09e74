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
)

// Outcome is what a caller knows of an append.
type Outcome int

// What a caller knows.
const (
	Acked   Outcome = iota // it is stored
	Failed                 // it is not stored, and never will be
	Unknown                // it is stored once or not at all
)

// outcomeOf reads an append's error as package backend documents it.
func outcomeOf(err error) Outcome {
	switch {
	case err == nil:
		return Acked
	case errors.Is(err, backend.ErrOutcomeUnknown):
		return Unknown
	}
	return Failed
}

// Op is one append, as it was called and as it returned. It may be one of several
// with the same ids, which are one append repeated.
type Op struct {
	Client       int // whose process it was
	Stream       string
	Expected     backend.ExpectedVersion
	IDs          []uuid.UUID
	Call, Return time.Duration // since the ledger began
	Err          error
	Version      uint64 // where acknowledged
	Position     uint64
}

// look is a read of an event stream's version.
type look struct {
	client       int
	stream       string
	call, ret    time.Duration
	version      uint64
	linearizable bool // it was answered by a leader that must know
}

// place is that of an event.
type place struct {
	stream  string
	version uint64
}

// Ledger is what was asked of a store, and what was answered. Its methods may be
// called from several goroutines.
type Ledger struct {
	began time.Time
	acked atomic.Int64 // appends

	mu         sync.Mutex
	ops        []Op
	looks      []look
	seen       map[place]uuid.UUID  // what was ever acknowledged or read there
	places     map[uuid.UUID]uint64 // versions by event, once they are looked for
	followers  []*follower
	reads      int
	late       time.Duration // the longest that a call outlasted its deadline
	violations []string
	more       int // violations that were not kept

	forgives func(violation string) bool // nil: none
	forgiven int
}

// NewLedger returns an empty ledger.
func NewLedger() *Ledger {
	return &Ledger{began: time.Now(), seen: make(map[place]uuid.UUID)}
}

// maxViolations is how many are kept word by word.
const maxViolations = 20

func (l *Ledger) violate(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.violateLocked(format, args...)
}

// Forgive has violations counted, and nothing else, that are known to come of a
// fault.
func (l *Ledger) Forgive(known func(violation string) bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.forgives = known
}

// Forgiven is how many there were.
func (l *Ledger) Forgiven() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.forgiven
}

func (l *Ledger) violateLocked(format string, args ...any) {
	if l.forgives != nil && l.forgives(fmt.Sprintf(format, args...)) {
		l.forgiven++
		return
	}
	if len(l.violations) >= maxViolations {
		l.more++
		return
	}
	l.violations = append(l.violations, fmt.Sprintf(format, args...))
}

// Events makes n events with ids.
func Events(n int) []backend.UnsavedEvent {
	events := make([]backend.UnsavedEvent, n)
	for i := range events {
		events[i] = backend.UnsavedEvent{EventUUID: uuid.New(), EventType: "Happened", Data: []byte(`{"n":1}`)}
	}
	return events
}

// Append appends, and writes it down.
func (l *Ledger) Append(ctx context.Context, client int, b backend.Backend, stream string, expected backend.ExpectedVersion, events []backend.UnsavedEvent) (backend.AppendResult, error) {
	op := Op{Client: client, Stream: stream, Expected: expected, Call: time.Since(l.began)}
	for i := range events {
		op.IDs = append(op.IDs, events[i].EventUUID)
	}
	res, err := backend.Append(ctx, b, stream, expected, events, uuid.Nil)
	op.Return, op.Err, op.Version, op.Position = time.Since(l.began), err, res.Version, res.Position
	l.note(ctx, &op)
	return res, err
}

func (l *Ledger) note(ctx context.Context, op *Op) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ops = append(l.ops, *op)
	l.lateLocked(ctx, "append to "+op.Stream, op.Err)
	if op.Err != nil {
		if errors.Is(op.Err, backend.ErrCorrupted) {
			l.violateLocked("append to %s: %v", op.Stream, op.Err)
		}
		return
	}
	l.acked.Add(1)
	if op.Version < uint64(len(op.IDs)) {
		l.violateLocked("append of %d events to %s was acknowledged with version %d", len(op.IDs), op.Stream, op.Version)
		return
	}
	for i, id := range op.IDs {
		l.sawLocked(op.Stream, op.Version-uint64(len(op.IDs)-1-i), id)
	}
}

// tolerance is how long after its deadline a call may return on a machine that is
// busy with this.
const tolerance = 5 * time.Second

func (l *Ledger) lateLocked(ctx context.Context, what string, err error) {
	deadline, ok := ctx.Deadline()
	if !ok {
		return
	}
	late := time.Since(deadline)
	l.late = max(l.late, late)
	if late > tolerance {
		l.violateLocked("%s returned %v after its deadline: %v", what, late, err)
	}
}

// sawLocked notes that an event has a place, which it must have had from the
// beginning.
func (l *Ledger) sawLocked(stream string, version uint64, id uuid.UUID) {
	p := place{stream, version}
	if before, ok := l.seen[p]; ok && before != id {
		l.violateLocked("version %d of %s was event %s and is now %s", version, stream, before, id)
		return
	}
	l.seen[p] = id
}

// Acknowledged is how many appends were acknowledged so far.
func (l *Ledger) Acknowledged() int64 { return l.acked.Load() }
