// Projection shows how many files each author changed on each day, from the events
// that examples/githistory writes: a read model that two processes keep together,
// while you look on.
//
//	go run ./examples/githistory                # once, to have events
//	go run ./examples/projection                # Ctrl-C ends it
//
// It starts two workers, processes of their own, and shows what they have made so
// far, how far behind they are, and their process ids. Kill one, with kill -9:
// after two seconds the other takes over what it had, after five there is a new
// one. Start more in other terminals, and append more events, by the commands that
// it shows. Whatever you do, the numbers are those of git. It goes on where it
// stopped when you start it again.
//
// A worker (worker.go) is a member of the named subscription "files-changed": each
// handles the files whose names are in its parts of all, in order, and a commit is
// handled again where its worker was killed before it could tell that it had been.
// So the handler (model.go) has to recognise what it has counted. The read model is
// a JetStream key-value bucket, with a row for each day, author and file, and in
// the row, beside the number, the position of the last commit that it counts. Both
// change in one write, and only from what was read before (compare-and-set):
// whether the worker dies before it or after it, the commit is counted once. With a
// database it would be a transaction, and a column.
//
// The display (show.go) adds up the rows as they change, and asks the store about
// the subscription. -once ends when the workers have dealt with all that there was
// at the beginning (wait.go).
//
// The data is kept by a NATS server inside this program, on the directory of
// githistory, which the workers reach over the loopback interface. With NATS_URL
// set it is kept by that server.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/tributary-es/tributary/examples/internal/localnats"
	"github.com/tributary-es/tributary/jetstream"
)

// options are the command line's.
type options struct {
	dir     string        // directory of the embedded server's store; empty: githistory's
	worker  bool          // be a worker, and nothing else
	workers int           // how many to start
	replace time.Duration // how long after one has ended to start another; 0: never
	once    bool          // end when all that was there is dealt with
	top     int           // how many authors and days to show
	every   time.Duration // between lines, off a terminal
}

func main() {
	var o options
	flag.StringVar(&o.dir, "dir", "", "the `directory` that githistory keeps its events in, unless "+localnats.URLVariable+" is set (default tributary-githistory in the user's cache directory)")
	flag.BoolVar(&o.worker, "worker", false, "be a worker on the server that "+localnats.URLVariable+" names")
	flag.IntVar(&o.workers, "workers", 2, "how many workers to start")
	flag.DurationVar(&o.replace, "replace", 5*time.Second, "how long after a worker was killed to start another; 0: never")
	flag.BoolVar(&o.once, "once", false, "end when the workers have dealt with all that there is now")
	flag.IntVar(&o.top, "top", 10, "how many authors and days to show")
	flag.DurationVar(&o.every, "every", 2*time.Second, "how often to tell how it goes where standard output is no terminal")
	flag.Parse()
	if flag.NArg() > 0 || o.workers < 0 || o.replace < 0 || o.top < 0 || o.every <= 0 {
		flag.Usage()
		os.Exit(2)
	}

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends it at once
	var err error
	if o.worker {
		err = work(ctx)
	} else {
		err = run(ctx, o, os.Stdout)
	}
	interrupted := ctx.Err() != nil
	stop()
	switch {
	case err == nil:
	case interrupted:
		os.Exit(130) // what a shell makes of Ctrl-C
	case errors.Is(err, localnats.ErrInUse):
		fmt.Fprintf(os.Stderr, "projection: %v; end it, or use another directory with -dir\n", err)
		os.Exit(1)
	default:
		fmt.Fprintln(os.Stderr, "projection:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options, stdout io.Writer) error {
	if o.dir == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			return fmt.Errorf("no directory with events, give one with -dir: %w", err)
		}
		o.dir = filepath.Join(cache, "tributary-githistory")
	}
	address, stop, err := localnats.Serve(ctx, o.dir)
	if err != nil {
		return err
	}
	defer stop()
	nc, err := nats.Connect(address, nats.Name("projection"))
	if err != nil {
		return err
	}
	defer nc.Close()
	b, err := jetstream.Open(ctx, nc, jetstream.Config{})
	if err != nil {
		return err
	}
	defer b.Close()
	model, err := openModel(ctx, nc)
	if err != nil {
		return err
	}

	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	totals, err := model.watch(ctx, cancel)
	if err != nil {
		return err
	}
	s := &show{out: stdout, backend: b, totals: totals, options: o, address: address}
	crew := &crew{address: address, workers: o.workers, replace: o.replace, note: s.note, failed: cancel}
	defer crew.wait()
	defer cancel(nil) // first: it ends them
	crew.start(ctx)
	stopShow := s.start(ctx)
	if o.once {
		err = untilDone(ctx, b)
	} else {
		<-ctx.Done()
	}
	stopShow()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		return err
	}
	// What the workers dealt with is in the bucket, but may not have come to the
	// watcher yet: a new one starts with all there is.
	final, err := model.watch(ctx, cancel)
	if err != nil {
		return err
	}
	s.totals = final
	return s.last()
}
