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
	Failed                 // it is not stored, and never will be: see isConflict
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

// refusedAt is the version that the event stream has, as an append was told that
// expects another.
func (o *Op) refusedAt() (uint64, bool) {
	conflict, ok := errors.AsType[*backend.WrongExpectedVersionError](o.Err)
	if !ok {
		return 0, false
	}
	return conflict.Actual, true
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

// sighting is what the store adds to an event.
type sighting struct {
	place
	position uint64
	at       time.Time
}

func (s sighting) String() string {
	return fmt.Sprintf("version %d of %s at %d, recorded %v", s.version, s.stream, s.position, s.at)
}

// Ledger is what was asked of a store, and what was answered. Its methods may be
// called from several goroutines.
type Ledger struct {
	began time.Time
	acked atomic.Int64 // appends

	mu         sync.Mutex
	ops        []Op
	looks      []look
	asked      map[uuid.UUID]backend.UnsavedEvent
	read       map[uuid.UUID]sighting // events, as they were read first
	seen       map[place]uuid.UUID    // what was ever acknowledged or read there
	lives      map[string]*lived      // by event stream; no more come once the load works
	places     map[uuid.UUID]uint64   // versions by event, once they are looked for
	followers  []*follower
	reads      int
	late       time.Duration // the longest that a call outlasted its deadline
	violations []string
	kept       map[string]int // violations of each kind, by what is common to their texts
	more       int            // violations that were not kept

	forgives func(violation string) bool // nil: none
	forgiven int
}

// NewLedger returns an empty ledger.
func NewLedger() *Ledger {
	return &Ledger{began: time.Now(), asked: make(map[uuid.UUID]backend.UnsavedEvent), read: make(map[uuid.UUID]sighting),
		seen: make(map[place]uuid.UUID), lives: make(map[string]*lived), kept: make(map[string]int)}
}

// maxViolations is how many of a kind are kept word by word.
const maxViolations = 5

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
	if l.kept[format]++; l.kept[format] > maxViolations {
		l.more++
		return
	}
	l.violations = append(l.violations, fmt.Sprintf(format, args...))
}

// Append appends, and writes it down.
func (l *Ledger) Append(ctx context.Context, client int, b backend.Backend, stream string, expected backend.ExpectedVersion, events []backend.UnsavedEvent) (backend.AppendResult, error) {
	l.ask(events)
	op := Op{Client: client, Stream: stream, Expected: expected, Call: time.Since(l.began)}
	for i := range events {
		op.IDs = append(op.IDs, events[i].EventUUID)
	}
	res, err := backend.Append(ctx, b, stream, expected, events, uuid.Nil)
	op.Return, op.Err, op.Version, op.Position = time.Since(l.began), err, res.Version, res.Position
	l.note(ctx, &op)
	return res, err
}

// ask notes events before they are appended, so that whoever reads them can tell
// whether they are as they should be.
func (l *Ledger) ask(events []backend.UnsavedEvent) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range events {
		l.asked[events[i].EventUUID] = events[i]
	}
}

// readLocked notes an event as it was read, by who: it must be as it was
// appended, and the same whenever and however it is read.
func (l *Ledger) readLocked(who string, e *backend.RecordedEvent) {
	appended, ok := l.asked[e.EventUUID]
	if !ok {
		l.violateLocked("%s: event %s, version %d of %s, was never appended", who, e.EventUUID, e.StreamVersion, e.StreamUUID)
		return
	}
	if d := difference(e, &appended); d != "" {
		l.violateLocked("%s: altered: event %s, version %d of %s, has %s", who, e.EventUUID, e.StreamVersion, e.StreamUUID, d)
	}
	now := sighting{place{e.StreamUUID, e.StreamVersion}, e.Position, e.RecordedAt}
	if before, ok := l.read[e.EventUUID]; !ok {
		l.read[e.EventUUID] = now
	} else if before.place != now.place || before.position != now.position || !before.at.Equal(now.at) {
		l.violateLocked("%s: event %s was read as %s, and now as %s", who, e.EventUUID, before, now)
	}
	if l.lives[e.StreamUUID] == nil { // whose versions begin again
		l.sawLocked(who, e.StreamUUID, e.StreamVersion, e.EventUUID)
	}
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
		if v, exact := op.Expected.Exact(); exact {
			if actual, ok := op.refusedAt(); ok && actual == v {
				l.violateLocked("an append to %s that expects version %d was refused, as it has that version: %v", op.Stream, v, op.Err)
			}
		}
		return
	}
	l.acked.Add(1)
	if op.Version < uint64(len(op.IDs)) {
		l.violateLocked("append of %d events to %s was acknowledged with version %d", len(op.IDs), op.Stream, op.Version)
		return
	}
	for i, id := range op.IDs {
		l.sawLocked("append to "+op.Stream, op.Stream, op.Version-uint64(len(op.IDs)-1-i), id)
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
func (l *Ledger) sawLocked(who, stream string, version uint64, id uuid.UUID) {
	p := place{stream, version}
	if before, ok := l.seen[p]; ok && before != id {
		l.violateLocked("%s: version %d of %s was event %s and is now %s", who, version, stream, before, id)
		return
	}
	l.seen[p] = id
}

// Acknowledged is how many appends were acknowledged so far.
func (l *Ledger) Acknowledged() int64 { return l.acked.Load() }
