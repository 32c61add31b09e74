package jetstream

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/tributary-es/tributary/backend"
	"github.com/tributary-es/tributary/jetstream/internal/wire"
)

// readHead reads the head of an event stream, as [Config.ReadConsistency] wants
// it, and never one older than this process has seen.
func (b *Backend) readHead(ctx context.Context, t target) (*head, error) {
	if b.cfg.ReadConsistency == ReadLeader || b.paths.noDirect {
		return b.refreshHead(ctx, t)
	}
	h, proven, err := b.replicaHead(ctx, t)
	if err != nil || !proven {
		return b.refreshHead(ctx, t)
	}
	return h, nil
}

// headToTry reads a head to append to. It may be one older than this process has
// seen, which nothing is decided by: the write that follows it is fenced.
func (b *Backend) headToTry(ctx context.Context, t target) (*head, error) {
	if b.cfg.ReadConsistency == ReadLeader || b.paths.noDirect {
		return b.refreshHead(ctx, t)
	}
	h, _, err := b.replicaHead(ctx, t)
	if err != nil {
		return b.refreshHead(ctx, t)
	}
	return h, nil
}

// replicaHead reads the head as any replica has it, or a mirror that answers for
// one. Either may lag; proven is that what it says is no older than what this
// process has seen.
func (b *Backend) replicaHead(ctx context.Context, t target) (h *head, proven bool, err error) {
	known, floor := b.heads.seen(t.subject)
	var last *stored
	upTo := uint64(0)
	if known == nil && floor > 0 {
		// It may be another event stream that was seen there, so that this one's
		// last message may well be before.
		last, upTo, err = b.lastUpTo(ctx, t.subject)
	} else {
		last, err = b.last(ctx, t.subject)
	}
	if err != nil {
		return nil, false, err
	}
	if last == nil {
		if known != nil {
			return nil, false, errStale
		}
		// That there is none is the leader's word.
		info, err := b.checkSame(ctx, t.subject)
		if err != nil || info.State.Subjects[t.subject] > 0 || info.State.LastSeq < floor {
			return nil, false, cmp.Or(err, errStale)
		}
		return &head{}, true, nil
	}
	h, whole, err := b.decodeHead(t, last, known)
	if err != nil || !whole {
		return nil, false, cmp.Or(err, errUnfinished)
	}
	h.upTo = upTo
	b.heads.put(t.subject, h)
	return h, max(upTo, h.position) >= floor, nil
}

// catchUp is how long a leader of several replicas that has less than this process
// saw is waited for. One that was just elected was seen to take more than 600 ms, in
// a rolling restart of three busy servers; one that is cut off from its peers gives
// up after 10 to 20 s (nats-server 2.15.2, raft.go).
const catchUp = 20 * time.Second

// lostAfter is how long a leader that has less than this process saw is waited for.
func (b *Backend) lostAfter() time.Duration {
	wait := 2 * b.cfg.RequestTimeout
	if b.replicas > 1 {
		wait = max(wait, b.catchUp)
	}
	return wait
}

// refreshHead reads the head from the leader.
func (b *Backend) refreshHead(ctx context.Context, t target) (*head, error) {
	started := time.Now()
	for tries := 0; ; tries++ {
		known, floor := b.heads.seen(t.subject)
		h, err := b.leaderHead(ctx, t, known)
		if err != nil {
			return nil, err
		}
		if h.position < floor && known == nil {
			// It may be another event stream that was seen there.
			if proven, err := b.provenHead(ctx, t, floor); err != nil {
				return nil, err
			} else if proven != nil {
				h, floor = proven, 0
			}
		}
		if h.position >= floor {
			if h.position != 0 {
				b.heads.put(t.subject, h)
				return h, nil
			}
			if damaged, err := b.isUnreadable(ctx, t); err != nil || !damaged {
				return h, err
			}
			if tries < unreadableTries && pause(ctx, tries) {
				continue // it may have come, or gone, between the two requests
			}
			return nil, unreadable(t)
		}
		// The leader has less than this process has seen: it was just elected and does
		// not know all that is stored, or it is cut off, or the server lost what it had
		// acknowledged. Whether it is another JetStream stream is told at once.
		waited := time.Since(started) >= b.lostAfter()
		if tries == 0 || waited {
			if _, err := b.checkSame(ctx, ""); err != nil {
				return nil, err
			}
		}
		reason := fmt.Sprintf("the server's last position of it is %d, after this process saw one that is now missing: "+
			"either the server lost what it had acknowledged, or the leader is cut off from its peers", h.position)
		if !waited {
			if !pause(ctx, tries) {
				return nil, unavailable(ctx, fmt.Errorf("event stream %q, position %d: %s", t.uuid, floor, reason))
			}
			continue
		}
		lost := &backend.CorruptedError{StreamUUID: t.uuid, Position: floor, Reason: reason}
		if known != nil {
			lost.FirstVersion, lost.LastVersion = min(h.state.Version+1, known.state.Version), known.state.Version
		}
		return nil, lost
	}
}

// leaderHead reads the head as the leader has it.
func (b *Backend) leaderHead(ctx context.Context, t target, known *head) (*head, error) {
	last, err := b.leaderGet(ctx, getRequest{LastFor: t.subject})
	if err != nil {
		return nil, err
	}
	h, _, err := b.decodeHead(t, last, known)
	return h, err
}

// provenHead is leaderHead of a leader that has everything up to a position; nil:
// none that is known to. A leader that was just elected doesn't, for a moment: it
// has yet to learn what of its log was acknowledged by the one before.
func (b *Backend) provenHead(ctx context.Context, t target, position uint64) (*head, error) {
	before, err := b.checkSame(ctx, "")
	if err != nil || before.State.LastSeq < position {
		return nil, err
	}
	h, err := b.leaderHead(ctx, t, nil)
	if err != nil {
		return nil, err
	}
	after, err := b.checkSame(ctx, "")
	if err != nil || after.Cluster.Leader != before.Cluster.Leader {
		return nil, err
	}
	h.upTo = before.State.LastSeq
	return h, nil
}

// unreadableTries is how often a last message that is counted and isn't there is
// looked for again.
const unreadableTries = 5

// isUnreadable reports whether the leader counts messages on an event stream's
// subject of which it has just said that there is none: it says so, too, of one
// that it can't read, because the block on its disk is damaged
// (nats-server 2.15.2, LoadLastMsg).
func (b *Backend) isUnreadable(ctx context.Context, t target) (bool, error) {
	info, err := b.checkSame(ctx, t.subject)
	return info.State.Subjects[t.subject] > 0, err
}

func unreadable(t target) error {
	return &backend.CorruptedError{StreamUUID: t.uuid, Reason: "the server counts messages of it, and can't read the last one", Err: errUnreadable}
}

// decodeHead makes a head of an event stream's last message. It is not whole
// where the last commit is not.
func (b *Backend) decodeHead(t target, last *stored, known *head) (h *head, whole bool, err error) {
	if last == nil {
		return &head{}, true, nil
	}
	rec, err := wire.Decode(last.header, last.body)
	if err != nil {
		return nil, false, undecodable(t.uuid, last.position, err)
	}
	if known != nil && known.position == last.position && known.exists && known.state.ID == rec.State.ID {
		same := *known // which may have more than the message tells
		same.tail = last
		return &same, true, nil
	}
	h = &head{position: last.position, exists: true, state: rec.State, links: linksOf(&rec, last.position), tail: last}
	switch {
	case rec.Kind == wire.Erased:
		return &head{position: last.position, gone: true, tail: last}, true, nil
	case rec.Kind == wire.Events && !rec.Part.Last():
		// The commit is unfinished, and what there is of it counts for nothing.
		h.state.Version = rec.Part.Base
		h.exists = !rec.Part.Begin
		if !h.exists {
			h.state = wire.State{}
		}
		return h, false, nil
	}
	return h, true, nil
}

// linksOf returns the commits that a message at position names, newest first: the
// one that ends with it, and those of its chain.
func linksOf(rec *wire.Record, position uint64) []wire.Link {
	chain := rec.Chain()
	if rec.Kind != wire.Events || !rec.Part.Last() {
		return chain
	}
	own := wire.Link{Position: position, Events: uint32(rec.Events), Parts: 1}
	if rec.Part.Count > 0 {
		own.Parts = rec.Part.Count
		own.Events = uint32(rec.State.Version - rec.Part.Base)
	}
	return append(append(make([]wire.Link, 0, len(chain)+1), own), chain...)
}
