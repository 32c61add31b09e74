package report

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tributary-es/tributary/bench/internal/jobs"
	"github.com/tributary-es/tributary/bench/internal/measure"
	"github.com/tributary-es/tributary/bench/internal/million"
)

func exampleReport() *Report {
	side := func(name string, seconds ...float64) measure.Result {
		r := measure.Result{Name: name, Events: 1}
		for _, s := range seconds {
			r.Samples = append(r.Samples, measure.Sample{Seconds: s})
			r.Latencies = append(r.Latencies, time.Duration(s*1e9))
		}
		return r
	}
	single := Section{
		Key: "single", Title: "One server", Intro: "An introduction.",
		Outcomes: []jobs.Outcome{{
			Row: jobs.Row{
				Key: "append-1", Work: "append | 1", NextTo: "raw", How: "Like this.", Target: jobs.Target{AtMost: 1.1},
				Remark: func(measure.Result, measure.Result) string { return "50 % hits" },
			},
			Ours: side("Tributary", 40e-6, 44e-6, 48e-6), Theirs: side("nats.go", 40e-6, 40e-6, 40e-6),
			Ratio: measure.Summary{Median: 1.05, Lower: 1.02, Upper: 1.08},
			Notes: []string{"A note."},
		}},
	}
	single.AddCharts()
	times := million.Times{time.Millisecond, 2 * time.Millisecond, 3 * time.Millisecond}
	return &Report{
		Measured: time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC), Took: 20 * time.Minute, Args: []string{"-rounds", "3"}, Rounds: 12,
		Machine: []Fact{{"CPU", "a CPU"}}, Versions: []Fact{{"nats.go", "1.2.3"}},
		Sections: []Section{
			single,
			{Key: "postgres", Title: "Next to PostgreSQL", Skipped: "PostgreSQL is missing."},
			Million(million.Result{Stages: []million.Stage{
				{EventStreams: 1000, Commits: 5000, Warm: times[:1], Cold: times, Restarted: times, Filled: million.Memory{RSS: 50e6}},
				{EventStreams: 1_000_000, Commits: 5_000_000, Warm: times[1:2], Cold: times, Restarted: times},
			}}),
		},
		Notes: "## Notes\n\nBy hand.\n",
	}
}

func TestTheDocumentHoldsEverything(t *testing.T) {
	dir := t.TempDir()
	stale := filepath.Join(dir, "benchmarks", "stale.svg")
	if err := os.MkdirAll(filepath.Dir(stale), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(stale, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := exampleReport().Write(dir); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "benchmarks.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"Measured on 1 March 2026, with `-rounds 3`, in 20 min.",
		"| CPU | a CPU |",
		"| nats.go | 1.2.3 |",
		`| append-1 | append \| 1 | raw | 44.0 µs, 50 % hits (42.0 to 46.0) | 40.0 µs (40.0 to 40.0) | 1.05x (1.02 to 1.08) | at most 1.1x | yes |`,
		"- **single/append-1**: Like this.",
		"\nA note.\n",
		"PostgreSQL is missing.",
		"| load-warm | load 10 scattered commits, warm, among 1,000,000 event streams and 5,000,000 commits |",
		"| 2.00x | at most 2x | yes |",
		"| the server's memory (resident) when filled | 50.0 MB | unknown |",
		"\n## Notes\n\nBy hand.\n",
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("it does not hold\n%s", want)
		}
	}
	charts, err := filepath.Glob(filepath.Join(dir, "benchmarks", "*.svg"))
	if err != nil || len(charts) != 2 {
		t.Errorf("charts %v, %v; want two", charts, err)
	}
	for _, chart := range charts {
		if !strings.Contains(string(text), "(benchmarks/"+filepath.Base(chart)+")") {
			t.Errorf("it does not show %s", filepath.Base(chart))
		}
	}
	if t.Failed() {
		t.Logf("%s", text)
	}
}

func TestTheTableForATerminalIsPlain(t *testing.T) {
	var b strings.Builder
	if err := Print(&b, "One server", exampleReport().Sections[0].Outcomes); err != nil {
		t.Fatal(err)
	}
	if got := b.String(); strings.ContainsAny(got, "`*") || !strings.Contains(got, "44.0 µs, 50 % hits  40.0 µs  1.05x  at most 1.1x  yes") {
		t.Errorf("%s", got)
	}
}
