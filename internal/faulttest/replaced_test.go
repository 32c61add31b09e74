package faulttest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"

	"github.com/tributary-es/tributary/backend"
	"github.com/tributary-es/tributary/internal/testserver"
	"github.com/tributary-es/tributary/jetstream"
)

// TestAStoreThatIsReplacedUnderItsUsers has the JetStream stream deleted, and
// another of its name take its place, while a process has it open.
func TestAStoreThatIsReplacedUnderItsUsers(t *testing.T) {
	t.Parallel()
	for on, servers := range map[string]int{"one server": 1, "three replicas": 3} {
		for what, restored := range map[string]bool{"made again": false, "restored from a backup": true} {
			t.Run(what+", "+on, func(t *testing.T) {
				var connect func() *nats.Conn
				if servers == 1 {
					server := testserver.Single(t)
					connect = func() *nats.Conn { return server.Connect(t) }
				} else {
					cluster := testserver.Cluster(t, servers)
					connect = func() *nats.Conn { return cluster.Connect(t) }
				}
				replaced(t, connect, servers, restored)
			})
		}
	}
}

func replaced(t *testing.T, connect func() *nats.Conn, servers int, restored bool) {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cfg := jetstream.Config{Replicas: servers, RequestTimeout: 100 * time.Millisecond, Timeout: 3 * time.Second}
	known := openOn(t, connect(), cfg)
	admin := connect()
	const early, late = 12, 30
	add := func(b *jetstream.Backend, from, to int) (ids []uuid.UUID) {
		for i := from; i < to; i++ {
			events := Events(1)
			_, err := backend.Append(ctx, b, fmt.Sprintf("x.%d", i%2), backend.AnyVersion(), events, uuid.Nil)
			must(t, err)
			ids = append(ids, events[0].EventUUID)
		}
		return ids
	}
	before := add(known, 0, early)
	backup := TakeSnapshot(t, admin, jetstream.DefaultStream)
	add(known, early, late)

	// Everything that goes on for as long as it is let to.
	ends := make(map[string]error)
	var mu sync.Mutex
	var going, ready sync.WaitGroup
	start := func(name string, run func(caughtUp func()) error) {
		ready.Add(1)
		once := sync.OnceFunc(ready.Done)
		going.Go(func() {
			err := run(once)
			once()
			mu.Lock()
			defer mu.Unlock()
			ends[name] = err
		})
	}
	for name, options := range map[string]backend.SubscribeOptions{
		"a subscription":                    {From: backend.FromBeginning()},
		"a subscription to an event stream": {From: backend.FromBeginning(), Stream: "x.1"},
	} {
		start(name, func(caughtUp func()) error {
			for batch, err := range known.Subscribe(ctx, options) {
				if err != nil {
					return err
				}
				if batch.CaughtUp {
					caughtUp()
				}
			}
			return nil
		})
	}
	start("a named subscription", func(caughtUp func()) error {
		n := 0
		return known.Consume(ctx, "all", backend.ConsumeOptions{From: backend.FromBeginning()}, func(context.Context, backend.Commit) error {
			if n++; n == late {
				caughtUp()
			}
			return nil
		})
	})
	ready.Wait()

	request(t, admin, "$JS.API.STREAM.DELETE."+jetstream.DefaultStream, nil)
	if restored {
		backup.Restore(t, admin, jetstream.DefaultStream)
	}
	other := openOn(t, connect(), cfg)
	if !restored {
		before = add(other, 0, 3)
	}
	going.Wait()
	for name, err := range ends {
		if !errors.Is(err, backend.ErrCorrupted) && !errors.Is(err, backend.ErrUnavailable) || ctx.Err() != nil {
			t.Errorf("%s ended with %v, want ErrCorrupted or ErrUnavailable", name, err)
		}
	}
	for _, name := range []string{"x.0", "x.1"} {
		for way, read := range reads {
			events, err := read(ctx, known, name)
			if !errors.Is(err, backend.ErrCorrupted) && !errors.Is(err, backend.ErrUnavailable) {
				t.Errorf("%s of a process that knew another store: %d events, error %v", way, len(events), err)
			}
		}
		for _, expected := range []backend.ExpectedVersion{backend.ExactVersion(late / 2), backend.AnyVersion()} {
			if _, err := backend.Append(ctx, known, name, expected, Events(1), uuid.Nil); err == nil {
				t.Errorf("an append to %s, %s, by a process that knew another store, succeeded", name, expected)
			}
		}
	}
	// Who comes new finds what is there now, and goes on.
	before = append(before, add(other, len(before), len(before)+2)...)
	var ids []uuid.UUID
	for batch, err := range openOn(t, connect(), cfg).ReadAll(ctx, backend.ReadAllOptions{}, uuid.Nil) {
		must(t, err)
		for _, e := range batch {
			ids = append(ids, e.EventUUID)
		}
	}
	if !slices.Equal(ids, before) {
		t.Errorf("%d events are there, want %d", len(ids), len(before))
	}
}
