package jetstream_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/tributary-es/tributary/backend"
	"github.com/tributary-es/tributary/internal/testserver"
	"github.com/tributary-es/tributary/jetstream"
)

func TestIteratorsLeaveNothingBehind(t *testing.T) {
	srv := testserver.Single(t)
	s := openStore(t, srv.Connect(t), jetstream.Config{})
	for range 30 {
		s.add("x", 5, 5, 5)
	}
	errStop := errors.New("stop")
	// An iteration of either kind, which ends when each says so.
	iterate := func(ctx context.Context, i int, each func() error) error {
		seq := s.StreamForward(ctx, "x", 10, uuid.Nil)
		if i%2 == 0 {
			seq = s.ReadAll(ctx, backend.ReadAllOptions{BatchSize: 10}, uuid.Nil)
		}
		for _, err := range seq {
			if err != nil {
				return err
			}
			if err := each(); err != nil {
				return nil
			}
		}
		return nil
	}
	if err := iterate(t.Context(), 0, func() error { return nil }); err != nil {
		t.Fatal(err)
	}
	subs, goroutines := s.nc.NumSubscriptions(), ownGoroutines()

	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 50 {
				ctx, cancel := context.WithCancel(t.Context())
				n := 0
				err := iterate(ctx, g, func() error {
					n++
					switch i % 4 {
					case 0: // to the end
					case 1:
						return errStop
					case 2:
						if n == 3 {
							cancel()
						}
					case 3:
						if n == i%20 {
							return errStop
						}
					}
					return nil
				})
				cancel()
				if i%4 == 2 && n < 45 && !errors.Is(err, context.Canceled) || i%4 != 2 && err != nil {
					t.Errorf("%d: after %d batches: %v", i, n, err)
				}
			}
		})
	}
	// Some that panic in the middle.
	for i := range 10 {
		func() {
			defer func() { _ = recover() }()
			_ = iterate(t.Context(), i, func() error { panic("in the loop") })
		}()
	}
	wg.Wait()
	eventually(t, "no consumer is left", func() bool { return srv.Consumers(t, jetstream.DefaultStream) == 0 })
	eventually(t, "no subscription is left", func() bool { return s.nc.NumSubscriptions() <= subs })
	eventually(t, "no goroutine is left", func() bool { return ownGoroutines() <= goroutines })
}

// ownGoroutines counts the goroutines with a function of this package's in their
// stack, but for those of tests.
func ownGoroutines() int {
	buf := make([]byte, 1<<20)
	n := 0
	for stack := range strings.SplitSeq(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
		if strings.Contains(stack, "tributary/jetstream.") {
			n++
		}
	}
	return n
}

func TestCallsThatAreCancelledLeaveNothingBehind(t *testing.T) {
	s := newShaky(t, jetstream.Config{RequestTimeout: 50 * time.Millisecond})
	s.add("x", 1, 1, 1)
	subs := s.nc.NumSubscriptions()
	s.p.set(withheld)
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			ctx := within(t, time.Duration(i)*10*time.Millisecond)
			calls := []func() error{
				func() error { _, err := s.ReadStream(ctx, "x", 1, 10, uuid.Nil); return err },
				func() error { _, err := s.ReadStreamInfo(ctx, "x", uuid.Nil); return err },
				func() error {
					_, err := backend.Append(ctx, s, fmt.Sprint("y", i), backend.AnyVersion(), identified(1), uuid.Nil)
					return err
				},
				func() error { _, err := readAll(ctx, s, backend.ReadAllOptions{}); return err },
				func() error { return s.DeleteStream(ctx, backend.Stream{UUID: "x"}, uuid.Nil) },
			}
			if err := calls[i%len(calls)](); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("call %d: %v, want DeadlineExceeded", i%len(calls), err)
			}
		})
	}
	wg.Wait()
	s.p.set(flowing)
	eventually(t, "no subscription is left", func() bool { return s.nc.NumSubscriptions() <= subs })
}

// Events that are appended behind the end of an iteration must not keep it
// waiting for more.
func TestAnIterationEndsWithoutWaitingForMore(t *testing.T) {
	s := newStore(t, jetstream.Config{RequestTimeout: 30 * time.Second})
	for range 600 { // more than are asked for at once
		s.add("a.1", 1)
	}
	s.add("b", 1) // the end of the store is not one of what is read
	for range 5 {
		n, started := 0, time.Now()
		for batch, err := range s.ReadAll(t.Context(), backend.ReadAllOptions{Under: "a", BatchSize: 50}, uuid.Nil) {
			if err != nil {
				t.Fatal(err)
			}
			if n == 0 {
				s.add("a.1", 1)
			}
			n += len(batch)
		}
		s.add("b", 1)
		if took := time.Since(started); took > 10*time.Second {
			t.Fatalf("%d events took %v", n, took)
		}
	}
}
