package jobs

import (
	"strings"
	"testing"

	"github.com/tributary-es/tributary/bench/internal/measure"
	"github.com/tributary-es/tributary/bench/internal/servers"
)

func TestRowsCanBeToldApartAndSayWhatTheyAre(t *testing.T) {
	sections := make(map[string]bool)
	for _, s := range Sections() {
		if sections[s.Key] {
			t.Errorf("there are two sections %s", s.Key)
		}
		sections[s.Key] = true
		rows := make(map[string]bool)
		for _, j := range s.Jobs {
			for _, r := range j.Rows {
				if rows[r.Key] {
					t.Errorf("there are two rows %s/%s", s.Key, r.Key)
				}
				rows[r.Key] = true
				if r.Work == "" || r.NextTo == "" || r.How == "" && !strings.Contains(s.Intro, "allocates") {
					t.Errorf("%s/%s does not say what it is", s.Key, r.Key)
				}
			}
		}
	}
}

func TestASectionKeepsTheJobsOfWantedRows(t *testing.T) {
	only := Sections()[0].Wanted(func(key string) bool { return key == "forward-10" })
	if len(only.Jobs) != 1 || only.Jobs[0].Name != "forward" {
		t.Errorf("%d jobs", len(only.Jobs))
	}
}

func TestSidesThatNoRowNeedsAreLeftOut(t *testing.T) {
	run := appendJob().Rows[0]
	sides := make([]measure.Side, 5)
	for i := range sides {
		sides[i].Name = "side"
	}
	for i, s := range only(sides, []Row{run}) {
		if wanted := i == run.Ours || i == run.Theirs; (s.Name != "") != wanted {
			t.Errorf("side %d is wanted: %t", i, wanted)
		}
	}
}

func TestTargets(t *testing.T) {
	for _, tt := range []struct {
		target Target
		ratio  float64
		want   bool
	}{
		{Target{AtMost: 1.1}, 1.1, true},
		{Target{AtMost: 1.1}, 1.11, false},
		{Target{AtLeast: 8}, 8, true},
		{Target{AtLeast: 8}, 7.9, false},
	} {
		if got := tt.target.Met(tt.ratio); got != tt.want {
			t.Errorf("%v at %v is met: %t", tt.target, tt.ratio, got)
		}
	}
}

func TestAnOutcomeComparesTheRounds(t *testing.T) {
	results := []measure.Result{
		{Events: 1, Samples: []measure.Sample{{Seconds: 1}, {Seconds: 6}}},
		{Events: 1, Samples: []measure.Sample{{Seconds: 2}, {Seconds: 3}}},
	}
	row := Row{Ours: 0, Theirs: 1, Target: Target{AtMost: 1}}
	if got := row.outcome(servers.Single, results, nil); got.Ratio.Median != 1.25 || got.Target.None() {
		t.Errorf("ratio %v, target %v", got.Ratio, got.Target)
	}
	row.Faster = true
	if got := row.outcome(servers.Remote, results, nil); got.Ratio.Median != 1.25 || !got.Target.None() {
		t.Errorf("ratio %v, target %v", got.Ratio, got.Target)
	}
	row.Faster, row.Quantity = false, measure.Rate
	if got := row.outcome(servers.Single, results, nil); got.Ratio.Lower != 0.875 {
		t.Errorf("ratio %v", got.Ratio)
	}
}
