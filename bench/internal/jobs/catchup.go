package jobs

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/tributary-es/tributary/backend"
	"github.com/tributary-es/tributary/bench/internal/measure"
)

// consumers is how many commits a member of a named subscription handles at a
// time.
const consumers = 8

// catchUpJob has subscriptions go through what is stored.
func catchUpJob() Job {
	const ours, raw, named, rawAcked = 0, 1, 2, 3
	work := fmt.Sprintf("%s one-event commits of %s event streams", thousands(Full().Forward), thousands(Full().FollowStreams))
	return Job{
		Name: "catch-up",
		Rows: []Row{
			{
				Key:    "catch-up",
				Work:   "Subscribe from the beginning until it has caught up with " + work,
				NextTo: "raw ordered consumer, `Messages()`",
				How: "The raw side makes an ordered consumer of all subjects, takes as many messages as there are and deletes it. " +
					"Its pull size is the best of several, each tried twice beforehand.",
				Ours: ours, Theirs: raw, Quantity: measure.Rate, Target: Target{AtLeast: 0.8},
			},
			{
				Key:    "catch-up-named",
				Work:   fmt.Sprintf("Consume of a new name, one member that handles %d commits at a time, until all of the same is handled", consumers),
				NextTo: "raw durable consumer, each message acknowledged",
				How: "The handler counts and does nothing else. The raw consumer doesn't promise an order: with one message at a time, which does, it would wait for a round trip each. " +
					"It may have 1,000 unacknowledged, the server's default.",
				Ours: named, Theirs: rawAcked, Quantity: measure.Rate,
			},
		},
		Setup: func(ctx context.Context, s *Store) (*Setup, error) {
			each := s.Forward / s.FollowStreams
			n := each * s.FollowStreams
			err := parallel(s.FollowStreams, func(i int) error { return s.fill(ctx, fmt.Sprintf("followed.%d", i), each, 1) })
			if err != nil {
				return nil, err
			}
			all := s.subject(">")
			pull, err := s.Raw.BestPull(ctx, all, n)
			if err != nil {
				return nil, err
			}
			return &Setup{
				Sides: []measure.Side{
					ours:     s.subscribeSide(n),
					raw:      s.consumeSide(">", n, pull),
					named:    s.namedSide(n),
					rawAcked: s.acknowledgeSide(all, n),
				},
				Notes: []string{fmt.Sprintf("The raw ordered consumer's best pull size for all event streams was %s.", thousands(pull))},
			}, nil
		},
	}
}

func (s *Store) subscribeSide(n int) measure.Side {
	return measure.Side{
		Name: "Tributary",
		Run: func(ctx context.Context, r *measure.Round) error {
			return r.Time(n, func() error {
				got := 0
				for batch, err := range s.Backend.Subscribe(ctx, backend.SubscribeOptions{}) {
					if err != nil {
						return err
					}
					if got += len(batch.Events); batch.CaughtUp {
						break
					}
				}
				if got != n {
					return fmt.Errorf("%d events of %d", got, n)
				}
				return nil
			})
		},
	}
}

func (s *Store) namedSide(n int) measure.Side {
	return measure.Side{
		Name: "Tributary",
		Run: func(ctx context.Context, r *measure.Round) error {
			name := fmt.Sprintf("catch-up-%d", r.Number)
			err := r.Time(n, func() error {
				ctx, enough := context.WithCancel(ctx)
				defer enough()
				var got atomic.Int64
				options := backend.ConsumeOptions{Concurrency: consumers}
				err := s.Backend.Consume(ctx, name, options, func(_ context.Context, c backend.Commit) error {
					if got.Add(int64(len(c.Events))) == int64(n) {
						enough()
					}
					return nil
				})
				if got.Load() == int64(n) && errors.Is(err, context.Canceled) {
					return nil
				}
				return fmt.Errorf("%d events of %d: %w", got.Load(), n, err)
			})
			if err != nil {
				return err
			}
			return s.Backend.DeleteSubscription(ctx, name)
		},
	}
}

func (s *Store) acknowledgeSide(subject string, n int) measure.Side {
	return measure.Side{
		Name: "nats.go",
		Run: func(ctx context.Context, r *measure.Round) error {
			return r.Time(n, func() error { return s.Raw.ConsumeAcked(ctx, subject, n) })
		},
	}
}
