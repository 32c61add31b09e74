package faulttest

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/google/uuid"

	"github.com/tributary-es/tributary/backend"
)

// Events makes n events with ids, of which all that is stored follows from the id:
// what is stored for another event is seen, and another process can make the same.
func Events(n int) []backend.UnsavedEvent {
	events := make([]backend.UnsavedEvent, n)
	for i := range events {
		events[i] = eventOf(uuid.New())
	}
	return events
}

// eventOf is the event of an id. Some have no data, metadata or causation.
func eventOf(id uuid.UUID) backend.UnsavedEvent {
	r := randomOf(id)
	e := backend.UnsavedEvent{
		EventUUID:     id,
		EventType:     fmt.Sprintf("Happened, %d%%", r.IntN(1000)),
		CorrelationID: uuid.NewSHA1(id, []byte("correlation")),
		Data:          randomBytes(r, r.IntN(200)),
		CreatedAt:     time.Unix(r.Int64N(1<<31), r.Int64N(1e9)).UTC(),
	}
	if r.IntN(2) == 0 {
		e.CausationID = uuid.NewSHA1(id, []byte("causation"))
	}
	if r.IntN(2) == 0 {
		e.Metadata = randomBytes(r, 1+r.IntN(40))
	}
	return e
}

func randomOf(id uuid.UUID) *rand.Rand {
	return rand.New(rand.NewPCG(binary.BigEndian.Uint64(id[:8]), binary.BigEndian.Uint64(id[8:])))
}

func randomBytes(r *rand.Rand, n int) []byte {
	data := make([]byte, n)
	for i := range data {
		data[i] = byte(r.Uint32())
	}
	return data
}

// difference tells in what an event that is stored differs from the one that was
// appended; empty: in nothing.
func difference(e *backend.RecordedEvent, appended *backend.UnsavedEvent) string {
	switch {
	case e.EventType != appended.EventType:
		return fmt.Sprintf("type %q instead of %q", e.EventType, appended.EventType)
	case !bytes.Equal(e.Data, appended.Data):
		return fmt.Sprintf("data %.80q instead of %.80q", e.Data, appended.Data)
	case !bytes.Equal(e.Metadata, appended.Metadata):
		return fmt.Sprintf("metadata %.80q instead of %.80q", e.Metadata, appended.Metadata)
	case e.CausationID != appended.CausationID:
		return fmt.Sprintf("causation %s instead of %s", e.CausationID, appended.CausationID)
	case e.CorrelationID != appended.CorrelationID:
		return fmt.Sprintf("correlation %s instead of %s", e.CorrelationID, appended.CorrelationID)
	case !e.CreatedAt.Equal(appended.CreatedAt):
		return fmt.Sprintf("time %v instead of %v", e.CreatedAt, appended.CreatedAt)
	case e.EventNumber != e.StreamVersion:
		return fmt.Sprintf("number %d at version %d", e.EventNumber, e.StreamVersion)
	}
	return ""
}
