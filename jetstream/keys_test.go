package jetstream_test

import (
	"fmt"
	"testing"

	"github.com/nats-io/nats-server/v2/server"

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
