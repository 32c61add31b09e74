// Package measure times ways of doing the same work next to each other.
//
// The ways, called sides, take turns within each round, so that what the machine
// does meanwhile meets all of them; every other round goes in the opposite
// order. What is compared are the sides of one round, never two medians.
package measure

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"time"
)

// Side is one way of doing the work.
type Side struct {
	// Name is what reports call it.
	Name string

	// Prepare makes a round ready, and is not measured. nil: nothing to do.
	Prepare func(ctx context.Context, round int) error

	// Run does a round's work, all of it within [Round.Time]. nil: the side is left
	// out, and its result is empty.
	Run func(ctx context.Context, r *Round) error

	// Requests counts what was sent to the server so far. nil: not counted.
	Requests func() uint64

	// Events is how many events a unit of work has. 0: one.
	Events int
}

// Round is what one side does in one round.
type Round struct {
	// Number counts the rounds from 0.
	Number int

	units     int
	took      time.Duration
	latencies []time.Duration
}

// Time times do, which does units of work.
func (r *Round) Time(units int, do func() error) error {
	start := time.Now()
	err := do()
	took := time.Since(start)
	r.units += units
	r.took += took
	r.latencies = append(r.latencies, took/time.Duration(max(1, units)))
	return err
}

// Each times every one of n pieces of work, a unit each.
func (r *Round) Each(n int, do func(i int) error) error {
	r.latencies = slices.Grow(r.latencies, n)
	for i := range n {
		if err := r.Time(1, func() error { return do(i) }); err != nil {
			return err
		}
	}
	return nil
}

// Sample is what one side took in one round.
type Sample struct {
	Seconds  float64 // a unit of work
	Median   float64 // seconds a unit of work, of all times that were taken
	Allocs   float64 // objects allocated in this process for an event
	Bytes    float64 // bytes allocated in this process for an event
	Requests float64 // sent for a unit of work
}

// Result is what a side took in all rounds.
type Result struct {
	Name      string
	Events    int             // a unit of work has
	Samples   []Sample        // one a round
	Latencies []time.Duration // of each time that was taken, a unit of work
}

// Sides runs rounds, after one that is not counted where warm is set, and
// returns the results in the order of sides.
func Sides(ctx context.Context, sides []Side, rounds int, warm bool) ([]Result, error) {
	results := make([]Result, len(sides))
	for i, s := range sides {
		results[i] = Result{Name: s.Name, Events: max(1, s.Events)}
	}
	uncounted := 0
	if warm {
		uncounted = 1
	}
	for round := range rounds + uncounted {
		for turn := range sides {
			i := turn
			if round%2 == 1 {
				i = len(sides) - 1 - turn
			}
			if sides[i].Run == nil {
				continue
			}
			r, sample, err := once(ctx, sides[i], round)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", sides[i].Name, err)
			}
			if round >= uncounted {
				results[i].Samples = append(results[i].Samples, sample)
				results[i].Latencies = append(results[i].Latencies, r.latencies...)
			}
		}
	}
	return results, nil
}

func once(ctx context.Context, s Side, number int) (*Round, Sample, error) {
	if s.Prepare != nil {
		if err := s.Prepare(ctx, number); err != nil {
			return nil, Sample{}, fmt.Errorf("preparing a round: %w", err)
		}
	}
	requests := func() uint64 {
		if s.Requests == nil {
			return 0
		}
		return s.Requests()
	}
	r := &Round{Number: number}
	var before, after runtime.MemStats
	runtime.GC() // else one side would clear away what another left
	runtime.ReadMemStats(&before)
	sent := requests()
	if err := s.Run(ctx, r); err != nil {
		return nil, Sample{}, err
	}
	sent = requests() - sent
	runtime.ReadMemStats(&after)
	units := float64(max(1, r.units))
	events := units * float64(max(1, s.Events))
	return r, Sample{
		Seconds:  r.took.Seconds() / units,
		Median:   median(r.latencies),
		Allocs:   float64(after.Mallocs-before.Mallocs) / events,
		Bytes:    float64(after.TotalAlloc-before.TotalAlloc) / events,
		Requests: float64(sent) / units,
	}, nil
}
