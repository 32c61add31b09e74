package backendtest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/google/uuid"
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
	t.Run("closing a backend ends its subscriptions with ErrUnavailable, those that wait too", func(t *testing.T) {
		if _, ok := b.(backend.Subscriber); !ok {
			t.Skip("the backend is no backend.Subscriber")
		}
		s := fresh(t, open(t))
		s.add(1, 1, 1)
		busy := s.follow(backend.SubscribeOptions{Stream: s.name, BatchSize: 1})
		busy.until(1)
		idle, ended := make(chan struct{}, 2), make(chan error, 2)
		for _, options := range []backend.SubscribeOptions{{Stream: s.name}, {From: backend.FromNow()}} {
			go func() {
				told := false
				for batch, err := range s.subscribe(options) {
					if err != nil {
						ended <- err
						return
					}
					if batch.CaughtUp && !told {
						told = true
						idle <- struct{}{}
					}
				}
				ended <- nil
			}()
		}
		for range 2 {
			select {
			case <-idle:
			case <-s.ctx.Done():
				t.Fatal("a subscription did not catch up")
			}
		}
		must(t, s.b.(interface{ Close() error }).Close())
		wantErr(t, <-ended, backend.ErrUnavailable)
		wantErr(t, <-ended, backend.ErrUnavailable)
		busy.wantEnd(backend.ErrUnavailable)
	})
	t.Run("a checkpoint of a closed backend returns ErrUnavailable", func(t *testing.T) {
		if _, ok := b.(backend.Checkpointer); !ok {
			t.Skip("the backend is no backend.Checkpointer")
		}
		s := fresh(t, open(t))
		name := "clause-" + uuid.NewString()
		c, err := backend.OpenCheckpoint(s.ctx, s.b, name)
		must(t, err)
		must(t, c.Save(s.ctx, 1))
		must(t, s.b.(interface{ Close() error }).Close())
		_, err = c.Load(s.ctx)
		wantErr(t, err, backend.ErrUnavailable)
		wantErr(t, c.Save(s.ctx, 2), backend.ErrUnavailable)
		if c, err = backend.OpenCheckpoint(s.ctx, s.b, name); err == nil { // which need not ask the store
			_, err = c.Load(s.ctx)
		}
		wantErr(t, err, backend.ErrUnavailable)
	})
	t.Run("closing a backend ends Consume and WaitFor with ErrUnavailable, and so do they begin", func(t *testing.T) {
		if _, ok := b.(backend.Consumer); !ok {
			t.Skip("the backend is no backend.Consumer")
		}
		s := fresh(t, open(t))
		s.add(1)
		name := "clause-" + uuid.NewString()
		t.Cleanup(func() { // where the store is the same, and not closed
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			_ = backend.DeleteSubscription(ctx, b, name)
		})
		began, ended := make(chan struct{}, 1), make(chan error, 2)
		consume := func() error {
			return backend.Consume(s.ctx, s.b, name, backend.ConsumeOptions{Stream: s.name}, func(context.Context, backend.Commit) error {
				began <- struct{}{}
				return nil
			})
		}
		waitFor := func() error { return backend.WaitFor(s.ctx, s.b, name, noLimit) }
		go func() { ended <- consume() }()
		select {
		case <-began:
		case err := <-ended:
			t.Fatalf("Consume returned the error %v", err)
		}
		go func() { ended <- waitFor() }()
		must(t, s.b.(interface{ Close() error }).Close())
		wantErr(t, <-ended, backend.ErrUnavailable)
		wantErr(t, <-ended, backend.ErrUnavailable)
		wantErr(t, consume(), backend.ErrUnavailable)
		wantErr(t, waitFor(), backend.ErrUnavailable)
		if _, ok := s.b.(backend.SubscriptionManager); ok {
			_, err := backend.Subscriptions(s.ctx, s.b)
			wantErr(t, err, backend.ErrUnavailable)
			wantErr(t, backend.ResetSubscription(s.ctx, s.b, name, 0), backend.ErrUnavailable)
			wantErr(t, backend.DeleteSubscription(s.ctx, s.b, name), backend.ErrUnavailable)
		}
		if _, ok := s.b.(backend.Parker); ok {
			_, err := backend.Parked(s.ctx, s.b, name)
			wantErr(t, err, backend.ErrUnavailable)
			wantErr(t, backend.ReplayParked(s.ctx, s.b, name, 1), backend.ErrUnavailable)
			wantErr(t, backend.DiscardParked(s.ctx, s.b, name, 1), backend.ErrUnavailable)
		}
	})
	t.Run("closing a backend under appends lets them end: acknowledged, ErrUnavailable or ErrOutcomeUnknown", func(t *testing.T) {
		s := fresh(t, open(t))
		s.add(1)
		done := make(chan error, 8)
		acknowledged := make(chan struct{}, 1)
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
					select {
					case acknowledged <- struct{}{}:
					default:
					}
				}
			}()
		}
		<-acknowledged // so that all are at it, or are about to be
		must(t, s.b.(interface{ Close() error }).Close())
		for range cap(done) {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	})
}
