package measure

import (
	"math"
	"slices"
	"time"
)

// Quantity is what of a [Sample] is looked at.
type Quantity int

// The quantities.
const (
	Time     Quantity = iota // seconds a unit of work
	Rate                     // events a second
	Allocs                   // objects allocated for an event
	Bytes                    // bytes allocated for an event
	Requests                 // sent for a unit of work
	Median                   // seconds a unit of work: the median within a round, not the mean
)

// of returns the quantity of a sample; events is how many a unit of work has.
func (q Quantity) of(s Sample, events int) float64 {
	switch q {
	case Rate:
		return float64(events) / s.Seconds
	case Allocs:
		return s.Allocs
	case Bytes:
		return s.Bytes
	case Requests:
		return s.Requests
	case Median:
		return s.Median
	default:
		return s.Seconds
	}
}

// Values returns a quantity of every round.
func (r Result) Values(q Quantity) []float64 {
	values := make([]float64, len(r.Samples))
	for i, s := range r.Samples {
		values[i] = q.of(s, r.Events)
	}
	return values
}

// median returns the median of times, in seconds; 0 for none.
func median(times []time.Duration) float64 {
	values := make([]float64, len(times))
	for i, t := range times {
		values[i] = t.Seconds()
	}
	slices.Sort(values)
	return Quantile(values, 0.5)
}

// Summary is the median of values, and the quartiles about it.
type Summary struct {
	Median, Lower, Upper float64
}

// Summarize returns the median and the quartiles of values; zero for none.
func Summarize(values []float64) Summary {
	sorted := slices.Sorted(slices.Values(values))
	return Summary{Median: Quantile(sorted, 0.5), Lower: Quantile(sorted, 0.25), Upper: Quantile(sorted, 0.75)}
}

// Ratios returns a[i]/b[i] for every round.
func Ratios(a, b []float64) []float64 {
	ratios := make([]float64, min(len(a), len(b)))
	for i := range ratios {
		ratios[i] = a[i] / b[i]
	}
	return ratios
}

// Quantile returns the q-quantile, 0 to 1, of sorted values, interpolated between
// neighbours; 0 for none.
func Quantile(sorted []float64, q float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	at := q * float64(len(sorted)-1)
	below := int(math.Floor(at))
	if below >= len(sorted)-1 {
		return sorted[len(sorted)-1]
	}
	return sorted[below] + (at-float64(below))*(sorted[below+1]-sorted[below])
}
