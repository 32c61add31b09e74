package faulttest

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"regexp"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"
	"time"
)

var (
	campaign = flag.Duration("campaign", 0, "how long TestCampaign goes on; 0: each fault once, shortened")
	seedFlag = flag.Uint64("seed", 0, "seed of TestCampaign, as it was printed; 0: a random one")
	faults   = flag.String("faults", ".", "regular expression that the names of faults must match, in TestCampaign")
)

// shortest is how long faults last at most in the short campaign.
const shortest = 2 * time.Second

// TestCampaign inflicts every fault on one server and on three, under load.
func TestCampaign(t *testing.T) {
	seed := *seedFlag
	if seed == 0 {
		seed = rand.Uint64() >> 1
	}
	t.Logf("-seed %d", seed)
	wanted, err := regexp.Compile(*faults)
	if err != nil {
		t.Fatal(err)
	}
	results := &table{rows: make(map[string]*row)}
	t.Cleanup(func() { t.Log("\n" + results.String()) })
	until := time.Now().Add(*campaign)
	for name, servers := range map[string]int{"one server": 1, "three replicas": 3} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var usable []Fault
			for _, f := range Faults() {
				if (!f.Cluster || servers == 3) && wanted.MatchString(f.Name) {
					usable = append(usable, f)
				}
			}
			random := rand.New(rand.NewPCG(seed, uint64(servers)))
			var c *Cluster
			for round := 1; round == 1 || time.Now().Before(until); round++ {
				for _, i := range random.Perm(len(usable)) {
					if c == nil {
						c = Start(t, servers)
					}
					f, roundSeed := usable[i], random.Uint64()
					longest := shortest
					if *campaign > 0 {
						longest = time.Minute
					}
					ok := t.Run(fmt.Sprintf("%s/%d", f.Name, round), func(t *testing.T) {
						began := time.Now()
						res := f.Run(t, c, roundSeed, longest)
						results.add(f.Name, name, res)
						t.Logf("%v: %v", time.Since(began).Round(time.Millisecond), res)
					})
					c.Use(t)
					if !ok {
						c.shutdown() // and go on with another
						c = nil
					}
					if round > 1 && time.Now().After(until) {
						break
					}
				}
			}
		})
	}
}

// table is the results of a campaign.
type table struct {
	mu    sync.Mutex
	rows  map[string]*row
	order []string
}

type row struct {
	fault, on string
	runs      int
	Result
}

func (t *table) add(fault, on string, res Result) {
	t.mu.Lock()
	defer t.mu.Unlock()
	key := fault + "\n" + on
	r := t.rows[key]
	if r == nil {
		r = &row{fault: fault, on: on}
		t.rows[key] = r
	}
	r.runs++
	r.Add(res)
}

// String is the table as docs/reliability.md has it.
func (t *table) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var text strings.Builder
	w := tabwriter.NewWriter(&text, 0, 0, 1, ' ', 0)
	fmt.Fprint(w, "| fault\t| on\t| runs\t| acknowledged\t| failed\t| unknown\t| of these stored\t| lost\t| doubled\t| violations\t|\n|---\t|---\t|---\t|---\t|---\t|---\t|---\t|---\t|---\t|---\t|\n")
	sum := row{fault: "all", on: ""}
	line := func(r *row) {
		fmt.Fprintf(w, "| %s\t| %s\t| %d\t| %d\t| %d\t| %d\t| %d\t| %d\t| %d\t| %d\t|\n",
			r.fault, r.on, r.runs, r.Acknowledged, r.Failed, r.Unknown, r.Stored, r.Lost, r.Doubled, len(r.Violations))
	}
	for _, f := range Faults() {
		for _, on := range []string{"one server", "three replicas"} {
			if r := t.rows[f.Name+"\n"+on]; r != nil {
				line(r)
				sum.runs += r.runs
				sum.Add(r.Result)
			}
		}
	}
	line(&sum)
	w.Flush()
	return text.String()
}
