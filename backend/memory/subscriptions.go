package memory

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/tributary-es/tributary/backend"
	"github.com/tributary-es/tributary/internal/durable"
)

// Consume is as [backend.Consume] says.
func (b *Backend) Consume(ctx context.Context, name string, options backend.ConsumeOptions, handler backend.Handler) error {
	return b.durable.Consume(ctx, name, options, handler)
}

// WaitFor is as [backend.WaitFor] says.
func (b *Backend) WaitFor(ctx context.Context, name string, position uint64) error {
	return b.durable.WaitFor(ctx, name, position)
}

// Subscriptions is as [backend.Subscriptions] says.
func (b *Backend) Subscriptions(ctx context.Context) ([]backend.SubscriptionInfo, error) {
	return b.durable.Subscriptions(ctx)
}

// ResetSubscription is as [backend.ResetSubscription] says.
func (b *Backend) ResetSubscription(ctx context.Context, name string, position uint64) error {
	return b.durable.ResetSubscription(ctx, name, position)
}

// DeleteSubscription is as [backend.DeleteSubscription] says.
func (b *Backend) DeleteSubscription(ctx context.Context, name string) error {
	return b.durable.DeleteSubscription(ctx, name)
}

// Parked is as [backend.Parked] says.
func (b *Backend) Parked(ctx context.Context, name string) ([]backend.ParkedCommit, error) {
	return b.durable.Parked(ctx, name)
}

// ReplayParked is as [backend.ReplayParked] says.
func (b *Backend) ReplayParked(ctx context.Context, name string, position uint64) error {
	return b.durable.ReplayParked(ctx, name, position)
}

// DiscardParked is as [backend.DiscardParked] says.
func (b *Backend) DiscardParked(ctx context.Context, name string, position uint64) error {
	return b.durable.DiscardParked(ctx, name, position)
}

// OpenCheckpoint is as [backend.OpenCheckpoint] says.
func (b *Backend) OpenCheckpoint(ctx context.Context, name string) (backend.Checkpoint, error) {
	if err := backend.CheckSubscriptionName(name); err != nil {
		return nil, err
	}
	if err := b.checkBetweenBatches(ctx); err != nil {
		return nil, err
	}
	return durable.NewCheckpoint(durableStore{b}, "checkpoint."+name), nil
}

// durableStore is the backend as named subscriptions use it.
type durableStore struct{ *Backend }

// value is what is kept under a key.
type value struct {
	data     []byte
	revision uint64
}

func (s durableStore) Follow(ctx context.Context, options backend.SubscribeOptions, keep func(string) bool) iter.Seq2[backend.Batch, error] {
	return func(yield func(backend.Batch, error) bool) {
		for batch, err := range s.Subscribe(ctx, options) {
			batch.Events = slices.DeleteFunc(batch.Events, func(e backend.RecordedEvent) bool { return !keep(e.StreamUUID) })
			if !yield(batch, err) {
				return
			}
		}
	}
}

// begin is the beginning of what is on no event stream. The caller holds b.mu.
func (s durableStore) begin(ctx context.Context) error {
	if err := checkContext(ctx); err != nil {
		return err
	}
	return s.open()
}

func (s durableStore) End(ctx context.Context) (uint64, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.position, s.begin(ctx)
}

func (s durableStore) Next(ctx context.Context, options backend.SubscribeOptions, after uint64) (uint64, time.Time, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for c := range s.after(options, after) {
		return c.position, c.events[0].RecordedAt, s.begin(ctx)
	}
	return 0, time.Time{}, s.begin(ctx)
}

func (s durableStore) Count(ctx context.Context, options backend.SubscribeOptions, after uint64) (n uint64, err error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for range s.after(options, after) {
		n++
	}
	return n, s.begin(ctx)
}

// after ranges over the commits after a position that options cover. The caller
// holds b.mu.
func (s durableStore) after(options backend.SubscribeOptions, position uint64) iter.Seq[*commit] {
	return func(yield func(*commit) bool) {
		for _, c := range s.log {
			covered := selected(c.streamUUID, options.Under) && (options.Stream == "" || c.streamUUID == options.Stream)
			if covered && !c.erased && c.position > position && !yield(c) {
				return
			}
		}
	}
}

// Final reports whether the backend is closed: there is no other reason for it to
// be unavailable.
func (s durableStore) Final(error) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.closed
}

func (s durableStore) Load(ctx context.Context, key string) ([]byte, uint64, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	v := s.values[key]
	return v.data, v.revision, s.begin(ctx)
}

func (s durableStore) Save(ctx context.Context, key string, data []byte, revision uint64) (uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.begin(ctx); err != nil {
		return 0, err
	}
	if have := s.values[key].revision; have != revision {
		return 0, fmt.Errorf("%w: %s, to revision %d", durable.ErrRevision, key, have)
	}
	s.revision++ // one count for all, so that what is removed and made again has another
	s.values[key] = value{data: data, revision: s.revision}
	return s.revision, nil
}

func (s durableStore) Remove(ctx context.Context, key string, revision uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.begin(ctx); err != nil {
		return err
	}
	if have := s.values[key].revision; have != revision {
		return fmt.Errorf("%w: %s, to revision %d", durable.ErrRevision, key, have)
	}
	delete(s.values, key)
	return nil
}

func (s durableStore) Keys(ctx context.Context, prefix string) (keys []string, err error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for key := range s.values {
		if strings.HasPrefix(key, prefix) {
			keys = append(keys, key)
		}
	}
	return keys, s.begin(ctx)
}

func (s durableStore) AppendReserved(ctx context.Context, streamUUID string, event backend.UnsavedEvent) error {
	events := []backend.UnsavedEvent{event}
	prepared, _, err := backend.Prepare(streamUUID, events, uuid.Nil)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.begin(ctx); err != nil {
		return err
	}
	_, err = s.append(streamUUID, backend.AnyVersion(), events, record(streamUUID, prepared))
	return err
}

func (s durableStore) ReadReserved(ctx context.Context, streamUUID string) (events []backend.RecordedEvent, err error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if stream := s.streams[streamUUID]; stream != nil {
		for _, c := range stream.commits {
			events = append(events, c.events...)
		}
	}
	return events, s.begin(ctx)
}

func (s durableStore) TruncateReserved(ctx context.Context, streamUUID string, before uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.begin(ctx); err != nil {
		return err
	}
	if stream := s.streams[streamUUID]; stream != nil {
		s.truncate(stream, before)
	}
	return nil
}
