package jetstream_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"

	"github.com/tributary-es/tributary/backend"
	"github.com/tributary-es/tributary/internal/testserver"
	"github.com/tributary-es/tributary/jetstream"
)

// A peer that reads nothing has nats.go wait for it, for as long as FlusherTimeout
// says, with the lock that everything which it can be asked is behind.
func TestWhoWaitsIsFreedByTheContextWhereTheConnectionTakesNothing(t *testing.T) {
	srv := testserver.Single(t)
	p := newProxy(t, srv)
	nc := p.connect(nats.FlusherTimeout(time.Hour)) // longer than the test waits
	s, direct := openStore(t, nc, jetstream.Config{RequestTimeout: time.Hour}), openStore(t, srv.Connect(t), jetstream.Config{})
	s.add("x", 1)
	s.add("y", 1)
	before := direct.lastSeq()

	p.set(withheld)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	cancelled := appending(ctx, s, backend.AnyVersion(), unnamed(1))
	eventually(t, "the server has it", func() bool { return direct.lastSeq() == before+1 })
	queued := make(chan error, 1)
	go func() {
		_, err := backend.Append(ctx, s, "x", backend.AnyVersion(), unnamed(1), uuid.Nil)
		queued <- err
	}()
	late := make(chan error, 1)
	go func() {
		_, err := backend.Append(within(t, 5*time.Second), s, "y", backend.AnyVersion(), unnamed(1), uuid.Nil)
		late <- err
	}()
	imported := make(chan error, 1)
	go func() {
		_, err := backend.Import(ctx, s, func(yield func(backend.StreamAppend, error) bool) {
			yield(backend.StreamAppend{StreamUUID: "z", Expected: backend.NoStream(), Events: unnamed(1)}, nil)
		}, backend.ImportOptions{}, uuid.Nil)
		imported <- err
	}()
	eventually(t, "the server has all", func() bool { return direct.lastSeq() == before+3 && s.Waiting("events.x") == 1 })

	p.stopReading()
	flooding := make(chan struct{})
	go func() {
		defer close(flooding)
		for body := make([]byte, 1<<20); nc.Publish("flood", body) == nil && !nc.IsClosed() && !s.Stuck(); {
		}
	}()
	defer func() {
		p.cut() // which frees all that the connection holds up
		<-flooding
	}()
	eventually(t, "the connection takes nothing", s.Stuck)

	reading := make(chan error, 1)
	go func() {
		_, err := s.ReadStream(within(t, time.Second), "x", 0, 10, uuid.Nil)
		reading <- err
	}()
	refused := make(chan error, 1)
	go func() {
		_, err := backend.Append(within(t, time.Second), s, "new", backend.NoStream(), unnamed(1), uuid.Nil)
		refused <- err
	}()
	for name, done := range map[string]<-chan error{"an append": refused, "a read": reading} {
		if err := wantDone(t, done); !errors.Is(err, backend.ErrUnavailable) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: error %v, want ErrUnavailable and DeadlineExceeded", name, err)
		}
	}
	if err := wantDone(t, late); !errors.Is(err, backend.ErrOutcomeUnknown) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("past its deadline: error %v, want ErrOutcomeUnknown and DeadlineExceeded", err)
	}
	cancel()
	wantLeft(t, cancelled)
	for name, done := range map[string]<-chan error{"in the queue": queued, "an import": imported} {
		if err := wantDone(t, done); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: error %v, want Canceled", name, err)
		}
	}
}
