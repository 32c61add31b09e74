package backend

import (
	"context"
	"fmt"

	"github.com/google/uuid"
)

// SoftDeleter is the capability to hide an event stream and bring it back. Use
// it through [SoftDelete] and [Restore].
type SoftDeleter interface {
	// SoftDelete is as the function [SoftDelete] says.
	SoftDelete(ctx context.Context, streamUUID string, expected ExpectedVersion, correlationID uuid.UUID) error

	// Restore is as the function [Restore] says.
	Restore(ctx context.Context, streamUUID string, correlationID uuid.UUID) error
}

// SoftDelete hides an event stream that is as expected: reads, appends and
// another SoftDelete then return [ErrStreamDeleted]. Its events are kept, are
// still seen by [ReadAll], and come back with [Restore].
// [Backend.ReadStreamInfo] goes on to describe it, [Backend.DeleteStream] erases
// it. It returns [ErrStreamNotFound] where there is none,
// [*WrongExpectedVersionError] or [ErrStreamExists] where it is not as expected,
// [ErrStoreFull], [ErrOutcomeUnknown] or [ErrUnsupported].
func SoftDelete(ctx context.Context, b Backend, streamUUID string, expected ExpectedVersion, correlationID uuid.UUID) error {
	d, ok := b.(SoftDeleter)
	if !ok {
		return fmt.Errorf("%w: %s soft deletion", ErrUnsupported, b.BackendName())
	}
	return d.SoftDelete(ctx, streamUUID, expected, correlationID)
}

// Restore brings a soft-deleted event stream back, with its events and version.
// One that is not soft-deleted is left as it is, without an error. It returns
// [ErrStreamNotFound] where there is none, [ErrStoreFull], [ErrOutcomeUnknown] or
// [ErrUnsupported].
func Restore(ctx context.Context, b Backend, streamUUID string, correlationID uuid.UUID) error {
	d, ok := b.(SoftDeleter)
	if !ok {
		return fmt.Errorf("%w: %s soft deletion", ErrUnsupported, b.BackendName())
	}
	return d.Restore(ctx, streamUUID, correlationID)
}

// Truncater is the capability to erase the beginning of an event stream. Use it
// through [Truncate].
type Truncater interface {
	// Truncate is as the function [Truncate] says.
	Truncate(ctx context.Context, streamUUID string, before uint64, correlationID uuid.UUID) error
}

// Truncate erases the events of an event stream whose version is below before,
// the first version to keep. 0 and 1 erase nothing; past the end, all events are
// erased, and the next append goes on with the next version. Versions never
// change or come again. What was truncated before stays so.
//
// It returns [ErrStreamNotFound], [ErrStreamDeleted], [ErrStoreFull],
// [ErrOutcomeUnknown], [*CorruptedError] or [ErrUnsupported].
func Truncate(ctx context.Context, b Backend, streamUUID string, before uint64, correlationID uuid.UUID) error {
	t, ok := b.(Truncater)
	if !ok {
		return fmt.Errorf("%w: %s truncation", ErrUnsupported, b.BackendName())
	}
	return t.Truncate(ctx, streamUUID, before, correlationID)
}
