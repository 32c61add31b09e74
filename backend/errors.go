package backend

import (
	"errors"
	"fmt"

	"github.com/tributary-es/tributary"
)

var (
	// ErrStreamNotFound comes where an event stream must exist and does not.
	ErrStreamNotFound = errors.New("event stream not found")

	// ErrStreamExists comes where an event stream must not exist, or must have
	// no events, and does.
	ErrStreamExists = errors.New("event stream exists")

	// ErrStreamDeleted comes where an event stream is soft-deleted.
	ErrStreamDeleted = errors.New("event stream is soft-deleted")

	// ErrStreamChanged comes when an event stream was deleted or truncated while
	// it was being read. Reading again sees it as it now is.
	ErrStreamChanged = errors.New("event stream was deleted or truncated while it was read")

	// ErrInvalidStreamUUID comes for a name that can't be an event stream's.
	ErrInvalidStreamUUID = tributary.ErrInvalidStreamUUID

	// ErrInvalidEvent comes for an event without a type, versions that don't
	// count up, or an event of another event stream.
	ErrInvalidEvent = errors.New("invalid event")

	// ErrInvalidArgument comes for an argument that makes no sense, such as a
	// batch size below 1.
	ErrInvalidArgument = errors.New("invalid argument")

	// ErrWrongExpectedVersion comes where an event stream is not at the version
	// expected. The error is a [*WrongExpectedVersionError].
	ErrWrongExpectedVersion = errors.New("wrong expected version")

	// ErrEventTooLarge comes for an event that can't fit; its text has the size
	// and the limit.
	ErrEventTooLarge = errors.New("event too large")

	// ErrAppendTooLarge comes for an append that can't be stored atomically,
	// although each of its events could be.
	ErrAppendTooLarge = errors.New("append too large")

	// ErrStoreFull comes when the store has no room left. Nothing was written.
	ErrStoreFull = errors.New("event store is full")

	// ErrUnsupported comes for a capability that a backend lacks. It wraps
	// [errors.ErrUnsupported].
	ErrUnsupported = fmt.Errorf("backend lacks the capability: %w", errors.ErrUnsupported)

	// ErrUnavailable comes when the store could not be reached, or did not
	// answer, within the context's deadline. Nothing was written.
	ErrUnavailable = errors.New("event store unavailable")

	// ErrOutcomeUnknown comes when it can't be told whether a write was stored:
	// the context ended, or the connection was closed, before the answer came;
	// or the event stream was erased or truncated meanwhile. It is stored once
	// or not at all, never in part. To find out, repeat an append with the same
	// event ids, and anything else as it is. It may wrap the context's error, so
	// test for it first; it is never [ErrUnavailable] as well.
	ErrOutcomeUnknown = errors.New("outcome unknown")

	// ErrSubscriptionNotFound comes where a named subscription must exist and does
	// not.
	ErrSubscriptionNotFound = errors.New("named subscription not found")

	// ErrSubscriptionConflict comes where a named subscription exists with other
	// options. The error is a [*SubscriptionConflictError].
	ErrSubscriptionConflict = errors.New("named subscription has other options")

	// ErrNotParked comes for a commit that isn't parked.
	ErrNotParked = errors.New("commit is not parked")

	// ErrCheckpointMoved comes where someone else saved the checkpoint meanwhile.
	ErrCheckpointMoved = errors.New("checkpoint was saved by someone else")

	// ErrCorrupted comes when events are missing or can't be decoded. The error
	// is a [*CorruptedError].
	ErrCorrupted = errors.New("event store corrupted")
)

// WrongExpectedVersionError tells which version was expected of an event stream
// and which it has. It unwraps to [ErrWrongExpectedVersion].
type WrongExpectedVersionError struct {
	StreamUUID string          // the event stream
	Expected   ExpectedVersion // what the caller expected
	Actual     uint64          // the event stream's version; 0 also where it is missing
	Detail     string          // more about it, where there is more; or empty
}

func (e *WrongExpectedVersionError) Error() string {
	s := fmt.Sprintf("%v: event stream %q is at version %d, expected %s", ErrWrongExpectedVersion, e.StreamUUID, e.Actual, e.Expected)
	if e.Detail != "" {
		s += ": " + e.Detail
	}
	return s
}

// Unwrap returns [ErrWrongExpectedVersion].
func (e *WrongExpectedVersionError) Unwrap() error { return ErrWrongExpectedVersion }

// CorruptedError tells which part of a store is missing or can't be decoded. It
// unwraps to [ErrCorrupted], and to its cause.
type CorruptedError struct {
	StreamUUID   string // the event stream; empty where it is not known
	FirstVersion uint64 // the first version concerned; 0: not known
	LastVersion  uint64 // the last version concerned; 0: not known
	Position     uint64 // the position of the message concerned, or of the last good one before the gap
	Reason       string // what is wrong
	Err          error  // the cause; may be nil
}

func (e *CorruptedError) Error() string {
	s := ErrCorrupted.Error()
	if e.StreamUUID != "" {
		s += fmt.Sprintf(": event stream %q", e.StreamUUID)
	}
	if e.FirstVersion != 0 {
		s += fmt.Sprintf(": versions %d to %d", e.FirstVersion, e.LastVersion)
	}
	s += fmt.Sprintf(": position %d: %s", e.Position, e.Reason)
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap returns [ErrCorrupted] and the cause.
func (e *CorruptedError) Unwrap() []error {
	if e.Err == nil {
		return []error{ErrCorrupted}
	}
	return []error{ErrCorrupted, e.Err}
}

// SubscriptionConflictError names the option in which a [Consume] differs from
// the subscription of that name. It unwraps to [ErrSubscriptionConflict].
type SubscriptionConflictError struct {
	Name   string // of the subscription
	Option string // the field of [ConsumeOptions]
	Have   string // what the subscription has
	Want   string // what the options say
}

func (e *SubscriptionConflictError) Error() string {
	return fmt.Sprintf("%v: the %s of %q is %s, not %s", ErrSubscriptionConflict, e.Option, e.Name, e.Have, e.Want)
}

// Unwrap returns [ErrSubscriptionConflict].
func (e *SubscriptionConflictError) Unwrap() error { return ErrSubscriptionConflict }
