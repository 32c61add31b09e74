package jetstream

import (
	"context"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
)

// maxUnderway bounds the bytes of answers that the server may have to hold for
// us: at 64 MiB it closes a connection as too slow (nats-server 2.15.2,
// max_pending).
const maxUnderway = 32 << 20

// getAll returns the messages at positions, asked for together; nil where there
// is none, after the leader was asked too.
func (b *Backend) getAll(ctx context.Context, positions []uint64) ([]*stored, error) {
	found := make([]*stored, len(positions))
	window := max(1, maxUnderway/int(max(1, b.nc.MaxPayload())))
	for from := 0; from < len(positions) && !b.paths.noDirect && b.disconnected() == nil; from += window {
		to := min(from+window, len(positions))
		if err := b.getDirect(ctx, positions[from:to], found[from:to]); err != nil {
			return nil, err
		}
	}
	for i, position := range positions {
		if found[i] != nil {
			continue
		}
		// A replica that lags does not have it yet.
		var err error
		if found[i], err = b.leaderGet(ctx, getRequest{Seq: position}); err != nil {
			return nil, err
		}
	}
	return found, nil
}

// getDirect asks any replica for all positions. What it doesn't have, or doesn't
// answer in time, stays nil.
func (b *Backend) getDirect(ctx context.Context, positions []uint64, found []*stored) error {
	f := &flight{gets: make([]get, len(positions)), news: make(chan struct{}, 1), connection: b.acks.current()}
	f.missing.Store(int64(len(positions)))
	for i := range f.gets {
		f.gets[i].flight = f
	}
	requests := make([]byte, 0, len(positions)*len(`{"seq":1234567890}`)) // all in one piece of memory
	for i, position := range positions {
		start := len(requests)
		requests = append(strconv.AppendUint(append(requests, `{"seq":`...), position, 10), '}')
		g := &f.gets[i]
		g.request = nats.Msg{Subject: b.api.direct, Data: requests[start:]}
		var err error
		if g.token, err = b.acks.send(&g.request, g); err != nil {
			f.giveUp(b.acks)
			return unavailable(ctx, err)
		}
	}
	if !f.wait(ctx, b.acks, b.cfg.RequestTimeout) {
		f.giveUp(b.acks)
	}
	if err := ctx.Err(); err != nil {
		return unavailable(ctx, err)
	}
	for i, position := range positions {
		if answer := f.gets[i].answer; answer != nil {
			if m, err := b.fromDirect(answer); err == nil && m != nil && m.position == position {
				found[i] = m
			}
		}
	}
	return nil
}

// flight is gets that are sent together. Who waits for them is woken once: that
// made ten gets faster by a third than a channel of answers did, and twice as
// fast as a subscription of their own (own measurement on nats-server 2.15.2).
type flight struct {
	gets       []get
	missing    atomic.Int64  // answers
	news       chan struct{} // none is missing any more, or it is time to check
	connection uint64        // acks.seen when they were sent
}

type get struct {
	flight  *flight
	request nats.Msg
	token   uint64 // 0: not sent
	answer  *nats.Msg
}

// receive implements receiver.
func (g *get) receive(answer *nats.Msg) {
	g.answer = answer
	g.flight.arrived(1)
}

// check implements receiver.
func (g *get) check() { g.flight.tell() }

func (f *flight) arrived(n int64) {
	if f.missing.Add(-n) == 0 {
		f.tell()
	}
}

func (f *flight) tell() {
	select {
	case f.news <- struct{}{}:
	default: // there is some already
	}
}

// wait waits until all answers are there, and reports whether they are: no more
// may be expected.
func (f *flight) wait(ctx context.Context, a *acks, wait time.Duration) bool {
	done := ends(ctx)
	last := f.gets[len(f.gets)-1].token
	var p patience
	for f.missing.Load() > 0 {
		select {
		case <-f.news:
			if f.missing.Load() > 0 && (a.looked.Load().lost(last, f.connection) != nil || p.spent(ctx, wait) != nil) {
				return false
			}
		case <-done:
			return false
		}
	}
	return true
}

// giveUp forgets what isn't answered. When it returns, no more answers come.
func (f *flight) giveUp(a *acks) {
	var forgotten int64
	for i := range f.gets {
		if g := &f.gets[i]; g.token == 0 || a.forget(g.token) {
			forgotten++
		}
	}
	f.arrived(forgotten)
	for f.missing.Load() > 0 {
		<-f.news
	}
}
