package jetstream

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/tributary-es/tributary/backend"
	"github.com/tributary-es/tributary/jetstream/internal/wire"
)

// AppendToStream is as [backend.Backend] says, and otherwise as Append.
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
// the ids of the latest commits are not known. Beginning an event stream anew,
// where one of the name was deleted, takes one more, which sees that the new one
// remained when the server erased what was left of the old one, and without a
// known head two more.
//
// Appends of this process that wait for the same event stream are written
// together, in one message, and then share their position; each has its own
// result and its own error. Not so with [Config.EventsPerMessage].
func (b *Backend) Append(ctx context.Context, streamUUID string, expected backend.ExpectedVersion, events []backend.UnsavedEvent, correlationID uuid.UUID) (backend.AppendResult, error) {
	a, err := newAppendage(streamUUID, expected, events, correlationID)
	if err != nil {
		return backend.AppendResult{}, err
	}
	return b.append(ctx, streamUUID, a)
}

func newAppendage(streamUUID string, expected backend.ExpectedVersion, events []backend.UnsavedEvent, correlationID uuid.UUID) (*appendage, error) {
	prepared, versions, err := backend.Prepare(streamUUID, events, correlationID)
	if err != nil {
		return nil, err
	}
	if err := backend.Agree(expected, versions); err != nil {
		return nil, err
	}
	return &appendage{expected: expected, events: prepared, given: givenIDs(events)}, nil
}

// appendage is what is to be appended, and to what.
type appendage struct {
	expected  backend.ExpectedVersion
	mustExist bool // the event stream, whatever is expected
	events    []backend.UnsavedEvent
	given     bool // the ids are the caller's, so that it may be a repetition
	doubtful  bool // a part of it is stored, and the rest may yet come
	deadline  time.Time

	alone waiter // of its own, when it has the turn
}

// bytes is what the events take, about.
func (a *appendage) bytes() int {
	n := 0
	for i := range a.events {
		n += len(a.events[i].Data) + len(a.events[i].Metadata) + len(a.events[i].EventType)
	}
	return n
}

// own copies what is the caller's: others may still be writing the append when the
// caller has left.
func (a *appendage) own() {
	n := 0
	for i := range a.events {
		n += len(a.events[i].Data) + len(a.events[i].Metadata)
	}
	copies := make([]byte, 0, n)
	own := func(data []byte) []byte {
		start := len(copies)
		copies = append(copies, data...)
		return copies[start:len(copies):len(copies)]
	}
	for i := range a.events {
		e := &a.events[i]
		e.Data, e.Metadata = own(e.Data), own(e.Metadata)
	}
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
	if err := wire.CheckEvents(a.events, b.limits()); err != nil {
		return backend.AppendResult{}, err
	}
	if len(a.events) == 0 {
		return b.appendNothing(ctx, t, a)
	}
	a.deadline, _ = ctx.Deadline() // begin has seen to it that there is one
	if b.queues.enterFree(t.subject) {
		return b.appendAlone(ctx, t, a)
	}
	a.own()
	w := b.queues.enter(t.subject, a)
	if w == nil {
		return b.appendAlone(ctx, t, a)
	}
	select {
	case <-w.turn:
		return b.appendAlone(ctx, t, a)
	case <-w.done:
		return w.outcome.res, w.outcome.err
	case <-ctx.Done():
	}
	if b.queues.quit(t.subject, w) {
		b.unlock(t)
	}
	// Who repeats it has to find it, or nothing: from now on it is not written after
	// a newer head.
	if w.claim.Swap(claimWithdrawn) == claimFree {
		return backend.AppendResult{}, unavailable(ctx, fmt.Errorf("waiting for other appends to %q: %w", t.uuid, ctx.Err()))
	}
	return backend.AppendResult{}, outcomeUnknown(ctx, fmt.Errorf("others are writing it: %w", ctx.Err()))
}

// appendAlone appends with the turn that the caller has, and gives it on.
func (b *Backend) appendAlone(ctx context.Context, t target, a *appendage) (backend.AppendResult, error) {
	defer b.unlock(t)
	a.alone.append = a
	b.appendTogether(ctx, t, nil, []*waiter{&a.alone})
	return a.alone.outcome.res, a.alone.outcome.err
}

// appendNothing checks what is expected.
func (b *Backend) appendNothing(ctx context.Context, t target, a *appendage) (backend.AppendResult, error) {
	h, err := b.refreshHead(ctx, t) // nothing but the leader's word says that it is as expected
	if err == nil {
		err = a.verify(t, h.exists, &h.state)
	}
	if err != nil {
		return backend.AppendResult{}, err
	}
	return backend.AppendResult{Version: h.state.Version}, nil
}

// headToAppend returns the head to append to: the one known, or a guess that the
// fence will correct, or one that is read.
func (b *Backend) headToAppend(ctx context.Context, t target, a *appendage) (*head, error) {
	if known := b.heads.get(t.subject); known != nil {
		return known, nil
	}
	if version, ok := a.expected.Exact(); ok && version == 0 && !a.mustExist {
		return &head{}, nil
	}
	return b.headToTry(ctx, t)
}

// verify checks what is expected against an event stream as it is.
func (a *appendage) verify(t target, exists bool, state *wire.State) error {
	if !exists && a.mustExist {
		return fmt.Errorf("%w: %q", backend.ErrStreamNotFound, t.uuid)
	}
	return verify(a.expected, t, exists, state)
}

func verify(expected backend.ExpectedVersion, t target, exists bool, state *wire.State) error {
	if !exists {
		return expected.Verify(t.uuid, nil)
	}
	s := describe(t.uuid, state)
	return expected.Verify(t.uuid, &s)
}

// result is that of the append when its last event has version.
func (a *appendage) result(version, position uint64) backend.AppendResult {
	res := backend.AppendResult{EventUUIDs: make([]uuid.UUID, len(a.events)), Version: version, Position: position}
	for i := range a.events {
		res.EventUUIDs[i] = a.events[i].EventUUID
	}
	return res
}

// erased reports whether the event stream was erased: what begins in its place
// takes the place of its marker, too, and of whatever a server that was killed
// while it erased left behind.
func (h *head) erased() bool { return !h.exists && h.position > 0 }

// begin is the state that an event stream begins with after h: its own, or that
// of a new one.
func (h *head) begin() wire.State {
	if h.exists {
		return h.state
	}
	return wire.State{First: 1, ID: newStreamID(), Created: time.Now().UTC()}
}

// maxFileStored is what a message may take in a file store, which takes no records
// beyond 32 MiB, with the subject and some 40 bytes beside the message
// (nats-server 2.15.2, filestore.go, rlBadThresh).
const maxFileStored = 32<<20 - 4<<10

// maxPayload is that of the server that is connected.
func (b *Backend) maxPayload() int64 {
	if b.acks.stuck() {
		return b.acks.looked.Load().maxPayload
	}
	return b.nc.MaxPayload()
}

// limits are those of the server that is connected and of the JetStream stream.
func (b *Backend) limits() wire.Limits {
	limits := wire.Limits{MaxMessageBytes: int(b.maxPayload()), EventsPerMessage: b.cfg.EventsPerMessage, MaxMessages: wire.MaxParts}
	if b.cfg.Storage == FileStorage {
		limits.MaxMessageBytes = min(limits.MaxMessageBytes, maxFileStored)
	}
	if b.maxBytes > 0 {
		limits.MaxMessageBytes = min(limits.MaxMessageBytes, b.maxBytes)
	}
	return limits
}
