package backend

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"io"
	"time"

	"github.com/google/uuid"
)

const (
	// MaxMetadataBytes is the most metadata that one event can carry, 16 KiB:
	// metadata is stored in message headers, which share 64 KiB a message on
	// nats-server.
	MaxMetadataBytes = 16 << 10

	// MaxEventTypeBytes is the longest event type, 4 KiB.
	MaxEventTypeBytes = 4 << 10
)

// UnsavedEvent is an event to append.
type UnsavedEvent struct {
	// EventUUID identifies the event, and makes a repeated append recognisable.
	// [uuid.Nil]: a new UUIDv7. Either all events of an append have one, or none
	// has.
	EventUUID uuid.UUID

	// CausationID is the id of the event or command that led to this one.
	// [uuid.Nil]: none.
	CausationID uuid.UUID

	// CorrelationID ties together what belongs to one process. [uuid.Nil]: the
	// correlation id of the call.
	CorrelationID uuid.UUID

	// EventType names what happened: any text, 1 to [MaxEventTypeBytes] bytes.
	EventType string

	// Data is the event itself: any bytes. Zero length is read back as nil.
	Data []byte

	// Metadata is about the event: any bytes, at most [MaxMetadataBytes]. Zero
	// length is read back as nil.
	Metadata []byte

	// StreamUUID must be empty or the name of the event stream appended to.
	StreamUUID string

	// StreamVersion is the version that the event is to get; 0: whatever comes
	// next. Either all events of an append have one, counting up by one, or
	// none has.
	StreamVersion uint64

	// CreatedAt is when the event happened, stored in UTC with nanoseconds.
	// Zero: now.
	CreatedAt time.Time
}

// RecordedEvent is an event as it is stored.
type RecordedEvent struct {
	// EventNumber numbers the event in what is being read: the version. A store
	// read with [ReadAll] has no gapless numbering; there it is the version
	// too, and Position then StreamVersion is the order.
	EventNumber uint64

	EventUUID     uuid.UUID // identifies the event
	StreamUUID    string    // the event stream's name
	StreamVersion uint64    // the event's place in its event stream, from 1

	// Position orders commits across all event streams of a store. Events
	// appended together share it; so may appends that a backend wrote together.
	Position uint64

	CausationID   uuid.UUID // uuid.Nil: none
	CorrelationID uuid.UUID // uuid.Nil: none
	EventType     string
	Data          []byte // nil: none
	Metadata      []byte // nil: none

	CreatedAt  time.Time // when it happened, UTC, as given or by the appending process's clock
	RecordedAt time.Time // when it was stored, UTC, by the store's clock
}

// Prepare checks the events of an append to streamUUID and returns a copy with
// every default filled in: ids, correlation ids, CreatedAt in UTC. It is for
// those who implement a [Backend]. Data and Metadata are not copied.
//
// It returns the version expected by the events themselves: StreamVersion of
// the first less one, or [AnyVersion] where none is given. The error is
// [ErrInvalidEvent] or [ErrEventTooLarge], with the index of the event.
func Prepare(streamUUID string, events []UnsavedEvent, correlationID uuid.UUID) ([]UnsavedEvent, ExpectedVersion, error) {
	if len(events) == 0 {
		return nil, AnyVersion(), nil
	}
	prepared := make([]UnsavedEvent, len(events))
	copy(prepared, events)
	now := time.Now().UTC()
	first := events[0].StreamVersion
	var random io.Reader
	for i := range prepared {
		e := &prepared[i]
		if err := e.check(streamUUID); err != nil {
			return nil, ExpectedVersion{}, fmt.Errorf("event %d: %w", i, err)
		}
		switch {
		case first == 0 && e.StreamVersion != 0:
			return nil, ExpectedVersion{}, fmt.Errorf("event %d: %w: version %d, but the first event has none", i, ErrInvalidEvent, e.StreamVersion)
		case first != 0 && e.StreamVersion != first+uint64(i):
			return nil, ExpectedVersion{}, fmt.Errorf("event %d: %w: version %d where %d comes next", i, ErrInvalidEvent, e.StreamVersion, first+uint64(i))
		}
		if (e.EventUUID == uuid.Nil) != (events[0].EventUUID == uuid.Nil) {
			return nil, ExpectedVersion{}, fmt.Errorf("event %d: %w: some events have an id, others have none", i, ErrInvalidEvent)
		}
		if e.EventUUID == uuid.Nil {
			if random == nil {
				random = newRandom(len(events) - i)
			}
			id, err := uuid.NewV7FromReader(random)
			if err != nil {
				return nil, ExpectedVersion{}, fmt.Errorf("event %d: making an id: %w", i, err)
			}
			e.EventUUID = id
		}
		if e.CorrelationID == uuid.Nil {
			e.CorrelationID = correlationID
		}
		if e.CreatedAt.IsZero() {
			e.CreatedAt = now
		} else {
			e.CreatedAt = e.CreatedAt.UTC().Round(0)
		}
	}
	if first == 0 {
		return prepared, AnyVersion(), nil
	}
	return prepared, ExactVersion(first - 1), nil
}

// newRandom returns what n ids need of random bytes, had from the system at once.
func newRandom(n int) io.Reader {
	if n == 1 {
		return rand.Reader
	}
	b := make([]byte, n*len(uuid.UUID{}))
	// crypto/rand.Read never fails (Go 1.24 and later).
	_, _ = rand.Read(b)
	return bytes.NewReader(b)
}

func (e *UnsavedEvent) check(streamUUID string) error {
	switch {
	case e.EventType == "":
		return fmt.Errorf("%w: no event type", ErrInvalidEvent)
	case e.StreamUUID != "" && e.StreamUUID != streamUUID:
		return fmt.Errorf("%w: it is of the event stream %.80q, appended to %.80q", ErrInvalidEvent, e.StreamUUID, streamUUID)
	case len(e.EventType) > MaxEventTypeBytes:
		return fmt.Errorf("%w: event type of %d bytes, limit %d", ErrEventTooLarge, len(e.EventType), MaxEventTypeBytes)
	case len(e.Metadata) > MaxMetadataBytes:
		return fmt.Errorf("%w: metadata of %d bytes, limit %d", ErrEventTooLarge, len(e.Metadata), MaxMetadataBytes)
	case !e.CreatedAt.IsZero() && (e.CreatedAt.UTC().Year() < 1 || e.CreatedAt.UTC().Year() > 9999):
		return fmt.Errorf("%w: created in the year %d, outside 1 to 9999", ErrInvalidEvent, e.CreatedAt.UTC().Year())
	}
	return nil
}
