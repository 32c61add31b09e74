package faulttest

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"
	"time"
)

var (
	campaign = flag.Duration("campaign", 0, "how long TestCampaign goes on; 0: each fault once, shortened")
	seedFlag = flag.Uint64("seed", 0, "seed of a test, as it was printed; 0: a random one")
	faults   = flag.String("faults", ".", "regular expression that the names of faults must match, in TestCampaign")
	round    = flag.Uint64("round", 0, "seed of one round of TestCampaign, as it was printed, which is then made alone")
	longest  = flag.Duration("longest", 0, "how long faults of TestCampaign last at most by themselves; 0: 2s, and 1m where it goes on")
)

// shortCampaign is after how long the short campaign begins no other round: with
// what goes on by then it ends within five minutes, on a machine that is slow.
const shortCampaign = 4 * time.Minute

// chosen is the seed of a test: the one asked for, or a random one, which it
// prints.
func chosen(t *testing.T) uint64 {
	t.Helper()
	seed := *seedFlag
	if seed == 0 {
		seed = rand.Uint64() >> 1
	}
	t.Logf("-seed %d", seed)
	return seed
}

// TestCampaign inflicts every fault on one server and on three, under load.
func TestCampaign(t *testing.T) {
	wanted, err := regexp.Compile(*faults)
	if err != nil {
		t.Fatal(err)
	}
	seed, began := chosen(t), time.Now()
	results := &table{seed: seed, began: began, rows: make(map[string]*row)}
	t.Cleanup(func() { t.Log("\n\n" + results.String()) })
	length, most := *campaign, *longest
	if length == 0 {
		length = shortCampaign
	}
	if most == 0 {
		most = 2 * time.Second
		if *campaign > 0 {
			most = time.Minute
		}
	}
	until := began.Add(length)
	// A round that hangs gives up by itself after patience.
	if deadline, ok := t.Deadline(); ok && deadline.Add(-2*patience).Before(until) {
		until = deadline.Add(-2 * patience)
	}
	for _, l := range lanes(wanted) {
		t.Run(l.name, func(t *testing.T) {
			t.Parallel()
			random := rand.New(rand.NewPCG(seed, uint64(l.number)))
			var c *Cluster
			for n := 1; n == 1 || *campaign > 0 && *round == 0; n++ {
				order := random.Perm(len(l.faults))
				for done, i := range order {
					f, roundSeed := l.faults[i], random.Uint64()>>1
					if *round != 0 {
						roundSeed = *round
					}
					if time.Now().After(until) {
						for _, left := range order[done:] {
							results.leaveOut(n, l.servers, l.faults[left].Name)
						}
						return
					}
					if c == nil {
						c = Start(t, l.servers)
					}
					ok := t.Run(fmt.Sprintf("%s/%d", f.Name, n), func(t *testing.T) {
						t.Logf("alone: go test ./internal/faulttest -v -run 'TestCampaign/%s$' -faults '^%s$' -round %d -longest %v",
							strings.ReplaceAll(alone(l.servers), " ", "_"), regexp.QuoteMeta(f.Name), roundSeed, most)
						began := time.Now()
						res := f.Run(t, c, roundSeed, most)
						results.add(f.Name, l.servers, res)
						t.Logf("%v: %v", time.Since(began).Round(time.Millisecond), res)
					})
					c.Use(t)
					if !ok {
						c.shutdown() // and go on with another
						c = nil
					}
				}
			}
		})
	}
}

func alone(servers int) string {
	if servers == 1 {
		return "one server"
	}
	return "three replicas"
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
	all := []lane{{name: alone(1), number: 1, servers: 1}, {name: alone(3), number: 2, servers: 3}}
	if *campaign == 0 && *round == 0 {
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
