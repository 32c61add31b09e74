package backend

import (
	"context"
	"fmt"
	"iter"

	"github.com/google/uuid"

	"github.com/tributary-es/tributary"
)

// BackwardReader is the capability to read an event stream from its end. Use it
// through [ReadStreamBackward].
type BackwardReader interface {
	// ReadStreamBackward is as the function [ReadStreamBackward] says.
	ReadStreamBackward(ctx context.Context, streamUUID string, version, limit uint64, correlationID uuid.UUID) ([]RecordedEvent, error)
}

// ReadStreamBackward returns at most limit events, from version (inclusive) down
// to the first; 0, and a version past the end, mean the last event. It returns
// what [Backend.ReadStream] returns, or [ErrUnsupported].
func ReadStreamBackward(ctx context.Context, b Backend, streamUUID string, version, limit uint64, correlationID uuid.UUID) ([]RecordedEvent, error) {
	r, ok := b.(BackwardReader)
	if !ok {
		return nil, fmt.Errorf("%w: %s reading an event stream backward", ErrUnsupported, b.BackendName())
	}
	return r.ReadStreamBackward(ctx, streamUUID, version, limit, correlationID)
}

// DefaultBatchSize is the batch size, in events, of [ReadAll] where none is
// given.
const DefaultBatchSize = 500

// ReadAllOptions say what [ReadAll] reads. The zero value reads every event.
type ReadAllOptions struct {
	// After is the position to start after (exclusive); 0: the beginning. Any
	// position will do, also one at which nothing is stored.
	After uint64

	// Under limits reading to the event streams below a hierarchical name:
	// "orders.eu" covers "orders.eu.1", not "orders.eu" itself. Empty: all.
	Under string

	// Limit ends reading with the commit that reaches this many events. 0: no
	// limit.
	Limit uint64

	// BatchSize is how many events make a batch. A batch ends with the commit
	// that reaches it, so that it may be larger, and never has a part of a
	// commit. 0: [DefaultBatchSize].
	BatchSize int
}

// Prepare checks the options and returns them with their defaults filled in, for
// an [AllReader]. It returns [ErrInvalidArgument] or [ErrInvalidStreamUUID].
func (o ReadAllOptions) Prepare() (ReadAllOptions, error) {
	if o.BatchSize < 0 {
		return o, fmt.Errorf("%w: batch size %d, must be 0 or more", ErrInvalidArgument, o.BatchSize)
	}
	if o.BatchSize == 0 {
		o.BatchSize = DefaultBatchSize
	}
	if o.Under != "" {
		if err := tributary.CheckStreamUUID(o.Under); err != nil {
			return o, err
		}
	}
	return o, nil
}

// AllReader is the capability to read a whole store. Use it through [ReadAll].
type AllReader interface {
	// ReadAll is as the function [ReadAll] says.
	ReadAll(ctx context.Context, options ReadAllOptions, correlationID uuid.UUID) iter.Seq2[[]RecordedEvent, error]
}

// ReadAll yields the events of the store in position order: those present when
// the iteration begins, also of soft-deleted event streams. A batch never ends
// within a commit, so that its last event's Position can be kept and given as
// [ReadAllOptions.After] to go on.
//
// Truncated events are left out by whole commits: events that were appended
// together with one that is kept are still yielded.
//
// Across event streams nothing tells that a commit is missing; within one,
// [Backend.ReadStream] does. To go on past a message that can't be decoded, give
// the [*CorruptedError]'s Position as [ReadAllOptions.After].
//
// Pairs are as in [Backend.StreamForward]: after an error nothing follows. The
// error is [ErrInvalidArgument] for a negative batch size,
// [ErrInvalidStreamUUID] for a prefix that can't be a name, [*CorruptedError],
// [ErrUnavailable] or [ErrUnsupported].
func ReadAll(ctx context.Context, b Backend, options ReadAllOptions, correlationID uuid.UUID) iter.Seq2[[]RecordedEvent, error] {
	r, ok := b.(AllReader)
	if !ok {
		return func(yield func([]RecordedEvent, error) bool) {
			yield(nil, fmt.Errorf("%w: %s reading all event streams", ErrUnsupported, b.BackendName()))
		}
	}
	return r.ReadAll(ctx, options, correlationID)
}
