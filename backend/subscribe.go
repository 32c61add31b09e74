package backend

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"strconv"

	"github.com/tributary-es/tributary"
)

// Start is where a subscription starts. The zero value is [FromBeginning].
type Start struct {
	kind startKind
	at   uint64
}

type startKind uint8

const (
	startBeginning startKind = iota
	startAfter
	startVersion
	startNow
)

// FromBeginning starts with the first event that is stored.
func FromBeginning() Start { return Start{} }

// AfterPosition starts after position (exclusive), such as that of the last
// [Batch] that was dealt with. 0 is the beginning. A position beyond the end is
// waited for.
func AfterPosition(position uint64) Start {
	if position == 0 {
		return FromBeginning()
	}
	return Start{kind: startAfter, at: position}
}

// FromVersion starts with version (inclusive) of the one event stream that is
// subscribed to, even within a commit; 0 and 1 both mean the first. A version
// beyond the end is waited for: until it came, a batch's Position is no place to
// go on from.
func FromVersion(version uint64) Start {
	if version <= 1 {
		return FromBeginning()
	}
	return Start{kind: startVersion, at: version}
}

// FromNow starts with what is appended after the subscription began, which it
// tells by its first batch.
func FromNow() Start { return Start{kind: startNow} }

// Position returns the position that s starts after, and whether it is one: that
// of [AfterPosition], and 0 for [FromBeginning].
func (s Start) Position() (position uint64, ok bool) {
	if s.kind != startAfter && s.kind != startBeginning {
		return 0, false
	}
	return s.at, true
}

// Version returns the version that s starts with, and whether it is one: that of
// [FromVersion].
func (s Start) Version() (version uint64, ok bool) {
	if s.kind != startVersion {
		return 0, false
	}
	return s.at, true
}

// String returns "the beginning", "after position n", "version n" or "now".
func (s Start) String() string {
	switch s.kind {
	case startAfter:
		return "after position " + strconv.FormatUint(s.at, 10)
	case startVersion:
		return "version " + strconv.FormatUint(s.at, 10)
	case startNow:
		return "now"
	}
	return "the beginning"
}

// SubscribeOptions say what [Subscribe] yields. The zero value is every event of
// the store, from the beginning.
type SubscribeOptions struct {
	// Stream limits the subscription to one event stream, which need not exist
	// yet. Empty: see Under.
	Stream string

	// Under limits it to the event streams below a hierarchical name, as
	// [ReadAllOptions] does. Empty, as Stream: all event streams.
	Under string

	// From is where it starts. Zero: the beginning.
	From Start

	// EventTypes limits it to events of these types. Empty: all types. The types
	// are compared here, after the events came from the store; what is left out is
	// told, now and then, by the Position of a batch without events.
	EventTypes []string

	// BatchSize is how many events make a batch, which ends with the commit that
	// reaches it, and earlier where nothing more has come yet: nothing waits for a
	// batch to become full. 0: [DefaultBatchSize].
	BatchSize int
}

// Prepare checks options and returns them with the defaults filled in. It is for
// those who implement a [Subscriber]. The error is [ErrInvalidArgument] or
// [ErrInvalidStreamUUID].
func (o SubscribeOptions) Prepare() (SubscribeOptions, error) {
	if o.Stream != "" && o.Under != "" {
		return o, fmt.Errorf("%w: both an event stream (%.80q) and a prefix (%.80q) to subscribe to", ErrInvalidArgument, o.Stream, o.Under)
	}
	for _, name := range []string{o.Stream, o.Under} {
		if name == "" {
			continue
		}
		if err := tributary.CheckStreamUUID(name); err != nil {
			return o, err
		}
	}
	if _, ok := o.From.Version(); ok && o.Stream == "" {
		return o, fmt.Errorf("%w: a start from %s needs an event stream to subscribe to", ErrInvalidArgument, o.From)
	}
	if o.BatchSize < 0 {
		return o, fmt.Errorf("%w: batch size %d, must be 0 or more", ErrInvalidArgument, o.BatchSize)
	}
	if o.BatchSize == 0 {
		o.BatchSize = DefaultBatchSize
	}
	for i, eventType := range o.EventTypes {
		if eventType == "" || len(eventType) > MaxEventTypeBytes {
			return o, fmt.Errorf("%w: event type %d of %d bytes, must have 1 to %d", ErrInvalidArgument, i, len(eventType), MaxEventTypeBytes)
		}
	}
	o.EventTypes = slices.Clone(o.EventTypes) // the caller's may change while the iteration goes on
	return o, nil
}

// Batch is what a subscription yields at a time.
type Batch struct {
	// Events are in position order, by whole commits. There are none where the
	// batch only tells of the fields below.
	Events []RecordedEvent

	// Position is how far the subscription is: whatever was stored up to it was
	// yielded, or isn't subscribed to. Kept, and given to [AfterPosition], it makes
	// another subscription go on after this batch.
	Position uint64

	// CaughtUp tells that there was nothing more when the batch was made, as far as
	// the store that delivers it knew. There is a first batch with CaughtUp as soon
	// as that is so, if need be one without events. From then on it remains true
	// until more than BatchSize commits wait behind the batch: the subscription
	// fell behind, and tells when it has caught up again.
	CaughtUp bool
}

// Subscriber is the capability to follow a store. Use it through [Subscribe].
type Subscriber interface {
	// Subscribe is as the function [Subscribe] says.
	Subscribe(ctx context.Context, options SubscribeOptions) iter.Seq2[Batch, error]
}

// Subscribe yields the events that options name, in position order: those that
// are stored, and then, as soon as they come, those that are appended, until ctx
// ends. There is no gap, no repetition and no other order between the two, nor
// when the store was away for a while, which is waited out.
//
// A slow loop slows down its own subscription and nothing else: what it has not
// asked for is not sent to it.
//
// What is truncated or deleted before it was yielded need not be; [ReadAll] says
// more, and what it says of truncated events and of soft-deleted event streams holds
// here. An event stream that is deleted and made again starts at version 1 again.
// Of one event stream no version is passed over silently: one that is missing is
// a [*CorruptedError].
//
// Each pair MUST be a batch and a nil error, or a zero batch and the error that
// ends the sequence; after an error nothing follows. Breaking out or cancelling
// ctx frees everything that the iteration holds. The sequence may be ranged over
// more than once; each range starts anew.
//
// The error is the context's, when that ended; [ErrInvalidArgument] or
// [ErrInvalidStreamUUID] for bad options; [*CorruptedError]; [ErrUnavailable]
// where waiting is of no use, since the connection is closed or the store gone;
// or [ErrUnsupported]. To go on past a message that can't be decoded, give the
// [*CorruptedError]'s Position to [AfterPosition].
func Subscribe(ctx context.Context, b Backend, options SubscribeOptions) iter.Seq2[Batch, error] {
	s, ok := b.(Subscriber)
	if !ok {
		return func(yield func(Batch, error) bool) {
			yield(Batch{}, fmt.Errorf("%w: %s subscribing", ErrUnsupported, b.BackendName()))
		}
	}
	return s.Subscribe(ctx, options)
}
