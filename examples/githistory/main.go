// Githistory writes the history of a git repository into an event store, an
// event for each change of a file, and then answers questions from the events.
//
//	go run ./examples/githistory                        # the repository you are in
//	go run ./examples/githistory -repo ../other -top 20
//	go run ./examples/githistory -file README.md        # the history of one file
//
// Each path is an event stream, such as git.7b38858d98c2.cmd.bbolt.main:go, with
// the events FileCreated, FileChanged, FileRenamedFrom, FileRenamedTo and
// FileDeleted. The number comes from the commit that the repository began with,
// so many repositories can share a store.
//
// Run it again after new commits, and it stores only those. End it as you like,
// also with kill -9, and run it again: it loses and doubles nothing (importer.go
// says why).
//
// Merge commits are left out, as what they bring together is in the commits that
// they merge; only what was changed by hand in the merge itself is lost. A
// rename is an event of both paths; a file's history follows it back.
//
// The data is kept by a NATS server inside the program, in a directory of the
// user's cache or in that of -dir. With NATS_URL set, it is kept by that server,
// and others can watch it arrive: nats sub 'events.git.>'.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path"
	"path/filepath"
	"syscall"
	"time"

	"github.com/google/uuid"

	"github.com/tributary-es/tributary/backend"
	"github.com/tributary-es/tributary/examples/internal/localnats"
	"github.com/tributary-es/tributary/examples/internal/terminal"
	"github.com/tributary-es/tributary/jetstream"
)

// options are the command line's.
type options struct {
	repo  string        // directory of the repository; empty: the current one
	dir   string        // directory of the embedded server's store; empty: in the user's cache
	file  string        // show the history of this path; empty: of none
	top   int           // how many of the most changed files to show
	every time.Duration // between lines of progress, off a terminal
}

func main() {
	var o options
	flag.StringVar(&o.repo, "repo", "", "the git `directory` to read, bare or not (default the one you are in)")
	flag.StringVar(&o.dir, "dir", "", "the `directory` to keep events in, unless "+localnats.URLVariable+" is set (default tributary-githistory in the user's cache directory)")
	flag.StringVar(&o.file, "file", "", "show the history of the file with this `path`, from the top of the repository")
	flag.IntVar(&o.top, "top", 10, "how many of the most changed files to show")
	flag.DurationVar(&o.every, "every", 3*time.Second, "how often to tell about progress where standard error is no terminal")
	flag.Parse()
	if flag.NArg() > 0 || o.every <= 0 {
		flag.Usage()
		os.Exit(2)
	}

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends it at once
	err := run(ctx, o, os.Stdout, os.Stderr)
	interrupted := ctx.Err() != nil
	stop()
	switch {
	case err == nil:
	case interrupted:
		fmt.Fprintln(os.Stderr, "Interrupted. What was stored stays stored; run it again to go on.")
		os.Exit(130) // what a shell makes of Ctrl-C
	case errors.Is(err, localnats.ErrInUse):
		fmt.Fprintf(os.Stderr, "githistory: %v; end it, or use another directory with -dir\n", err)
		os.Exit(1)
	default:
		fmt.Fprintln(os.Stderr, "githistory:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options, stdout, stderr io.Writer) error {
	repo, err := openRepository(ctx, o.repo)
	if err != nil {
		return err
	}
	if o.dir == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			return fmt.Errorf("no directory for the events, give one with -dir: %w", err)
		}
		o.dir = filepath.Join(cache, "tributary-githistory")
	}
	nc, stop, err := localnats.Connect(ctx, o.dir)
	if err != nil {
		return err
	}
	defer stop()
	b, err := jetstream.Open(ctx, nc, jetstream.Config{})
	if err != nil {
		return err
	}
	defer b.Close()
	fmt.Fprintf(stderr, "Events are kept in %s.\n", localnats.Where(o.dir))

	foreign, err := load(ctx, b, repo, o, stderr)
	if err != nil {
		return err
	}
	return answer(ctx, &report{backend: b, key: repo.key(), foreign: foreign}, o, stdout)
}

// load brings the store up to date and tells how that went.
func load(ctx context.Context, b backend.Backend, repo *repository, o options, stderr io.Writer) (foreign map[uuid.UUID]struct{}, err error) {
	var p progress
	im := importer{backend: b, repository: repo, progress: &p}
	started := time.Now()
	stop := p.display(stderr, repo.commits, o.every)
	err = im.run(ctx)
	stop()
	elapsed := time.Since(started)

	appended, known := p.appended.Load(), p.known.Load()
	if err != nil {
		fmt.Fprintf(stderr, "Stored %s before it ended.\n", terminal.Counted(appended, "event"))
		return nil, err
	}
	fmt.Fprintf(stderr, "Git has %s in %s, merges left out: %s, as %s count for both paths.\n",
		terminal.Counted(im.walked, "change"), terminal.Counted(p.commits.Load(), "commit"), terminal.Counted(appended+known, "event"), terminal.Counted(im.renames, "rename"))
	fmt.Fprintf(stderr, "Stored %s, found %s there before. That took %s, with reading git: %s events/s.\n",
		terminal.Counted(appended, "event"), terminal.Grouped(known), elapsed.Round(time.Millisecond), rate(appended+known, elapsed))
	if n := len(im.foreign); n > 0 {
		fmt.Fprintf(stderr, "Left out below: %s of commits that are not in this history, but in another branch, or in one that was rewritten.\n",
			terminal.Counted(int64(n), "event"))
	}
	return im.foreign, nil
}

// answer prints what was asked for.
func answer(ctx context.Context, r *report, o options, stdout io.Writer) error {
	if o.file != "" {
		file := filePath(path.Clean(filepath.ToSlash(o.file)))
		events, err := r.history(ctx, file)
		if err != nil {
			return err
		}
		return printHistory(stdout, file, events)
	}
	t, err := r.summarize(ctx)
	if err != nil {
		return err
	}
	return printTotals(stdout, t, o.top)
}
