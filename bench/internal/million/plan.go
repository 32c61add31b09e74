package million

import (
	"bytes"
	"fmt"
	"iter"
	"math/rand/v2"
	"slices"
	"strconv"

	"github.com/tributary-es/tributary/backend"
)

// plan is what a stage adds to the store: event streams numbered from before to
// after, and their commits, in an order without any order.
type plan struct {
	before, after int
	commits       int   // that the stage adds
	measured      []int // event streams of MeasuredCommits commits
	data          []byte
}

// makePlans divides the run into its stages.
func makePlans(cfg Config) ([]plan, error) {
	data := bytes.Repeat([]byte("x"), cfg.DataBytes)
	plans := make([]plan, len(cfg.EventStreams))
	before := 0
	for i, after := range cfg.EventStreams {
		n := after - before
		p := plan{before: before, after: after, commits: n * cfg.CommitsPerStream, data: data}
		// Those that are loaded cold and warm, those after a restart, and those that
		// raw gets are for.
		measured := 3 * cfg.Loads
		others := n - measured
		if others < cfg.Loads || p.commits-measured*MeasuredCommits < others {
			return nil, fmt.Errorf("%w: from %d to %d event streams there is no room for %d that have %d commits each",
				backend.ErrInvalidArgument, before, after, measured, MeasuredCommits)
		}
		for j := range measured {
			p.measured = append(p.measured, before+j*n/measured)
		}
		plans[i] = p
		before = after
	}
	return plans, nil
}

func nameOf(eventStream int) string { return "account-" + strconv.Itoa(eventStream) }

// coldOnes are the event streams to load from the running server.
func (p *plan) coldOnes() []int { return p.measured[:len(p.measured)/3] }

// restartedOnes are the event streams to load from a server that was restarted,
// and those to get as they are known to lie.
func (p *plan) restartedOnes() (load, get []int) {
	third := len(p.measured) / 3
	return p.measured[third : 2*third], p.measured[2*third:]
}

// others returns n event streams that are not measured.
func (p *plan) others(n int) []int {
	var others []int
	for _, s := range p.random().Perm(p.after - p.before) {
		if s += p.before; len(others) < n && !slices.Contains(p.measured, s) {
			others = append(others, s)
		}
	}
	return others
}

// order returns the event stream of each commit, less before. The same plan
// always has the same order.
func (p *plan) order() []uint32 {
	n := p.after - p.before
	counts := make([]int, n)
	for _, m := range p.measured {
		counts[m-p.before] = MeasuredCommits
	}
	rest := p.commits - len(p.measured)*MeasuredCommits
	others := n - len(p.measured)
	// Others share what is left, some having one more than the rest.
	each, more := rest/others, rest%others
	order := make([]uint32, 0, p.commits)
	for s, count := range counts {
		if count == 0 {
			count = each
			if more > 0 {
				count++
				more--
			}
		}
		for range count {
			order = append(order, uint32(s))
		}
	}
	p.random().Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
	return order
}

// random returns numbers that are the same for the same plan.
func (p *plan) random() *rand.Rand {
	return rand.New(rand.NewPCG(uint64(p.before), uint64(p.after)))
}

// appends yields the stage's commits, each with the version that it must follow.
func (p *plan) appends() iter.Seq2[backend.StreamAppend, error] {
	order := p.order()
	return func(yield func(backend.StreamAppend, error) bool) {
		versions := make([]uint64, p.after-p.before)
		for _, s := range order {
			a := backend.StreamAppend{
				StreamUUID: nameOf(p.before + int(s)),
				Expected:   backend.ExactVersion(versions[s]),
				Events:     []backend.UnsavedEvent{{EventType: "MoneyDeposited", Data: p.data}},
			}
			versions[s]++
			if !yield(a, nil) {
				return
			}
		}
	}
}
