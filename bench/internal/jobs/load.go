package jobs

import (
	"context"
	"fmt"
	"math/rand/v2"

	"github.com/google/uuid"

	"github.com/tributary-es/tributary/bench/internal/measure"
	"github.com/tributary-es/tributary/jetstream"
)

// commits is how many commits, of one event each, a load reads.
const commits = 10

// loadJob loads short event streams whose commits lie scattered.
func loadJob() Job {
	const ours, gets, consumer = 0, 1, 2
	loadWork := fmt.Sprintf("load %d commits scattered among %s event streams", commits, thousands(Full().Scattered))
	return Job{
		Name:   "load",
		Rounds: 3,
		Rows: []Row{
			{
				Key:    "load-10-consumer",
				Work:   loadWork,
				NextTo: "ordered consumer created, drained, deleted",
				How: "Other commits lie between those of an event stream. Each round opens the store anew, as a process that knows no heads, " +
					"and loads event streams that it has not loaded before. The raw side makes an ordered consumer with the subject as its filter, takes ten messages with one pull and deletes it.",
				Ours: ours, Theirs: consumer, Faster: true, Target: Target{AtLeast: 6},
			},
			{
				Key:    "load-10-gets",
				Work:   loadWork,
				NextTo: "raw get of the last message, and nine pipelined gets of known sequences",
				How: "The raw side knows the sequences beforehand. It is not asked for the tenth commit, which is the last message that it has got already: " +
					"with ten gets besides, it would be slower.",
				Ours: ours, Theirs: gets, Target: Target{AtMost: 1.3},
			},
			{
				Key:    "load-10-limit",
				Work:   "the raw gets of the row before",
				NextTo: "ordered consumer created, drained, deleted",
				How:    "Both sides raw: as much faster than a consumer as gets can be here.",
				Ours:   gets, Theirs: consumer, Faster: true,
			},
			{
				Key:    "load-10-requests",
				Work:   "the same: requests sent",
				NextTo: "the same gets",
				How:    "Messages that the connection sent, as nats.go counts them.",
				Ours:   ours, Theirs: gets, Quantity: measure.Requests,
			},
		},
		Setup: func(ctx context.Context, s *Store) (*Setup, error) {
			f, err := s.scatter(ctx)
			if err != nil {
				return nil, err
			}
			return &Setup{Sides: []measure.Side{
				ours:     f.loadSide(),
				gets:     f.getsSide(),
				consumer: f.consumerSide(),
			}}, nil
		},
	}
}

// scattered is event streams of a few commits each, none next to another of the
// same event stream.
type scattered struct {
	*Store
	positions [][]uint64 // of the commits, by event stream
}

func scatteredName(i int) string { return fmt.Sprintf("account-%d", i) }

// scatterWriters is how many goroutines write the scattered commits.
const scatterWriters = 20

func (s *Store) scatter(ctx context.Context) (*scattered, error) {
	f := &scattered{Store: s, positions: make([][]uint64, s.Scattered)}
	err := parallel(scatterWriters, func(writer int) error {
		for range commits {
			for i := writer; i < s.Scattered; i += scatterWriters {
				res, err := s.append(ctx, scatteredName(i), 1)
				if err != nil {
					return err
				}
				f.positions[i] = append(f.positions[i], res.Position)
			}
		}
		return nil
	})
	return f, err
}

// pick returns n different event streams, other ones each round and side.
func (f *scattered) pick(round, side, n int) []int {
	return rand.New(rand.NewPCG(uint64(round), uint64(side))).Perm(f.Scattered)[:n]
}

func (f *scattered) loadSide() measure.Side {
	var reader *jetstream.Backend
	return measure.Side{
		Name:     "Tributary",
		Events:   commits,
		Requests: f.Raw.Requests,
		Prepare: func(ctx context.Context, _ int) (err error) {
			reader, err = f.fresh(ctx, 0)
			return err
		},
		Run: func(ctx context.Context, r *measure.Round) error {
			picked := f.pick(r.Number, 0, f.Loads)
			return r.Each(f.Loads, func(i int) error {
				got, err := reader.ReadStream(ctx, scatteredName(picked[i]), 1, 1000, uuid.Nil)
				if err == nil && len(got) != commits {
					err = fmt.Errorf("%d events of %d", len(got), commits)
				}
				return err
			})
		},
	}
}

func (f *scattered) getsSide() measure.Side {
	return measure.Side{
		Name:     "nats.go",
		Events:   commits,
		Requests: f.Raw.Requests,
		Run: func(ctx context.Context, r *measure.Round) error {
			picked := f.pick(r.Number, 1, f.Loads)
			return r.Each(f.Loads, func(i int) error {
				if _, _, err := f.Raw.Last(ctx, f.subject(scatteredName(picked[i]))); err != nil {
					return err
				}
				_, err := f.Raw.Get(ctx, f.positions[picked[i]][:commits-1])
				return err
			})
		},
	}
}

func (f *scattered) consumerSide() measure.Side {
	return measure.Side{
		Name:   "ordered consumer",
		Events: commits,
		Run: func(ctx context.Context, r *measure.Round) error {
			picked := f.pick(r.Number, 2, f.Consumers)
			return r.Each(f.Consumers, func(i int) error {
				return f.Raw.Load(ctx, f.subject(scatteredName(picked[i])), 0, commits)
			})
		},
	}
}
