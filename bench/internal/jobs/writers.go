package jobs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"

	"github.com/tributary-es/tributary/backend"
	"github.com/tributary-es/tributary/bench/internal/measure"
)

// parallel calls do with 0 to n-1, each in a goroutine of its own.
func parallel(n int, do func(i int) error) error {
	var wg sync.WaitGroup
	errs := make([]error, n)
	for i := range n {
		wg.Go(func() { errs[i] = do(i) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// writersJob has many goroutines append, each to an event stream of its own.
func writersJob() Job {
	const ours, raw, made = 0, 1, 2
	return Job{
		Name:   "writers",
		Rounds: 5,
		Rows: []Row{{
			Key:    "writers-64",
			Work:   "64 goroutines append 1 event each to 64 event streams",
			NextTo: "raw `PublishMsg` of the same by as many",
			How:    "As append-1, by 64 goroutines on one connection, each on an event stream (a subject) of its own.",
			Ours:   ours, Theirs: raw, Quantity: measure.Rate, Target: Target{AtLeast: 0.95},
		}, {
			Key:    "writers-64-made",
			Work:   "the same",
			NextTo: "the same raw, each message made anew",
			How: "The raw side of the row before publishes one message again and again, made beforehand. Here it makes each: a map of as many headers as an append has, with an id, a time and a fence of its own. " +
				"It is what is left for a program to do that stores events by nats.go alone.",
			Ours: ours, Theirs: made, Quantity: measure.Rate,
		}},
		Setup: func(ctx context.Context, s *Store) (*Setup, error) {
			template, err := s.message(ctx, "", 1)
			if err != nil {
				return nil, err
			}
			return &Setup{Sides: []measure.Side{
				ours: s.writersSide(),
				raw:  s.publishersSide(template, func(m *nats.Msg) *nats.Msg { return m }),
				made: s.publishersSide(template, anew),
			}}, nil
		},
	}
}

func (s *Store) writersSide() measure.Side {
	versions, event := make([]uint64, s.Writers), events(1)
	return measure.Side{
		Name: "Tributary",
		Run: func(ctx context.Context, r *measure.Round) error {
			return r.Time(s.Writers*s.Each, func() error {
				return parallel(s.Writers, func(i int) error {
					name := fmt.Sprintf("writer-%d", i)
					for range s.Each {
						res, err := backend.Append(ctx, s.Backend, name, backend.ExactVersion(versions[i]), event, uuid.Nil)
						if err != nil {
							return err
						}
						versions[i] = res.Version
					}
					return nil
				})
			})
		},
	}
}

// anew makes a message of an event of its own, such as m is.
func anew(m *nats.Msg) *nats.Msg {
	header := make(nats.Header, len(m.Header)+1)
	for name, values := range m.Header {
		header[name] = []string{strings.Clone(values[0])}
	}
	header["Trib-Id"] = []string{uuid.NewString()}
	header["Trib-Created"] = []string{time.Now().UTC().Format(time.RFC3339Nano)}
	return &nats.Msg{Subject: m.Subject, Header: header, Data: bytes.Clone(m.Data)}
}

// publishersSide publishes what message makes of a template, to a subject of each
// writer.
func (s *Store) publishersSide(template *nats.Msg, message func(*nats.Msg) *nats.Msg) measure.Side {
	fences, messages := make([]uint64, s.Writers), make([]*nats.Msg, s.Writers)
	for i := range messages {
		messages[i] = &nats.Msg{Subject: s.subject(fmt.Sprintf("publisher-%s-%d", uuid.NewString()[:8], i)), Header: maps.Clone(template.Header), Data: template.Data}
	}
	return measure.Side{
		Name: "nats.go",
		Run: func(ctx context.Context, r *measure.Round) error {
			return r.Time(s.Writers*s.Each, func() error {
				return parallel(s.Writers, func(i int) (err error) {
					for range s.Each {
						if fences[i], err = s.Raw.Publish(ctx, message(messages[i]), fences[i]); err != nil {
							return err
						}
					}
					return nil
				})
			})
		},
	}
}

// hotJob has many goroutines append to the same event stream.
func hotJob() Job {
	const many, one = 0, 1
	return Job{
		Name: "hot",
		Rows: []Row{{
			Key:    "hot-64",
			Work:   "64 goroutines append with Any to one event stream",
			NextTo: "one goroutine doing so",
			How:    "Appends of one event each; what waits meanwhile is written together, each append with its own result. Both sides are this library.",
			Ours:   many, Theirs: one, Quantity: measure.Rate, Target: Target{AtLeast: 8},
		}},
		Setup: func(_ context.Context, s *Store) (*Setup, error) {
			return &Setup{Sides: []measure.Side{
				many: s.hotSide("64 goroutines", "hot", s.Writers),
				one:  s.hotSide("one goroutine", "cool", 1),
			}}, nil
		},
	}
}

func (s *Store) hotSide(side, name string, writers int) measure.Side {
	event := events(1)
	// One goroutine takes longer for each append, and shows as well with fewer.
	each := max(1, s.Each*min(8, s.Writers/writers))
	return measure.Side{
		Name: side,
		Run: func(ctx context.Context, r *measure.Round) error {
			return r.Time(writers*each, func() error {
				return parallel(writers, func(int) error {
					for range each {
						if _, err := backend.Append(ctx, s.Backend, name, backend.AnyVersion(), event, uuid.Nil); err != nil {
							return err
						}
					}
					return nil
				})
			})
		},
	}
}
