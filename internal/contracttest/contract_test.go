package contracttest

import (
	"testing"

	"github.com/tributary-es/tributary/backend"
	"github.com/tributary-es/tributary/backend/backendtest"
	"github.com/tributary-es/tributary/internal/racedetector"
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
			if racedetector.On && cfg.ReadConsistency == jetstream.ReadLeader {
				t.Skip("the race detector makes it long: .ci/run does this without")
			}
			s := testserver.Single(t)
			backendtest.Run(t, func(t *testing.T) backend.Backend { return Open(t, s.Connect(t), cfg, s.Consumers) })
		})
	}
}

func TestContractOnThreeReplicas(t *testing.T) {
	c := testserver.Cluster(t, 3)
	backendtest.Run(t, func(t *testing.T) backend.Backend {
		return Open(t, c.Connect(t), jetstream.Config{Replicas: 3}, c.Consumers)
	})
}
