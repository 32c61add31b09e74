package jobs

import (
	"context"
	"maps"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"

	"github.com/tributary-es/tributary/backend"
	"github.com/tributary-es/tributary/bench/internal/measure"
	"github.com/tributary-es/tributary/bench/internal/servers"
)

// appendJob appends to one event stream, one append after the other.
func appendJob() Job {
	const ours1, raw1, ours10, raw10, batch10 = 0, 1, 2, 3, 4
	return Job{
		Name:   "append",
		Rounds: 5,
		Rows: []Row{
			{
				Key:    "append-1",
				Work:   "append 1 event, head known",
				NextTo: "raw `PublishMsg` of the same bytes and fence",
				How: "One goroutine appends with the exact version, one append after the other. " +
					"The raw side publishes the message of such an append, its chain full, to a subject of the same JetStream stream.",
				Ours: ours1, Theirs: raw1, Target: Target{AtMost: 1.10},
			},
			{
				Key:    "append-10-batch",
				Work:   "append 10 events",
				NextTo: "a message per event, as an atomic batch",
				How: "The raw side publishes ten messages, each as an append of one event makes it, with the headers of an atomic batch and the fence on the first, " +
					"and waits for the answer to the last.",
				Ours: ours10, Theirs: batch10, Faster: true, Target: Target{AtLeast: 30}, Targets: []servers.Kind{servers.Single},
			},
			{
				Key:    "append-10-limit",
				Work:   "raw `PublishMsg` of one message of ten events",
				NextTo: "a message per event, as an atomic batch",
				How:    "Both sides raw: as much faster than a batch as one message can be here.",
				Ours:   raw10, Theirs: batch10, Faster: true, Targets: []servers.Kind{servers.Single},
			},
			{
				Key:    "append-10",
				Work:   "append 10 events",
				NextTo: "raw `PublishMsg` of one message of those bytes",
				How:    "As append-1, with ten events.",
				Ours:   ours10, Theirs: raw10, Target: Target{AtMost: 1.25},
			},
		},
		Setup: func(ctx context.Context, s *Store) (*Setup, error) {
			one, err := s.message(ctx, "raw-1", 1)
			if err != nil {
				return nil, err
			}
			ten, err := s.message(ctx, "raw-10", 10)
			if err != nil {
				return nil, err
			}
			batch := make([]*nats.Msg, 10)
			for i := range batch {
				batch[i] = &nats.Msg{Subject: s.subject("batch-10"), Header: maps.Clone(one.Header), Data: one.Data}
			}
			return &Setup{Sides: []measure.Side{
				ours1:   s.appendSide("ours-1", 1),
				raw1:    s.publishSide(one, 1),
				ours10:  s.appendSide("ours-10", 10),
				raw10:   s.publishSide(ten, 10),
				batch10: s.batchSide(batch),
			}}, nil
		},
	}
}

// appendSide appends n events at a time to an event stream.
func (s *Store) appendSide(name string, n int) measure.Side {
	version, batch := uint64(0), events(n)
	return measure.Side{
		Name:   "Tributary",
		Events: n,
		Run: func(ctx context.Context, r *measure.Round) error {
			return r.Each(s.Appends, func(int) error {
				res, err := backend.Append(ctx, s.Backend, name, backend.ExactVersion(version), batch, uuid.Nil)
				version = res.Version
				return err
			})
		},
	}
}

// publishSide publishes msg, which has n events, each time fenced by the time
// before.
func (s *Store) publishSide(msg *nats.Msg, n int) measure.Side {
	fence := uint64(0)
	return measure.Side{
		Name:   "nats.go",
		Events: n,
		Run: func(ctx context.Context, r *measure.Round) error {
			return r.Each(s.Appends, func(int) (err error) {
				fence, err = s.Raw.Publish(ctx, msg, fence)
				return err
			})
		},
	}
}

// batchSide publishes messages, one event each, as an atomic batch.
func (s *Store) batchSide(messages []*nats.Msg) measure.Side {
	fence := uint64(0)
	return measure.Side{
		Name:   "atomic batch",
		Events: len(messages),
		Run: func(ctx context.Context, r *measure.Round) error {
			return r.Each(s.Batches, func(int) (err error) {
				fence, err = s.Raw.PublishBatch(ctx, messages, fence)
				return err
			})
		},
	}
}
