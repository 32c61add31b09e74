package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"regexp"
	"runtime/debug"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/tributary-es/tributary/bench/internal/followers"
	"github.com/tributary-es/tributary/bench/internal/jobs"
	"github.com/tributary-es/tributary/bench/internal/million"
	"github.com/tributary-es/tributary/bench/internal/report"
	"github.com/tributary-es/tributary/bench/internal/servers"
)

//go:embed notes.md
var notes string

// bench is a run.
type bench struct {
	sizes       jobs.Sizes
	rounds      int
	warm        bool
	small       bool
	skipMillion bool
	only        *regexp.Regexp
	args        []string // of the command
	url         string   // of a server elsewhere; empty: none
}

// wanted tells which rows of a section are.
func (b *bench) wanted(section string) func(key string) bool {
	return func(key string) bool { return b.only.MatchString(section + "/" + key) }
}

// run measures everything that is wanted, and prints it.
func (b *bench) run(ctx context.Context) (*report.Report, error) {
	r := &report.Report{
		Measured: time.Now(),
		Rounds:   b.rounds,
		Machine:  report.Machine(),
		Versions: b.versions(ctx),
		Args:     b.args,
		Notes:    notes,
	}
	if b.small {
		fmt.Println("Everything once, and little of it, whatever the tables say of the work: the figures mean nothing.")
	}
	for _, s := range jobs.Sections() {
		s = s.Wanted(b.wanted(s.Key))
		if len(s.Jobs) == 0 || s.Kind == servers.Remote && b.url == "" {
			continue
		}
		section, err := b.section(ctx, s)
		if err != nil {
			return nil, err
		}
		if err := r.Add(os.Stdout, *section); err != nil {
			return nil, err
		}
	}
	if !b.skipMillion && report.MillionWanted(b.wanted(report.MillionKey)) {
		res, err := million.Run(ctx, b.million())
		if err != nil {
			return nil, err
		}
		if err := r.Add(os.Stdout, report.Million(res)); err != nil {
			return nil, err
		}
	}
	if report.FollowersWanted(b.wanted(report.FollowersKey)) {
		res, err := followers.Run(ctx, b.followers())
		if err != nil {
			return nil, err
		}
		if err := r.Add(os.Stdout, report.Followers(res)); err != nil {
			return nil, err
		}
	}
	r.Took = time.Since(r.Measured)
	return r, nil
}

// million is how large the run with very many event streams is.
func (b *bench) million() million.Config {
	cfg := million.Config{}
	if b.small {
		cfg = million.Config{EventStreams: []int{50, 150}, Loads: 4, Restarts: 2, Idle: -1, ReadAll: 500}
	}
	cfg.Progress = func(line string) { fmt.Fprintln(os.Stderr, report.MillionKey+": "+line) }
	return cfg
}

// followers is how large the run with very many subscriptions is.
func (b *bench) followers() followers.Config {
	cfg := followers.Config{}
	if b.small {
		cfg = followers.Config{Streams: 150, Commits: 1}
	}
	cfg.Progress = func(line string) { fmt.Fprintln(os.Stderr, report.FollowersKey+": "+line) }
	return cfg
}

// section measures on one server.
func (b *bench) section(ctx context.Context, s jobs.Section) (_ *report.Section, err error) {
	section := &report.Section{Key: s.Key, Title: s.Title, Intro: s.Intro}
	server, err := servers.Start(ctx, s.Kind, b.url)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, server.Close()) }()
	if s.Kind == servers.Remote {
		section.Intro += " It is nats-server " + server.Version + "."
	}
	o := jobs.Options{Sizes: b.sizes, Rounds: b.rounds, Warm: b.warm, Wanted: b.wanted(s.Key)}
	if b.small {
		o.Timeout = time.Minute
	}
	for _, j := range s.Jobs {
		start := time.Now()
		outcomes, err := j.Run(ctx, server, o)
		if errors.Is(err, jobs.ErrSkipped) {
			section.Skipped = fmt.Sprintf("This was %v.", err)
			fmt.Fprintf(os.Stderr, "%s/%s: %v\n", s.Key, j.Name, err)
			continue
		}
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(os.Stderr, "%s/%s: %v\n", s.Key, j.Name, time.Since(start).Round(time.Second/10))
		section.Outcomes = append(section.Outcomes, outcomes...)
	}
	section.AddCharts()
	return section, nil
}

// versions tells what takes part.
func (b *bench) versions(ctx context.Context) []report.Fact {
	return []report.Fact{
		{Name: "This library", Value: report.Commit(ctx)},
		{Name: "nats.go", Value: nats.Version},
		{Name: "nats-server, embedded", Value: module("github.com/nats-io/nats-server/v2")},
		{Name: "pgx", Value: module("github.com/jackc/pgx/v5")},
	}
}

// module returns the version of a module that is built in.
func module(path string) string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	for _, m := range info.Deps {
		if m.Path == path {
			return m.Version
		}
	}
	return "unknown"
}
