// Command bench measures the library next to what one would use instead, and
// writes docs/benchmarks.md. Run it from the repository's root:
//
//	go -C bench run .
//
// It starts the servers it needs. Where NATS_URL is set, it measures that server,
// too, in JetStream streams of its own, which it deletes. It needs PostgreSQL's
// programs for one part, and says so where they are missing.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"regexp"

	"github.com/tributary-es/tributary/bench/internal/followers"
	"github.com/tributary-es/tributary/bench/internal/jobs"
	"github.com/tributary-es/tributary/bench/internal/servers"
)

func main() {
	servers.ServeIfAsked()
	followers.FollowIfAsked()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	b := bench{args: os.Args[1:], sizes: jobs.Full(), warm: true, url: os.Getenv("NATS_URL")}
	small := flag.Bool("small", false, "do everything once, shortly, and write nothing: whether it works")
	only := flag.String("only", "", "only the rows, such as single/append-1, that match the `regexp`; writes nothing unless -out is given")
	out := flag.String("out", "", "the `directory` to write benchmarks.md to (default ../docs)")
	flag.IntVar(&b.rounds, "rounds", 12, "how many `rounds` to measure; short ones are more")
	flag.BoolVar(&b.skipMillion, "skip-million", false, "leave out the million event streams")
	flag.Parse()
	if flag.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flag.Arg(0))
	}
	if b.rounds < 1 {
		return fmt.Errorf("-rounds is %d, must be 1 or more", b.rounds)
	}
	var err error
	if b.only, err = regexp.Compile(*only); err != nil {
		return err
	}
	if *small {
		b.small, b.sizes, b.rounds, b.warm = true, jobs.Small(), 1, false
	}
	dir := *out
	if dir == "" && *only == "" && !*small {
		dir = defaultOut
	}
	if dir != "" {
		// Not after half an hour.
		if _, err := os.Stat(dir); err != nil {
			return fmt.Errorf("the directory to write to: %w", err)
		}
	}
	r, err := b.run(ctx)
	if err != nil || dir == "" || *small {
		return err
	}
	return r.Write(dir)
}

// defaultOut is from this directory, as `go -C bench run .` has it.
const defaultOut = "../docs"
