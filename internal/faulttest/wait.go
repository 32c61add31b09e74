package faulttest

import (
	"fmt"
	"testing"
	"time"
)

const (
	// patience is how long is waited for what must come. It is far beyond the 4 to
	// 9 s that servers wait before they stand for election, and the 10 s after which
	// a leader that is cut off gives up (nats-server 2.15.2, raft.go).
	patience = 90 * time.Second

	pollInterval = 20 * time.Millisecond
)

// eventually calls check until it returns nil, and returns its last error when
// that takes too long.
func eventually(what string, check func() error) error {
	deadline := time.Now().Add(patience)
	for {
		err := check()
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s: not within %v: %w", what, patience, err)
		}
		time.Sleep(pollInterval)
	}
}

// must fails the test where something that the harness needs doesn't work.
func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}
