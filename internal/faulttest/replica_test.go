package faulttest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
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
	seed := chooseSeed(t)
	r := rand.New(rand.NewPCG(seed, 3))
	c := Start(t, 3)
	cfg := jetstream.Config{MaxBytes: 120_000, Replicas: 3, RequestTimeout: 200 * time.Millisecond}
	client := c.NewClient(t)
	writer := c.open(t, client.Conn, cfg)
	s := &damageable{truth: make(map[string][]uuid.UUID)}
	add := func(commits int) {
		t.Helper()
		for range commits {
			name, events := fmt.Sprintf("x.%d", r.IntN(20)), derived(r, 1+r.IntN(3))
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			_, err := backend.Append(ctx, writer, name, backend.AnyVersion(), events, uuid.Nil)
			cancel()
			must(t, err)
			for i := range events {
				s.truth[name] = append(s.truth[name], events[i].EventUUID)
			}
		}
	}
	add(100)
	kinds := slices.Clone(damageKinds)
	r.Shuffle(len(kinds), func(i, j int) { kinds[i], kinds[j] = kinds[j], kinds[i] })
	for i := range max(2, *damages/15) {
		kind := kinds[i%len(kinds)]
		node := c.Nodes[(c.Leader(jetstream.DefaultStream)+1+r.IntN(2))%3]
		must(t, node.Stop())
		must(t, keepIndex(node.StoreDir()))
		must(t, node.Start())
		c.WaitReady(jetstream.DefaultStream)
		add(5)
		end := node.Stop
		if kind.killed {
			end = node.Kill // which leaves the index that there was
		}
		must(t, end())
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
		for _, name := range s.names() {
			truth := s.truth[name]
			got := s.read(t, lead, name, reads["ReadStream"])
			if !damaged && (got.err != nil || !slices.Equal(got.ids, truth)) {
				t.Errorf("%s: the leader has %d of %d events of %s, error %v", what, len(got.ids), len(truth), name, got.err)
			}
		}
		cfg.ReadConsistency = 0
		var v verdicts
		v.runs = 1
		for range 3 { // each may ask another replica
			b := c.open(t, c.NewClient(t).Conn, cfg)
			for _, name := range s.names() {
				truth := s.truth[name]
				switch got := s.read(t, b, name, reads["ReadStream"]); {
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
		events := derived(r, 1)
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
