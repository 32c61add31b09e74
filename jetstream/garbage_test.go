package jetstream_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	natsjs "github.com/nats-io/nats.go/jetstream"

	"github.com/tributary-es/tributary/backend"
	"github.com/tributary-es/tributary/internal/testserver"
	"github.com/tributary-es/tributary/jetstream"
)

// garbled has a foreign message between good ones, at the position it returns.
func garbled(t *testing.T, header map[string][]string) (s *store, position uint64) {
	s = newStore(t, jetstream.Config{})
	s.add("x", 1, 1)
	s.add("y", 2)
	position = s.publish("events.x", header, []byte("foreign"))
	s.add("y", 1)
	return s, position
}

var garbage = map[string]map[string][]string{
	"without headers":   nil,
	"of a later format": {"Trib-Commit": {"2 events"}},
	"with headers cut":  {"Trib-Commit": {"1 events"}, "Trib-Version": {"3"}},
}

func TestASubscriptionNamesAForeignMessageAndGoesOnBehindIt(t *testing.T) {
	for name, header := range garbage {
		t.Run(name, func(t *testing.T) {
			s, position := garbled(t, header)
			for _, from := range []backend.Start{backend.FromBeginning(), backend.AfterPosition(position - 1)} {
				for _, options := range []backend.SubscribeOptions{{From: from}, {From: from, Stream: "x"}} {
					events, err := subscribed(t, s, options)
					wantCorrupted(t, err, position)
					for _, e := range events {
						if e.Position > position {
							t.Errorf("version %d of %s comes before the error", e.StreamVersion, e.StreamUUID)
						}
					}
				}
			}
			events, err := subscribed(t, s, backend.SubscribeOptions{From: backend.AfterPosition(position)})
			if err != nil || len(events) != 1 || events[0].StreamUUID != "y" {
				t.Errorf("%d events behind it, error %v, want 1 of y", len(events), err)
			}
			events, err = subscribed(t, s, backend.SubscribeOptions{From: backend.FromBeginning(), Stream: "y"})
			if err != nil || len(events) != 3 {
				t.Errorf("%d events of another event stream, error %v, want 3", len(events), err)
			}
		})
	}
	t.Run("which comes while it waits", func(t *testing.T) {
		s := newStore(t, jetstream.Config{})
		s.add("x", 1)
		var position uint64
		for _, err := range s.Subscribe(within(t, patience), backend.SubscribeOptions{From: backend.FromNow()}) {
			if err != nil {
				wantCorrupted(t, err, position)
				return
			}
			position = s.publish("events.x", nil, []byte("foreign"))
		}
	})
}

func TestANamedSubscriptionNamesAForeignMessageUntilItIsClearedAway(t *testing.T) {
	for name, header := range garbage {
		t.Run(name, func(t *testing.T) {
			s, position := garbled(t, header)
			handled := make(map[string]int)
			consume := func(ctx context.Context) error {
				return s.Consume(ctx, "all", backend.ConsumeOptions{From: backend.FromBeginning(), Concurrency: 1}, func(_ context.Context, c backend.Commit) error {
					handled[c.StreamUUID]++
					return nil
				})
			}
			for range 5 { // it isn't passed over by being begun again
				wantCorrupted(t, consume(within(t, patience)), position)
			}
			if handled["x"] < 2 || handled["y"] < 1 {
				t.Errorf("handled %v before it", handled)
			}
			if name == "of a later format" {
				return // which is not for this version to clear away
			}
			if err := s.DeleteStream(t.Context(), backend.Stream{UUID: "x"}, uuid.Nil); err != nil {
				t.Fatal(err)
			}
			last := s.add("y", 1).Position
			ctx, cancel := context.WithCancel(within(t, patience))
			defer cancel()
			ended := make(chan error, 1)
			go func() { ended <- consume(ctx) }()
			if err := s.WaitFor(within(t, patience), "all", last); err != nil {
				t.Fatal(err)
			}
			cancel()
			if err := <-ended; !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
			if handled["y"] < 3 {
				t.Errorf("handled %v, want all of y", handled)
			}
		})
	}
}

// An administrator can purge by subject, which nothing forbids.
func TestWhatAnAdministratorPurgesIsNoShorterHistory(t *testing.T) {
	purge := func(t *testing.T, s *store, opts ...natsjs.StreamPurgeOpt) {
		t.Helper()
		stream, err := s.js.Stream(t.Context(), jetstream.DefaultStream)
		if err != nil {
			t.Fatal(err)
		}
		if err := stream.Purge(t.Context(), opts...); err != nil {
			t.Fatal(err)
		}
	}
	t.Run("the beginning of an event stream", func(t *testing.T) {
		s := newStore(t, jetstream.Config{})
		third := s.add("x", 1, 1, 1).Position
		s.add("x", 1)
		purge(t, s, natsjs.WithPurgeSubject("events.x"), natsjs.WithPurgeSequence(third))
		for who, b := range map[string]*store{"who knew": s, "who comes new": s.again(jetstream.Config{})} {
			for _, r := range readers {
				t.Run(fmt.Sprintf("%s, %s", who, r.name), func(t *testing.T) {
					events, err := r.read(t.Context(), b, "x")
					if !errors.Is(err, backend.ErrCorrupted) {
						t.Errorf("%d events, error %v, want ErrCorrupted", len(events), err)
					}
				})
			}
			_, err := readAll(t.Context(), b, backend.ReadAllOptions{})
			wantCorrupted(t, err, third-1)
			_, err = subscribed(t, b, backend.SubscribeOptions{From: backend.FromBeginning(), Stream: "x"})
			if !errors.Is(err, backend.ErrCorrupted) {
				t.Errorf("%s: Subscribe: %v, want ErrCorrupted", who, err)
			}
		}
	})
	t.Run("an event stream, of which its processes know", func(t *testing.T) {
		s := newStore(t, jetstream.Config{RequestTimeout: 50 * time.Millisecond})
		s.add("x", 1, 1)
		purge(t, s, natsjs.WithPurgeSubject("events.x"))
		for _, r := range readers {
			if events, err := r.read(t.Context(), s, "x"); !errors.Is(err, backend.ErrCorrupted) {
				t.Errorf("%s: %d events, error %v, want ErrCorrupted", r.name, len(events), err)
			}
		}
		if _, err := backend.Append(t.Context(), s, "x", backend.AnyVersion(), identified(1), uuid.Nil); !errors.Is(err, backend.ErrCorrupted) {
			t.Errorf("append: %v, want ErrCorrupted", err)
		}
	})
}

// On three replicas each server has the foreign message, and whichever is asked
// must name it.
func TestAForeignMessageIsNamedOnThreeReplicas(t *testing.T) {
	c := testserver.Cluster(t, 3)
	s := openStore(t, c.Connect(t, nats.Timeout(patience)), jetstream.Config{Replicas: 3})
	others := make(map[string]*store)
	for i, server := range c.Servers {
		others[fmt.Sprint("server ", i)] = openStore(t, server.Connect(t), jetstream.Config{})
	}
	others["the leader"] = s.again(jetstream.Config{ReadConsistency: jetstream.ReadLeader})
	for name, header := range garbage {
		t.Run(name, func(t *testing.T) {
			x, y := "x-"+uuid.NewString(), "y-"+uuid.NewString()
			s.add(x, 1, 1)
			position := s.publish("events."+x, header, []byte("foreign"))
			last := s.add(y, 1).Position
			for who, b := range others {
				for _, r := range readers {
					eventually(t, who+" names it by "+r.name, func() bool { // for a replica may lag
						_, err := r.read(t.Context(), b, x)
						return errors.Is(err, backend.ErrCorrupted)
					})
				}
				_, err := readAll(t.Context(), b, backend.ReadAllOptions{After: position - 1})
				wantCorrupted(t, err, position)
				for _, options := range []backend.SubscribeOptions{{Stream: x}, {From: backend.AfterPosition(position - 1)}} {
					_, err := subscribed(t, b, options)
					wantCorrupted(t, err, position)
				}
				events, err := readAll(t.Context(), b, backend.ReadAllOptions{After: position})
				if err != nil || len(events) != 1 || events[0].Position != last {
					t.Errorf("%s: %d events behind it, error %v, want 1", who, len(events), err)
				}
				if _, err := b.AppendToStream(t.Context(), x, identified(1), uuid.Nil); !errors.Is(err, backend.ErrCorrupted) {
					t.Errorf("%s: append: %v, want ErrCorrupted", who, err)
				}
			}
			if name == "of a later format" {
				return // which is not for this version to clear away
			}
			if err := s.DeleteStream(t.Context(), backend.Stream{UUID: x}, uuid.Nil); err != nil {
				t.Fatal(err)
			}
			s.add(x, 1)
		})
	}
}
