package jetstream_test

import (
	"testing"

	"github.com/tributary-es/tributary/backend"
	"github.com/tributary-es/tributary/backend/backendtest"
	"github.com/tributary-es/tributary/internal/contracttest"
	"github.com/tributary-es/tributary/internal/racedetector"
	"github.com/tributary-es/tributary/internal/testserver"
	"github.com/tributary-es/tributary/jetstream"
)

// Each faster way is only that: without it, everything is as right. With all of
// them on, internal/contracttest runs the contract.
func TestContractWithoutFastPaths(t *testing.T) {
	for name, off := range jetstream.PathsOff {
		t.Run(name, func(t *testing.T) {
			if racedetector.On {
				t.Skip("the race detector makes it long: .ci/run does this without")
			}
			s := testserver.Single(t)
			backendtest.Run(t, func(t *testing.T) backend.Backend {
				b := contracttest.Open(t, s.Connect(t), jetstream.Config{}, s.Consumers)
				off(b.Backend)
				return b
			})
		})
	}
}
