// Package contracttest runs the contract of backend/backendtest on the JetStream
// backend, on one server and on three replicas. It is a package of its own so that
// it runs beside the other tests of that backend.
package contracttest

import (
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/tributary-es/tributary/jetstream"
)

// Backend is a JetStream backend whose consumers and subscriptions the suite can
// count.
type Backend struct {
	*jetstream.Backend
	nc        *nats.Conn
	consumers func(testing.TB, string) int
}

// Open opens a backend that is closed when t ends. consumers counts the consumers
// of a JetStream stream, as testserver's servers do.
func Open(t *testing.T, nc *nats.Conn, cfg jetstream.Config, consumers func(testing.TB, string) int) Backend {
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
	return Backend{Backend: b, nc: nc, consumers: consumers}
}

// Held implements backendtest.Holder.
func (b Backend) Held(t *testing.T) map[string]int {
	return map[string]int{
		"consumers on the server": b.consumers(t, jetstream.DefaultStream),
		"subscriptions":           b.nc.NumSubscriptions(),
	}
}
