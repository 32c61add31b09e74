// Package durable keeps named subscriptions: it is what backend.Consume and its
// like do, for every backend that is a [Store].
//
// All that is to be kept about a subscription is one document: its options, its
// members, which of them has which partition, and up to where each partition is
// dealt with. Members change it by compare-and-swap, so that a change is made by
// one member or not at all, and a partition never has two owners. A member shows
// that it is alive by raising a number in the document. Others that have seen the
// same number for as long as the takeover time, by their own clocks, take its
// partitions; it gives up by itself in less than that.
//
// Every member reads all that the subscription covers, and passes over the event
// streams that are not in its partitions.
package durable

import (
	"context"
	"errors"
	"iter"
	"log/slog"
	"time"

	"github.com/google/uuid"

	"github.com/tributary-es/tributary/backend"
)

// ErrRevision comes from a [Store] where a value has another revision than the one
// expected.
var ErrRevision = errors.New("the value has changed")

// Store is what named subscriptions are kept in, and what they read.
type Store interface {
	// Follow is as backend.Subscribe says, for the event streams of which keep
	// reports true. It calls keep concurrently with everything else.
	Follow(ctx context.Context, options backend.SubscribeOptions, keep func(streamUUID string) bool) iter.Seq2[backend.Batch, error]

	// ReadStream is as backend.Backend says.
	ReadStream(ctx context.Context, streamUUID string, version, limit uint64, correlationID uuid.UUID) ([]backend.RecordedEvent, error)

	// End returns the position at which the store ends.
	End(ctx context.Context) (uint64, error)

	// Next returns the position of the first message after a position that options
	// cover, and when it was stored; 0: there is none.
	Next(ctx context.Context, options backend.SubscribeOptions, after uint64) (position uint64, at time.Time, err error)

	// Count returns how many messages there are after a position that options
	// cover.
	Count(ctx context.Context, options backend.SubscribeOptions, after uint64) (uint64, error)

	// Final reports whether err is one that waiting is of no use against.
	Final(err error) bool

	// Load returns the newest value of a key and its revision; revision 0: there
	// is none.
	Load(ctx context.Context, key string) (value []byte, revision uint64, err error)

	// Save stores a value where the key still has the revision, and returns its
	// new one; else [ErrRevision], which is backend.ErrOutcomeUnknown as well where it
	// may have been stored. revision 0: where there is none.
	Save(ctx context.Context, key string, value []byte, revision uint64) (uint64, error)

	// Remove removes a value where it still has the revision; else [ErrRevision].
	Remove(ctx context.Context, key string, revision uint64) error

	// Keys returns the keys that have a value and begin with prefix, in any order,
	// and maybe some that had one.
	Keys(ctx context.Context, prefix string) ([]string, error)

	// AppendReserved appends to an event stream whose name begins with "$",
	// whatever its version.
	AppendReserved(ctx context.Context, streamUUID string, event backend.UnsavedEvent) error

	// ReadReserved returns all of such an event stream; nothing, where it doesn't
	// exist.
	ReadReserved(ctx context.Context, streamUUID string) ([]backend.RecordedEvent, error)

	// TruncateReserved erases the events of such an event stream that come before a
	// version, where it exists. It may keep some, and none from that version on is
	// ever erased.
	TruncateReserved(ctx context.Context, streamUUID string, before uint64) error
}

// Subscriptions are the named subscriptions of a store. It is a backend.Consumer,
// backend.SubscriptionManager and backend.Parker. All methods may be called
// concurrently.
type Subscriptions struct {
	store Store
	log   *slog.Logger
}

// New returns the named subscriptions of a store. log is told, at level Debug,
// of what is retried, and of members that come and go.
func New(store Store, log *slog.Logger) *Subscriptions {
	return &Subscriptions{store: store, log: log}
}

// Consume is as the function backend.Consume says.
func (s *Subscriptions) Consume(ctx context.Context, name string, options backend.ConsumeOptions, handler backend.Handler) error {
	if err := backend.CheckSubscriptionName(name); err != nil {
		return err
	}
	if handler == nil {
		return errNoHandler
	}
	options, err := options.Prepare()
	if err != nil {
		return err
	}
	if options.Member == "" {
		options.Member = processName()
	}
	m := &member{s: s, name: name, options: options, handler: handler, partitions: newSharedSet(options.Partitions)}
	return m.run(ctx)
}
