package jetstream

import (
	"context"
	"fmt"
	"math"

	"github.com/tributary-es/tributary/backend"
)

// taker is given the commits of a scan in order, with the first version that is
// wanted of each, and returns false to end it. It must not keep the commit.
type taker func(c *commit, from uint64) (bool, error)

// scanStream gives take the commits with the versions from to to of the event
// stream that has the head h. Every version is there, or it is an error:
// [*backend.CorruptedError], or [backend.ErrStreamChanged] where h is no longer
// the head and the events are gone.
func (b *Backend) scanStream(ctx context.Context, t target, h *head, from, to uint64, take taker) error {
	want := from // the next version
	var after uint64
	for try := 0; ; try++ {
		if want == from {
			switch try { // where a hint may have led astray
			case 0:
				_, after = b.seek(ctx, t, h, from, true)
			case 1:
				_, after = b.seek(ctx, t, h, from, false)
			default:
				after = 0
			}
		}
		g, err := b.scanVersions(ctx, t, h, &want, &after, to, take)
		if err != nil || g == nil {
			return err
		}
		// Events are missing. They may have been erased; or the server skipped a
		// block that it can't read, and another replica has it.
		if err := b.checkUnchanged(ctx, t, h, want); err != nil {
			return err
		}
		if try == 2 {
			return g
		}
	}
}

// scanVersions is scanStream until the first gap, which it returns. want and
// after go along with what was taken.
func (b *Backend) scanVersions(ctx context.Context, t target, h *head, want, after *uint64, to uint64, take taker) (*backend.CorruptedError, error) {
	expected := uint64(math.MaxUint64)
	if to < h.state.Version {
		expected = h.messages(*want, to)
	}
	s := b.newScan(t.subject, *after, h.position, expected)
	defer s.drop(ctx)
	gap := func(last uint64) *backend.CorruptedError {
		return &backend.CorruptedError{StreamUUID: t.uuid, FirstVersion: *want, LastVersion: last, Position: *after, Reason: "events are missing after it"}
	}
	var c commit
	for {
		m, err := s.next(ctx)
		if err != nil {
			return nil, err
		}
		if m == nil {
			return gap(to), nil
		}
		p, err := c.decode(m)
		if err != nil {
			return nil, undecodable(t.uuid, m.position, err)
		}
		if p.rec.State.ID != h.state.ID {
			continue // of an event stream that had the name before
		}
		if !c.add(p) {
			// A marker, or the commit before was never finished.
			c.clear()
			if !c.add(p) {
				continue
			}
		}
		if !c.complete() {
			continue
		}
		if c.version() >= *want {
			if c.before() >= *want {
				return gap(min(c.before(), to)), nil
			}
			more, err := take(&c, *want)
			if err != nil {
				return nil, err
			}
			*want = c.version() + 1
			if !more || *want > to {
				return nil, nil
			}
		}
		*after = c.position()
		c.clear()
	}
}

// checkUnchanged returns [backend.ErrStreamChanged] where the event stream is no
// longer the one that has the head h, or no longer has version want.
func (b *Backend) checkUnchanged(ctx context.Context, t target, h *head, want uint64) error {
	ctx, cancel, err := b.begin(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	now, err := b.refreshHead(ctx, t)
	if err != nil {
		return err
	}
	if !now.exists || now.state.ID != h.state.ID || now.state.First > want {
		return fmt.Errorf("%w: %q", backend.ErrStreamChanged, t.uuid)
	}
	_, err = b.checkSame(ctx, "")
	return err
}
