// Package jobs is what is measured: work done through the library, and the same
// done otherwise.
package jobs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tributary-es/tributary/bench/internal/measure"
	"github.com/tributary-es/tributary/bench/internal/servers"
)

// Job is work done in several ways that take turns.
type Job struct {
	Name string

	// Rounds is how many rounds there are for each that is asked for: many short
	// ones meet the machine in the same mood better than a few long ones. 0: one.
	Rounds int

	// Rows is what the report says of it.
	Rows []Row

	// Setup makes a store ready. [ErrSkipped]: it can't be done here.
	Setup func(ctx context.Context, s *Store) (*Setup, error)
}

// Setup is a job that is ready to be measured.
type Setup struct {
	Sides []measure.Side
	Notes []string // of what was chosen, sentences for the report
	Close func()   // nil: nothing to do
}

// Row compares two sides of a job.
type Row struct {
	Key    string // by which it is chosen
	Work   string
	NextTo string
	How    string // sentences: how it was measured

	Ours, Theirs int // index of the side
	Quantity     measure.Quantity

	// Remark says more about what was measured. nil: nothing.
	Remark func(ours, theirs measure.Result) string

	// Faster has the ratio tell how many times as fast ours is, not its share of
	// the other's time.
	Faster bool

	Target  Target         // the zero value: none
	Targets []servers.Kind // where it is to be met; nil: on embedded servers
}

// Target is what a ratio should be.
type Target struct {
	AtMost, AtLeast float64 // 0: no such bound
}

// Met reports whether a ratio is as it should be.
func (t Target) Met(ratio float64) bool {
	return (t.AtMost == 0 || ratio <= t.AtMost) && (t.AtLeast == 0 || ratio >= t.AtLeast)
}

// None reports whether there is no target.
func (t Target) None() bool { return t == Target{} }

// Outcome is a row with what was measured.
type Outcome struct {
	Row
	Ours, Theirs measure.Result
	Ratio        measure.Summary
	Notes        []string // the job's
}

// OursSummary is what our side took, of the row's quantity.
func (o Outcome) OursSummary() measure.Summary { return measure.Summarize(o.Ours.Values(o.Quantity)) }

// TheirsSummary is what the other side took, of the row's quantity.
func (o Outcome) TheirsSummary() measure.Summary {
	return measure.Summarize(o.Theirs.Values(o.Quantity))
}

// outcome compares the results of a job's sides.
func (r Row) outcome(kind servers.Kind, results []measure.Result, notes []string) Outcome {
	o := Outcome{Row: r, Ours: results[r.Ours], Theirs: results[r.Theirs], Notes: notes}
	ours, theirs := o.Ours.Values(r.Quantity), o.Theirs.Values(r.Quantity)
	if r.Faster {
		ours, theirs = theirs, ours
	}
	o.Ratio = measure.Summarize(measure.Ratios(ours, theirs))
	where := r.Targets
	if where == nil {
		where = []servers.Kind{servers.Single, servers.Cluster}
	}
	if !slices.Contains(where, kind) {
		o.Target = Target{}
	}
	return o
}

// Options is how jobs are run.
type Options struct {
	Sizes  Sizes
	Rounds int                   // see [Job.Rounds]
	Warm   bool                  // a round before those that count
	Wanted func(key string) bool // which rows

	// Timeout bounds each job. 0: [DefaultTimeout].
	Timeout time.Duration
}

// DefaultTimeout is far beyond what a job takes.
const DefaultTimeout = 20 * time.Minute

// Run runs a job on a server, in a store of its own, and returns the rows that
// are wanted.
func (j Job) Run(ctx context.Context, server *servers.Server, o Options) (outcomes []Outcome, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("%s on %s: %w", j.Name, server.Kind, err)
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(o.Timeout, DefaultTimeout))
	defer cancel()
	store, err := OpenStore(ctx, server, o.Sizes)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, store.Close(ctx)) }()
	setup, err := j.Setup(ctx, store)
	if err != nil {
		return nil, fmt.Errorf("setting up: %w", err)
	}
	if setup.Close != nil {
		defer setup.Close()
	}
	rounds := o.Rounds
	if o.Warm {
		rounds *= max(1, j.Rounds)
	}
	rows := j.wanted(o.Wanted)
	results, err := measure.Sides(ctx, only(setup.Sides, rows), rounds, o.Warm)
	if err != nil {
		return nil, err
	}
	for _, row := range rows {
		outcomes = append(outcomes, row.outcome(server.Kind, results, setup.Notes))
	}
	return outcomes, nil
}

func (j Job) wanted(wanted func(key string) bool) []Row {
	return slices.DeleteFunc(slices.Clone(j.Rows), func(r Row) bool { return !wanted(r.Key) })
}

// only returns sides with those that rows don't need made to do nothing.
func only(sides []measure.Side, rows []Row) []measure.Side {
	needed := make([]measure.Side, len(sides))
	for i, s := range sides {
		if slices.ContainsFunc(rows, func(r Row) bool { return r.Ours == i || r.Theirs == i }) {
			needed[i] = s
		}
	}
	return needed
}
