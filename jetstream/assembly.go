package jetstream

import (
	"context"
	"strings"

	"github.com/tributary-es/tributary/backend"
	"github.com/tributary-es/tributary/jetstream/internal/wire"
)

// assembly makes commits of messages of many event streams, as they come in
// position order.
type assembly struct {
	b    *Backend
	keep func(uuid string) bool // false for event streams to pass over; nil: none

	known  continuity
	trusts bool // that nothing is missing: who reads one event stream sees to that, but for the first commit

	commit  commit // the one begun
	subject string // of the message before
	uuid    string // the event stream's name; empty: it is passed over
}

// add adds a message and returns the commit that it completes, of the event
// stream a.uuid, which is good until the next call; nil: none. What was never
// finished is dropped.
func (a *assembly) add(ctx context.Context, m *stored) (*commit, error) {
	c := &a.commit
	if c.complete() {
		c.clear()
	}
	if err := a.name(m); err != nil {
		return nil, err
	}
	if a.uuid == "" {
		c.clear()
		if a.keep != nil {
			a.known.passOver(m)
		}
		return nil, nil
	}
	p, err := c.decode(m)
	if err != nil {
		return nil, undecodable(a.uuid, m.position, err)
	}
	if !c.add(p) {
		c.clear()
		if p.rec.Part.Index > 1 {
			err = a.addWithin(ctx, p)
		} else {
			c.add(p) // not where it is a marker
		}
	}
	if err != nil || !c.complete() {
		return nil, err
	}
	if !a.trusts {
		if err := a.checkContinuity(ctx); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// name finds out which event stream a message is of.
func (a *assembly) name(m *stored) error {
	if m.subject == a.subject {
		return nil
	}
	uuid, err := a.b.subjects.StreamUUID(m.subject)
	switch {
	case err == nil:
	case a.b.isReserved(m.subject):
		uuid = ""
	default:
		return undecodable("", m.position, err)
	}
	if uuid != "" && a.keep != nil && !a.keep(uuid) {
		uuid = ""
	}
	a.subject, a.uuid = m.subject, uuid
	return nil
}

// isReserved reports whether a subject is of an event stream of this library's
// own, whose name starts with "$".
func (b *Backend) isReserved(subject string) bool {
	return strings.HasPrefix(subject[min(len(subject), len(b.subjects.All())-1):], "$")
}

// addWithin adds a message of a commit whose beginning didn't come: because
// reading began within it, or because the server passed over it.
func (a *assembly) addWithin(ctx context.Context, p part) error {
	before := uint64(p.rec.Part.Index) - 1
	if before >= wire.MaxParts || p.position <= before {
		return a.checkBeginning(ctx, p)
	}
	positions := make([]uint64, before)
	for i := range positions {
		positions[i] = p.position - before + uint64(i)
	}
	ctx, cancel, err := a.b.begin(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	messages, err := a.b.getAll(ctx, positions)
	if err != nil {
		return err
	}
	c := &a.commit
	for _, m := range messages {
		whole := m != nil
		if whole {
			earlier, err := c.decode(m)
			whole = err == nil && c.add(earlier)
		}
		if !whole {
			c.clear()
			return a.checkBeginning(ctx, p)
		}
	}
	if !c.add(p) {
		c.clear()
		return a.checkBeginning(ctx, p)
	}
	return nil
}

// checkBeginning returns an error where p is the last message of a commit of which
// others are missing: of one that was never finished the last isn't there. What was
// truncated or erased isn't missing, though a server that was killed meanwhile may
// have left the end of it.
func (a *assembly) checkBeginning(ctx context.Context, p part) error {
	if !p.rec.Part.Last() {
		return nil // if its last message comes, that tells
	}
	ctx, cancel, err := a.b.begin(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	h, err := a.b.refreshHead(ctx, target{uuid: a.uuid, subject: p.subject})
	if err != nil {
		return err
	}
	first := max(p.rec.Part.Base+1, h.state.First)
	if !h.exists || h.state.ID != p.rec.State.ID || first > p.rec.State.Version {
		return nil
	}
	return &backend.CorruptedError{StreamUUID: a.uuid, FirstVersion: first, LastVersion: p.rec.State.Version, Position: p.position,
		Reason: "messages of the commit that ends there are missing"}
}
