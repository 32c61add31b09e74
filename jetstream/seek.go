package jetstream

import (
	"context"
	"encoding/json"

	"github.com/nats-io/nats.go"

	"github.com/tributary-es/tributary/jetstream/internal/wire"
)

// seekNear is how many versions a scan may as well pass over: a request costs
// about as much.
const seekNear = 256

// seek returns a position that version comes after, and mostly soon after: it
// halves what lies between, a request each time. The position is a hint, as all
// that is read is checked; 0 is always right.
func (b *Backend) seek(ctx context.Context, t target, h *head, version uint64) uint64 {
	low, lowVersion, high := uint64(0), h.state.First-1, h.position
	for version-lowVersion > seekNear && high-low > seekNear {
		middle := low + (high-low)/2
		m, err := b.nextFrom(ctx, t.subject, middle)
		if err != nil || m == nil {
			break
		}
		if m.position >= high {
			high = middle
			continue
		}
		rec, err := wire.Decode(m.header, m.body)
		if err != nil || rec.State.ID != h.state.ID {
			break // a foreign message: the scan will tell
		}
		position, reached := m.position, rec.State.Version
		if rec.Part.Count > 0 { // a commit is read from its first part on
			position, reached = m.position-min(m.position, uint64(rec.Part.Index)), rec.Part.Base
		}
		if reached < version && position > low {
			low, lowVersion = position, reached
		} else {
			high = middle
		}
	}
	return low
}

// nextFrom returns the first message of a subject from a position on, as any
// replica has it; nil: none.
func (b *Backend) nextFrom(ctx context.Context, subject string, position uint64) (*stored, error) {
	data, err := json.Marshal(getRequest{Seq: position, NextFor: subject})
	if err != nil {
		return nil, err
	}
	msg, err := b.requestOnce(ctx, &nats.Msg{Subject: b.api.direct, Data: data}, b.cfg.RequestTimeout)
	if err != nil {
		return nil, err
	}
	return b.fromDirect(msg)
}
