package jetstream_test

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/tributary-es/tributary/backend"
	"github.com/tributary-es/tributary/internal/testserver"
	"github.com/tributary-es/tributary/jetstream"
)

// More subscriptions to single event streams than have a consumer of their own
// share one. Each still yields all of its event stream, once and in order, and
// one whose loop doesn't go on keeps none of the others waiting.
func TestManySubscriptionsShareAConsumer(t *testing.T) {
	const subscriptions, perStream = 200, 100
	srv := testserver.Single(t)
	s := openStore(t, srv.Connect(t), jetstream.Config{})
	writer := openStore(t, srv.Connect(t), jetstream.Config{})
	s.add("before", 1) // the inbox that it makes stays until Close
	subs, goroutines := s.nc.NumSubscriptions(), ownGoroutines()
	ctx, cancel := context.WithCancel(within(t, 2*patience))

	goOn := make(chan struct{}) // what the slow ones wait for
	var caughtUp, quick, late sync.WaitGroup
	for i := range subscriptions {
		name := fmt.Sprint("many.", i)
		if i%2 == 0 {
			writer.add(name, 1) // half of the event streams exist
		}
		slow := i%10 == 0
		caughtUp.Add(1)
		told := sync.OnceFunc(caughtUp.Done)
		of := &quick
		if slow {
			of = &late
		}
		of.Go(func() {
			defer told()
			version := uint64(0)
			for batch, err := range s.Subscribe(ctx, backend.SubscribeOptions{Stream: name}) {
				if err != nil {
					t.Errorf("%s: %v", name, err)
					return
				}
				for _, e := range batch.Events {
					if version++; e.StreamVersion != version || e.StreamUUID != name {
						t.Errorf("%s got version %d of %s after %d", name, e.StreamVersion, e.StreamUUID, version-1)
					}
				}
				if batch.CaughtUp {
					told()
				}
				if slow && version > 1 {
					<-goOn
				}
				if version >= perStream {
					return
				}
			}
		})
	}
	caughtUp.Wait()
	if n := srv.Consumers(t, jetstream.DefaultStream); n > 100 {
		t.Errorf("%d subscriptions have %d consumers", subscriptions, n)
	}
	var writing sync.WaitGroup
	for w := range 4 {
		writing.Go(func() {
			for i := w; i < subscriptions; i += 4 {
				writer.add(fmt.Sprint("many.", i), ones(perStream)...)
			}
		})
	}
	writing.Wait()
	quick.Wait()
	close(goOn)
	late.Wait()
	cancel()
	eventually(t, "no consumer is left", func() bool { return srv.Consumers(t, jetstream.DefaultStream) == 0 })
	eventually(t, "no subscription is left", func() bool { return s.nc.NumSubscriptions() <= subs })
	eventually(t, "no goroutine is left", func() bool { return ownGoroutines() <= goroutines })
}

// ones are the sizes of n commits of one event.
func ones(n int) []int {
	sizes := make([]int, n)
	for i := range sizes {
		sizes[i] = 1
	}
	return sizes
}

// A subscription that shares a consumer and falls behind says so, and when it has
// caught up again.
func TestASubscriptionThatSharesAConsumerCatchesUpAgain(t *testing.T) {
	const subscriptions, batch, more = 100, 3, 20
	s := newStore(t, jetstream.Config{})
	ctx := within(t, 2*patience)
	goOn := make(chan struct{})
	var caughtUp, inside, again sync.WaitGroup
	for i := range subscriptions {
		name := fmt.Sprint("many.", i)
		caughtUp.Add(1)
		inside.Add(1)
		again.Go(func() {
			told, waits := sync.OnceFunc(caughtUp.Done), sync.OnceFunc(inside.Done)
			defer told()
			defer waits()
			got, behind := 0, false
			for b, err := range s.Subscribe(ctx, backend.SubscribeOptions{Stream: name, BatchSize: batch}) {
				if err != nil {
					t.Errorf("%s after %d events: %v", name, got, err)
					return
				}
				got += len(b.Events)
				switch {
				case b.CaughtUp && got == 0:
					told()
				case got == 1:
					waits()
					<-goOn
				case !b.CaughtUp:
					behind = true
				case got == 1+more:
					if !behind {
						t.Errorf("%s never said that it fell behind", name)
					}
					return
				}
			}
		})
	}
	caughtUp.Wait()
	add := func(n int) {
		for i := range subscriptions {
			for range n {
				s.add(fmt.Sprint("many.", i), 1)
			}
		}
	}
	add(1)
	inside.Wait()
	add(more)
	close(goOn)
	again.Wait()
}
