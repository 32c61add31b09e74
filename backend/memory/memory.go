// Package memory is the reference implementation of [backend.Backend]: all of an
// event store's contract, kept in maps and slices. It is what to use in unit
// tests, and what the suite in backend/backendtest is first tried on.
//
// # Caveats
//
// Nothing survives the process, and nothing limits how much memory is used.
package memory

import (
	"context"
	"fmt"
	"log/slog"
	"sort"
	"sync"

	"github.com/tributary-es/tributary"
	"github.com/tributary-es/tributary/backend"
	"github.com/tributary-es/tributary/internal/durable"
)

var (
	_ backend.Backend        = (*Backend)(nil)
	_ backend.Appender       = (*Backend)(nil)
	_ backend.BackwardReader = (*Backend)(nil)
	_ backend.AllReader      = (*Backend)(nil)
	_ backend.Subscriber     = (*Backend)(nil)
	_ backend.SoftDeleter    = (*Backend)(nil)
	_ backend.Truncater      = (*Backend)(nil)

	_ backend.Consumer            = (*Backend)(nil)
	_ backend.SubscriptionManager = (*Backend)(nil)
	_ backend.Parker              = (*Backend)(nil)
	_ backend.Checkpointer        = (*Backend)(nil)
)

// Backend keeps event streams in memory. Make one with [New]. It has every
// capability; all methods may be called concurrently.
type Backend struct {
	mu       sync.RWMutex
	closed   bool
	position uint64             // of the latest commit or change to an event stream; from 1
	streams  map[string]*stream // by name, soft-deleted ones too
	log      []*commit          // by position; never changed in place, so that readers may keep it
	erased   int                // how many of log are

	waiting  waitingFor       // what Subscribe has nothing more to yield of
	values   map[string]value // what is kept about subscriptions, by key
	revision uint64           // of the latest of them
	durable  *durable.Subscriptions
}

// stream is an event stream that exists.
type stream struct {
	info    backend.Stream
	first   uint64    // the first version that is kept; one past info.Version: none is
	commits []*commit // with a version from first on, in order; never changed in place
}

// commit is one append. Its events never change.
type commit struct {
	position   uint64
	streamUUID string
	events     []backend.RecordedEvent
	erased     bool // guarded by Backend.mu
}

func (c *commit) lastVersion() uint64 { return c.events[len(c.events)-1].StreamVersion }

// New returns an empty event store.
func New() *Backend {
	b := &Backend{streams: make(map[string]*stream), values: make(map[string]value)}
	b.durable = durable.New(durableStore{b}, slog.New(slog.DiscardHandler))
	return b
}

// BackendName returns "memory".
func (b *Backend) BackendName() string { return "memory" }

// Close drops everything. Afterwards every method returns
// [backend.ErrUnavailable], as one of a closed connection does. It returns nil.
func (b *Backend) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed, b.streams, b.log, b.values = true, nil, nil, nil
	b.waiting.wakeAll()
	return nil
}

// check is the beginning of every method that is about one event stream.
func check(ctx context.Context, streamUUID string) error {
	if err := checkContext(ctx); err != nil {
		return err
	}
	return tributary.CheckStreamUUID(streamUUID)
}

func checkContext(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("memory: %w", err)
	}
	return nil
}

// open fails once b is closed. The caller holds b.mu.
func (b *Backend) open() error {
	if b.closed {
		return fmt.Errorf("%w: the memory backend is closed", backend.ErrUnavailable)
	}
	return nil
}

// find returns an event stream that exists. The caller holds b.mu.
func (b *Backend) find(streamUUID string) (*stream, error) {
	if err := b.open(); err != nil {
		return nil, err
	}
	s, ok := b.streams[streamUUID]
	if !ok {
		return nil, fmt.Errorf("%w: %q", backend.ErrStreamNotFound, streamUUID)
	}
	return s, nil
}

// findLive returns an event stream that exists and is not soft-deleted. The
// caller holds b.mu.
func (b *Backend) findLive(streamUUID string) (*stream, error) {
	s, err := b.find(streamUUID)
	if err != nil {
		return nil, err
	}
	if s.info.DeletedAt != nil {
		return nil, fmt.Errorf("%w: %q", backend.ErrStreamDeleted, streamUUID)
	}
	return s, nil
}

// commitOf returns the index in commits of the one that has version, or of the
// next one.
func commitOf(commits []*commit, version uint64) int {
	return sort.Search(len(commits), func(i int) bool { return commits[i].lastVersion() >= version })
}
