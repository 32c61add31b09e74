package backend

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"
)

// AppendResult is what an append returns.
type AppendResult struct {
	// EventUUIDs are the ids of the events, in order.
	EventUUIDs []uuid.UUID

	// Version is that of the last of the events; where none were given, the
	// event stream's.
	Version uint64

	// Position is that of the commit; where no events were given, 0.
	Position uint64
}

// Appender is the capability to append with an [ExpectedVersion] in one round
// trip. Use it through [Append].
type Appender interface {
	// Append is as the function [Append] says.
	Append(ctx context.Context, streamUUID string, expected ExpectedVersion, events []UnsavedEvent, correlationID uuid.UUID) (AppendResult, error)
}

// Append appends events, all or none, where the event stream is as expected
// (see [ExpectedVersion.Verify]), and creates it where it is missing and may be.
// [UnsavedEvent.StreamVersion] is 0, or agrees with what is expected.
//
// Appending no events checks the expectation, and writes and creates nothing.
//
// An append may be repeated with the same event ids, however much later, where
// the backend is an [Appender]: with an exact version (or [NoStream]) below the
// event stream's, the events recorded at those versions are compared with the
// ids given. If all are the same, the first result is returned. If the first
// differs it is a [*WrongExpectedVersionError]; if a later one differs, or the
// recorded ones end too early, one whose Detail says so. With [AnyVersion] and
// [StreamExists] the ids are looked for in the latest commits of the event
// stream, at least the last 15: all there, in order, is success, only some of
// them a [*WrongExpectedVersionError] whose Detail says so, none an append. What
// was truncated or deleted is not found. Either all events of an append have
// ids, or none has; those that are generated are never compared.
//
// On a Backend that is no Appender it takes several round trips: info, verify,
// create, append, and a read of the position. A missing event stream is then
// created, empty, before it is known whether the append succeeds.
//
// It returns what [Backend.AppendToStream] returns, and [ErrStreamExists].
func Append(ctx context.Context, b Backend, streamUUID string, expected ExpectedVersion, events []UnsavedEvent, correlationID uuid.UUID) (AppendResult, error) {
	if a, ok := b.(Appender); ok {
		return a.Append(ctx, streamUUID, expected, events, correlationID)
	}
	prepared, given, err := Prepare(streamUUID, events, correlationID)
	if err != nil {
		return AppendResult{}, err
	}
	if err := Agree(expected, given); err != nil {
		return AppendResult{}, err
	}
	for {
		res, raced, err := appendOnce(ctx, b, streamUUID, expected, prepared, correlationID)
		if !raced {
			return res, err
		}
		// Another writer came between. Whether it matters to what is expected is
		// for the next round to verify.
		if ctx.Err() != nil {
			return AppendResult{}, ctx.Err()
		}
	}
}

// appendOnce appends at the version that the event stream now has. raced tells
// that it had another by the time of the append.
func appendOnce(ctx context.Context, b Backend, streamUUID string, expected ExpectedVersion, events []UnsavedEvent, correlationID uuid.UUID) (res AppendResult, raced bool, err error) {
	info, err := b.ReadStreamInfo(ctx, streamUUID, correlationID)
	current := &info
	if errors.Is(err, ErrStreamNotFound) {
		current = nil
	} else if err != nil {
		return AppendResult{}, false, err
	}
	if err := expected.Verify(streamUUID, current); err != nil {
		return AppendResult{}, false, err
	}
	if len(events) == 0 {
		return AppendResult{Version: info.Version}, false, nil
	}
	if current == nil {
		_, err := b.CreateStream(ctx, Stream{UUID: streamUUID}, correlationID)
		if err != nil && !errors.Is(err, ErrStreamExists) {
			return AppendResult{}, false, err
		}
	}
	for i := range events {
		events[i].StreamVersion = info.Version + 1 + uint64(i)
	}
	ids, err := b.AppendToStream(ctx, streamUUID, events, correlationID)
	if err != nil {
		raced = errors.Is(err, ErrWrongExpectedVersion) || errors.Is(err, ErrStreamNotFound)
		return AppendResult{}, raced, err
	}
	last := events[len(events)-1].StreamVersion
	recorded, err := b.ReadStream(ctx, streamUUID, last, 1, correlationID)
	if err != nil || len(recorded) == 0 {
		// The events are stored; only their position can't be told.
		return AppendResult{EventUUIDs: ids, Version: last}, false, nil
	}
	return AppendResult{EventUUIDs: ids, Version: last, Position: recorded[0].Position}, false, nil
}

// Agree checks that the versions given in the events of an append, as
// [Prepare] returns them, agree with what the caller expects: [ErrInvalidEvent]
// where they don't. It is for those who implement an [Appender].
func Agree(expected, given ExpectedVersion) error {
	if given == AnyVersion() {
		return nil
	}
	want, _ := given.Exact()
	if have, ok := expected.Exact(); !ok || have != want {
		return fmt.Errorf("%w: the first event is to get version %d, but expected is %s", ErrInvalidEvent, want+1, expected)
	}
	return nil
}
