package jetstream

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"

	"github.com/tributary-es/tributary/backend"
	"github.com/tributary-es/tributary/jetstream/internal/wire"
)

var (
	_ backend.Consumer            = (*Backend)(nil)
	_ backend.SubscriptionManager = (*Backend)(nil)
	_ backend.Parker              = (*Backend)(nil)
	_ backend.Checkpointer        = (*Backend)(nil)
)

// Consume is as the function [backend.Consume] says. What is known of a named
// subscription is kept in [SubscriptionsBucket], under the key
// subscription.<name>. Each member reads through an ordered consumer of its own,
// and writes to the bucket when it has dealt with something: at once where
// nothing more waits, and ten times a second where there is much to do.
func (b *Backend) Consume(ctx context.Context, name string, options backend.ConsumeOptions, handler backend.Handler) error {
	return b.durable.Consume(ctx, name, options, handler)
}

// WaitFor is as the function [backend.WaitFor] says.
func (b *Backend) WaitFor(ctx context.Context, name string, position uint64) error {
	return b.durable.WaitFor(ctx, name, position)
}

// Subscriptions is as the function [backend.Subscriptions] says.
func (b *Backend) Subscriptions(ctx context.Context) ([]backend.SubscriptionInfo, error) {
	return b.durable.Subscriptions(ctx)
}

// ResetSubscription is as the function [backend.ResetSubscription] says.
func (b *Backend) ResetSubscription(ctx context.Context, name string, position uint64) error {
	return b.durable.ResetSubscription(ctx, name, position)
}

// DeleteSubscription is as the function [backend.DeleteSubscription] says.
func (b *Backend) DeleteSubscription(ctx context.Context, name string) error {
	return b.durable.DeleteSubscription(ctx, name)
}

// Parked is as the function [backend.Parked] says. The commits are listed on the
// subject <prefix>.$parked.<name>.
func (b *Backend) Parked(ctx context.Context, name string) ([]backend.ParkedCommit, error) {
	return b.durable.Parked(ctx, name)
}

// ReplayParked is as the function [backend.ReplayParked] says.
func (b *Backend) ReplayParked(ctx context.Context, name string, position uint64) error {
	return b.durable.ReplayParked(ctx, name, position)
}

// DiscardParked is as the function [backend.DiscardParked] says.
func (b *Backend) DiscardParked(ctx context.Context, name string, position uint64) error {
	return b.durable.DiscardParked(ctx, name, position)
}

// durableStore is the backend as named subscriptions use it.
type durableStore struct{ b *Backend }

func (s durableStore) Follow(ctx context.Context, options backend.SubscribeOptions, keep func(string) bool) iter.Seq2[backend.Batch, error] {
	return s.b.follow(ctx, options, keep)
}

func (s durableStore) ReadStream(ctx context.Context, streamUUID string, version, limit uint64, correlationID uuid.UUID) ([]backend.RecordedEvent, error) {
	return s.b.ReadStream(ctx, streamUUID, version, limit, correlationID)
}

func (s durableStore) End(ctx context.Context) (uint64, error) {
	ctx, cancel, err := s.b.begin(ctx)
	if err != nil {
		return 0, err
	}
	defer cancel()
	info, err := s.b.checkSame(ctx, "")
	return info.State.LastSeq, err
}

func (s durableStore) Next(ctx context.Context, options backend.SubscribeOptions, after uint64) (uint64, time.Time, error) {
	ctx, cancel, err := s.b.begin(ctx)
	if err != nil {
		return 0, time.Time{}, err
	}
	defer cancel()
	filter, err := s.b.covered(options)
	if err != nil {
		return 0, time.Time{}, err
	}
	next, err := s.b.leaderGet(ctx, getRequest{Seq: after + 1, NextFor: filter})
	if err != nil || next == nil {
		return 0, time.Time{}, err
	}
	return next.position, next.at, nil
}

func (s durableStore) Count(ctx context.Context, options backend.SubscribeOptions, after uint64) (uint64, error) {
	ctx, cancel, err := s.b.begin(ctx)
	if err != nil {
		return 0, err
	}
	defer cancel()
	filter, err := s.b.covered(options)
	if err != nil {
		return 0, err
	}
	counting := s.b.newScan(filter, after, after+1, 0)
	defer counting.drop(ctx)
	return counting.open(ctx)
}

// covered is the subjects of what options say.
func (b *Backend) covered(options backend.SubscribeOptions) (string, error) {
	if options.Stream != "" {
		return b.subjects.Subject(options.Stream)
	}
	return b.subjects.Under(options.Under)
}

func (s durableStore) Final(err error) bool {
	return s.b.closed.Load() || s.b.nc.IsClosed() ||
		isAPIError(err, codeStreamNotFound) || errors.Is(err, nats.ErrPermissionViolation) || errors.Is(err, nats.ErrMaxPayload)
}

func (s durableStore) Load(ctx context.Context, key string) ([]byte, uint64, error) {
	return s.b.keys.load(ctx, key)
}

func (s durableStore) Save(ctx context.Context, key string, value []byte, revision uint64) (uint64, error) {
	return s.b.keys.save(ctx, key, value, revision)
}

func (s durableStore) Remove(ctx context.Context, key string, revision uint64) error {
	return s.b.keys.remove(ctx, key, revision)
}

func (s durableStore) Keys(ctx context.Context, prefix string) ([]string, error) {
	return s.b.keys.list(ctx, prefix)
}

// reserved is the target of a name that begins with "$".
func (b *Backend) reserved(streamUUID string) target {
	all := b.subjects.All()
	return target{uuid: streamUUID, subject: all[:len(all)-1] + streamUUID}
}

func (s durableStore) AppendReserved(ctx context.Context, streamUUID string, event backend.UnsavedEvent) error {
	ctx, cancel, err := s.b.begin(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	a, err := newAppendage(streamUUID, backend.AnyVersion(), []backend.UnsavedEvent{event}, uuid.Nil)
	if err != nil {
		return err
	}
	if err := wire.CheckEvents(a.events, s.b.limits()); err != nil {
		return err
	}
	a.deadline, _ = ctx.Deadline()
	t := s.b.reserved(streamUUID)
	if err := s.b.lock(ctx, t); err != nil {
		return unavailable(ctx, fmt.Errorf("waiting for other writes to %q: %w", t.uuid, err))
	}
	_, err = s.b.appendAlone(ctx, t, a)
	return err
}

func (s durableStore) ReadReserved(ctx context.Context, streamUUID string) ([]backend.RecordedEvent, error) {
	ctx, cancel, err := s.b.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer cancel()
	t := s.b.reserved(streamUUID)
	for tries := 0; ; tries++ {
		h, err := s.b.refreshHead(ctx, t)
		if err != nil || !h.exists || h.state.First > h.state.Version {
			return nil, err
		}
		events, err := s.b.readRange(ctx, t, h, h.state.First, h.state.Version)
		if !errors.Is(err, backend.ErrStreamChanged) || !pause(ctx, tries) {
			return events, err
		}
	}
}

func (s durableStore) TruncateReserved(ctx context.Context, streamUUID string, before uint64) error {
	ctx, cancel, err := s.b.begin(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	err = s.b.truncate(ctx, s.b.reserved(streamUUID), before)
	if errors.Is(err, backend.ErrStreamNotFound) {
		return nil
	}
	return err
}
