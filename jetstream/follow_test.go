package jetstream_test

import (
	"context"
	"errors"
	"iter"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	natsjs "github.com/nats-io/nats.go/jetstream"

	"github.com/tributary-es/tributary/backend"
	"github.com/tributary-es/tributary/internal/testserver"
	"github.com/tributary-es/tributary/jetstream"
)

// following is a subscription that a test takes batches of as it goes.
type following struct {
	t      testing.TB
	next   func() (backend.Batch, error, bool)
	events []backend.RecordedEvent // all that were yielded
}

// follow subscribes, until the test ends.
func follow(t testing.TB, s *store, options backend.SubscribeOptions) *following {
	t.Helper()
	next, stop := iter.Pull2(s.Subscribe(within(t, patience), options))
	t.Cleanup(stop)
	return &following{t: t, next: next}
}

// until takes batches until n events were yielded.
func (f *following) until(n int) {
	f.t.Helper()
	for len(f.events) < n {
		batch, err, _ := f.next()
		if err != nil {
			f.t.Fatalf("after %d events of %d: %v", len(f.events), n, err)
		}
		f.events = append(f.events, batch.Events...)
	}
}

// end takes batches until the error that ends the subscription.
func (f *following) end() error {
	f.t.Helper()
	for {
		batch, err, more := f.next()
		if err != nil || !more {
			return err
		}
		f.events = append(f.events, batch.Events...)
	}
}

// wantAll checks that what was yielded is all that is stored, once and in order.
func (f *following) wantAll(s *store) {
	f.t.Helper()
	all, err := readAll(f.t.Context(), s, backend.ReadAllOptions{})
	if err != nil {
		f.t.Fatal(err)
	}
	same := func(a, b backend.RecordedEvent) bool { return a.EventUUID == b.EventUUID }
	if !slices.EqualFunc(f.events, all, same) {
		f.t.Errorf("%d events were yielded, not the %d that are stored, in their order", len(f.events), len(all))
	}
}

func TestASubscriptionGoesOnAcrossALostConnection(t *testing.T) {
	shaky := newShaky(t, jetstream.Config{})
	other := shaky.direct
	f := follow(t, shaky.store, backend.SubscribeOptions{})
	n := 0
	for range 5 {
		other.add("x", 1, 2)
		other.add("y", 1)
		n += 4
		f.until(n)
		shaky.p.cut()
		other.add("x", 3) // while the subscriber is away, maybe
		n += 3
	}
	f.until(n)
	f.wantAll(other)
}

func TestASubscriptionGoesOnAcrossARestart(t *testing.T) {
	srv := testserver.Single(t)
	cfg := jetstream.Config{RequestTimeout: 300 * time.Millisecond}
	a, b := pair(t, srv.Connect, cfg)
	f := follow(t, b, backend.SubscribeOptions{})
	l := startLoad(t, a)
	for range 3 {
		l.wait(20)
		f.until(len(f.events) + 10)
		if err := srv.Restart(); err != nil {
			t.Fatal(err)
		}
	}
	l.wait(20)
	l.finish(a)
	all, err := readAll(t.Context(), a, backend.ReadAllOptions{})
	if err != nil {
		t.Fatal(err)
	}
	f.until(len(all))
	f.wantAll(a)
}

func TestASubscriptionGoesOnAcrossARollingRestartOfACluster(t *testing.T) {
	c := testserver.Cluster(t, 3)
	cfg := jetstream.Config{Replicas: 3, RequestTimeout: 500 * time.Millisecond, Timeout: patience}
	a, b := pair(t, c.Connect, cfg)
	f := follow(t, b, backend.SubscribeOptions{})
	l := startLoad(t, a)
	for _, srv := range c.Servers {
		l.wait(20)
		f.until(len(f.events) + 10)
		if err := srv.Restart(); err != nil {
			t.Fatal(err)
		}
		c.WaitReady(t)
	}
	l.wait(20)
	l.finish(a)
	all, err := readAll(t.Context(), a, backend.ReadAllOptions{})
	if err != nil {
		t.Fatal(err)
	}
	f.until(len(all))
	f.wantAll(a)
}

// consumers returns the names of the consumers that there are.
func (s *store) consumers() (names []string) {
	s.t.Helper()
	stream, err := s.js.Stream(s.t.Context(), jetstream.DefaultStream)
	if err != nil {
		s.t.Fatal(err)
	}
	for name := range stream.ConsumerNames(s.t.Context()).Name() {
		names = append(names, name)
	}
	return names
}

func TestASubscriptionGoesOnWithoutItsConsumer(t *testing.T) {
	s := newStore(t, jetstream.Config{})
	f := follow(t, s, backend.SubscribeOptions{})
	for n := 1; n <= 5; n++ {
		s.add("x", 1)
		f.until(n)
		for _, name := range s.consumers() {
			if err := s.js.DeleteConsumer(t.Context(), jetstream.DefaultStream, name); err != nil {
				t.Fatal(err)
			}
		}
	}
	f.wantAll(s)
}

func TestASubscriptionEndsWithTheStore(t *testing.T) {
	t.Run("that is deleted", func(t *testing.T) {
		s := newStore(t, jetstream.Config{})
		s.add("x", 1)
		f := follow(t, s, backend.SubscribeOptions{})
		f.until(1)
		if err := s.js.DeleteStream(t.Context(), jetstream.DefaultStream); err != nil {
			t.Fatal(err)
		}
		if err := f.end(); !errors.Is(err, backend.ErrUnavailable) {
			t.Errorf("error %v, want ErrUnavailable", err)
		}
	})
	t.Run("that is another's", func(t *testing.T) {
		srv := testserver.Single(t)
		a, b := pair(t, srv.Connect, jetstream.Config{})
		a.add("x", 1)
		f := follow(t, b, backend.SubscribeOptions{})
		f.until(1)
		info, err := a.js.Stream(t.Context(), jetstream.DefaultStream)
		if err != nil {
			t.Fatal(err)
		}
		cfg := info.CachedInfo().Config
		if err := a.js.DeleteStream(t.Context(), jetstream.DefaultStream); err != nil {
			t.Fatal(err)
		}
		if _, err := a.js.CreateStream(t.Context(), cfg); err != nil {
			t.Fatal(err)
		}
		if err := f.end(); !errors.Is(err, backend.ErrCorrupted) && !errors.Is(err, backend.ErrUnavailable) {
			t.Errorf("error %v, want ErrCorrupted or ErrUnavailable", err)
		}
	})
	t.Run("whose connection is closed", func(t *testing.T) {
		s := newStore(t, jetstream.Config{})
		s.add("x", 1)
		f := follow(t, s, backend.SubscribeOptions{})
		f.until(1)
		s.nc.Close()
		if err := f.end(); !errors.Is(err, backend.ErrUnavailable) || !errors.Is(err, nats.ErrConnectionClosed) {
			t.Errorf("error %v, want ErrUnavailable and ErrConnectionClosed", err)
		}
	})
}

// Of one event stream, versions that are missing are an error, not passed over.
func TestASubscriptionToOneEventStreamNoticesAGap(t *testing.T) {
	s := newStore(t, jetstream.Config{})
	first := s.add("x", 1)
	s.add("x", 2)
	last := s.add("x", 1)
	stream, err := s.js.Stream(t.Context(), jetstream.DefaultStream)
	if err != nil {
		t.Fatal(err)
	}
	// What the server lost is gone without a trace in the event stream.
	if err := stream.Purge(t.Context(), natsjs.WithPurgeSubject("events.x"), natsjs.WithPurgeSequence(last.Position)); err != nil {
		t.Fatal(err)
	}
	for name, from := range map[string]backend.Start{"the beginning": backend.FromBeginning(), "a version": backend.FromVersion(2)} {
		t.Run("from "+name, func(t *testing.T) {
			err := follow(t, s, backend.SubscribeOptions{Stream: "x", From: from}).end()
			corrupted, ok := errors.AsType[*backend.CorruptedError](err)
			if !ok || corrupted.StreamUUID != "x" || corrupted.LastVersion != 3 {
				t.Errorf("error %v, want a CorruptedError up to version 3", err)
			}
		})
	}
	t.Run("after the position of the commit before", func(t *testing.T) {
		err := follow(t, s, backend.SubscribeOptions{Stream: "x", From: backend.AfterPosition(first.Position)}).end()
		corrupted := wantCorrupted(t, err, last.Position-1)
		if corrupted.StreamUUID != "x" || corrupted.FirstVersion != 2 || corrupted.LastVersion != 3 {
			t.Errorf("error %v, want the versions 2 to 3 of x", err)
		}
	})
	t.Run("but what is before the position it begins after isn't missing", func(t *testing.T) {
		follow(t, s, backend.SubscribeOptions{Stream: "x", From: backend.AfterPosition(last.Position - 1)}).until(1)
	})
}

// What a reader without the rights gets must say so, and come soon.
func TestASubscriptionThatMayNotReadSaysSo(t *testing.T) {
	publish := slices.DeleteFunc(readmePermissions(t), func(subject string) bool { return subject == "$JS.API.CONSUMER.CREATE.EVENTS.>" })
	nc := connectAs(t, publish)
	s := openStore(t, nc, jetstream.Config{RequestTimeout: 100 * time.Millisecond, Timeout: 500 * time.Millisecond})
	err := follow(t, s, backend.SubscribeOptions{}).end()
	if !errors.Is(err, backend.ErrUnavailable) || !errors.Is(err, nats.ErrPermissionViolation) {
		t.Errorf("error %v, want ErrUnavailable and ErrPermissionViolation", err)
	}
}

// Nothing that subscribes makes an append more than one message.
func TestSubscriptionsCostWritersNothing(t *testing.T) {
	s := newStore(t, jetstream.Config{})
	s.add("x", 1)
	for range 3 {
		follow(t, s, backend.SubscribeOptions{}).until(1)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- s.Consume(ctx, "reader", backend.ConsumeOptions{}, func(context.Context, backend.Commit) error { return nil })
	}()
	before := s.lastSeq()
	for range 10 {
		res := s.add("x", 1)
		eventually(t, "it is consumed", func() bool { return s.WaitFor(within(t, patience), "reader", res.Position) == nil })
	}
	if got := s.lastSeq() - before; got != 10 {
		t.Errorf("ten appends were %d messages", got)
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want Canceled", err)
	}
}

// Who keeps the named subscriptions may be deleted, too: they are gone then, and
// can be made anew.
func TestNamedSubscriptionsGoWithTheirBucket(t *testing.T) {
	s := newStore(t, jetstream.Config{})
	s.add("x", 1)
	ctx := within(t, patience)
	handled := make(chan uint64, 10)
	consume := func(ctx context.Context) error {
		return s.Consume(ctx, "reader", backend.ConsumeOptions{TakeoverAfter: time.Second}, func(_ context.Context, c backend.Commit) error {
			handled <- c.Position
			return nil
		})
	}
	ended := make(chan error, 1)
	go func() { ended <- consume(ctx) }()
	first := <-handled
	if err := s.js.DeleteStream(ctx, "KV_"+jetstream.SubscriptionsBucket(jetstream.DefaultStream)); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; !errors.Is(err, backend.ErrSubscriptionNotFound) {
		t.Errorf("error %v, want ErrSubscriptionNotFound", err)
	}
	again, cancel := context.WithCancel(ctx)
	go func() { ended <- consume(again) }()
	select {
	case position := <-handled:
		if position != first {
			t.Errorf("position %d was handled, want %d again", position, first)
		}
	case err := <-ended:
		t.Fatalf("it can't be made anew: %v", err)
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want Canceled", err)
	}
}

// The greatest batch size means as few batches as there can be, not one for each
// message.
func TestTheGreatestBatchSizeIsOne(t *testing.T) {
	const commits = 200
	s := newStore(t, jetstream.Config{})
	s.add("x", ones(commits)...)
	batches, events := 0, 0
	for batch, err := range s.Subscribe(within(t, patience), backend.SubscribeOptions{BatchSize: math.MaxInt}) {
		if err != nil {
			t.Fatal(err)
		}
		batches++
		if events += len(batch.Events); batch.CaughtUp {
			break
		}
	}
	if events != commits || batches >= commits {
		t.Errorf("%d events came in %d batches", events, batches)
	}
}
