package jobs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"

	"github.com/tributary-es/tributary/bench/internal/measure"
	"github.com/tributary-es/tributary/bench/internal/postgres"
)

// postgresJob does the work of other jobs next to a PostgreSQL table of events.
// Both servers are processes of their own.
func postgresJob(durable bool) Job {
	const (
		append1, pgAppend1 = 2 * iota, 2*iota + 1
		append10, pgAppend10
		writers, pgWriters
		load, pgLoad
		forward, pgForward
	)
	read := Full().outsideForward(durable)
	return Job{
		Name: "postgres",
		Rows: []Row{
			{
				Key: "append-1", Work: "append 1 event", NextTo: "PostgreSQL: one INSERT",
				How:  "One goroutine appends with the exact version to one event stream, one append after the other.",
				Ours: append1, Theirs: pgAppend1,
			},
			{
				Key: "append-10", Work: "append 10 events", NextTo: "PostgreSQL: one INSERT of ten rows",
				How:  "As append-1, with ten events.",
				Ours: append10, Theirs: pgAppend10,
			},
			{
				Key: "writers-64", Work: "64 goroutines append 1 event each to 64 event streams", NextTo: "PostgreSQL, as many",
				How:  "As append-1, by 64 goroutines, each on an event stream of its own.",
				Ours: writers, Theirs: pgWriters, Quantity: measure.Rate,
			},
			{
				Key: "load-10", Work: fmt.Sprintf("load %d commits scattered among %s event streams", commits, thousands(Full().Scattered)), NextTo: "PostgreSQL: one SELECT",
				How:  "Commits of one event each. On our side a reader that knows no heads.",
				Ours: load, Theirs: pgLoad,
			},
			{
				Key: "forward", Work: fmt.Sprintf("read %s one-event commits of one event stream, batches of %d", thousands(read), forwardBatch), NextTo: "PostgreSQL: a SELECT for each batch",
				How:  "StreamForward, and pages of the index that go on after the last version.",
				Ours: forward, Theirs: pgForward, Quantity: measure.Rate,
			},
		},
		Setup: func(ctx context.Context, s *Store) (*Setup, error) {
			o, err := s.startOutside(ctx, durable)
			if err != nil {
				return nil, err
			}
			f, err := s.scatter(ctx)
			if err == nil {
				err = s.fill(ctx, outsideLong, o.forward, 1)
			}
			if err != nil {
				o.close()
				return nil, err
			}
			return &Setup{
				Sides: []measure.Side{
					append1:    s.appendSide("ours-1", 1),
					pgAppend1:  o.appendSide("pg-1", 1),
					append10:   s.appendSide("ours-10", commits),
					pgAppend10: o.appendSide("pg-10", commits),
					writers:    s.writersSide(),
					pgWriters:  o.writersSide(),
					load:       f.loadSide(),
					pgLoad:     o.loadSide(),
					forward:    s.forwardSide(outsideLong, o.forward),
					pgForward:  o.forwardSide(),
				},
				Notes: []string{fmt.Sprintf("PostgreSQL's version is %s. It is reached by %d connections: of 8, 16, 32 and 64 that many let 64 writers be fastest. "+
					"What is changed of its settings is in bench/internal/postgres.", o.server.Version(), o.store.Connections())},
				Close: o.close,
			}, nil
		},
	}
}

const outsideLong = "long"

// outsideForward is how many events are read forward. Where every write waits for
// the disk, the many that it takes to write them would take minutes.
func (s Sizes) outsideForward(durable bool) int {
	if durable {
		return s.Forward / 8
	}
	return s.Forward
}

// outside is the same work in PostgreSQL.
type outside struct {
	Sizes
	server  *postgres.Server
	store   *postgres.Store
	forward int // events of the long event stream
}

// startOutside starts PostgreSQL, and fills it with what reads need.
func (s *Store) startOutside(ctx context.Context, durable bool) (*outside, error) {
	server, err := postgres.Start(ctx, durable)
	if errors.Is(err, postgres.ErrMissing) {
		return nil, fmt.Errorf("%w: %w", ErrSkipped, err)
	}
	if err != nil {
		return nil, err
	}
	o := &outside{Sizes: s.Sizes, server: server, forward: s.outsideForward(durable)}
	if o.store, err = server.Open(ctx); err == nil {
		err = o.fill(ctx)
	}
	if err != nil {
		o.close()
		return nil, err
	}
	return o, nil
}

func (o *outside) close() {
	if o.store != nil {
		o.store.Close()
	}
	_ = o.server.Close()
}

func (o *outside) fill(ctx context.Context) error {
	one := outsideEvents(1)
	err := parallel(scatterWriters, func(writer int) error {
		for commit := range commits {
			for i := writer; i < o.Scattered; i += scatterWriters {
				if _, err := o.store.Append(ctx, scatteredName(i), int64(commit), one); err != nil {
					return err
				}
			}
		}
		return nil
	})
	// A row is a row, however many an INSERT makes.
	const together = 500
	for done := 0; err == nil && done < o.forward; {
		n := min(together, o.forward-done)
		_, err = o.store.Append(ctx, outsideLong, int64(done), outsideEvents(n))
		done += n
	}
	if err != nil {
		return err
	}
	return o.store.Settle(ctx)
}

// outsideEvents returns what events does.
func outsideEvents(n int) []postgres.Event {
	events := make([]postgres.Event, n)
	for i := range events {
		events[i] = postgres.Event{Type: eventType, Data: bytes.Repeat([]byte{'x'}, DataSize)}
	}
	return events
}

const outsideName = "PostgreSQL"

func (o *outside) appendSide(name string, n int) measure.Side {
	version, batch := int64(0), outsideEvents(n)
	return measure.Side{
		Name:   outsideName,
		Events: n,
		Run: func(ctx context.Context, r *measure.Round) error {
			return r.Each(o.Appends, func(int) (err error) {
				version, err = o.store.Append(ctx, name, version, batch)
				return err
			})
		},
	}
}

func (o *outside) writersSide() measure.Side {
	versions, event := make([]int64, o.Writers), outsideEvents(1)
	return measure.Side{
		Name: outsideName,
		Run: func(ctx context.Context, r *measure.Round) error {
			return r.Time(o.Writers*o.Each, func() error {
				return parallel(o.Writers, func(i int) (err error) {
					name := fmt.Sprintf("writer-%d", i)
					for range o.Each {
						if versions[i], err = o.store.Append(ctx, name, versions[i], event); err != nil {
							return err
						}
					}
					return nil
				})
			})
		},
	}
}

func (o *outside) loadSide() measure.Side {
	return measure.Side{
		Name:   outsideName,
		Events: commits,
		Run: func(ctx context.Context, r *measure.Round) error {
			picked := rand.New(rand.NewPCG(uint64(r.Number), 3)).Perm(o.Scattered)[:o.Loads]
			return r.Each(o.Loads, func(i int) error {
				got, err := o.store.Load(ctx, scatteredName(picked[i]), 1, 1000)
				if err == nil && len(got) != commits {
					err = fmt.Errorf("%d events of %d", len(got), commits)
				}
				return err
			})
		},
	}
}

func (o *outside) forwardSide() measure.Side {
	return measure.Side{
		Name: outsideName,
		Run: func(ctx context.Context, r *measure.Round) error {
			return r.Time(o.forward, func() error {
				got := 0
				err := o.store.Forward(ctx, outsideLong, forwardBatch, func(batch []postgres.Event) error {
					got += len(batch)
					return nil
				})
				if err == nil && got != o.forward {
					err = fmt.Errorf("%d events of %d", got, o.forward)
				}
				return err
			})
		},
	}
}
