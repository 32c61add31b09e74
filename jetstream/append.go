package jetstream

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/tributary-es/tributary/backend"
	"github.com/tributary-es/tributary/jetstream/internal/wire"
)

// AppendToStream is as [backend.Backend] says. It takes one round trip where the
// event stream's head is known, else two.
func (b *Backend) AppendToStream(ctx context.Context, streamUUID string, events []backend.UnsavedEvent, correlationID uuid.UUID) ([]uuid.UUID, error) {
	prepared, expected, err := backend.Prepare(streamUUID, events, correlationID)
	if err != nil {
		return nil, err
	}
	if expected == backend.AnyVersion() {
		expected = backend.StreamExists()
	}
	res, err := b.append(ctx, streamUUID, &appendage{expected: expected, mustExist: true, events: prepared, given: givenIDs(events)})
	return res.EventUUIDs, err
}

// Append is as the function [backend.Append] says. It takes one round trip where
// the event stream's head is known or expected to be none, else two; with
// [backend.AnyVersion] or [backend.StreamExists] and ids given, one more where
// the ids of the latest commits are not known.
func (b *Backend) Append(ctx context.Context, streamUUID string, expected backend.ExpectedVersion, events []backend.UnsavedEvent, correlationID uuid.UUID) (backend.AppendResult, error) {
	prepared, versions, err := backend.Prepare(streamUUID, events, correlationID)
	if err != nil {
		return backend.AppendResult{}, err
	}
	if err := backend.Agree(expected, versions); err != nil {
		return backend.AppendResult{}, err
	}
	return b.append(ctx, streamUUID, &appendage{expected: expected, events: prepared, given: givenIDs(events)})
}

// appendage is what is to be appended, and to what.
type appendage struct {
	expected  backend.ExpectedVersion
	mustExist bool // the event stream, whatever is expected
	events    []backend.UnsavedEvent
	given     bool // the first event's id is the caller's, so that it may be a repetition
}

func givenIDs(events []backend.UnsavedEvent) bool {
	return len(events) > 0 && events[0].EventUUID != uuid.Nil
}

func (b *Backend) append(ctx context.Context, streamUUID string, a *appendage) (backend.AppendResult, error) {
	ctx, cancel, t, err := b.beginOn(ctx, streamUUID)
	if err != nil {
		return backend.AppendResult{}, err
	}
	defer cancel()
	limits := b.limits()
	for i := range a.events {
		// The exact check is made with the headers, which need the head.
		if size := len(a.events[i].Data); size > limits.MaxMessageBytes {
			return backend.AppendResult{}, fmt.Errorf("event %d: %w: %d bytes of data, limit %d with headers", i, backend.ErrEventTooLarge, size, limits.MaxMessageBytes)
		}
	}
	if len(a.events) == 0 {
		return b.appendNothing(ctx, t, a)
	}
	if err := b.locks.lock(ctx, t.subject); err != nil {
		return backend.AppendResult{}, unavailable(ctx, fmt.Errorf("waiting for other appends to %q: %w", t.uuid, err))
	}
	defer b.locks.unlock(t.subject)
	h, fresh, err := b.headToAppend(ctx, t, a)
	for tries := 0; err == nil; tries++ {
		var res backend.AppendResult
		var done bool
		if res, done, err = b.repeated(ctx, t, h, a); done {
			return res, nil
		}
		if err == nil {
			err = a.verify(t, h)
		}
		if err != nil {
			if fresh || !isVerdict(err) {
				return backend.AppendResult{}, err
			}
			// Only the leader's word is good enough for a refusal.
			h, err = b.refreshHead(ctx, t)
			fresh = true
			continue
		}
		if res, err = b.commit(ctx, t, h, a.events); err == nil {
			return res, nil
		}
		switch {
		case errors.Is(err, errInFlight):
			if !pause(ctx, tries) {
				return backend.AppendResult{}, unavailable(ctx, err)
			}
		case !errors.Is(err, errConflict):
			return backend.AppendResult{}, err
		case errors.Is(err, errUnfinished):
			a.given = true // it may yet be finished: look whether it was
		}
		b.log.DebugContext(ctx, "append met another", "stream", t.uuid, "version", h.state.Version, "error", err)
		h, err = b.refreshHead(ctx, t)
		fresh = true
	}
	return backend.AppendResult{}, err
}

// appendNothing checks what is expected.
func (b *Backend) appendNothing(ctx context.Context, t target, a *appendage) (backend.AppendResult, error) {
	h, err := b.readHead(ctx, t)
	if err == nil && a.verify(t, h) != nil {
		h, err = b.refreshHead(ctx, t) // a refusal is the leader's
	}
	if err == nil {
		err = a.verify(t, h)
	}
	if err != nil {
		return backend.AppendResult{}, err
	}
	return backend.AppendResult{Version: h.state.Version}, nil
}

// headToAppend returns the head to append to: the one known, or a guess that the
// fence will correct, or one that is read.
func (b *Backend) headToAppend(ctx context.Context, t target, a *appendage) (h *head, fresh bool, err error) {
	if known := b.heads.get(t.subject); known != nil {
		return known, false, nil
	}
	if version, ok := a.expected.Exact(); ok && version == 0 && !a.mustExist {
		return &head{}, false, nil
	}
	h, err = b.readHead(ctx, t)
	return h, false, err
}

// verify checks what is expected against the head.
func (a *appendage) verify(t target, h *head) error {
	if !h.exists && a.mustExist {
		return fmt.Errorf("%w: %q", backend.ErrStreamNotFound, t.uuid)
	}
	return a.expected.Verify(t.uuid, h.current(t.uuid))
}

// commit writes events after h, and remembers the head that they make.
func (b *Backend) commit(ctx context.Context, t target, h *head, events []backend.UnsavedEvent) (backend.AppendResult, error) {
	before := h.state
	if !h.exists {
		before = wire.State{First: 1, ID: newStreamID(), Created: time.Now().UTC()}
	}
	messages, err := wire.EncodeEvents(events, before, !h.exists, h.links, b.limits())
	if err != nil {
		return backend.AppendResult{}, err
	}
	w := &write{target: t, messages: messages, id: events[0].EventUUID, before: h}
	position, err := b.write(ctx, w)
	if err != nil {
		return backend.AppendResult{}, err
	}
	b.heads.put(t.subject, h.after(before, position, events, len(messages)))
	res := backend.AppendResult{EventUUIDs: make([]uuid.UUID, len(events)), Version: before.Version + uint64(len(events)), Position: position}
	for i := range events {
		res.EventUUIDs[i] = events[i].EventUUID
	}
	return res, nil
}

// limits are those of the server that is connected and of the JetStream stream.
func (b *Backend) limits() wire.Limits {
	limits := wire.Limits{MaxMessageBytes: int(b.nc.MaxPayload()), EventsPerMessage: b.cfg.EventsPerMessage, MaxMessages: maxBatch}
	if b.maxBytes > 0 {
		limits.MaxMessageBytes = min(limits.MaxMessageBytes, b.maxBytes)
	}
	return limits
}
