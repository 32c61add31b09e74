package jetstream_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/tributary-es/tributary/backend"
	"github.com/tributary-es/tributary/jetstream"
)

// loseGets has some of the gets that are sent together get lost, counted from 1.
func (s *shaky) loseGets(lost func(n int) bool) {
	n := 0
	s.p.on(func(subject string) fate {
		if subject == requestMessage {
			if n++; lost(n) {
				return swallow
			}
		}
		return arrives
	})
}

func TestGetsThatAreLostAreAskedOfTheLeader(t *testing.T) {
	for name, lost := range map[string]func(n int) bool{
		"the first": func(n int) bool { return n == 1 },
		"the last":  func(n int) bool { return n == 9 },
		"every 2nd": func(n int) bool { return n%2 == 0 },
		"all":       func(int) bool { return true },
		"none":      func(int) bool { return false },
	} {
		t.Run(name, func(t *testing.T) {
			s := newShaky(t, jetstream.Config{})
			for range 10 {
				s.add("x", 1, 2)
			}
			s.loseGets(lost)
			events, err := backend.ReadStreamBackward(t.Context(), s, "x", 0, 14, uuid.Nil)
			if err != nil || len(events) != 14 {
				t.Fatalf("%d events, error %v", len(events), err)
			}
			for i, e := range events {
				if e.StreamVersion != uint64(30-i) {
					t.Errorf("event %d has version %d", i, e.StreamVersion)
				}
			}
			wantStream(t, s.store, "x", 30)
		})
	}
}

func TestGetsEndWithTheirContext(t *testing.T) {
	s := newShaky(t, jetstream.Config{RequestTimeout: patience})
	s.add("x", 1, 1, 1, 1)
	s.loseGets(func(int) bool { return true })
	for _, wait := range []time.Duration{0, time.Millisecond, 20 * time.Millisecond} {
		ctx, cancel := context.WithTimeout(t.Context(), wait)
		_, err := s.ReadStream(ctx, "x", 1, 10, uuid.Nil)
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("after %v: error %v, want DeadlineExceeded", wait, err)
		}
	}
	s.loseGets(func(n int) bool { return false })
	wantStream(t, s.store, "x", 4)
}

func TestGetsEndWithTheConnection(t *testing.T) {
	s := newShaky(t, jetstream.Config{RequestTimeout: patience})
	s.add("x", 1, 1, 1, 1)
	asked := make(chan struct{}, 100)
	s.loseGets(func(int) bool { asked <- struct{}{}; return true })
	failed := make(chan error, 1)
	go func() {
		_, err := s.ReadStream(within(t, patience), "x", 1, 10, uuid.Nil)
		failed <- err
	}()
	<-asked
	s.nc.Close()
	if err := <-failed; !errors.Is(err, backend.ErrUnavailable) {
		t.Errorf("error %v, want ErrUnavailable", err)
	}
}

func TestGetsAcrossAReconnectAreAskedAgain(t *testing.T) {
	// At once, and not when their time is over.
	s := newShaky(t, jetstream.Config{RequestTimeout: 2 * patience})
	for range 10 {
		s.add("x", 1)
	}
	cut := false
	s.p.on(func(subject string) fate {
		if subject == requestMessage && !cut {
			cut = true
			return severed
		}
		return arrives
	})
	events, err := s.ReadStream(within(t, patience), "x", 1, 100, uuid.Nil)
	if err != nil || len(events) != 10 {
		t.Errorf("%d events, %v", len(events), err)
	}
	if !cut {
		t.Error("the connection was never cut")
	}
}
