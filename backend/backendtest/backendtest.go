// Package backendtest is the contract of [backend.Backend] and its capabilities
// as an executable suite: every sentence of it is a subtest of that name. Wire a
// backend to it in a test of the backend's own:
//
//	func TestContract(t *testing.T) {
//		backendtest.Run(t, func(t *testing.T) backend.Backend { return memory.New() })
//	}
//
// Clauses of a capability are skipped where the backend lacks it.
package backendtest

import (
	"testing"

	"github.com/tributary-es/tributary/backend"
)

// Holder is implemented by a backend, or by a wrapper that a test puts around
// it, that can tell what it holds outside of the process's memory, such as
// consumers on a server and subscriptions of a client. The suite compares the
// counts before and after iterations that are broken off, cancelled and run to
// their ends.
type Holder interface {
	// Held returns how many there are of each kind of resource.
	Held(t *testing.T) map[string]int
}

// Run runs the suite. It opens one backend, which all clauses share, each with
// event streams of its own; and one more for each clause that closes it, which
// are those of a backend that has a method Close() error. open has to see to
// closing what it opened, with t.Cleanup. The store may hold other event
// streams, also those of an earlier run, and may be used by others meanwhile.
//
// Clauses run in parallel, except those that count goroutines: while Run runs,
// nothing else in the process may start some and leave them.
func Run(t *testing.T, open func(t *testing.T) backend.Backend) {
	b := open(t)
	groups := []struct {
		name    string
		clauses func(*testing.T, backend.Backend)
	}{
		{"create", createClauses},
		{"delete", deleteClauses},
		{"append", appendClauses},
		{"import", importClauses},
		{"expected", expectedClauses},
		{"idempotence", idempotenceClauses},
		{"data", dataClauses},
		{"large", largeClauses},
		{"names", namesClauses},
		{"read", readClauses},
		{"forward", forwardClauses},
		{"backward", backwardClauses},
		{"all", allClauses},
		{"subscribe", subscribeClauses},
		{"live", liveClauses},
		{"checkpoint", checkpointClauses},
		{"consume", consumeClauses},
		{"members", memberClauses},
		{"parking", parkingClauses},
		{"subscriptions", subscriptionClauses},
		{"softdelete", softDeleteClauses},
		{"truncate", truncateClauses},
		{"context", contextClauses},
		{"concurrency", concurrencyClauses},
		{"races", raceClauses},
		{"laws", lawClauses},
		{"leaks", leakClauses}, // not parallel, after all that are
	}
	for _, g := range groups {
		t.Run(g.name, func(t *testing.T) { g.clauses(t, b) })
	}
	t.Run("close", func(t *testing.T) { closeClauses(t, b, open) })
}
