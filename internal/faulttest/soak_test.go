package faulttest

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"

	"github.com/tributary-es/tributary/backend"
	"github.com/tributary-es/tributary/jetstream"
)

var soak = flag.Duration("soak", 0, "how long TestSoak goes on; 0: 12 s")

// TestSoak has a process append, read, follow and handle events while its server
// is restarted now and then: what it holds must not grow.
func TestSoak(t *testing.T) {
	long := max(*soak, 12*time.Second)
	c := Start(t, 1)
	client := c.NewClient(t)
	s := &soaking{t: t, conn: client.Conn, b: c.open(t, client.Conn, jetstream.Config{RequestTimeout: 300 * time.Millisecond, HeadCacheSize: 256})}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	s.run(ctx)

	const samples = 12
	var taken []sample
	for i := range samples {
		time.Sleep(long / samples)
		taken = append(taken, s.sample())
		t.Logf("after %v: %v", (time.Duration(i+1) * long / samples).Round(time.Second), taken[i])
		if i%3 == 1 {
			must(t, c.Nodes[0].Stop())
			must(t, c.Nodes[0].Start())
			c.WaitReady(jetstream.DefaultStream)
			s.wait() // all of it goes on
		}
	}
	// The first third is for caches to fill. Then the least of a third is compared
	// with that of the last: what is there for a moment is no leak.
	before, after := least(taken[4:8]), least(taken[8:])
	if after.heap > before.heap+before.heap/4+1<<20 {
		t.Errorf("the heap has grown from %d to %d KiB", before.heap>>10, after.heap>>10)
	}
	if after.goroutines > before.goroutines+5 {
		t.Errorf("goroutines have become %d of %d", after.goroutines, before.goroutines)
	}
	if after.subscriptions > before.subscriptions {
		t.Errorf("subscriptions have become %d of %d", after.subscriptions, before.subscriptions)
	}
	cancel()
	s.workers.Wait()
	if err := s.failed.Load(); err != nil {
		t.Error(*err)
	}
}

// sample is what the process holds while nothing is called.
type sample struct {
	heap          uint64
	goroutines    int
	subscriptions int
	appends       int64
	followed      int64
	handled       int64
}

func (s sample) String() string {
	return fmt.Sprintf("%d KiB of heap, %d goroutines, %d subscriptions, %d appends, %d events followed, %d commits handled",
		s.heap>>10, s.goroutines, s.subscriptions, s.appends, s.followed, s.handled)
}

func least(samples []sample) sample {
	low := samples[0]
	for _, s := range samples {
		low.heap = min(low.heap, s.heap)
		low.goroutines = min(low.goroutines, s.goroutines)
		low.subscriptions = min(low.subscriptions, s.subscriptions)
	}
	return low
}

// soaking is the work of a soak.
type soaking struct {
	t       *testing.T
	conn    *nats.Conn
	b       *jetstream.Backend
	workers sync.WaitGroup
	calls   sync.RWMutex // held for writing while nothing must be called
	failed  atomic.Pointer[error]

	appends, followed, handled atomic.Int64
}

func (s *soaking) run(ctx context.Context) {
	for range 3 {
		s.repeat(ctx, s.append)
	}
	s.repeat(ctx, s.read)
	s.repeat(ctx, s.lives)
	s.repeat(ctx, s.subscribeShortly)
	s.workers.Go(func() {
		for batch, err := range s.b.Subscribe(ctx, backend.SubscribeOptions{From: backend.FromBeginning()}) {
			s.check(ctx, "a subscription", err)
			s.followed.Add(int64(len(batch.Events)))
		}
	})
	for range 2 {
		s.workers.Go(func() {
			s.check(ctx, "a named subscription", s.b.Consume(ctx, "soak", backend.ConsumeOptions{From: backend.FromBeginning()},
				func(context.Context, backend.Commit) error {
					s.handled.Add(1)
					return nil
				}))
		})
	}
}

// repeat calls work until ctx ends.
func (s *soaking) repeat(ctx context.Context, work func(context.Context) error) {
	s.workers.Go(func() {
		for ctx.Err() == nil {
			s.calls.RLock()
			err := work(ctx)
			s.calls.RUnlock()
			s.check(ctx, "work", err)
			time.Sleep(2 * time.Millisecond)
		}
	})
}

// check notes an error that isn't for the server's being away.
func (s *soaking) check(ctx context.Context, what string, err error) {
	if err == nil || ctx.Err() != nil || errors.Is(err, backend.ErrOutcomeUnknown) || errors.Is(err, backend.ErrUnavailable) {
		return
	}
	err = fmt.Errorf("%s: %w", what, err)
	s.failed.CompareAndSwap(nil, &err)
}

// name is one of many event streams, of which new ones come until there are some
// thousands: what is known of so many is remembered.
func (s *soaking) name() string {
	return fmt.Sprintf("stream-%d", rand.Int64N(100+min(s.appends.Load()/4, 5000)))
}

func (s *soaking) append(ctx context.Context) error {
	_, err := backend.Append(ctx, s.b, s.name(), backend.AnyVersion(), Events(1+rand.IntN(3)), uuid.Nil)
	if err == nil {
		s.appends.Add(1)
	}
	return err
}

func (s *soaking) read(ctx context.Context) error {
	name := s.name()
	_, err := s.b.ReadStreamInfo(ctx, name, uuid.Nil)
	for _, e := range s.b.StreamForward(ctx, name, 10, uuid.Nil) {
		if e != nil && !errors.Is(e, backend.ErrStreamNotFound) {
			return e
		}
	}
	for _, e := range s.b.ReadAll(ctx, backend.ReadAllOptions{After: uint64(rand.Int64N(1 + s.appends.Load())), Limit: 100}, uuid.Nil) {
		err = errors.Join(err, e)
		if rand.IntN(2) == 0 {
			break
		}
	}
	if errors.Is(err, backend.ErrStreamNotFound) {
		return nil
	}
	return err
}

func (s *soaking) lives(ctx context.Context) error {
	name := fmt.Sprintf("life-%d", rand.IntN(1000))
	for _, step := range []func() error{
		func() error {
			_, err := s.b.CreateStream(ctx, backend.Stream{UUID: name}, uuid.Nil)
			return err
		},
		func() error {
			_, err := backend.Append(ctx, s.b, name, backend.AnyVersion(), Events(3), uuid.Nil)
			return err
		},
		func() error { return s.b.Truncate(ctx, name, 2, uuid.Nil) },
		func() error { return s.b.DeleteStream(ctx, backend.Stream{UUID: name}, uuid.Nil) },
	} {
		// One that was cut off in an earlier life leaves it there, or not.
		if err := step(); err != nil && !errors.Is(err, backend.ErrStreamExists) && !errors.Is(err, backend.ErrStreamNotFound) {
			return err
		}
	}
	return nil
}

// subscribeShortly subscribes, and breaks out or has its context end.
func (s *soaking) subscribeShortly(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	for batch := range s.b.Subscribe(ctx, backend.SubscribeOptions{Stream: s.name(), From: backend.FromBeginning()}) {
		if batch.CaughtUp && rand.IntN(2) == 0 {
			break
		}
	}
	return nil
}

// sample has all calls end, and looks.
func (s *soaking) sample() sample {
	s.calls.Lock()
	defer s.calls.Unlock()
	runtime.GC()
	runtime.GC() // what the first one found to be finalized
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return sample{heap: m.HeapAlloc, goroutines: runtime.NumGoroutine(), subscriptions: s.conn.NumSubscriptions(),
		appends: s.appends.Load(), followed: s.followed.Load(), handled: s.handled.Load()}
}

// wait waits until everything goes on.
func (s *soaking) wait() {
	s.t.Helper()
	appends, followed, handled := s.appends.Load(), s.followed.Load(), s.handled.Load()
	must(s.t, eventually("the work goes on", func() error {
		if s.appends.Load() == appends || s.followed.Load() == followed || s.handled.Load() == handled {
			return fmt.Errorf("%d appends, %d followed, %d handled", s.appends.Load()-appends, s.followed.Load()-followed, s.handled.Load()-handled)
		}
		return nil
	}))
}
