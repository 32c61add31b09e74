package jobs

import (
	"context"

	"github.com/tributary-es/tributary/bench/internal/measure"
)

// allocsJob counts what the work of other jobs allocates in the client. The
// server is a process of its own, as its memory is not the client's.
func allocsJob() Job {
	const (
		append1, publish1, append10, publish10   = 0, 1, 2, 3
		load, gets, forward1, consume, forward10 = 4, 5, 6, 7, 8
	)
	j := Job{
		Name: "allocs",
		Setup: func(ctx context.Context, s *Store) (*Setup, error) {
			one, err := s.message(ctx, "raw-1", 1)
			if err != nil {
				return nil, err
			}
			ten, err := s.message(ctx, "raw-10", commits)
			if err != nil {
				return nil, err
			}
			f, err := s.scatter(ctx)
			if err != nil {
				return nil, err
			}
			n := s.Forward / commits // as many as the long read has commits of ten
			if err := s.fill(ctx, "one", n, 1); err != nil {
				return nil, err
			}
			if err := s.fill(ctx, "ten", n/commits, commits); err != nil {
				return nil, err
			}
			return &Setup{Sides: []measure.Side{
				append1:   s.appendSide("ours-1", 1),
				publish1:  s.publishSide(one, 1),
				append10:  s.appendSide("ours-10", commits),
				publish10: s.publishSide(ten, commits),
				load:      f.loadSide(),
				gets:      f.getsSide(),
				forward1:  s.forwardSide("one", n),
				consume:   s.consumeSide("one", n, 500),
				forward10: s.forwardSide("ten", n),
			}}, nil
		},
	}
	for _, w := range []struct {
		key, work, nextTo string
		ours, theirs      int
	}{
		{"append-1", "append 1 event", "raw `PublishMsg`", append1, publish1},
		{"append-10", "append 10 events", "raw `PublishMsg` of one message of those bytes", append10, publish10},
		{"load-10", "load 10 commits of 1 event", "raw gets, pipelined", load, gets},
		{"forward-1", "StreamForward over one-event commits", "raw ordered consumer, `Messages()`", forward1, consume},
		{"forward-10", "StreamForward, ten events a commit", "raw ordered consumer, a message per event", forward10, consume},
	} {
		j.Rows = append(j.Rows,
			Row{
				Key: "allocs-" + w.key, Work: w.work + ": objects allocated per event", NextTo: w.nextTo,
				Ours: w.ours, Theirs: w.theirs, Quantity: measure.Allocs,
			},
			Row{
				Key: "bytes-" + w.key, Work: w.work + ": bytes allocated per event", NextTo: w.nextTo,
				Ours: w.ours, Theirs: w.theirs, Quantity: measure.Bytes,
			})
	}
	return j
}
