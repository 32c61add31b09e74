package jetstream

import (
	"context"
	"errors"
	"fmt"

	"github.com/tributary-es/tributary/backend"
)

// ErrUnsafeStream comes for a JetStream stream that exists and can't be used:
// it would lose events, lacks what this library needs, or holds another format.
// The error is an [*UnsafeStreamError].
var ErrUnsafeStream = errors.New("JetStream stream can't hold event streams")

// UnsafeStreamError names the setting for which [Open] refuses a JetStream
// stream. It unwraps to [ErrUnsafeStream].
type UnsafeStreamError struct {
	Stream  string // the JetStream stream
	Setting string // as the server's configuration names it, such as "max_age"
	Have    string // its value
	Want    string // what it must be
}

func (e *UnsafeStreamError) Error() string {
	return fmt.Sprintf("%v: %s of %s is %s, must be %s", ErrUnsafeStream, e.Setting, e.Stream, e.Have, e.Want)
}

// Unwrap returns [ErrUnsafeStream].
func (e *UnsafeStreamError) Unwrap() error { return ErrUnsafeStream }

// These say within the package why something is to be tried in another way.
var (
	// errConflict: something else was written since the fence.
	errConflict = errors.New("the event stream has changed")

	// errUnfinished: the beginning of the commit is there, and the rest has not
	// come in a long time. Only another write can tell, with a fence after it,
	// whether it will.
	errUnfinished = fmt.Errorf("%w: a part of the commit is there", errConflict)

	// errInFlight: something else is being written; what, is not known yet.
	errInFlight = errors.New("another write is in flight")

	// errStale: a refusal, or a repetition, by a head that may not be the newest.
	errStale = errors.New("the head may be stale")

	// errTooLarge: what was to be written together doesn't go into one message.
	errTooLarge = errors.New("too large to be written together")

	// errGap: versions are missing, which may come in another way.
	errGap = errors.New("versions are missing")

	// errUnreadable: the last message is there, and damaged on the server's disk.
	errUnreadable = errors.New("the block that it is in may be damaged")

	// errNotSent: nothing of it was given to the connection.
	errNotSent = errors.New("not sent")

	// errStuck: the connection takes nothing, as its peer reads nothing.
	errStuck = errors.New("the connection takes nothing")

	// errClosed: [Backend.Close] was called.
	errClosed = errors.New("the backend is closed")

	// errChainLost: the chain doesn't lead to the versions wanted, or not soon.
	errChainLost = errors.New("the chain doesn't lead there")
)

// unavailable is the error of an operation that wrote nothing and could not go
// on: the context's own where the caller cancelled it.
func unavailable(ctx context.Context, cause error) error {
	switch err := ctx.Err(); {
	case errors.Is(err, context.Canceled):
		return fmt.Errorf("waiting for the server: %w", err)
	case err != nil && !errors.Is(cause, err):
		return fmt.Errorf("%w: %w, last: %w", backend.ErrUnavailable, err, cause)
	case errors.Is(cause, backend.ErrUnavailable):
		return cause
	}
	return fmt.Errorf("%w: %w", backend.ErrUnavailable, cause)
}

// notPermitted is the error of what the server refused for want of a permission,
// which err names.
func notPermitted(err error) error { return fmt.Errorf("%w: %w", backend.ErrUnavailable, err) }

// outcomeUnknown is the error of a write that may be stored. It is never
// [backend.ErrUnavailable] as well, which says that nothing was written.
func outcomeUnknown(ctx context.Context, cause error) error {
	if errors.Is(cause, backend.ErrUnavailable) {
		cause = errors.New(cause.Error())
	}
	if err := ctx.Err(); err != nil && !errors.Is(cause, err) {
		return fmt.Errorf("%w: %w, last: %w", backend.ErrOutcomeUnknown, err, cause)
	}
	return fmt.Errorf("%w: %w", backend.ErrOutcomeUnknown, cause)
}

func undecodable(streamUUID string, position uint64, err error) error {
	return &backend.CorruptedError{StreamUUID: streamUUID, Position: position, Reason: "a message that can't be decoded", Err: err}
}
