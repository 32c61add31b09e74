package faulttest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/tributary-es/tributary/backend"
	"github.com/tributary-es/tributary/internal/blockfile"
	"github.com/tributary-es/tributary/jetstream"
)

// TestADamagedReplica damages the files of one of three servers, not the leader.
// Whoever asks the leader then reads what was there. Whoever lets any replica
// answer reads that, or an error, or less: what a replica lacks at the end of an
// event stream looks as if it lagged, and it does so for ever.
func TestADamagedReplica(t *testing.T) {
	t.Parallel()
	seed := *seedFlag
	if seed == 0 {
		seed = rand.Uint64() >> 1
	}
	t.Logf("-seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 3))
	c := Start(t, 3)
	cfg := jetstream.Config{MaxBytes: 120_000, Replicas: 3, RequestTimeout: 200 * time.Millisecond}
	client := c.NewClient(t)
	writer := c.open(t, client.Conn, cfg)
	s := &damageable{truth: make(map[string][]uuid.UUID)}
	for range 100 {
		name, events := fmt.Sprintf("x.%d", r.IntN(20)), derivedEvents(r, 1+r.IntN(3))
		for _, e := range events {
			s.truth[name] = append(s.truth[name], e.EventUUID)
		}
		_, err := backend.Append(t.Context(), writer, name, backend.AnyVersion(), events, uuid.Nil)
		must(t, err)
	}
	// Those that lose something, each in turn: of a store, or of the index.
	kinds := damageKinds[3:13]
	first := r.IntN(len(kinds))
	for i := range max(2, *damages/15) {
		kind := kinds[(first+i)%len(kinds)]
		node := c.Nodes[(c.Leader(jetstream.DefaultStream)+1+r.IntN(2))%3]
		end := node.Stop
		if kind.killed {
			end = node.Kill
		}
		must(t, end())
		if kind.killed {
			if err := os.Remove(blockfile.Index(node.StoreDir(), jetstream.DefaultStream)); err != nil && !errors.Is(err, os.ErrNotExist) {
				t.Fatal(err)
			}
		}
		records, err := blockfile.Records(node.StoreDir(), jetstream.DefaultStream)
		if err != nil {
			t.Logf("damage %d: %s has no whole store any more: %v", i, node.Name, err)
			must(t, node.Start())
			c.WaitReady(jetstream.DefaultStream)
			continue
		}
		where, err := kind.do(r, node.StoreDir(), records)
		must(t, err)
		must(t, node.Start())
		c.WaitReady(jetstream.DefaultStream)
		damaged := c.Leader(jetstream.DefaultStream) == slices.Index(c.Nodes, node)
		what := fmt.Sprintf("damage %d of seed %d, of %s: %s %s", i, seed, node.Name, kind.name, where)

		cfg.ReadConsistency = jetstream.ReadLeader
		lead := c.open(t, client.Conn, cfg)
		for name, truth := range s.truth {
			got := s.read(lead, name, reads["ReadStream"])
			if !damaged && (got.err != nil || !slices.Equal(got.ids, truth)) {
				t.Errorf("%s: the leader has %d of %d events of %s, error %v", what, len(got.ids), len(truth), name, got.err)
			}
		}
		cfg.ReadConsistency = 0
		var v verdicts
		v.runs = 1
		for range 3 { // each may ask another replica
			b := c.open(t, c.NewClient(t).Conn, cfg)
			for name, truth := range s.truth {
				switch got := s.read(b, name, reads["ReadStream"]); {
				case got.err == nil && slices.Equal(got.ids, truth):
					v.whole++
				case errors.Is(got.err, backend.ErrCorrupted):
					v.named++
				case s.isShorter(got, name):
					v.shorter++
				default:
					t.Errorf("%s: %d of %d events of %s, error %v", what, len(got.ids), len(truth), name, got.err)
				}
			}
		}
		// The process that knew goes on, and what it appends is there.
		name := fmt.Sprintf("x.%d", r.IntN(20))
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		events := derivedEvents(r, 1)
		if _, err := backend.Append(ctx, writer, name, backend.ExactVersion(uint64(len(s.truth[name]))), events, uuid.Nil); err == nil {
			s.truth[name] = append(s.truth[name], events[0].EventUUID)
			v.began++
		} else if !damaged {
			t.Errorf("%s: append: %v", what, err)
		}
		cancel()
		t.Logf("%s: %v", what, v)
	}
}
