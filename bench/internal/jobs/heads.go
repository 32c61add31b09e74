package jobs

import (
	"context"
	"fmt"
	"math/rand/v2"

	"github.com/google/uuid"

	"github.com/tributary-es/tributary/backend"
	"github.com/tributary-es/tributary/bench/internal/measure"
	"github.com/tributary-es/tributary/jetstream"
)

// headCaches are the sizes of the cache, in heads; the last one holds all.
var headCaches = []int{1024, 4096, jetstream.DefaultHeadCacheSize, 131072}

// zipf is the exponent of the choice: the k-th event stream is chosen
// proportionally to 1/k^zipf.
const zipf = 1.1

// headsJob appends to some of very many event streams, with caches of several
// sizes.
func headsJob() Job {
	j := Job{
		Name: "heads",
		Setup: func(ctx context.Context, s *Store) (*Setup, error) {
			setup := &Setup{}
			for _, size := range headCaches {
				h := &cached{Store: s, size: size, random: rand.New(rand.NewPCG(1, uint64(size)))}
				h.choice = rand.NewZipf(h.random, zipf, 1, uint64(s.HeadStreams-1))
				if err := h.begin(ctx); err != nil {
					return nil, err
				}
				setup.Sides = append(setup.Sides, h.side())
			}
			return setup, nil
		},
	}
	all := len(headCaches) - 1
	for i, size := range headCaches {
		j.Rows = append(j.Rows, Row{
			Key:    fmt.Sprintf("heads-%d", size),
			Work:   fmt.Sprintf("append to one of %s event streams, a cache of %s heads", thousands(Full().HeadStreams), thousands(size)),
			NextTo: fmt.Sprintf("a cache of %s heads", thousands(headCaches[all])),
			How: fmt.Sprintf("Appends with Any by one goroutine, the event stream chosen with a Zipf distribution of exponent %g, after %s such appends that fill the cache. "+
				"An append is one request where the head is known and two where it is not, so that the requests sent tell the rate of hits. Each size has event streams of its own.",
				zipf, thousands(Full().HeadWarm)),
			Ours: i, Theirs: all,
			Remark: hits,
		})
	}
	return j
}

// hits tells the cache's hit rate: a head that isn't known is a second request.
// Where there are more than those it only tells how many, as they say nothing of
// hits.
func hits(ours, _ measure.Result) string {
	requests := measure.Summarize(ours.Values(measure.Requests)).Median
	if requests < 1 || requests > 2 {
		return fmt.Sprintf("%.2f requests", requests)
	}
	return fmt.Sprintf("%.0f %% hits", 100*(2-requests))
}

// cached is event streams that a backend with a cache of a certain size appends
// to.
type cached struct {
	*Store
	size    int
	random  *rand.Rand
	choice  *rand.Zipf
	backend *jetstream.Backend
}

func (h *cached) name(i uint64) string { return fmt.Sprintf("cached-%d.%d", h.size, i) }

// headWarmers is how many goroutines fill a cache.
const headWarmers = 16

// begin creates the event streams, and fills the cache as it fills in use.
func (h *cached) begin(ctx context.Context) error {
	event := events(1)
	_, err := backend.Import(ctx, h.Backend, func(yield func(backend.StreamAppend, error) bool) {
		for i := range h.HeadStreams {
			if !yield(backend.StreamAppend{StreamUUID: h.name(uint64(i)), Expected: backend.NoStream(), Events: event}, nil) {
				return
			}
		}
	}, backend.ImportOptions{}, uuid.Nil)
	if err != nil {
		return err
	}
	if h.backend, err = h.fresh(ctx, h.size); err != nil {
		return err
	}
	chosen := make([]uint64, h.HeadWarm)
	for i := range chosen {
		chosen[i] = h.choice.Uint64()
	}
	return parallel(headWarmers, func(i int) error {
		for ; i < len(chosen); i += headWarmers {
			if err := h.append(ctx, chosen[i], event); err != nil {
				return err
			}
		}
		return nil
	})
}

func (h *cached) append(ctx context.Context, i uint64, event []backend.UnsavedEvent) error {
	_, err := backend.Append(ctx, h.backend, h.name(i), backend.AnyVersion(), event, uuid.Nil)
	return err
}

func (h *cached) side() measure.Side {
	event := events(1)
	return measure.Side{
		Name:     fmt.Sprintf("%s heads", thousands(h.size)),
		Requests: h.Raw.Requests,
		Run: func(ctx context.Context, r *measure.Round) error {
			return r.Each(h.HeadAppends, func(int) error { return h.append(ctx, h.choice.Uint64(), event) })
		},
	}
}
