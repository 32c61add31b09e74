package memory

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/tributary-es/tributary/backend"
)

// CreateStream is as [backend.Backend] says.
func (b *Backend) CreateStream(ctx context.Context, stream backend.Stream, correlationID uuid.UUID) (backend.Stream, error) {
	if err := check(ctx, stream.UUID); err != nil {
		return backend.Stream{}, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.open(); err != nil {
		return backend.Stream{}, err
	}
	if s, ok := b.streams[stream.UUID]; ok {
		return backend.Stream{}, fmt.Errorf("%w: %q, at version %d", backend.ErrStreamExists, stream.UUID, s.info.Version)
	}
	return b.create(stream.UUID, stream.CreatedAt).info, nil
}

// create adds an event stream that does not exist. The caller holds b.mu.
func (b *Backend) create(streamUUID string, createdAt time.Time) *stream {
	if createdAt.IsZero() {
		createdAt = time.Now()
	}
	b.position++
	s := &stream{
		info:  backend.Stream{ID: b.position, UUID: streamUUID, CreatedAt: createdAt.UTC().Round(0)},
		first: 1,
	}
	b.streams[streamUUID] = s
	return s
}

// ReadStreamInfo is as [backend.Backend] says.
func (b *Backend) ReadStreamInfo(ctx context.Context, streamUUID string, correlationID uuid.UUID) (backend.Stream, error) {
	if err := check(ctx, streamUUID); err != nil {
		return backend.Stream{}, err
	}
	b.mu.RLock()
	defer b.mu.RUnlock()
	s, err := b.find(streamUUID)
	if err != nil {
		return backend.Stream{}, err
	}
	info := s.info
	if info.DeletedAt != nil {
		deletedAt := *info.DeletedAt // what is returned belongs to the caller
		info.DeletedAt = &deletedAt
	}
	return info, nil
}

// DeleteStream is as [backend.Backend] says.
func (b *Backend) DeleteStream(ctx context.Context, stream backend.Stream, correlationID uuid.UUID) error {
	if err := check(ctx, stream.UUID); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	s, err := b.find(stream.UUID)
	if err != nil {
		return err
	}
	if stream.Version != 0 && stream.Version != s.info.Version {
		return &backend.WrongExpectedVersionError{
			StreamUUID: stream.UUID,
			Expected:   backend.ExactVersion(stream.Version),
			Actual:     s.info.Version,
		}
	}
	b.position++
	delete(b.streams, stream.UUID)
	b.erase(s.commits)
	return nil
}

// SoftDelete is as [backend.SoftDelete] says.
func (b *Backend) SoftDelete(ctx context.Context, streamUUID string, expected backend.ExpectedVersion, correlationID uuid.UUID) error {
	if err := check(ctx, streamUUID); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	s, err := b.find(streamUUID)
	if err != nil {
		return err
	}
	if err := expected.Verify(streamUUID, &s.info); err != nil {
		return err
	}
	b.position++
	now := time.Now().UTC().Round(0)
	s.info.DeletedAt = &now
	return nil
}

// Restore is as [backend.Restore] says.
func (b *Backend) Restore(ctx context.Context, streamUUID string, correlationID uuid.UUID) error {
	if err := check(ctx, streamUUID); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	s, err := b.find(streamUUID)
	if err != nil || s.info.DeletedAt == nil {
		return err
	}
	b.position++
	s.info.DeletedAt = nil
	return nil
}

// Truncate is as [backend.Truncate] says.
func (b *Backend) Truncate(ctx context.Context, streamUUID string, before uint64, correlationID uuid.UUID) error {
	if err := check(ctx, streamUUID); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	s, err := b.findLive(streamUUID)
	if err != nil {
		return err
	}
	b.truncate(s, before)
	return nil
}

// truncate erases the events before a version. The caller holds b.mu.
func (b *Backend) truncate(s *stream, before uint64) {
	first := min(before, s.info.Version+1)
	if first <= s.first {
		return
	}
	b.position++
	s.first = first
	gone := commitOf(s.commits, first)
	b.erase(s.commits[:gone])
	s.commits = slices.Clone(s.commits[gone:]) // readers may still hold the old slice
}

// erase takes commits out of the log. The caller holds b.mu.
func (b *Backend) erase(commits []*commit) {
	for _, c := range commits {
		c.erased = true
	}
	b.erased += len(commits)
	if b.erased > len(b.log)/2 { // so that an event costs no more than a constant to forget
		b.log = slices.DeleteFunc(slices.Clone(b.log), func(c *commit) bool { return c.erased })
		b.erased = 0
	}
}
