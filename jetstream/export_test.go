package jetstream

import (
	"context"
	"iter"
	"time"

	"github.com/tributary-es/tributary/backend"
)

// Follow is Subscribe as a member of a named subscription does it: for the event
// streams that keep reports true of.
func (b *Backend) Follow(ctx context.Context, options backend.SubscribeOptions, keep func(streamUUID string) bool) iter.Seq2[backend.Batch, error] {
	return b.follow(ctx, options, keep)
}

// AsReplicated has the backend wait for a leader as it does for one of three
// replicas, for longer than its timeout.
func (b *Backend) AsReplicated(timeout, catchUp time.Duration) {
	b.cfg.Timeout, b.replicas, b.catchUp = timeout, 3, catchUp
}

// PathsOff switch faster ways of doing something off, each by itself, and all of
// them.
var PathsOff = map[string]func(*Backend){
	"no chain":       func(b *Backend) { b.paths.noChain = true },
	"no seek":        func(b *Backend) { b.paths.noSeek = true },
	"no direct gets": func(b *Backend) { b.paths.noDirect = true },
	"no groups":      func(b *Backend) { b.queues.group = false },
	"no heads":       func(b *Backend) { b.heads.max, b.heads.floors = 1, make([]uint64, 1) },
	"no known acknowledgement": func(b *Backend) {
		b.api.ack = []byte("{}") // so that each is decoded
	},
	"none": func(b *Backend) {
		b.paths = paths{noChain: true, noSeek: true, noDirect: true}
		b.queues.group = false
		b.heads.max, b.heads.floors = 1, make([]uint64, 1)
		b.api.ack = []byte("{}")
	},
}

// Waiting is how many writers wait for their turn at a subject.
func (b *Backend) Waiting(subject string) int {
	b.queues.mu.Lock()
	defer b.queues.mu.Unlock()
	if line := b.queues.open[subject]; line != nil {
		return len(line.waiting)
	}
	return 0
}

// Idle reports whether nothing was awaited for a while.
func (b *Backend) Idle() bool { return !b.acks.running.Load() }

// Stuck reports whether the connection is known to take nothing.
func (b *Backend) Stuck() bool { return b.acks.stuck() }
