package jetstream

import (
	"context"

	"github.com/tributary-es/tributary/backend"
)

// continuity knows where event streams are, in a reading of many of them: the
// server passes over a message that it can't read without a word, and only the
// versions of the next one tell.
type continuity struct {
	from    uint64 // the position after which reading began
	seen    map[string]reached
	dropped bool // some are no longer known
}

// reached is what came last of an event stream.
type reached struct {
	id      uint64
	version uint64
}

// maxSeen is how many event streams are known at a time, some 100 bytes each.
// Those beyond it are checked from the second commit on that comes.
const maxSeen = 1 << 16

// next returns the version that must come next of the event stream with that
// subject and id; 0: not known.
func (k *continuity) next(subject string, id uint64) uint64 {
	last, ok := k.seen[subject]
	switch {
	case ok && last.id == id:
		return last.version + 1
	case ok || k.from == 0 && !k.dropped:
		return 1
	}
	return 0
}

// add notes what has come.
func (k *continuity) add(subject string, id, version uint64) {
	if len(k.seen) >= maxSeen {
		clear(k.seen)
		k.dropped = true
	}
	if k.seen == nil {
		k.seen = make(map[string]reached)
	}
	k.seen[subject] = reached{id, version}
}

// checkContinuity returns a [*backend.CorruptedError] where events are missing
// before the commit that has just been completed. What was truncated or erased
// isn't missing.
func (a *assembly) checkContinuity(ctx context.Context) error {
	c := &a.commit
	subject, id := c.last().subject, c.streamID()
	if last, ok := a.known.seen[subject]; ok && last.id != id && c.forgetful() {
		return &backend.CorruptedError{StreamUUID: a.uuid, Position: a.before, Reason: forgot}
	}
	want := a.known.next(subject, id)
	if want != 0 && max(want, c.last().rec.State.First) <= c.before() {
		t := target{uuid: a.uuid, subject: subject}
		now := a.b.heads.get(subject)
		if now == nil || now.state.ID != id || now.state.First <= c.before() {
			ctx, cancel, err := a.b.begin(ctx)
			if err != nil {
				return err
			}
			defer cancel()
			if now, err = a.b.refreshHead(ctx, t); err != nil {
				return err
			}
		}
		if first := max(want, now.state.First); now.exists && now.state.ID == id && first <= c.before() {
			return &backend.CorruptedError{StreamUUID: a.uuid, FirstVersion: first, LastVersion: c.before(), Position: a.before,
				Reason: "events are missing somewhere before the next position; going on after this one passes over them"}
		}
	}
	a.known.add(subject, id, c.version())
	return nil
}

// forgot is what is wrong where an event stream follows another of its name, and
// says that it is the first.
const forgot = "the next commit begins the event stream, as the server no longer knew that it existed"

// forgetful reports whether nothing was stored on the subject when the commit was:
// the fence of what begins where something was erased is the position of that.
func (c *commit) forgetful() bool {
	fence := c.parts[0].header[headerFence]
	return len(fence) == 1 && fence[0] == "0"
}
