// Package jetstream stores event streams in NATS JetStream.
//
// # Basics
//
//	nc, err := nats.Connect(nats.DefaultURL)
//	b, err := jetstream.Open(ctx, nc, jetstream.Config{})
//	res, err := backend.Append(ctx, b, "account-42", backend.NoStream(),
//		[]backend.UnsavedEvent{{EventType: "Opened", Data: []byte(`{}`)}}, uuid.Nil)
//
// Every event stream is a subject of one shared JetStream stream: account-42 is
// events.account-42. An append is one message, fenced by the position of the
// event stream's last message, so that of two writers one wins and no event
// comes between (docs/FORMAT.md specifies the messages). It takes one round trip
// where this process knows the event stream's head: after reading it to the end,
// after appending to it, and where it is new. Where one of the name was deleted
// before, beginning it anew takes two to four.
//
// # Caveats
//
// Durability is the server's. By default it syncs to disk every two minutes, so
// that a lone server can lose acknowledged appends on power loss (not when the
// process is killed); sync_interval: always has each append synced. Replicas
// help as long as they don't lose power together.
//
// Only an append is a linearization point. A read of an event stream sees this
// process's own writes, and never less than this process saw before; it may miss
// what another process wrote a moment ago (see [Config.ReadConsistency]). A
// mirror of the JetStream stream answers reads, too: set mirror_direct to false
// on mirrors.
//
// Never delete the JetStream stream and make it again under running services:
// what they know of positions means nothing in another. They report it where
// they can see it ([backend.ErrCorrupted]); an append whose position is by chance
// the right one they can't.
//
// Events that are returned share memory with the message that they came in;
// keeping one keeps the message.
//
// Who waits is freed by the context. Who sends is not, while the connection takes
// nothing, as where the server was suspended and the buffers are full: nats.go
// then waits in its own lock, for [nats.FlusherTimeout], a minute by default.
// Connect with less, such as five seconds, where deadlines matter more than a link
// that is slow.
//
// Truncating within an event stream, and nothing else, needs the server's
// permission to purge ($JS.API.STREAM.PURGE.<stream>).
package jetstream

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/tributary-es/tributary"
	"github.com/tributary-es/tributary/backend"
	"github.com/tributary-es/tributary/internal/durable"
)

// Backend is a [backend.Backend] on NATS JetStream, with every capability. Its
// methods may be called concurrently.
//
// Where a context has no deadline, [Config.Timeout] bounds the operation. A
// server that can't be reached is [backend.ErrUnavailable] when that time is
// over; until then requests are repeated, across reconnects. A permission that is
// missing is [backend.ErrUnavailable], too, which then wraps
// [nats.ErrPermissionViolation] and names the subject.
type Backend struct {
	nc       *nats.Conn
	cfg      Config
	log      *slog.Logger
	subjects tributary.Subjects
	api      apiSubjects
	created  time.Time     // when the JetStream stream was
	replicas int           // of it, when it was opened
	catchUp  time.Duration // catchUp, but in tests
	maxBytes int           // of a message, where the JetStream stream has a limit of its own; 0: none
	heads    *headCache
	queues   *queues
	acks     *acks
	closed   atomic.Bool
	done     chan struct{} // closed with it
	tails    *tails
	keys     *keys
	durable  *durable.Subscriptions
	paths    paths
}

var (
	_ backend.Backend        = (*Backend)(nil)
	_ backend.Appender       = (*Backend)(nil)
	_ backend.BackwardReader = (*Backend)(nil)
	_ backend.AllReader      = (*Backend)(nil)
	_ backend.Importer       = (*Backend)(nil)
	_ backend.Subscriber     = (*Backend)(nil)
	_ backend.SoftDeleter    = (*Backend)(nil)
	_ backend.Truncater      = (*Backend)(nil)
)

// Open returns a Backend on the JetStream stream that cfg names, which it
// creates where it is missing. The connection remains the caller's, and may be
// shared.
//
// It returns [backend.ErrInvalidArgument] for a bad cfg, [*UnsafeStreamError]
// for a JetStream stream that exists and would lose events, or isn't of this
// library's format, and [backend.ErrUnavailable] where the server can't be
// reached or has no JetStream.
func Open(ctx context.Context, nc *nats.Conn, cfg Config) (*Backend, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	if nc == nil {
		return nil, fmt.Errorf("jetstream: %w: no connection", backend.ErrInvalidArgument)
	}
	b := &Backend{
		nc:       nc,
		cfg:      cfg,
		log:      cfg.Logger,
		subjects: tributary.Subjects{Prefix: cfg.Prefix},
		api:      newAPISubjects(cfg.Domain, cfg.Stream),
		heads:    newHeadCache(cfg.HeadCacheSize),
		queues:   newQueues(cfg.EventsPerMessage == 0),
		acks:     newAcks(nc),
		done:     make(chan struct{}),
		catchUp:  catchUp,
	}
	b.tails = newTails(b)
	b.keys = &keys{b: b}
	b.durable = durable.New(durableStore{b}, b.log)
	ctx, cancel, err := b.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer cancel()
	if err := b.openStream(ctx); err != nil {
		b.acks.close()
		return nil, fmt.Errorf("opening the JetStream stream %s: %w", cfg.Stream, err)
	}
	return b, nil
}

// Close ends the use of b: what is called afterwards returns
// [backend.ErrUnavailable], and so does an iteration under way at its next
// request. The connection stays open.
//
// Before draining the connection let appends end: while it drains, nothing is
// sent any more, what would be is [backend.ErrUnavailable], and the answers to
// what was sent may be lost ([backend.ErrOutcomeUnknown]).
func (b *Backend) Close() error {
	if b.closed.Swap(true) {
		return nil
	}
	close(b.done)
	b.acks.close()
	return nil
}

// BackendName returns "JetStream".
func (b *Backend) BackendName() string { return "JetStream" }

// begin checks that an operation may start, and bounds its context.
func (b *Backend) begin(ctx context.Context) (context.Context, context.CancelFunc, error) {
	if err := b.mayBegin(ctx); err != nil {
		return nil, nil, err
	}
	ctx, cancel := b.bound(ctx)
	return ctx, cancel, nil
}

func (b *Backend) mayBegin(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("not sent: %w", err)
	}
	if b.closed.Load() {
		return fmt.Errorf("%w: %w", backend.ErrUnavailable, errClosed)
	}
	return nil
}

// bound gives a context a deadline where it has none.
func (b *Backend) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return ctx, func() {}
	}
	bounded := &boundedContext{Context: ctx, deadline: time.Now().Add(b.cfg.Timeout)}
	return bounded, bounded.end
}

// beginOn is begin for an operation on one event stream.
func (b *Backend) beginOn(ctx context.Context, streamUUID string) (context.Context, context.CancelFunc, target, error) {
	subject, err := b.subjects.Subject(streamUUID)
	if err != nil {
		return nil, nil, target{}, err
	}
	ctx, cancel, err := b.begin(ctx)
	return ctx, cancel, target{uuid: streamUUID, subject: subject}, err
}

// target is the event stream that an operation is on.
type target struct {
	uuid    string
	subject string
}

// pause waits before a repetition, the longer the more there were, and reports
// whether ctx is still going on.
func pause(ctx context.Context, tries int) bool {
	wait := min(time.Millisecond<<min(tries, 8), 250*time.Millisecond)
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// newStreamID returns a random id that is not zero and fits a signed integer, as
// databases want it.
func newStreamID() uint64 {
	var raw [8]byte
	for {
		// crypto/rand.Read never fails (Go 1.24 and later).
		_, _ = rand.Read(raw[:])
		if id := binary.BigEndian.Uint64(raw[:]) >> 1; id != 0 {
			return id
		}
	}
}
