package jetstream

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"

	"github.com/google/uuid"

	"github.com/tributary-es/tributary/backend"
)

// ReadStreamInfo is as [backend.Backend] says. It takes one round trip.
func (b *Backend) ReadStreamInfo(ctx context.Context, streamUUID string, _ uuid.UUID) (backend.Stream, error) {
	ctx, cancel, t, err := b.beginOn(ctx, streamUUID)
	if err != nil {
		return backend.Stream{}, err
	}
	defer cancel()
	h, err := b.readHead(ctx, t)
	if err != nil {
		return backend.Stream{}, err
	}
	if !h.exists {
		return backend.Stream{}, fmt.Errorf("%w: %q", backend.ErrStreamNotFound, t.uuid)
	}
	return h.stream(t.uuid), nil
}

// ReadStream is as [backend.Backend] says. It takes two round trips where what
// is read is within the latest 16 commits; further back it looks for where to
// start, with a number of requests that grows with the logarithm of the store's
// size, and reads on from there.
func (b *Backend) ReadStream(ctx context.Context, streamUUID string, version, limit uint64, _ uuid.UUID) ([]backend.RecordedEvent, error) {
	return b.readSome(ctx, streamUUID, func(h *head) (from, to uint64) {
		from = max(version, h.state.First)
		if limit == 0 || from > h.state.Version {
			return 1, 0
		}
		return from, from + min(limit-1, h.state.Version-from)
	})
}

// ReadStreamBackward is as the function [backend.ReadStreamBackward] says. It
// takes as many round trips as ReadStream.
func (b *Backend) ReadStreamBackward(ctx context.Context, streamUUID string, version, limit uint64, _ uuid.UUID) ([]backend.RecordedEvent, error) {
	events, err := b.readSome(ctx, streamUUID, func(h *head) (from, to uint64) {
		to = h.state.Version
		if version != 0 {
			to = min(to, version)
		}
		if limit == 0 || to < h.state.First {
			return 1, 0
		}
		return to - min(limit-1, to-h.state.First), to
	})
	slices.Reverse(events)
	return events, err
}

// readSome reads the versions that pick chooses, from to to, inclusive; none
// where from is above to.
func (b *Backend) readSome(ctx context.Context, streamUUID string, pick func(h *head) (from, to uint64)) ([]backend.RecordedEvent, error) {
	ctx, cancel, t, err := b.beginOn(ctx, streamUUID)
	if err != nil {
		return nil, err
	}
	defer cancel()
	h, err := b.headToRead(ctx, t)
	for tries := 0; err == nil; tries++ {
		from, to := pick(h)
		if from > to {
			return nil, nil
		}
		var events []backend.RecordedEvent
		events, err = b.readRange(ctx, t, h, from, to)
		if err == nil {
			return events, nil
		}
		if !errors.Is(err, backend.ErrStreamChanged) || !pause(ctx, tries) {
			return nil, err
		}
		h, err = b.headToRead(ctx, t)
	}
	return nil, err
}

// headToRead reads the head of an event stream that must be readable.
func (b *Backend) headToRead(ctx context.Context, t target) (*head, error) {
	h, err := b.readHead(ctx, t)
	switch {
	case err != nil:
		return nil, err
	case !h.exists:
		return nil, fmt.Errorf("%w: %q", backend.ErrStreamNotFound, t.uuid)
	case !h.state.Deleted.IsZero():
		return nil, fmt.Errorf("%w: %q", backend.ErrStreamDeleted, t.uuid)
	}
	return h, nil
}

// readRange reads the versions from to to, inclusive, of the event stream that
// has the head h: by its chain where that leads there soon, else by a scan. The
// error is [backend.ErrStreamChanged] where h is no longer the head and the
// events are gone.
func (b *Backend) readRange(ctx context.Context, t target, h *head, from, to uint64) ([]backend.RecordedEvent, error) {
	events, err := b.readChain(ctx, t, h, from, to)
	if err == nil || !errors.Is(err, errChainLost) {
		return events, err
	}
	events = nil
	err = b.scanStream(ctx, t, h, from, to, func(c *commit, from uint64) (bool, error) {
		var err error
		events, err = c.appendEvents(events, t.uuid, from, to)
		return true, err
	})
	if err != nil {
		return nil, err
	}
	return events, nil
}

// StreamForward is as [backend.Backend] says. A short event stream it reads as
// ReadStream does, a longer one through an ordered consumer, which it deletes
// when it ends.
func (b *Backend) StreamForward(ctx context.Context, streamUUID string, batchSize int, _ uuid.UUID) iter.Seq2[[]backend.RecordedEvent, error] {
	return func(yield func([]backend.RecordedEvent, error) bool) {
		if batchSize < 1 {
			yield(nil, fmt.Errorf("%w: batch size %d, must be 1 or more", backend.ErrInvalidArgument, batchSize))
			return
		}
		out := batcher{size: batchSize, yield: yield, more: true}
		out.end(b.forward(ctx, streamUUID, &out))
	}
}

func (b *Backend) forward(ctx context.Context, streamUUID string, out *batcher) error {
	t, h, err := b.headToStream(ctx, streamUUID)
	if err != nil {
		return err
	}
	from, to := h.state.First, h.state.Version
	if from > to {
		return nil
	}
	out.rest = to - from + 1
	if events, err := b.forwardShort(ctx, t, h); err == nil || !errors.Is(err, errChainLost) {
		if err != nil {
			return err
		}
		out.batch = events
		return out.flush(ctx)
	}
	return b.scanStream(ctx, t, h, from, to, func(c *commit, from uint64) (bool, error) {
		var err error
		if out.batch, err = c.appendEvents(out.room(), t.uuid, from, to); err != nil {
			return false, err
		}
		err = out.flush(ctx)
		return out.more, err
	})
}

func (b *Backend) forwardShort(ctx context.Context, t target, h *head) ([]backend.RecordedEvent, error) {
	ctx, cancel, err := b.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer cancel()
	return b.readChain(ctx, t, h, h.state.First, h.state.Version)
}

// batcher makes batches of one size of what comes in commits.
type batcher struct {
	size  int
	yield func([]backend.RecordedEvent, error) bool
	more  bool // the caller wants more
	rest  uint64
	batch []backend.RecordedEvent
}

// room returns the batch to append to.
func (o *batcher) room() []backend.RecordedEvent {
	if o.batch == nil {
		o.batch = make([]backend.RecordedEvent, 0, min(uint64(o.size), o.rest, 4096))
	}
	return o.batch
}

// flush yields every full batch, as long as the caller wants more and ctx goes
// on.
func (o *batcher) flush(ctx context.Context) error {
	if len(o.batch) < o.size {
		return nil
	}
	rest := o.batch
	for o.more && len(rest) >= o.size {
		if err := ctx.Err(); err != nil {
			o.batch = nil
			return fmt.Errorf("between batches: %w", err)
		}
		full := rest[:o.size:o.size]
		rest = rest[o.size:]
		o.rest -= uint64(o.size)
		o.more = o.yield(full, nil)
	}
	// The rest goes into memory of its own: what was yielded is the caller's.
	o.batch = append([]backend.RecordedEvent(nil), rest...)
	return nil
}

// end yields what is left, then the error, if any.
func (o *batcher) end(err error) {
	if o.more && len(o.batch) > 0 {
		o.more = o.yield(o.batch, nil)
	}
	if o.more && err != nil {
		o.yield(nil, err)
	}
}

func (b *Backend) headToStream(ctx context.Context, streamUUID string) (target, *head, error) {
	ctx, cancel, t, err := b.beginOn(ctx, streamUUID)
	if err != nil {
		return t, nil, err
	}
	defer cancel()
	h, err := b.headToRead(ctx, t)
	return t, h, err
}
