package jetstream_test

import (
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/tributary-es/tributary/backend"
	"github.com/tributary-es/tributary/backend/backendtest"
	"github.com/tributary-es/tributary/internal/testserver"
	"github.com/tributary-es/tributary/jetstream"
)

func TestContractOnOneServer(t *testing.T) {
	for name, cfg := range map[string]jetstream.Config{
		"a commit a message": {},
		// In memory, since every batch on disk is synced: the suite makes thousands.
		"an event a message":        {EventsPerMessage: 1, Storage: jetstream.MemoryStorage},
		"heads asked of the leader": {HeadCacheSize: 1, ReadConsistency: jetstream.ReadLeader},
	} {
		t.Run(name, func(t *testing.T) {
			s := testserver.Single(t)
			backendtest.Run(t, func(t *testing.T) backend.Backend {
				return open(t, s.Connect(t), cfg, s.Consumers)
			})
		})
	}
}

// Each faster way is only that: without it, everything is as right.
func TestContractWithoutFastPaths(t *testing.T) {
	for name, off := range jetstream.PathsOff {
		t.Run(name, func(t *testing.T) {
			if raceDetector && name != "none" {
				t.Skip("the race detector makes it long: .ci/run does this without")
			}
			s := testserver.Single(t)
			backendtest.Run(t, func(t *testing.T) backend.Backend {
				h := open(t, s.Connect(t), jetstream.Config{}, s.Consumers)
				off(h.Backend)
				return h
			})
		})
	}
}

func TestContractOnThreeReplicas(t *testing.T) {
	c := testserver.Cluster(t, 3)
	backendtest.Run(t, func(t *testing.T) backend.Backend {
		return open(t, c.Connect(t), jetstream.Config{Replicas: 3}, c.Consumers)
	})
}

// held is a backend whose consumers and subscriptions the suite can count.
type held struct {
	*jetstream.Backend
	nc        *nats.Conn
	consumers func(testing.TB, string) int
}

func open(t *testing.T, nc *nats.Conn, cfg jetstream.Config, consumers func(testing.TB, string) int) held {
	t.Helper()
	b, err := jetstream.Open(t.Context(), nc, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return held{Backend: b, nc: nc, consumers: consumers}
}

// Held implements [backendtest.Holder].
func (h held) Held(t *testing.T) map[string]int {
	return map[string]int{
		"consumers on the server": h.consumers(t, jetstream.DefaultStream),
		"subscriptions":           h.nc.NumSubscriptions(),
	}
}
