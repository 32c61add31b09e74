package jetstream

import (
	"context"
	"iter"
	"math"

	"github.com/google/uuid"

	"github.com/tributary-es/tributary/backend"
)

// ReadAll is as the function [backend.ReadAll] says. It reads through an ordered
// consumer, which it deletes when it ends.
func (b *Backend) ReadAll(ctx context.Context, options backend.ReadAllOptions, _ uuid.UUID) iter.Seq2[[]backend.RecordedEvent, error] {
	return func(yield func([]backend.RecordedEvent, error) bool) {
		r := allReader{b: b, options: options}
		more := true
		err := r.read(ctx, func(batch []backend.RecordedEvent) bool {
			more = yield(batch, nil)
			return more
		})
		// What was read before an error is good, and comes before it.
		if more && len(r.batch) > 0 {
			more = yield(r.batch, nil)
		}
		if more && err != nil {
			yield(nil, err)
		}
	}
}

// allReader is one reading of the store.
type allReader struct {
	b       *Backend
	options backend.ReadAllOptions
	batch   []backend.RecordedEvent
	total   uint64
}

func (r *allReader) read(ctx context.Context, yield func([]backend.RecordedEvent) bool) error {
	var err error
	if r.options, err = r.options.Prepare(); err != nil {
		return err
	}
	filter, err := r.b.subjects.Under(r.options.Under)
	if err != nil {
		return err
	}
	end, err := r.end(ctx)
	if err != nil {
		return err
	}
	expected := uint64(math.MaxUint64)
	if r.options.Limit > 0 {
		expected = r.options.Limit
	}
	s := r.b.newScan(filter, r.options.After, end, expected)
	defer s.drop(ctx)
	commits := assembly{b: r.b, known: continuity{from: r.options.After}}
	for {
		m, err := s.next(ctx)
		if err != nil {
			return err
		}
		if m == nil {
			break
		}
		c, err := commits.add(ctx, m)
		if err != nil {
			return err
		}
		if c == nil {
			continue
		}
		if err := r.take(c, commits.uuid); err != nil {
			return err
		}
		if len(r.batch) >= r.options.BatchSize {
			full := r.batch
			r.batch = nil
			if !yield(full) {
				return nil
			}
		}
		if r.options.Limit > 0 && r.total >= r.options.Limit {
			return nil
		}
	}
	if s.after < end {
		// Nothing more up to the end: it was erased meanwhile, or this is
		// another JetStream stream of the name.
		_, err = r.end(ctx)
	}
	return err
}

// end returns the position at which the store ends now.
func (r *allReader) end(ctx context.Context) (uint64, error) {
	ctx, cancel, err := r.b.begin(ctx)
	if err != nil {
		return 0, err
	}
	defer cancel()
	info, err := r.b.checkSame(ctx, "")
	return info.State.LastSeq, err
}

// take adds the events of a commit of the event stream with that name to the
// batch.
func (r *allReader) take(c *commit, uuid string) error {
	if r.batch == nil {
		r.batch = make([]backend.RecordedEvent, 0, min(r.options.BatchSize, 1024))
	}
	before := len(r.batch)
	var err error
	r.batch, err = c.appendEvents(r.batch, uuid, 0, c.version())
	r.total += uint64(len(r.batch) - before)
	return err
}
