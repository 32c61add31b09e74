package jobs

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"

	"github.com/tributary-es/tributary/backend"
	"github.com/tributary-es/tributary/bench/internal/measure"
	"github.com/tributary-es/tributary/bench/internal/raw"
)

// liveJob measures how long it takes until a subscription has what is appended.
func liveJob() Job {
	const ours, theirs, named, waited, acked = 0, 1, 2, 3, 4
	return Job{
		Name:   "live",
		Rounds: 2,
		Rows: []Row{
			{
				Key:    "live",
				Work:   "from the call that appends 1 event until a subscription's loop has it, median",
				NextTo: "raw `PublishMsg` of the same bytes and fence, and a push consumer's callback",
				How:    "One append after the other, each when the one before has arrived; on one connection, and read on another. The raw consumer is an ordered one that the server pushes to.",
				Ours:   ours, Theirs: theirs, Quantity: measure.Median, Target: Target{AtMost: 1.5},
			},
			{
				Key:    "live-named",
				Work:   "from the same call until the handler of a named subscription has it, median",
				NextTo: "the same",
				How:    "As live. The subscription has one member.",
				Ours:   named, Theirs: theirs, Quantity: measure.Median, Target: Target{AtMost: 1.5},
			},
			{
				Key:    "live-named-acked",
				Work:   "the same",
				NextTo: "raw `PublishMsg`, and the callback of a durable consumer that is pulled from, each message acknowledged",
				How:    "What nats.go has for the same purpose: its place is kept by the server.",
				Ours:   named, Theirs: acked, Quantity: measure.Median,
			},
			{
				Key:    "live-wait-for",
				Work:   "from the same call until WaitFor says that it was handled, median",
				NextTo: "the same",
				How: "As live-named; WaitFor is called when the append has returned. A member with nothing else to do tells the store up to where it is every 5 ms, " +
					"so that an append costs no message more, and that is what is waited for.",
				Ours: waited, Theirs: theirs, Quantity: measure.Median,
			},
		},
		Setup: func(ctx context.Context, s *Store) (*Setup, error) {
			template, err := s.message(ctx, "live-raw", 1)
			if err != nil {
				return nil, err
			}
			// A connection that reads and another that writes, as it is where they are
			// of different processes.
			reader, err := s.other(ctx)
			if err != nil {
				return nil, err
			}
			rawReader, err := raw.NewClient(ctx, s.opened[len(s.opened)-1], s.cfg.Stream)
			if err != nil {
				return nil, err
			}
			sequence := uint64(0)
			publish := func(ctx context.Context) (err error) {
				sequence, err = s.Raw.Publish(ctx, template, sequence)
				return err
			}
			return &Setup{Sides: []measure.Side{
				ours: s.liveSide("Tributary", func(ctx context.Context, arrived func()) (listener, error) {
					return subscriber(ctx, reader, "live-ours", arrived)
				}, s.appender("live-ours")),
				theirs: s.liveSide("nats.go", func(ctx context.Context, arrived func()) (listener, error) {
					stop, err := rawReader.Push(ctx, s.subject("live-raw"), arrived)
					return listener{stop: stop}, err
				}, publish),
				named: s.liveSide("Tributary", func(ctx context.Context, arrived func()) (listener, error) {
					return member(ctx, reader, "live-named", arrived)
				}, s.appender("live-named")),
				waited: s.waitForSide(reader, "live-waited"),
				acked: s.liveSide("durable consumer", func(ctx context.Context, arrived func()) (listener, error) {
					stop, err := rawReader.PullAcked(ctx, s.subject("live-raw"), arrived)
					return listener{stop: stop}, err
				}, publish),
			}}, nil
		},
	}
}

// appender returns what appends an event to an event stream.
func (s *Store) appender(name string) func(context.Context) error {
	return func(ctx context.Context) error {
		_, err := s.append(ctx, name, 1)
		return err
	}
}

// listener is a subscription in the background.
type listener struct {
	stop  func()
	ended <-chan error // nil: it doesn't tell
}

// background runs what listens until it is stopped. It returns when ready was
// called.
func background(ctx context.Context, listen func(ctx context.Context, ready func()) error) (listener, error) {
	ctx, cancel := context.WithCancel(ctx)
	ready, ended := make(chan struct{}), make(chan error, 1)
	begun := false
	go func() {
		ended <- listen(ctx, func() {
			if !begun {
				begun = true
				close(ready)
			}
		})
	}()
	select {
	case <-ready:
		return listener{stop: cancel, ended: ended}, nil
	case err := <-ended:
		cancel()
		return listener{}, err
	}
}

func subscriber(ctx context.Context, b backend.Backend, name string, arrived func()) (listener, error) {
	return background(ctx, func(ctx context.Context, ready func()) error {
		options := backend.SubscribeOptions{Stream: name, From: backend.FromNow()}
		for batch, err := range backend.Subscribe(ctx, b, options) {
			if err != nil {
				return err
			}
			ready()
			for range batch.Events {
				arrived()
			}
		}
		return nil
	})
}

// member is ready when the subscription exists.
func member(ctx context.Context, b backend.Backend, name string, arrived func()) (listener, error) {
	return background(ctx, func(ctx context.Context, ready func()) error {
		err := make(chan error, 1)
		go func() {
			err <- backend.Consume(ctx, b, name, backend.ConsumeOptions{Stream: name}, func(context.Context, backend.Commit) error {
				arrived()
				return nil
			})
		}()
		for {
			waited := backend.WaitFor(ctx, b, name, 0)
			if waited == nil {
				ready()
				break
			}
			if !errors.Is(waited, backend.ErrSubscriptionNotFound) {
				break
			}
		}
		return <-err
	})
}

// liveSide measures from when send is called until what listens says that it has
// arrived.
func (s *Store) liveSide(name string, listen func(ctx context.Context, arrived func()) (listener, error), send func(context.Context) error) measure.Side {
	return measure.Side{
		Name: name,
		Run: func(ctx context.Context, r *measure.Round) error {
			arrivals := make(chan struct{}, s.Live)
			l, err := listen(ctx, func() { arrivals <- struct{}{} })
			if err != nil {
				return err
			}
			defer l.stop()
			sent := make(chan error, 1)
			one := func(int) error {
				go func() { sent <- send(ctx) }()
				select {
				case <-arrivals:
					return nil
				case err := <-l.ended:
					return fmt.Errorf("the subscription has ended: %w", err)
				case <-ctx.Done():
					return ctx.Err()
				}
			}
			// Not counted: one, so that all is under way.
			if err := one(0); err != nil {
				return err
			}
			if err := <-sent; err != nil {
				return err
			}
			for i := range s.Live {
				if err := r.Time(1, func() error { return one(i) }); err != nil {
					return err
				}
				if err := <-sent; err != nil {
					return err
				}
			}
			return nil
		},
	}
}

func (s *Store) waitForSide(reader backend.Backend, name string) measure.Side {
	return measure.Side{
		Name: "Tributary",
		Run: func(ctx context.Context, r *measure.Round) error {
			l, err := member(ctx, reader, name, func() {})
			if err != nil {
				return err
			}
			defer l.stop()
			return r.Each(s.Live/10+1, func(int) error {
				res, err := backend.Append(ctx, s.Backend, name, backend.AnyVersion(), events(1), uuid.Nil)
				if err != nil {
					return err
				}
				return backend.WaitFor(ctx, s.Backend, name, res.Position)
			})
		},
	}
}
