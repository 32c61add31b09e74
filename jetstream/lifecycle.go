package jetstream

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/tributary-es/tributary/backend"
	"github.com/tributary-es/tributary/jetstream/internal/wire"
)

// marker is what an operation writes instead of events.
type marker struct {
	kind   wire.Kind
	after  wire.State
	links  []wire.Link
	rollup bool // it takes the place of everything before
}

// CreateStream is as [backend.Backend] says. It takes one round trip; where an event
// stream of the name was deleted, as many as beginning it anew with Append.
func (b *Backend) CreateStream(ctx context.Context, stream backend.Stream, _ uuid.UUID) (backend.Stream, error) {
	created := stream.CreatedAt.UTC().Round(0)
	switch {
	case stream.CreatedAt.IsZero():
		created = time.Now().UTC()
	case created.Year() < 1 || created.Year() > 9999:
		return backend.Stream{}, fmt.Errorf("%w: created in the year %d, outside 1 to 9999", backend.ErrInvalidArgument, created.Year())
	}
	state := wire.State{First: 1, ID: newStreamID(), Created: created}
	h, err := b.mark(ctx, stream.UUID, true, func(_ context.Context, t target, h *head) (*marker, error) {
		if h.exists {
			return nil, fmt.Errorf("%w: %q", backend.ErrStreamExists, t.uuid)
		}
		return &marker{kind: wire.Created, after: state, rollup: h.erased()}, nil
	})
	if err != nil {
		return backend.Stream{}, err
	}
	return h.stream(stream.UUID), nil
}

// DeleteStream is as [backend.Backend] says. A small marker stays behind, so that
// nothing that was meant for the erased event stream can slip into a new one of
// the name. It takes two round trips where the head is known: the second sees that
// the server, erasing the rest, kept the marker.
//
// Without a version it also erases an event stream that can't be read or
// appended to any more, because its last message is a foreign one.
func (b *Backend) DeleteStream(ctx context.Context, stream backend.Stream, _ uuid.UUID) error {
	_, err := b.mark(ctx, stream.UUID, false, func(ctx context.Context, t target, h *head) (*marker, error) {
		switch {
		case !h.exists:
			if left, err := b.leftBehind(ctx, t, h); err != nil || !left || !h.gone {
				return nil, cmp.Or(err, fmt.Errorf("%w: %q", backend.ErrStreamNotFound, t.uuid))
			}
			return &marker{kind: wire.Erased, after: h.begin(), rollup: true}, nil
		case stream.Version != 0 && stream.Version != h.state.Version:
			return nil, &backend.WrongExpectedVersionError{StreamUUID: t.uuid, Expected: backend.ExactVersion(stream.Version), Actual: h.state.Version}
		}
		after := h.state
		after.Deleted = time.Time{}
		return &marker{kind: wire.Erased, after: after, rollup: true}, nil
	})
	if stream.Version == 0 && (errors.Is(err, errUnreadable) || errors.Is(err, wire.ErrMalformed) && !errors.Is(err, wire.ErrOtherFormat)) {
		return b.eraseMalformed(ctx, stream.UUID)
	}
	return err
}

// leftBehind reports whether there is anything before a head that has taken the
// place of it all: a server that was killed while it erased leaves some.
func (b *Backend) leftBehind(ctx context.Context, t target, h *head) (bool, error) {
	if h.position == 0 {
		return false, nil
	}
	first, err := b.leaderGet(ctx, getRequest{Seq: 1, NextFor: t.subject})
	return first != nil && first.position < h.position, err
}

// eraseMalformed erases an event stream whose head can't be decoded, or not even
// be read by the server.
func (b *Backend) eraseMalformed(ctx context.Context, streamUUID string) error {
	ctx, cancel, t, err := b.beginOn(ctx, streamUUID)
	if err != nil {
		return err
	}
	defer cancel()
	if err := b.lock(ctx, t); err != nil {
		return unavailable(ctx, err)
	}
	defer b.unlock(t)
	last, err := b.leaderGet(ctx, getRequest{LastFor: t.subject})
	if err != nil {
		return err
	}
	if last == nil {
		if damaged, err := b.isUnreadable(ctx, t); err != nil {
			return err
		} else if !damaged {
			return fmt.Errorf("%w: %q", backend.ErrStreamNotFound, t.uuid)
		}
		last = &stored{} // which is how the server sees it, too
	}
	state := wire.State{First: 1, ID: newStreamID(), Created: time.Now().UTC()}
	if _, err := newPart(last); last.position != 0 && !errors.Is(err, wire.ErrMalformed) {
		return fmt.Errorf("%w: %q", backend.ErrStreamNotFound, t.uuid) // another was faster
	}
	_, err = b.writeMarker(ctx, t, &head{position: last.position, exists: true}, &marker{kind: wire.Erased, after: state, rollup: true})
	if errors.Is(err, errConflict) || errors.Is(err, errInFlight) {
		return unavailable(ctx, err)
	}
	return err
}

// SoftDelete is as the function [backend.SoftDelete] says.
func (b *Backend) SoftDelete(ctx context.Context, streamUUID string, expected backend.ExpectedVersion, _ uuid.UUID) error {
	_, err := b.mark(ctx, streamUUID, false, func(_ context.Context, t target, h *head) (*marker, error) {
		if !h.exists {
			return nil, fmt.Errorf("%w: %q", backend.ErrStreamNotFound, t.uuid)
		}
		if err := verify(expected, t, h.exists, &h.state); err != nil {
			return nil, err
		}
		after := h.state
		after.Deleted = time.Now().UTC()
		return &marker{kind: wire.SoftDeleted, after: after, links: h.links}, nil
	})
	return err
}

// Restore is as the function [backend.Restore] says.
func (b *Backend) Restore(ctx context.Context, streamUUID string, _ uuid.UUID) error {
	_, err := b.mark(ctx, streamUUID, false, func(_ context.Context, t target, h *head) (*marker, error) {
		switch {
		case !h.exists:
			return nil, fmt.Errorf("%w: %q", backend.ErrStreamNotFound, t.uuid)
		case h.state.Deleted.IsZero():
			return nil, nil
		}
		after := h.state
		after.Deleted = time.Time{}
		return &marker{kind: wire.Restored, after: after, links: h.links}, nil
	})
	return err
}

// Truncate is as the function [backend.Truncate] says. The events are out of
// sight with one message; erasing them from the server's disk, where some are
// kept, is a purge, which needs the permission for it. Where that fails, Truncate
// returns the error, the events stay out of sight, and truncating again purges
// them.
func (b *Backend) Truncate(ctx context.Context, streamUUID string, before uint64, _ uuid.UUID) error {
	ctx, cancel, t, err := b.beginOn(ctx, streamUUID)
	if err != nil {
		return err
	}
	defer cancel()
	return b.truncate(ctx, t, before)
}

// truncate is Truncate where the operation has begun.
func (b *Backend) truncate(ctx context.Context, t target, before uint64) error {
	var keep uint64 // the position of the first message to keep; 0: nothing to purge
	_, err := b.markOn(ctx, t, false, func(ctx context.Context, t target, h *head) (*marker, error) {
		keep = 0
		switch {
		case !h.exists:
			return nil, fmt.Errorf("%w: %q", backend.ErrStreamNotFound, t.uuid)
		case !h.state.Deleted.IsZero():
			return nil, fmt.Errorf("%w: %q", backend.ErrStreamDeleted, t.uuid)
		}
		after := h.state
		after.First = max(after.First, before)
		if after.First > h.state.Version {
			if h.state.First > h.state.Version { // it has no events
				if left, err := b.leftBehind(ctx, t, h); err != nil || !left || h.state.Version == 0 {
					return nil, err
				}
			}
			after.First = h.state.Version + 1
			return &marker{kind: wire.Truncated, after: after, rollup: true}, nil
		}
		if after.First == 1 {
			return nil, nil
		}
		first, err := b.readRange(ctx, t, h, after.First, after.First)
		if err != nil {
			return nil, err
		}
		keep = first[0].Position
		if after.First == h.state.First {
			return nil, nil // all that may be left to do is to purge
		}
		return &marker{kind: wire.Truncated, after: after, links: keepLinks(h.links, h.state.Version, after.First)}, nil
	})
	if err != nil || keep == 0 {
		return err
	}
	return b.purge(ctx, t, keep)
}

// keepLinks returns the links to commits with events from version first on.
func keepLinks(links []wire.Link, version, first uint64) []wire.Link {
	for i, l := range links {
		if version < first {
			return links[:i]
		}
		version -= min(version, uint64(l.Events))
	}
	return links
}

// purge erases the event stream's messages before a position. Positions never
// come again, so it does no harm where the event stream has changed since.
func (b *Backend) purge(ctx context.Context, t target, before uint64) error {
	first, err := b.leaderGet(ctx, getRequest{Seq: before})
	if err != nil || first == nil || first.subject != t.subject {
		return err // gone already
	}
	p, err := newPart(first)
	if err != nil {
		return undecodable(t.uuid, before, err)
	}
	if p.rec.Part.Count > 0 {
		before -= uint64(p.rec.Part.Count) - 1 // a commit is kept whole
	}
	request := struct {
		Filter string `json:"filter"`
		Seq    uint64 `json:"seq"`
	}{t.subject, before}
	var answer struct {
		Success bool `json:"success"`
	}
	if err := b.call(ctx, b.api.purge, request, &answer); err != nil {
		if _, ok := errors.AsType[*apiError](err); ok { // a disk that fails, for instance
			err = fmt.Errorf("%w: %w", backend.ErrUnavailable, err)
		}
		return fmt.Errorf("erasing truncated events: %w", err)
	}
	if !answer.Success {
		return fmt.Errorf("erasing truncated events: %w: the server did not purge", backend.ErrUnavailable)
	}
	return nil
}

// mark writes the marker that plan makes of the head, and plans again with the
// head as it then is when something else came between. No marker: nothing is to
// be done. guess says that the event stream is probably none where it is not
// known. A refusal is only returned when it is of the leader's head.
func (b *Backend) mark(ctx context.Context, streamUUID string, guess bool, plan func(context.Context, target, *head) (*marker, error)) (*head, error) {
	ctx, cancel, t, err := b.beginOn(ctx, streamUUID)
	if err != nil {
		return nil, err
	}
	defer cancel()
	return b.markOn(ctx, t, guess, plan)
}

// markOn is mark where the operation has begun.
func (b *Backend) markOn(ctx context.Context, t target, guess bool, plan func(context.Context, target, *head) (*marker, error)) (*head, error) {
	if err := b.lock(ctx, t); err != nil {
		return nil, unavailable(ctx, fmt.Errorf("waiting for other writes to %q: %w", t.uuid, err))
	}
	defer b.unlock(t)
	h, fresh := b.heads.get(t.subject), false
	if h == nil && guess {
		h = &head{}
	}
	if h == nil {
		var err error
		if h, err = b.refreshHead(ctx, t); err != nil {
			return nil, err
		}
		fresh = true
	}
	for tries := 0; ; tries++ {
		m, err := plan(ctx, t, h)
		if err == nil && m != nil {
			var next *head
			if next, err = b.writeMarker(ctx, t, h, m); err == nil {
				return next, nil
			}
			fresh = false
		} else if fresh && !errors.Is(err, backend.ErrStreamChanged) {
			return h, err
		}
		switch {
		case errors.Is(err, errInFlight), errors.Is(err, backend.ErrStreamChanged):
			if !pause(ctx, tries) {
				return nil, unavailable(ctx, err)
			}
		case errors.Is(err, errConflict), !fresh && isVerdict(err):
		default:
			return nil, err
		}
		if h, err = b.refreshHead(ctx, t); err != nil {
			return nil, err
		}
		fresh = true
	}
}

// isVerdict reports whether err, or there being nothing to do, follows from the
// head, so that a newer one may change it.
func isVerdict(err error) bool {
	for _, verdict := range []error{backend.ErrStreamNotFound, backend.ErrStreamExists, backend.ErrStreamDeleted,
		backend.ErrWrongExpectedVersion, backend.ErrStreamChanged} {
		if errors.Is(err, verdict) {
			return true
		}
	}
	return err == nil
}

func (b *Backend) writeMarker(ctx context.Context, t target, h *head, m *marker) (*head, error) {
	id, err := uuid.NewV7()
	if err != nil {
		return nil, fmt.Errorf("making an id: %w", err)
	}
	w := &write{target: t, messages: []wire.Message{wire.EncodeMarker(m.kind, id, m.after, m.links)}, id: id, before: h, rollup: m.rollup}
	position, err := b.write(ctx, w)
	if err != nil {
		return nil, err
	}
	next := &head{position: position, exists: true, state: m.after, links: m.links}
	if m.kind == wire.Erased {
		next = &head{position: position, gone: true}
	} else if !m.rollup {
		next.recent = h.recent
		if n := next.linked(); uint64(len(next.recent)) > n {
			next.recent = next.recent[uint64(len(next.recent))-n:]
		}
	}
	b.heads.put(t.subject, next)
	return next, nil
}
