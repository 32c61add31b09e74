package jetstream

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	"github.com/google/uuid"

	"github.com/tributary-es/tributary/backend"
	"github.com/tributary-es/tributary/jetstream/internal/wire"
)

const (
	// maxGroupEvents and maxGroupBytes bound what is written together, well
	// within a message. A single append may be larger.
	maxGroupEvents = 256
	maxGroupBytes  = 256 << 10
)

// appendGroup appends for waiters that are given the turn together, and gives it
// on. Each waiter watches its own context; the writing ends with the last of
// them.
func (b *Backend) appendGroup(t target, members []*waiter) {
	defer b.unlock(t)
	var latest time.Time
	for _, w := range members {
		if w.append.deadline.After(latest) {
			latest = w.append.deadline
		}
	}
	ctx, cancel := context.WithDeadline(context.Background(), latest)
	defer cancel()
	b.appendTogether(ctx, t, nil, members)
}

// appendTogether appends for members, in their order, in as few messages as it
// takes, and gives each its outcome. h is the head as the leader just had it; nil:
// it wasn't asked.
func (b *Backend) appendTogether(ctx context.Context, t target, h *head, members []*waiter) {
	var err error
	most, fresh := maxGroupEvents, h != nil
	if h == nil {
		h, err = b.headToAppend(ctx, t, members[0].append)
	}
	for tries := 0; err == nil && len(members) > 0; tries++ {
		var g *group
		if g, err = b.plan(ctx, t, h, fresh, members, most); err == nil {
			err = b.commit(ctx, t, h, g)
		}
		switch {
		case err == nil:
			members = g.settle(ctx, members, nil)
			// What came after needs the head that this made.
			if len(members) > 0 {
				h, err = b.headToAppend(ctx, t, members[0].append)
				fresh = false
			}
			continue
		case errors.Is(err, errTooLarge):
			most, err = len(g.events)/2, nil
			continue
		case errors.Is(err, errInFlight):
			if !pause(ctx, tries) {
				err = unavailable(ctx, err)
				continue
			}
		case errors.Is(err, errUnfinished):
			g.doubt(members)
		case !errors.Is(err, errConflict) && !errors.Is(err, errStale):
			if g != nil {
				// It fails those who were to be written. The others are seen to
				// again.
				members = g.settle(ctx, members, err)
				err = nil
			}
			continue
		}
		b.log.DebugContext(ctx, "append met another", "stream", t.uuid, "version", h.state.Version, "error", err)
		if tries > 2 { // other processes are at it, too
			pause(ctx, rand.IntN(min(tries, 6)))
		}
		h, err = b.refreshHead(ctx, t)
		fresh = true
	}
	for _, w := range members {
		w.settle(ctx, appendOutcome{err: err})
	}
}

// settle gives the waiter its outcome.
func (w *waiter) settle(ctx context.Context, outcome appendOutcome) {
	// What may yet be finished is only refused by what the event stream says.
	if err := outcome.err; w.append.doubtful && err != nil && !isVerdict(err) && !errors.Is(err, backend.ErrOutcomeUnknown) {
		outcome.err = outcomeUnknown(ctx, fmt.Errorf("a part of it is stored: %v", err))
	}
	w.outcome = outcome
	if w.done != nil {
		close(w.done)
	}
}

// group is appends that are written together.
type group struct {
	planned []planned  // what becomes of the first members
	alone   [1]planned // where planned is, of a single one
	events  []backend.UnsavedEvent
	ids     map[uuid.UUID]struct{} // of events, once they are looked for
	writers int

	write            // once it is encoded
	begun wire.State // what the head after it goes out from
	next  *head      // that head, once it is made
}

// planned is what becomes of a member.
type planned struct {
	appendOutcome      // where it is written, the position is yet to come
	written       bool // or to be written
}

// plan decides what becomes of members after h, until what they write is enough
// for a message: at most that many events, but at least one append.
func (b *Backend) plan(ctx context.Context, t target, h *head, fresh bool, members []*waiter, most int) (*group, error) {
	g := &group{}
	if g.planned = g.alone[:0]; len(members) > 1 {
		g.planned = make([]planned, 0, len(members))
	}
	exists, state := h.exists, h.state // as they are after those before
	size, decided := 0, false
	for _, w := range members {
		a := w.append
		if a.given && g.has(a.events) {
			break // another's repetition; when that is written, it is seen
		}
		res, done, err := b.repeated(ctx, t, h, a)
		if err == nil && !done {
			err = a.verify(t, exists, &state)
		}
		if err != nil || done {
			g.add(appendOutcome{res: res, err: err}, nil)
			decided = true
			continue
		}
		if len(members) > 1 {
			size += a.bytes()
		}
		if g.writers > 0 && (size > maxGroupBytes || len(g.events)+len(a.events) > most) {
			break
		}
		if !w.claimed() {
			g.add(appendOutcome{err: context.Canceled}, nil) // nobody waits for it
			continue
		}
		exists = true
		state.Version += uint64(len(a.events))
		g.add(appendOutcome{res: a.result(state.Version, 0)}, a.events)
	}
	// Only the leader's word is good enough for a refusal, or for saying that it is
	// stored already; or the fence's, where something is written.
	if decided && g.writers == 0 && !fresh {
		return nil, errStale
	}
	return g, nil
}

// add adds the outcome of the next member, and the events that it writes.
func (g *group) add(outcome appendOutcome, events []backend.UnsavedEvent) {
	g.planned = append(g.planned, planned{outcome, len(events) > 0})
	if len(events) == 0 {
		return
	}
	if g.writers++; g.writers == 1 {
		g.events = events[:len(events):len(events)]
	} else {
		g.events = append(g.events, events...)
	}
	for i := range events {
		if g.ids != nil {
			g.ids[events[i].EventUUID] = struct{}{}
		}
	}
}

// has reports whether any of events is to be written already.
func (g *group) has(events []backend.UnsavedEvent) bool {
	if len(g.events) == 0 {
		return false
	}
	if g.ids == nil {
		g.ids = make(map[uuid.UUID]struct{}, 2*len(g.events))
		for i := range g.events {
			g.ids[g.events[i].EventUUID] = struct{}{}
		}
	}
	for i := range events {
		if _, ok := g.ids[events[i].EventUUID]; ok {
			return true
		}
	}
	return false
}

// settle gives the planned members their outcomes. Where writing failed, those
// who were to be written get the error, and the others, whose outcomes hang on
// it, are left. It returns all that are left.
func (g *group) settle(ctx context.Context, members []*waiter, err error) (left []*waiter) {
	if err == nil {
		for i := range g.planned {
			members[i].settle(ctx, g.planned[i].appendOutcome)
		}
		return members[len(g.planned):]
	}
	for i := range g.planned {
		if g.planned[i].written {
			members[i].settle(ctx, appendOutcome{err: err})
		} else {
			left = append(left, members[i])
		}
	}
	return append(left, members[len(g.planned):]...)
}

// doubt notes that the appends written may yet be finished: from now on they are
// looked for by their ids.
func (g *group) doubt(members []*waiter) {
	for i := range g.planned {
		if g.planned[i].written {
			members[i].append.given, members[i].append.doubtful = true, true
		}
	}
}

// commit writes what g has to write after h, and remembers the head that it
// makes.
func (b *Backend) commit(ctx context.Context, t target, h *head, g *group) error {
	if g.writers == 0 {
		return nil
	}
	if err := b.encode(t, h, g); err != nil {
		return err
	}
	position, err := b.write(ctx, &g.write)
	if err != nil {
		return err
	}
	b.stored(g, position)
	return nil
}

// encode makes ready to write g after h.
func (b *Backend) encode(t target, h *head, g *group) error {
	before := h.begin()
	if before.Version > math.MaxUint64-1-uint64(len(g.events)) {
		return &backend.CorruptedError{StreamUUID: t.uuid, FirstVersion: before.Version, LastVersion: before.Version, Position: h.position,
			Reason: "there is no version after it"}
	}
	messages, err := wire.EncodeEvents(g.events, before, !h.exists, h.links, b.limits())
	if g.writers > 1 && (err != nil || len(messages) > 1) {
		return errTooLarge
	}
	if err != nil {
		return err
	}
	g.begun = before
	g.write = write{target: t, messages: messages, id: g.events[0].EventUUID, before: h, rollup: h.erased(), meanwhile: g}
	return nil
}

// makeHead makes the head after g, but for its position.
func (g *group) makeHead() {
	if g.next == nil {
		g.next = g.before.after(g.begun, g.events, len(g.messages))
	}
}

// stored completes the outcomes of those written at position, and remembers the
// head that this made.
func (b *Backend) stored(g *group, position uint64) {
	g.makeHead()
	g.next.setPosition(position)
	b.heads.put(g.subject, g.next)
	for i := range g.planned {
		if p := &g.planned[i]; p.written {
			p.res.Position = position
		}
	}
}
