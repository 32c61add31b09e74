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
	for _, l := range lanes(wanted) {
		t.Run(l.name, func(t *testing.T) {
			t.Parallel()
			random := rand.New(rand.NewPCG(seed, uint64(l.number)))
			longest := shortest
			if *campaign > 0 {
				longest = time.Minute
			}
			var c *Cluster
			for round := 1; round == 1 || time.Now().Before(until); round++ {
				for _, i := range random.Perm(len(l.faults)) {
					if c == nil {
						c = Start(t, l.servers)
					}
					f, roundSeed := l.faults[i], random.Uint64()
					ok := t.Run(fmt.Sprintf("%s/%d", f.Name, round), func(t *testing.T) {
						began := time.Now()
						res := f.Run(t, c, roundSeed, longest)
						results.add(f.Name, l.servers, res)
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

// lane is faults that are inflicted one after the other.
type lane struct {
	name    string
	number  int
	servers int
	faults  []Fault
}

// lanes divides the faults. In the short campaign those of clusters are two
// lanes: most of their time is spent on elections.
func lanes(wanted *regexp.Regexp) []lane {
	all := []lane{{name: "one server", number: 1, servers: 1}, {name: "three replicas", number: 2, servers: 3}}
	if *campaign == 0 {
		all = append(all, lane{name: "three replicas, the rest", number: 3, servers: 3})
	}
	n := 0
	for _, f := range Faults() {
		if !wanted.MatchString(f.Name) {
			continue
		}
		if !f.Cluster {
			all[0].faults = append(all[0].faults, f)
		}
		all[1+n%(len(all)-1)].faults = append(all[1+n%(len(all)-1)].faults, f)
		n++
	}
	return all
}

// table is the results of a campaign.
type table struct {
	mu   sync.Mutex
	rows map[string]*row
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

// String is the table as docs/reliability.md has it.
func (t *table) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var text strings.Builder
	w := tabwriter.NewWriter(&text, 0, 0, 1, ' ', 0)
	fmt.Fprint(w, "| fault\t| servers\t| runs\t| acknowledged\t| failed\t| unknown\t| of these stored\t| lost\t| doubled\t| violations\t|\n|---\t|---\t|---\t|---\t|---\t|---\t|---\t|---\t|---\t|---\t|\n")
	sum := row{fault: "all"}
	line := func(r *row) {
		fmt.Fprintf(w, "| %s\t| %d\t| %d\t| %d\t| %d\t| %d\t| %d\t| %d\t| %d\t| %d\t|\n",
			r.fault, r.servers, r.runs, r.Acknowledged, r.Failed, r.Unknown, r.Stored, r.Lost, r.Doubled, len(r.Violations))
	}
	for _, f := range Faults() {
		for _, servers := range []int{1, 3} {
			if r := t.rows[fmt.Sprint(f.Name, servers)]; r != nil {
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
