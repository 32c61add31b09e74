// Package million fills a store with up to a million event streams, and measures
// what their number costs.
//
// [Run] starts nats-server in a process of its own, so that its memory can be
// told from this one's, with a file store and its default settings, on loopback.
// The store grows in stages. At the end of each, it measures loads of event
// streams of exactly ten commits that are scattered among those of all others,
// appends, the server's memory, its files, and its restart.
//
// The process is this program, executed once more: main has to call
// servers.ServeIfAsked first.
//
// # What warm and cold mean
//
// There are three things that can know of an event stream already: this process
// (the heads that a Backend remembers), the server's process (it keeps blocks of
// up to 8 MB that it has read in memory, for 10 s or less; what is in them by
// subject for 2 minutes), and the operating system (the page cache).
//
//	                     Backend   server                           operating system
//	[Stage.Warm]         knows     knows                            knows
//	[Stage.Cold]         doesn't   at first not, see [Config.Idle]  knows
//	[Stage.Restarted]    doesn't   at first not                     knows
//
// Nothing here empties the page cache, so that no figure is of a disk. Cold and
// Restarted are in the order in which they were measured, because the first
// loads are the coldest: each load leaves blocks behind in the server's memory
// that the next ones may need.
package million

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/tributary-es/tributary/backend"
)

// MeasuredCommits is how many commits each event stream has that is loaded.
const MeasuredCommits = 10

// Config says how large the run is. The zero value is the whole: 1,000,000 event
// streams and 5,000,000 commits, some 3 GB of files.
type Config struct {
	// EventStreams is how many event streams the store has at the end of each
	// stage, in ascending order. nil: 1,000, 10,000, 100,000 and 1,000,000.
	EventStreams []int

	// CommitsPerStream is how many commits, of one event each, an event stream has
	// on average. 0: 5.
	CommitsPerStream int

	// DataBytes is the size of an event's data, in bytes. 0: 200.
	DataBytes int

	// Loads is how many event streams are loaded of each kind (cold, warm, after
	// restarts), and how many appends are made of each kind, in each stage. 0: 100.
	// Three times as many event streams are set apart, which a stage must have room
	// for.
	Loads int

	// Restarts is how often the server is restarted in each stage; Loads are
	// divided among them. At least 2. 0: 20, which makes ten first loads.
	Restarts int

	// Idle is how long the server is left alone before the cold loads, for it to
	// drop the blocks that it has in memory. 0: 15 s. Negative: not at all, for
	// trying things out.
	Idle time.Duration

	// ReadAll is how many commits are read from the beginning of the whole store at
	// the end, or all where there are fewer. 0: 500,000.
	ReadAll int

	// Dir is where the temporary directory with the store is made, and removed in
	// the end. Empty: [os.TempDir].
	Dir string

	// Progress is told, in a line without its end, what is going on, every few
	// seconds. nil: nobody is told.
	Progress func(line string)
}

func (c Config) withDefaults() (Config, error) {
	if c.EventStreams == nil {
		c.EventStreams = []int{1_000, 10_000, 100_000, 1_000_000}
	}
	c.CommitsPerStream = cmp.Or(c.CommitsPerStream, 5)
	c.DataBytes = cmp.Or(c.DataBytes, 200)
	c.Loads = cmp.Or(c.Loads, 100)
	c.Restarts = cmp.Or(c.Restarts, 20)
	c.Idle = cmp.Or(c.Idle, 15*time.Second)
	c.ReadAll = cmp.Or(c.ReadAll, 500_000)
	if c.Progress == nil {
		c.Progress = func(string) {}
	}
	if len(c.EventStreams) == 0 || c.CommitsPerStream < 0 || c.DataBytes < 0 || c.Loads < 0 || c.Restarts < 0 || c.ReadAll < 0 {
		return c, fmt.Errorf("%w: a count is negative, or there are no stages", backend.ErrInvalidArgument)
	}
	if c.Restarts < 2 || c.Loads < c.Restarts {
		return c, fmt.Errorf("%w: %d restarts and %d loads, must be 2 and as many or more", backend.ErrInvalidArgument, c.Restarts, c.Loads)
	}
	return c, nil
}

// Run fills the store and measures. The result has the stages that were
// completed, also where there is an error: [backend.ErrInvalidArgument] where cfg
// makes no sense.
//
// The import remembers the heads of all event streams that a stage adds, some 600
// bytes each, in this process.
func Run(ctx context.Context, cfg Config) (res Result, err error) {
	cfg, err = cfg.withDefaults()
	if err != nil {
		return Result{}, err
	}
	plans, err := makePlans(cfg)
	if err != nil {
		return Result{}, err
	}
	dir, err := os.MkdirTemp(cfg.Dir, "tributary-million-")
	if err != nil {
		return Result{}, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := checkSpace(dir, cfg); err != nil {
		return Result{}, err
	}
	r := &run{cfg: cfg, dir: filepath.Join(dir, "store"), res: &res}
	defer func() { err = errors.Join(err, r.close()) }()
	if err := r.start(ctx); err != nil {
		return res, err
	}
	for _, p := range plans {
		stage, err := r.stage(ctx, p)
		if err != nil {
			return res, fmt.Errorf("the stage of %d event streams: %w", p.after, err)
		}
		res.Stages = append(res.Stages, stage)
	}
	res.ReadAll, err = r.readAll(ctx)
	return res, err
}

// bytesPerCommit is what a commit takes on disk beside its data, rounded up: 363
// in a store of 100,000 event streams and 500,000 commits.
const bytesPerCommit = 400

// checkSpace sees to it that the disk has room for twice the store, since a full
// disk would be felt by others.
func checkSpace(dir string, cfg Config) error {
	last := cfg.EventStreams[len(cfg.EventStreams)-1]
	need := 2 * int64(last) * int64(cfg.CommitsPerStream) * int64(cfg.DataBytes+bytesPerCommit)
	free, known := freeSpace(dir)
	if known && free < need {
		return fmt.Errorf("%s has %d MB free, of %d MB wanted", dir, free>>20, need>>20)
	}
	return nil
}
