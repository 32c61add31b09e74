package report

import (
	"fmt"
	"strings"
	"time"

	"github.com/tributary-es/tributary/bench/internal/jobs"
	"github.com/tributary-es/tributary/bench/internal/measure"
	"github.com/tributary-es/tributary/bench/internal/million"
)

// MillionKey is the key of the section that [Million] makes.
const MillionKey = "million"

// loads are the kinds of load of a stage.
var loads = []struct {
	key, name string
	how       string
	target    jobs.Target
	of        func(million.Stage) million.Times
}{
	{
		key: "load-warm", name: "warm", target: jobs.Target{AtMost: 2},
		how: "Loads of event streams of exactly ten commits, by a Backend that has loaded them before, from a server that has, too. This section's two sides are different stages " +
			"of one store, so that they could not take turns; its ratios are those of two medians.",
		of: func(s million.Stage) million.Times { return s.Warm },
	},
	{
		key: "load-cold", name: "cold", target: jobs.Target{AtMost: 2},
		how: "The first loads of event streams that nobody has read, by a Backend just opened, from a server that was left alone until it had dropped the blocks that it keeps in memory. " +
			"The operating system still has the files.",
		of: func(s million.Stage) million.Times { return s.Cold },
	},
	{
		key: "load-restarted", name: "after a restart", target: jobs.Target{AtMost: 2},
		how: "The same, from a server that was just restarted, divided among many restarts.",
		of:  func(s million.Stage) million.Times { return s.Restarted },
	},
}

// MillionWanted reports whether any of the section's rows is wanted.
func MillionWanted(wanted func(key string) bool) bool {
	for _, l := range loads {
		if wanted(l.key) {
			return true
		}
	}
	return false
}

// Million is the section about very many event streams.
func Million(res million.Result) Section {
	s := Section{Key: MillionKey, Title: "A million event streams"}
	if len(res.Stages) == 0 {
		return s
	}
	first, last := res.Stages[0], res.Stages[len(res.Stages)-1]
	s.Intro = "One store that grows in stages, on a server in a process of its own, whose memory is told: a file store on one replica with default settings. " +
		"The import that fills it remembers the heads of all event streams that the stage adds, and writes each event as a commit; all else is done by a Backend with default settings, which has seen nothing. " +
		"A load is of ten commits that are scattered among those of all other event streams."
	chart := Chart{
		Name: "event-streams", Title: "Cost against the number of event streams",
		Label: "time of a load of ten scattered commits by the number of event streams in the store: median and quartiles",
		Log:   true, Quantity: measure.Time,
	}
	for _, l := range loads {
		large, small := l.of(last), l.of(first)
		o := jobs.Outcome{
			Row: jobs.Row{
				Key: l.key, How: l.how, Target: l.target,
				Work:   fmt.Sprintf("load 10 scattered commits, %s, among %s event streams and %s commits", l.name, count(last.EventStreams), count(last.Commits)),
				NextTo: fmt.Sprintf("the same among %s event streams", count(first.EventStreams)),
			},
			Ours: result(large), Theirs: result(small),
		}
		x := o.OursSummary().Median / o.TheirsSummary().Median
		o.Ratio = measure.Summary{Median: x, Lower: x, Upper: x}
		s.Outcomes = append(s.Outcomes, o)
		line := Line{Series: l.name}
		for _, stage := range res.Stages {
			line.Points = append(line.Points, Point{N: float64(stage.EventStreams), Summary: measure.Summarize(l.of(stage).Seconds())})
		}
		chart.Lines = append(chart.Lines, line)
	}
	s.Charts = []Chart{chart}
	s.Body = stages(res)
	return s
}

// result makes of each of the times a round.
func result(times million.Times) measure.Result {
	r := measure.Result{Name: "Tributary", Latencies: times}
	for _, t := range times {
		r.Samples = append(r.Samples, measure.Sample{Seconds: t.Seconds()})
	}
	return r
}

// stages is a table with a column for each stage.
func stages(res million.Result) string {
	median := func(of func(million.Stage) million.Times) func(million.Stage) string {
		return func(s million.Stage) string {
			return value(measure.Time, measure.Summarize(of(s).Seconds()))
		}
	}
	memory := func(of func(million.Stage) million.Memory) func(million.Stage) string {
		return func(s million.Stage) string { return megabytes(of(s).RSS) }
	}
	duration := func(d time.Duration) string { return value(measure.Time, measure.Summary{Median: d.Seconds()}) }
	rows := []struct {
		name string
		cell func(million.Stage) string
	}{
		{"commits", func(s million.Stage) string { return count(s.Commits) }},
		{"import that filled it, commits a second", func(s million.Stage) string { return significant(s.Fill.Rate()) }},
		{"messages, as the server counts their bytes", func(s million.Stage) string { return megabytes(int64(s.StoredBytes)) }},
		{"files", func(s million.Stage) string { return megabytes(s.DiskBytes) }},
		{"the server's memory (resident) when filled", memory(func(s million.Stage) million.Memory { return s.Filled })},
		{"after the loads and appends", memory(func(s million.Stage) million.Memory { return s.Measured })},
		{"just after a restart", memory(func(s million.Stage) million.Memory { return s.Reopened })},
		{"just after it was killed and recovered", memory(func(s million.Stage) million.Memory { return s.Recovered })},
		{"load, warm", median(func(s million.Stage) million.Times { return s.Warm })},
		{"raw gets of the same, warm", median(func(s million.Stage) million.Times { return s.WarmRaw })},
		{"load, cold", median(func(s million.Stage) million.Times { return s.Cold })},
		{"load, after a restart", median(func(s million.Stage) million.Times { return s.Restarted })},
		{"raw gets, after a restart", median(func(s million.Stage) million.Times { return s.RestartedRaw })},
		{"the very first load after a restart", median(func(s million.Stage) million.Times { return s.First })},
		{"the very first raw gets after a restart", median(func(s million.Stage) million.Times { return s.FirstRaw })},
		{"append, head known", median(func(s million.Stage) million.Times { return s.AppendKnown })},
		{"append, head unknown", median(func(s million.Stage) million.Times { return s.AppendUnknown })},
		{"stopping the server", median(func(s million.Stage) million.Times { return s.Stops })},
		{"starting it again", median(func(s million.Stage) million.Times { return s.Restarts })},
		{"starting it after it was killed", func(s million.Stage) string { return duration(s.Recovery) }},
	}
	var b strings.Builder
	b.WriteString("| event streams |")
	for _, s := range res.Stages {
		fmt.Fprintf(&b, " %s |", count(s.EventStreams))
	}
	b.WriteString("\n| --- |" + strings.Repeat(" --- |", len(res.Stages)) + "\n")
	for _, row := range rows {
		fmt.Fprintf(&b, "| %s |", row.name)
		for _, s := range res.Stages {
			fmt.Fprintf(&b, " %s |", row.cell(s))
		}
		b.WriteString("\n")
	}
	fmt.Fprintf(&b, "\nReadAll then read %s commits of the whole store, from its beginning, at %s a second.\n", count(res.ReadAll.Commits), significant(res.ReadAll.Rate()))
	return b.String()
}

func count[N int | uint64](n N) string { return commas(fmt.Sprint(n)) }

// megabytes writes a number of bytes; 0 is one that is not known.
func megabytes(bytes int64) string {
	if bytes == 0 {
		return "unknown"
	}
	return significant(float64(bytes)/1e6) + " MB"
}
