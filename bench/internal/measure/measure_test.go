package measure

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestQuantile(t *testing.T) {
	for _, tt := range []struct {
		name   string
		values []float64 // sorted
		q      float64
		want   float64
	}{
		{"of none", nil, 0.5, 0},
		{"of one", []float64{7}, 0.25, 7},
		{"median of an odd number", []float64{1, 2, 9}, 0.5, 2},
		{"median of an even number", []float64{1, 2, 4, 9}, 0.5, 3},
		{"lower quartile", []float64{0, 10, 20, 30, 40}, 0.25, 10},
		{"between two", []float64{0, 10}, 0.25, 2.5},
		{"the least", []float64{3, 4, 5}, 0, 3},
		{"the greatest", []float64{3, 4, 5}, 1, 5},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := Quantile(tt.values, tt.q); got != tt.want {
				t.Errorf("%v, want %v", got, tt.want)
			}
		})
	}
}

func TestSummarizeLeavesValuesAsTheyAre(t *testing.T) {
	values := []float64{5, 1, 3, 2, 4}
	if got, want := Summarize(values), (Summary{Median: 3, Lower: 2, Upper: 4}); got != want {
		t.Errorf("%v, want %v", got, want)
	}
	if !slices.Equal(values, []float64{5, 1, 3, 2, 4}) {
		t.Errorf("now %v", values)
	}
}

func TestRatiosAreOfTheSameRound(t *testing.T) {
	if got, want := Ratios([]float64{2, 9}, []float64{1, 3}), []float64{2, 3}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

func TestQuantities(t *testing.T) {
	r := Result{Events: 10, Samples: []Sample{{Seconds: 0.5, Allocs: 3, Bytes: 4, Requests: 2}}}
	for q, want := range map[Quantity]float64{Time: 0.5, Rate: 20, Allocs: 3, Bytes: 4, Requests: 2} {
		if got := r.Values(q); !slices.Equal(got, []float64{want}) {
			t.Errorf("quantity %d is %v, want %v", q, got, want)
		}
	}
}

func TestSidesTakeTurns(t *testing.T) {
	var order []string
	side := func(name string) Side {
		return Side{
			Name: name,
			Run: func(_ context.Context, r *Round) error {
				order = append(order, name)
				return r.Each(3, func(int) error { return nil })
			},
		}
	}
	results, err := Sides(t.Context(), []Side{side("a"), {Name: "left out"}, side("b")}, 2, true)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := strings.Join(order, ""), "abbaab"; got != want {
		t.Errorf("in the order %s, want %s", got, want)
	}
	for i, want := range []int{2, 0, 2} { // the first round is not counted
		if got := len(results[i].Samples); got != want {
			t.Errorf("%s has %d rounds, want %d", results[i].Name, got, want)
		}
		if got := len(results[i].Latencies); got != 3*want {
			t.Errorf("%s has %d times, want %d", results[i].Name, got, 3*want)
		}
	}
}

func TestASampleIsOfAUnitOfWork(t *testing.T) {
	sent := uint64(5)
	results, err := Sides(t.Context(), []Side{{
		Events:   2,
		Requests: func() uint64 { return sent },
		Run: func(_ context.Context, r *Round) error {
			sent += 8
			return r.Time(4, func() error { return nil })
		},
	}}, 1, false)
	if err != nil {
		t.Fatal(err)
	}
	if got := results[0].Samples[0].Requests; got != 2 {
		t.Errorf("%v requests for a unit, want 2", got)
	}
	if got := results[0].Events; got != 2 {
		t.Errorf("%d events, want 2", got)
	}
	r := &Round{}
	if err := r.Time(10, func() error { return nil }); err != nil || r.units != 10 || r.latencies[0] > time.Second {
		t.Errorf("%v, %d units, %v", err, r.units, r.latencies)
	}
}

func TestAnErrorEndsTheRoundsAndNamesTheSide(t *testing.T) {
	broken := errors.New("broken")
	for name, side := range map[string]Side{
		"preparing": {Name: "ours", Prepare: func(context.Context, int) error { return broken }, Run: func(context.Context, *Round) error { return nil }},
		"running":   {Name: "ours", Run: func(_ context.Context, r *Round) error { return r.Each(2, func(int) error { return broken }) }},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Sides(t.Context(), []Side{side}, 3, false)
			if !errors.Is(err, broken) || !strings.Contains(err.Error(), "ours") {
				t.Errorf("%v", err)
			}
		})
	}
}
