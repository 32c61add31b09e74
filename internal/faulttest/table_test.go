package faulttest

import (
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/tributary-es/tributary/internal/racedetector"
)

// table is the results of a campaign.
type table struct {
	seed  uint64
	began time.Time

	mu   sync.Mutex
	rows map[string]*row
	left []string // what there was no time for in the first pass
}

type row struct {
	fault   string
	servers int
	runs    int
	Result
}

func (t *table) add(fault string, servers int, res Result) {
	t.mu.Lock()
	defer t.mu.Unlock()
	key := fmt.Sprint(fault, servers)
	r := t.rows[key]
	if r == nil {
		r = &row{fault: fault, servers: servers}
		t.rows[key] = r
	}
	r.runs++
	r.Add(res)
}

// leaveOut notes that there was no time for a fault, in the n-th pass.
func (t *table) leaveOut(n, servers int, fault string) {
	if n > 1 {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.left = append(t.left, fmt.Sprintf("%s (%s)", fault, alone(servers)))
}

// String is what docs/reliability.md has of the campaign, in Markdown.
func (t *table) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var text strings.Builder
	race := "without the race detector"
	if racedetector.On {
		race = "with the race detector"
	}
	fmt.Fprintf(&text, "%s, in %v, `-seed %d`, nats-server %s, nats.go %s, Go %s, %s, %d CPUs.\n",
		t.began.UTC().Format("2 January 2006"), time.Since(t.began).Round(time.Second), t.seed, server.VERSION, nats.Version,
		strings.TrimPrefix(runtime.Version(), "go"), race, runtime.NumCPU())
	if len(t.left) > 0 {
		fmt.Fprintf(&text, "The time was over before: %s.\n", strings.Join(t.left, "; "))
	}
	text.WriteString("\n| fault | servers | runs | acknowledged | conflicts | refused | unknown | of these stored | lost | doubled | violations |\n" +
		"|" + strings.Repeat(" --- |", 11) + "\n")
	line := func(r *row, servers string) {
		fmt.Fprintf(&text, "| %s |%s |", r.fault, servers)
		for _, n := range []int{r.runs, r.Acknowledged, r.Conflicts, r.Refused, r.Unknown, r.Stored, r.Lost, r.Doubled, len(r.Violations)} {
			fmt.Fprintf(&text, " %s |", thousands(n))
		}
		text.WriteString("\n")
	}
	sum := row{fault: "all"}
	for _, f := range Faults() {
		for _, servers := range []int{1, 3} {
			if r := t.rows[fmt.Sprint(f.Name, servers)]; r != nil {
				line(r, fmt.Sprint(" ", servers))
				sum.runs += r.runs
				sum.Add(r.Result)
			}
		}
	}
	line(&sum, "")
	return text.String()
}

// thousands is a number that is 0 or more, with commas.
func thousands(n int) string {
	digits := strconv.Itoa(n)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}

func TestTheTableIsMarkdown(t *testing.T) {
	results := &table{seed: 7, began: time.Now(), rows: make(map[string]*row)}
	results.add("kill -9", 3, Result{Acknowledged: 1_234_567, Conflicts: 999, Refused: 1, Unknown: 3, Stored: 2, Violations: []string{"it"}})
	results.add("kill -9", 3, Result{Acknowledged: 1, Conflicts: 1})
	results.leaveOut(1, 1, "clean restart")
	results.leaveOut(2, 1, "zombie writes")
	got := results.String()
	for _, want := range []string{
		"`-seed 7`",
		"The time was over before: clean restart (one server).\n\n|",
		"| kill -9 | 3 | 2 | 1,234,568 | 1,000 | 1 | 3 | 2 | 0 | 0 | 1 |\n| all | | 2 |",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("it lacks %q:\n%s", want, got)
		}
	}
	lines := strings.Split(strings.TrimSpace(got[strings.Index(got, "\n\n"):]), "\n")
	for _, line := range lines {
		if strings.Count(line, "|") != strings.Count(lines[0], "|") {
			t.Errorf("%q has other columns than %q", line, lines[0])
		}
	}
}
