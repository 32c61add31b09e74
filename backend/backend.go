// Package backend defines an event store's storage port: the [Backend]
// interface, the values that pass through it, and its errors.
//
// # Basics
//
// An event stream is a named, gapless sequence of events. Its version counts
// its events from 1; an event stream without events has version 0. A commit is one
// or more events that become visible together or not at all: those of an append,
// or of several to an event stream that were made at the same time. A position
// orders commits across all event streams of a store.
//
//	var b backend.Backend = memory.New() // or what jetstream.Open returns
//	_, err := backend.Append(ctx, b, "account-42", backend.NoStream(),
//		[]backend.UnsavedEvent{{EventType: "Opened", Data: []byte(`{}`)}}, uuid.Nil)
//	if err != nil { … }
//	events, err := b.ReadStream(ctx, "account-42", 1, 100, uuid.Nil)
//
// # Capabilities
//
// A Backend has seven methods. What goes beyond them is a small interface each,
// found by type assertion and wrapped by functions of this package that answer
// [ErrUnsupported] where a backend lacks it. Only Append and Import work on every
// Backend. They, too, may all return the context's error, [ErrUnavailable] and
// [*CorruptedError], as [Backend] says.
//
//   - [Appender]: [Append], to the version that is expected
//   - [Importer]: [Import], of many appends at a time
//   - [BackwardReader]: [ReadStreamBackward]
//   - [AllReader]: [ReadAll], of the whole store
//   - [SoftDeleter]: [SoftDelete], [Restore]
//   - [Truncater]: [Truncate]
//   - [Subscriber]: [Subscribe], from history to live
//   - [Consumer]: [Consume] as a member of a named subscription, [WaitFor]
//   - [Parker]: [Parked], [ReplayParked], [DiscardParked]
//   - [SubscriptionManager]: [Subscriptions], [ResetSubscription], [DeleteSubscription]
//   - [Checkpointer]: [OpenCheckpoint]
//
// # Caveats
//
// Event ids are the caller's when given: an append that is repeated with the
// same ids is recognised and answered with its first result (see [Append]).
// Without ids, a repetition is a new append.
//
// The data of events that are returned may share memory, among them and with
// the message that they came in: keeping one may keep the others.
//
// Zero-length Data or Metadata is read back as nil: absent and empty are one.
//
// The package backend/backendtest holds the contract as an executable suite.
package backend

import (
	"context"
	"iter"

	"github.com/google/uuid"
)

// Backend stores event streams. All methods are safe for concurrent use. No
// method modifies or keeps its arguments; what is returned belongs to the
// caller. streamUUID is an event stream's name, which need not be a UUID.
// correlationID is recorded with events that carry no correlation id of their
// own; otherwise an implementation may use it for tracing. [uuid.Nil] is fine.
//
// Every method may also return the context's error, wrapped, when it ended
// before the outcome mattered, [ErrUnavailable], [*CorruptedError] where what is
// stored can't be what was written, and [ErrInvalidStreamUUID] for a name that
// can't be one. Arguments are checked before anything is sent.
type Backend interface {
	// BackendName returns the constant, human-readable name of the
	// implementation.
	BackendName() string

	// CreateStream makes the empty event stream stream.UUID and returns it:
	// version 0, a non-zero ID, CreatedAt set (to stream.CreatedAt where that is
	// not zero). The other fields of stream are ignored. It returns
	// [ErrStreamExists] where the event stream exists, soft-deleted or not,
	// [ErrStoreFull] or [ErrOutcomeUnknown].
	CreateStream(ctx context.Context, stream Stream, correlationID uuid.UUID) (Stream, error)

	// DeleteStream erases the events of stream.UUID for good and frees its
	// name; a new event stream of that name starts at version 1. A
	// stream.Version other than 0 must still be the event stream's version, else
	// it returns [*WrongExpectedVersionError] and deletes nothing. It returns
	// [ErrStreamNotFound] where there is none, [ErrStoreFull] or
	// [ErrOutcomeUnknown]. A soft-deleted event stream can be deleted.
	DeleteStream(ctx context.Context, stream Stream, correlationID uuid.UUID) error

	// AppendToStream appends events, all or none, to an event stream that
	// exists, and returns their ids in order. [UnsavedEvent.StreamVersion] is
	// the version that an event is to get: 0 on every event appends at whatever
	// version comes next; otherwise the first event's is one more than the
	// version that the event stream is expected to have, and the others count up
	// by one.
	//
	// A repetition with the same event ids is recognised as [Append] says. No
	// events: the event stream is checked and nothing written. It returns
	// [ErrStreamNotFound], [ErrStreamDeleted], [*WrongExpectedVersionError],
	// [ErrInvalidEvent], [ErrEventTooLarge], [ErrAppendTooLarge],
	// [ErrStoreFull] or [ErrOutcomeUnknown].
	AppendToStream(ctx context.Context, streamUUID string, events []UnsavedEvent, correlationID uuid.UUID) ([]uuid.UUID, error)

	// ReadStream returns at most limit events in order, from version on
	// (inclusive; 0 and 1 both mean the first). Past the end it returns none,
	// without an error; so does a limit of 0. Events that were truncated are
	// passed over. It returns [ErrStreamNotFound] or [ErrStreamDeleted].
	ReadStream(ctx context.Context, streamUUID string, version, limit uint64, correlationID uuid.UUID) ([]RecordedEvent, error)

	// ReadStreamInfo describes an event stream, also a soft-deleted one, whose
	// DeletedAt is then set. It returns [ErrStreamNotFound].
	ReadStreamInfo(ctx context.Context, streamUUID string, correlationID uuid.UUID) (Stream, error)

	// StreamForward yields every event that is present when the iteration
	// begins, in order, in batches of exactly batchSize, but for the last one,
	// which may be shorter and is never empty.
	//
	// Each pair MUST be a batch and a nil error, or a nil batch and the error
	// that ends the sequence; after an error nothing follows. Breaking out or
	// cancelling ctx frees everything that the iteration holds. A missing event
	// stream yields [ErrStreamNotFound] once, a soft-deleted one
	// [ErrStreamDeleted], a batchSize below 1 [ErrInvalidArgument], an event stream that is deleted or truncated under
	// the iteration [ErrStreamChanged]. The sequence may be ranged over more than
	// once; each range sees the event stream as it then is.
	StreamForward(ctx context.Context, streamUUID string, batchSize int, correlationID uuid.UUID) iter.Seq2[[]RecordedEvent, error]
}
