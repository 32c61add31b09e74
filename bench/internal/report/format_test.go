package report

import (
	"math"
	"testing"
	"time"

	"github.com/tributary-es/tributary/bench/internal/jobs"
	"github.com/tributary-es/tributary/bench/internal/measure"
)

func TestSignificant(t *testing.T) {
	for x, want := range map[float64]string{
		0: "0", 0.012345: "0.0123", 1: "1.00", 12.34: "12.3", 99.96: "100.0", 123.4: "123", 1234: "1,230", 123456: "123,000", 9_996_000: "10,000,000", -4321: "-4,320",
		math.Inf(1): "+Inf",
	} {
		if got := significant(x); got != want {
			t.Errorf("%v is written %s, want %s", x, got, want)
		}
	}
}

func TestValuesHaveTheUnitOfTheirMedian(t *testing.T) {
	for _, tt := range []struct {
		q              measure.Quantity
		s              measure.Summary
		median, spread string
	}{
		{measure.Time, measure.Summary{Median: 34e-6, Lower: 33e-6, Upper: 0.0021}, "34.0 µs", "33.0 to 2,100"},
		{measure.Time, measure.Summary{Median: 2.25e-3, Lower: 2e-3, Upper: 3e-3}, "2.25 ms", "2.00 to 3.00"},
		{measure.Time, measure.Summary{Median: 1.5, Lower: 1, Upper: 2}, "1.50 s", "1.00 to 2.00"},
		{measure.Rate, measure.Summary{Median: 412345, Lower: 400000, Upper: 420000}, "412,000/s", "400,000 to 420,000"},
		{measure.Bytes, measure.Summary{Median: 1462, Lower: 1460, Upper: 1470}, "1,460 B", "1,460 to 1,470"},
		{measure.Allocs, measure.Summary{Median: 6.4, Lower: 6.4, Upper: 6.5}, "6.40", "6.40 to 6.50"},
	} {
		if got := value(tt.q, tt.s); got != tt.median {
			t.Errorf("median %s, want %s", got, tt.median)
		}
		if got := spread(tt.q, tt.s); got != tt.spread {
			t.Errorf("spread %s, want %s", got, tt.spread)
		}
	}
}

func TestRatiosAndTargets(t *testing.T) {
	for _, tt := range []struct {
		name               string
		row                jobs.Row
		x                  float64
		ratio, target, met string
	}{
		{"within", jobs.Row{Target: jobs.Target{AtMost: 1.1}}, 1.05, "1.05x", "at most 1.1x", "yes"},
		{"beyond", jobs.Row{Target: jobs.Target{AtMost: 1.1}}, 1.2, "1.20x", "at most 1.1x", "**no**"},
		{"enough", jobs.Row{Target: jobs.Target{AtLeast: 0.95}}, 0.95, "0.95x", "at least 0.95x", "yes"},
		{"too little", jobs.Row{Target: jobs.Target{AtLeast: 30}, Faster: true}, 24.91, "24.9x faster", "at least 30x faster", "**no**"},
		{"no target", jobs.Row{}, 123, "123x", "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := jobs.Outcome{Row: tt.row, Ratio: measure.Summary{Median: tt.x}}
			if got := ratio(o, tt.x); got != tt.ratio {
				t.Errorf("ratio %q, want %q", got, tt.ratio)
			}
			if got := target(o); got != tt.target {
				t.Errorf("target %q, want %q", got, tt.target)
			}
			if got := met(o); got != tt.met {
				t.Errorf("met %q, want %q", got, tt.met)
			}
		})
	}
}

func TestMinutes(t *testing.T) {
	for d, want := range map[time.Duration]string{42 * time.Second: "42s", 36*time.Minute + 40*time.Second: "37 min"} {
		if got := minutes(d); got != want {
			t.Errorf("%v is %s, want %s", d, got, want)
		}
	}
}

func TestTicksAreRoundAndWithin(t *testing.T) {
	for _, tt := range []struct {
		ticks     valueTicks
		low, high float64
		want      []string
	}{
		{valueTicks{log: true}, 40e-6, 1.2e-3, []string{"50 µs", "100 µs", "200 µs", "500 µs", "1 ms"}},
		{valueTicks{log: true}, 40e-6, 0.5, []string{"100 µs", "1 ms", "10 ms", "100 ms"}},
		{valueTicks{quantity: measure.Rate}, 0, 480_000, []string{"0", "100,000", "200,000", "300,000", "400,000"}},
	} {
		got := tt.ticks.Ticks(tt.low, tt.high)
		if len(got) != len(tt.want) {
			t.Fatalf("%v, want %v", got, tt.want)
		}
		for i := range got {
			if got[i].Label != tt.want[i] {
				t.Errorf("%v, want %v", got, tt.want)
			}
		}
	}
}
