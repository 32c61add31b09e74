package jetstream

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"

	"github.com/tributary-es/tributary/backend"
	"github.com/tributary-es/tributary/internal/testserver"
)

// BenchmarkChainOrConsumer reads the latest n commits of an event stream, along
// the chain and through a consumer, where one commit in so many is of that event
// stream. What chainIsFaster goes by is from here.
func BenchmarkChainOrConsumer(b *testing.B) {
	for _, replicas := range []int{1, 3} {
		var nc *nats.Conn
		if replicas == 1 {
			nc = testserver.Single(b).Connect(b)
		} else {
			nc = testserver.Cluster(b, replicas).Connect(b)
		}
		for _, among := range []int{1, 20, 500} {
			ctx := b.Context()
			store, err := Open(ctx, nc, Config{Replicas: replicas, Stream: fmt.Sprint("S", among), Prefix: fmt.Sprint("p", among)})
			if err != nil {
				b.Fatal(err)
			}
			t := interleave(b, nc, store, 200, among)
			for _, n := range []uint64{1, 4, 8, 16, 24, 32, 48, 64, 100, 150, 200} {
				b.Run(fmt.Sprintf("replicas=%d/among=%d/commits=%d", replicas, among, n), func(b *testing.B) {
					h, err := store.headToRead(ctx, t)
					if err != nil {
						b.Fatal(err)
					}
					from, to := h.state.Version-n+1, h.state.Version
					b.ResetTimer()
					compare(b, "chain", func() error {
						_, err := store.followChain(ctx, t, h, h.place(), from, to, 1<<20)
						return err
					}, "consumer", func() error {
						return store.scanStream(ctx, t, h, from, to, func(c *commit, from uint64) (bool, error) {
							_, err := c.appendEvents(nil, t.uuid, from, to)
							return true, err
						})
					})
				})
			}
		}
	}
}

// interleave appends commits to one event stream, among those of others.
func interleave(b *testing.B, nc *nats.Conn, store *Backend, commits, among int) target {
	ctx := b.Context()
	event := []backend.UnsavedEvent{{EventType: "MoneyDeposited", Data: make([]byte, 200)}}
	_, cancel, t, err := store.beginOn(ctx, "wanted")
	if err != nil {
		b.Fatal(err)
	}
	defer cancel()
	for i := range commits {
		if _, err := backend.Append(ctx, store, t.uuid, backend.AnyVersion(), event, uuid.Nil); err != nil {
			b.Fatal(err)
		}
		for j := range among - 1 {
			if err := nc.Publish(fmt.Sprintf("%s.other-%d", store.cfg.Prefix, (i*among+j)%1000), event[0].Data); err != nil {
				b.Fatal(err)
			}
		}
	}
	return t
}

func compare(b *testing.B, name1 string, work1 func() error, name2 string, work2 func() error) {
	var took [2][]float64
	for b.Loop() {
		for i, work := range []func() error{work1, work2} {
			start := time.Now()
			if err := work(); err != nil {
				b.Fatal(err)
			}
			took[i] = append(took[i], float64(time.Since(start).Nanoseconds())/1e3)
		}
	}
	for i, name := range []string{name1, name2} {
		slices.Sort(took[i])
		b.ReportMetric(took[i][len(took[i])/2], "us-"+name)
	}
	b.ReportMetric(took[0][len(took[0])/2]/took[1][len(took[1])/2], "x")
}
