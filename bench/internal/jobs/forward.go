package jobs

import (
	"context"
	"fmt"

	"github.com/google/uuid"

	"github.com/tributary-es/tributary/bench/internal/measure"
)

// forwardBatch is the batch size of StreamForward.
const forwardBatch = 500

// forwardJob reads a long event stream from its beginning to its end.
func forwardJob() Job {
	const ours1, raw, ours10 = 0, 1, 2
	return Job{
		Name: "forward",
		Rows: []Row{
			{
				Key:    "forward-1",
				Work:   fmt.Sprintf("StreamForward over %s one-event commits, batches of %d", thousands(Full().Forward), forwardBatch),
				NextTo: "raw ordered consumer, `Messages()`",
				How: "The raw side makes an ordered consumer with the subject as its filter, takes as many messages as there are and deletes it. " +
					"Its pull size is the best of several, each tried twice beforehand.",
				Ours: ours1, Theirs: raw, Quantity: measure.Rate, Target: Target{AtLeast: 0.85},
			},
			{
				Key:    "forward-10",
				Work:   fmt.Sprintf("StreamForward over %s events, ten a commit", thousands(Full().Forward)),
				NextTo: "the same over one-event commits",
				How:    "Both sides are this library, in the same rounds as forward-1.",
				Ours:   ours10, Theirs: ours1, Quantity: measure.Rate, Target: Target{AtLeast: 2.5},
			},
		},
		Setup: func(ctx context.Context, s *Store) (*Setup, error) {
			for name, n := range map[string]int{"one": 1, "ten": commits} {
				if err := s.fill(ctx, name, s.Forward/n, n); err != nil {
					return nil, err
				}
			}
			pull, err := s.Raw.BestPull(ctx, s.subject("one"), s.Forward)
			if err != nil {
				return nil, err
			}
			return &Setup{
				Sides: []measure.Side{
					ours1:  s.forwardSide("one", s.Forward),
					raw:    s.consumeSide("one", s.Forward, pull),
					ours10: s.forwardSide("ten", s.Forward),
				},
				Notes: []string{fmt.Sprintf("The raw ordered consumer's best pull size was %s.", thousands(pull))},
			}, nil
		},
	}
}

// fill writes commits of n events each to an event stream. One goroutine does it:
// what several append at the same time is written together.
func (s *Store) fill(ctx context.Context, name string, commits, n int) error {
	for range commits {
		if _, err := s.append(ctx, name, n); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) forwardSide(name string, n int) measure.Side {
	return measure.Side{
		Name: "Tributary",
		Run: func(ctx context.Context, r *measure.Round) error {
			return r.Time(n, func() error {
				got := 0
				for batch, err := range s.Backend.StreamForward(ctx, name, forwardBatch, uuid.Nil) {
					if err != nil {
						return err
					}
					got += len(batch)
				}
				if got != n {
					return fmt.Errorf("%d events of %d", got, n)
				}
				return nil
			})
		},
	}
}

func (s *Store) consumeSide(name string, n, pull int) measure.Side {
	return measure.Side{
		Name: "nats.go",
		Run: func(ctx context.Context, r *measure.Round) error {
			return r.Time(n, func() error { return s.Raw.Consume(ctx, s.subject(name), n, pull) })
		},
	}
}
