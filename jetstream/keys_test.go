package jetstream_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/tributary-es/tributary/backend"
	"github.com/tributary-es/tributary/internal/testserver"
	"github.com/tributary-es/tributary/jetstream"
)

// What is known of the subscriptions of a store lies where the store does.
func TestTheSubscriptionsBucketIsPlacedAsTheStore(t *testing.T) {
	started := 0
	c := testserver.Cluster(t, 3, testserver.WithServerOptions(func(o *server.Options) {
		o.Tags.Add(fmt.Sprint("number:", started%3)) // one after the other is
		started++
	}))
	nc := c.Connect(t)
	js := jetStream(t, nc)
	for i := range c.Servers {
		name := fmt.Sprint("AT_", i)
		s := openStore(t, nc, jetstream.Config{Stream: name, Prefix: fmt.Sprint("at-", i), PlacementTags: []string{fmt.Sprint("number:", i)}})
		checkpoint, err := s.OpenCheckpoint(t.Context(), "x")
		if err != nil {
			t.Fatal(err)
		}
		if err := checkpoint.Save(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		on := func(name string) string {
			stream, err := js.Stream(t.Context(), name)
			if err != nil {
				t.Fatal(err)
			}
			return stream.CachedInfo().Cluster.Leader
		}
		if got, want := on("KV_"+jetstream.SubscriptionsBucket(name)), on(name); got != want {
			t.Errorf("the bucket of the store on %s lies on %s", want, got)
		}
	}
}

// A checkpoint that nobody else saves is never moved, whatever is lost on the way.
func TestACheckpointIsOnlyMovedBySomeoneElse(t *testing.T) {
	p := newProxy(t, testserver.Single(t))
	s := openStore(t, p.connect(), jetstream.Config{RequestTimeout: 100 * time.Millisecond})
	open := func() backend.Checkpoint {
		t.Helper()
		c, err := s.OpenCheckpoint(t.Context(), "x")
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	save := func(ctx context.Context, c backend.Checkpoint, position uint64, want error) {
		t.Helper()
		if err := c.Save(ctx, position); !errors.Is(err, want) {
			t.Errorf("saving %d: error %v, want %v", position, err, want)
		}
	}
	c := open()
	// losing has the next save, or its answer, be lost.
	losing := func(how fate) {
		p.on(func(subject string) fate {
			if !strings.HasPrefix(subject, "$KV.") {
				return arrives
			}
			p.rule = nil
			return how
		})
	}
	for round, how := range []fate{swallow, severed} {
		t.Run(fmt.Sprint("a request is lost, ", round), func(t *testing.T) {
			losing(how)
			save(t.Context(), c, uint64(10+round), nil)
		})
	}
	t.Run("an answer is lost, and the context ends", func(t *testing.T) {
		p.on(func(subject string) fate {
			if strings.HasPrefix(subject, "$KV.") {
				p.answers = withheld
			}
			return arrives
		})
		save(within(t, 300*time.Millisecond), c, 20, backend.ErrOutcomeUnknown)
		p.on(nil)
		p.set(flowing)
		save(t.Context(), c, 30, nil)
	})
	t.Run("someone else saves it", func(t *testing.T) {
		other := open()
		if position, err := other.Load(t.Context()); position != 30 || err != nil {
			t.Errorf("position %d, error %v, want 30", position, err)
		}
		save(t.Context(), other, 40, nil)
		save(t.Context(), c, 50, backend.ErrCheckpointMoved)
	})
}
