package memory

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"sort"
	"strings"

	"github.com/google/uuid"
	"github.com/tributary-es/tributary/backend"
)

// ReadStream is as [backend.Backend] says.
func (b *Backend) ReadStream(ctx context.Context, streamUUID string, version, limit uint64, correlationID uuid.UUID) ([]backend.RecordedEvent, error) {
	if err := check(ctx, streamUUID); err != nil {
		return nil, err
	}
	v, err := b.view(streamUUID)
	if err != nil {
		return nil, err
	}
	return v.read(version, limit), nil
}

// ReadStreamBackward is as [backend.ReadStreamBackward] says.
func (b *Backend) ReadStreamBackward(ctx context.Context, streamUUID string, version, limit uint64, correlationID uuid.UUID) ([]backend.RecordedEvent, error) {
	if err := check(ctx, streamUUID); err != nil {
		return nil, err
	}
	v, err := b.view(streamUUID)
	if err != nil {
		return nil, err
	}
	if version == 0 || version > v.last {
		version = v.last
	}
	if version < v.first || limit == 0 {
		return nil, nil
	}
	n := min(limit, version-v.first+1)
	events := v.read(version-n+1, n)
	slices.Reverse(events)
	return events, nil
}

// StreamForward is as [backend.Backend] says. What it yields was all there when
// the range began: it never comes to [backend.ErrStreamChanged].
func (b *Backend) StreamForward(ctx context.Context, streamUUID string, batchSize int, correlationID uuid.UUID) iter.Seq2[[]backend.RecordedEvent, error] {
	return func(yield func([]backend.RecordedEvent, error) bool) {
		if err := check(ctx, streamUUID); err != nil {
			yield(nil, err)
			return
		}
		if batchSize < 1 {
			yield(nil, fmt.Errorf("%w: batch size %d", backend.ErrInvalidArgument, batchSize))
			return
		}
		v, err := b.view(streamUUID)
		if err != nil {
			yield(nil, err)
			return
		}
		for next := v.first; next <= v.last; next += uint64(batchSize) {
			if err := b.checkBetweenBatches(ctx); err != nil {
				yield(nil, err)
				return
			}
			if !yield(v.read(next, uint64(batchSize)), nil) {
				return
			}
		}
	}
}

// ReadAll is as [backend.ReadAll] says.
func (b *Backend) ReadAll(ctx context.Context, options backend.ReadAllOptions, correlationID uuid.UUID) iter.Seq2[[]backend.RecordedEvent, error] {
	return func(yield func([]backend.RecordedEvent, error) bool) {
		options, err := options.Prepare()
		if err != nil {
			yield(nil, err)
			return
		}
		log, err := b.logAfter(ctx, options)
		if err != nil {
			yield(nil, err)
			return
		}
		var count uint64
		for len(log) > 0 && (options.Limit == 0 || count < options.Limit) {
			if err := b.checkBetweenBatches(ctx); err != nil {
				yield(nil, err)
				return
			}
			want := uint64(options.BatchSize)
			if options.Limit != 0 {
				want = min(want, options.Limit-count)
			}
			var batch []backend.RecordedEvent
			batch, log = b.nextBatch(log, options.Under, want)
			count += uint64(len(batch))
			if len(batch) > 0 && !yield(batch, nil) {
				return
			}
		}
	}
}

// view is an event stream as it was at one moment.
type view struct {
	first, last uint64 // versions, inclusive; none where first is past last
	commits     []*commit
}

func (b *Backend) view(streamUUID string) (view, error) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	s, err := b.findLive(streamUUID)
	if err != nil {
		return view{}, err
	}
	return view{first: s.first, last: s.info.Version, commits: s.commits}, nil
}

// read returns copies of at most limit events from version on.
func (v view) read(version, limit uint64) []backend.RecordedEvent {
	version = max(version, v.first)
	if version > v.last || limit == 0 {
		return nil
	}
	left := min(limit, v.last-version+1)
	events := make([]backend.RecordedEvent, 0, left)
	for _, c := range v.commits[commitOf(v.commits, version):] {
		for i := version - c.events[0].StreamVersion; i < uint64(len(c.events)); i++ {
			events = append(events, copyEvent(&c.events[i]))
			version++
			if left--; left == 0 {
				return events
			}
		}
	}
	return events
}

func copyEvent(e *backend.RecordedEvent) backend.RecordedEvent {
	c := *e
	c.Data, c.Metadata = copyBytes(e.Data), copyBytes(e.Metadata)
	return c
}

func (b *Backend) checkBetweenBatches(ctx context.Context) error {
	if err := checkContext(ctx); err != nil {
		return err
	}
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.open()
}

// logAfter returns the commits after the position at which ReadAll is to begin.
func (b *Backend) logAfter(ctx context.Context, options backend.ReadAllOptions) ([]*commit, error) {
	if err := checkContext(ctx); err != nil {
		return nil, err
	}
	b.mu.RLock()
	defer b.mu.RUnlock()
	if err := b.open(); err != nil {
		return nil, err
	}
	return b.log[sort.Search(len(b.log), func(i int) bool { return b.log[i].position > options.After }):], nil
}

// nextBatch returns copies of the events of the next commits in log until there
// are as many as wanted, and the rest of log.
func (b *Backend) nextBatch(log []*commit, under string, want uint64) (batch []backend.RecordedEvent, rest []*commit) {
	var taken []*commit
	var count uint64
	b.mu.RLock()
	for len(log) > 0 && count < want {
		c := log[0]
		log = log[1:]
		if c.erased || !selected(c.streamUUID, under) {
			continue
		}
		taken = append(taken, c)
		count += uint64(len(c.events))
	}
	b.mu.RUnlock()
	if count == 0 {
		return nil, log
	}
	batch = make([]backend.RecordedEvent, 0, count)
	for _, c := range taken {
		for i := range c.events {
			batch = append(batch, copyEvent(&c.events[i]))
		}
	}
	return batch, log
}

// selected reports whether an event stream is seen by those who read or follow
// all that are under a prefix, or all where that is empty. The store's own, whose
// names start with "$", are seen by nobody.
func selected(streamUUID, under string) bool {
	return streamUUID[0] != '$' && (under == "" || isUnder(streamUUID, under))
}

// isUnder reports what [tributary.Subjects.Under] matches.
func isUnder(streamUUID, prefix string) bool {
	return len(streamUUID) > len(prefix) && streamUUID[len(prefix)] == '.' && strings.HasPrefix(streamUUID, prefix)
}
