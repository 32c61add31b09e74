package backendtest

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/tributary-es/tributary/backend"
)

// closeClauses are of a backend that has a method Close() error. b stays open.
func closeClauses(t *testing.T, b backend.Backend, open func(t *testing.T) backend.Backend) {
	if _, ok := b.(interface{ Close() error }); !ok {
		t.Skip("the backend has no method Close() error")
	}
	t.Run("every method of a closed backend returns ErrUnavailable", func(t *testing.T) {
		s := fresh(t, open(t))
		s.add(1, 2)
		must(t, s.b.(interface{ Close() error }).Close())
		for method, call := range calls(s) {
			if err := call(); !errors.Is(err, backend.ErrUnavailable) {
				t.Errorf("%s returned the error %v", method, err)
			}
		}
		if s.b.BackendName() != b.BackendName() {
			t.Errorf("the name changed to %q", s.b.BackendName())
		}
	})
	t.Run("closing a backend under StreamForward ends it: with all events or with an error", func(t *testing.T) {
		s := fresh(t, open(t))
		s.add(slices.Repeat([]int{1, 9}, 20)...)
		n := 0
		var end error
		for batch, err := range s.forward(10) {
			if n == 0 {
				must(t, s.b.(interface{ Close() error }).Close())
			}
			n += len(batch)
			end = err
		}
		if n != 200 && end == nil {
			t.Fatalf("it ended after %d of 200 events without an error", n)
		}
	})
	t.Run("closing a backend under appends lets them end: acknowledged, ErrUnavailable or ErrOutcomeUnknown", func(t *testing.T) {
		s := fresh(t, open(t))
		s.add(1)
		done := make(chan error, 8)
		for range cap(done) {
			go func() {
				for {
					if _, err := s.append(backend.AnyVersion(), events(1)); errors.Is(err, backend.ErrUnavailable) || errors.Is(err, backend.ErrOutcomeUnknown) {
						done <- nil
						return
					} else if err != nil {
						done <- fmt.Errorf("an append under Close returned the error %w", err)
						return
					}
				}
			}()
		}
		time.Sleep(5 * time.Millisecond)
		must(t, s.b.(interface{ Close() error }).Close())
		for range cap(done) {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	})
}
