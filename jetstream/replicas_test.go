package jetstream_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	natsjs "github.com/nats-io/nats.go/jetstream"

	"github.com/tributary-es/tributary/internal/testserver"
	"github.com/tributary-es/tributary/jetstream"
)

// wantNoReplicas fails the test where Open gets the replicas that cfg wants, or
// leaves a JetStream stream behind that has fewer, or takes until the deadline.
func wantNoReplicas(t *testing.T, js natsjs.JetStream, err error, replicas int, text string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), text) ||
		!strings.Contains(err.Error(), fmt.Sprintf("creating it with %d replicas", replicas)) || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v, want an error that says %q", err, text)
	}
	if _, err := js.Stream(t.Context(), "EVENTS"); !errors.Is(err, natsjs.ErrStreamNotFound) {
		t.Errorf("there is a JetStream stream: %v", err)
	}
}

func TestALoneServerIsRefusedWhereReplicasAreWanted(t *testing.T) {
	srv := testserver.Single(t)
	nc := srv.Connect(t)
	js := jetStream(t, nc)
	for _, n := range []int{2, 3, 5} {
		_, err := jetstream.Open(within(t, patience), nc, jetstream.Config{Replicas: n})
		wantNoReplicas(t, js, err, n, "not supported in non-clustered mode")
	}
	// One that is there already, as one is enough for some.
	openStore(t, nc, jetstream.Config{})
	openStore(t, nc, jetstream.Config{Replicas: 1})
	_, err := jetstream.Open(within(t, patience), nc, jetstream.Config{Replicas: 3})
	unsafe, ok := errors.AsType[*jetstream.UnsafeStreamError](err)
	if !ok || unsafe.Setting != "num_replicas" || unsafe.Have != "1" || unsafe.Want != "at least 3" {
		t.Errorf("%v, want an *UnsafeStreamError for num_replicas", err)
	}
}

func TestAClusterWithTooFewServersIsRefused(t *testing.T) {
	c := testserver.Cluster(t, 3)
	nc := c.Connect(t)
	_, err := jetstream.Open(within(t, patience), nc, jetstream.Config{Replicas: 5})
	wantNoReplicas(t, jetStream(t, nc), err, 5, "peers")
	_, err = jetstream.Open(within(t, patience), nc, jetstream.Config{Replicas: 3, PlacementTags: []string{"elsewhere"}})
	wantNoReplicas(t, jetStream(t, nc), err, 3, "peers")
	// More than wanted is as good.
	openStore(t, nc, jetstream.Config{Replicas: 3})
	for _, n := range []int{0, 1, 2, 3} {
		openStore(t, nc, jetstream.Config{Replicas: n})
	}
}
