package jetstream

import (
	"context"
	"errors"

	"github.com/tributary-es/tributary/backend"
)

// continuity knows what has come of each event stream in a reading of many. The
// server passes over a message that it can't read without a word, and only the
// next one of that event stream tells: by its versions, and by its chain.
type continuity struct {
	from uint64 // the position after which everything that came is in seen
	seen map[string]reached
}

// reached is what came last of an event stream.
type reached struct {
	id      uint64
	version uint64
	passed  uint64 // the position up to which it was passed over, and nothing is known; 0: it wasn't
}

// maxSeen is how many event streams are known at a time, some 100 bytes each.
const maxSeen = 1 << 16

// want returns the version that must come next of c's event stream, 0: any; and
// the position after which all of it has come.
func (k *continuity) want(c *commit) (version, after uint64) {
	last, ok := k.seen[c.last().subject]
	after = max(k.from, last.passed)
	switch {
	case last.passed > 0:
	case ok && last.id == c.streamID():
		return last.version + 1, after
	case ok || k.from == 0:
		return 1, after
	}
	// It is the first in this reading. Its chain says where the one before is.
	before := c.before()
	if chain := c.parts[0].rec.Chain(); len(chain) > 0 && chain[0].Position > after && uint64(chain[0].Events) <= before {
		return before + 1 - uint64(chain[0].Events), after
	}
	return 0, after
}

// add notes that c has come.
func (k *continuity) add(c *commit) {
	k.note(c.last().subject, reached{id: c.streamID(), version: c.version()}, c.start()-1)
}

// passOver notes that a message is none of this reading's. Of other event streams
// that says nothing.
func (k *continuity) passOver(m *stored) {
	k.note(m.subject, reached{passed: m.position}, m.position)
}

// note notes what came of an event stream. What came before position is forgotten
// where too much is known.
func (k *continuity) note(subject string, r reached, position uint64) {
	if len(k.seen) >= maxSeen {
		clear(k.seen)
		k.from = position
	}
	if k.seen == nil {
		k.seen = make(map[string]reached)
	}
	k.seen[subject] = r
}

// checkContinuity returns a [*backend.CorruptedError] where events are missing
// before the commit that has just been completed. Going on after its position
// passes over them. What was truncated or erased isn't missing.
func (a *assembly) checkContinuity(ctx context.Context) error {
	c := &a.commit
	if last, ok := a.known.seen[c.last().subject]; ok && last.passed == 0 && last.id != c.streamID() && c.forgetful() {
		a.known.add(c)
		return c.forgotten(a.uuid)
	}
	if want, after := a.known.want(c); want != 0 && max(want, c.last().rec.State.First) <= c.before() {
		if err := a.checkMissing(ctx, want, after); err != nil {
			return err
		}
	}
	a.known.add(c)
	return nil
}

// checkMissing is checkContinuity where the version want didn't come, which is
// stored after a position.
func (a *assembly) checkMissing(ctx context.Context, want, after uint64) error {
	c := &a.commit
	t := target{uuid: a.uuid, subject: c.last().subject}
	ctx, cancel, err := a.b.begin(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	h, err := a.b.refreshHead(ctx, t)
	if err != nil {
		return err
	}
	want = max(want, h.state.First)
	if !h.exists || h.state.ID != c.streamID() || want > c.before() {
		return nil
	}
	reason := "events are missing"
	events, err := a.b.readRange(ctx, t, h, c.before(), c.before())
	switch {
	case errors.Is(err, backend.ErrStreamChanged):
		return nil
	case err != nil && !errors.Is(err, backend.ErrCorrupted):
		return err
	case err == nil && events[0].Position <= after:
		return nil // a copy's chain, which names positions of the original
	case err == nil:
		reason = "the server passed over events, which another replica has"
	}
	return &backend.CorruptedError{StreamUUID: a.uuid, FirstVersion: want, LastVersion: c.before(), Position: c.start() - 1, Reason: reason}
}

// start is the position of the first message.
func (c *commit) start() uint64 { return c.parts[0].position }

// forgetful reports whether nothing was stored on the subject when the commit was:
// the fence of what begins where something was erased is the position of that.
func (c *commit) forgetful() bool {
	fence := c.parts[0].header[headerFence]
	return len(fence) == 1 && fence[0] == "0"
}

// forgotten is the error where a forgetful commit follows others.
func (c *commit) forgotten(streamUUID string) error {
	return &backend.CorruptedError{StreamUUID: streamUUID, Position: c.start() - 1,
		Reason: "the next commit begins the event stream anew, as the server could no longer read that it existed"}
}
