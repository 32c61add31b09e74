package report

import (
	"slices"
	"time"

	"github.com/tributary-es/tributary/bench/internal/jobs"
	"github.com/tributary-es/tributary/bench/internal/measure"
)

// chosen is a row that a chart shows, by the names that it has there.
type chosen struct{ key, label string }

// The rows of the charts.
var (
	latencies = []chosen{
		{"append-1", "append 1 event"},
		{"append-10", "append 10 events"},
		{"load-10-gets", "load 10 commits"},
		{"load-10", "load 10 commits"},
		{"command", "load 10, append 1"},
	}
	rates = []chosen{
		{"writers-64", "64 writers"},
		{"import", "import"},
		{"forward-1", "forward"},
		{"forward-10", "forward, ten a commit"},
		{"forward", "forward"},
	}
)

// AddCharts adds the charts that can be drawn of the section's rows.
func (s *Section) AddCharts() {
	if groups := s.groups(latencies, latencyBar); len(groups) > 0 {
		s.Charts = append(s.Charts, Chart{
			Name: "latency-" + s.Key, Title: s.Title + ": time of an operation",
			Label: "median, quartiles, and from the 5th to the 95th percentile of all operations",
			Log:   true, Quantity: measure.Time, Groups: groups,
		})
	}
	if groups := s.groups(rates, rateBar); len(groups) > 0 {
		s.Charts = append(s.Charts, Chart{
			Name: "throughput-" + s.Key, Title: s.Title + ": throughput",
			Label: "events a second, median of the rounds, with their quartiles", Quantity: measure.Rate, Groups: groups,
		})
	}
}

// groups makes bars of the section's rows that are chosen.
func (s *Section) groups(rows []chosen, bar func(measure.Result) Bar) []Group {
	var groups []Group
	for _, c := range rows {
		i := slices.IndexFunc(s.Outcomes, func(o jobs.Outcome) bool { return o.Key == c.key })
		if i < 0 {
			continue
		}
		o := s.Outcomes[i]
		g := Group{Label: c.label}
		g.Bars = append(g.Bars, bar(o.Ours))
		if o.Theirs.Name != o.Ours.Name { // else both are this library
			g.Bars = append(g.Bars, bar(o.Theirs))
		}
		groups = append(groups, g)
	}
	return groups
}

// latencyBar shows single operations.
func latencyBar(r measure.Result) Bar {
	values := make([]float64, len(r.Latencies))
	for i, l := range r.Latencies {
		values[i] = l.Seconds()
	}
	slices.Sort(values)
	return Bar{
		Series:  r.Name,
		Summary: measure.Summarize(values),
		Low:     max(measure.Quantile(values, 0.05), float64(time.Microsecond)/float64(time.Second)),
		High:    measure.Quantile(values, 0.95),
	}
}

// rateBar shows rounds.
func rateBar(r measure.Result) Bar {
	return Bar{Series: r.Name, Summary: measure.Summarize(r.Values(measure.Rate))}
}
