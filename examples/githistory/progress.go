package main

import (
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"time"

	"github.com/tributary-es/tributary/backend"
	"github.com/tributary-es/tributary/examples/internal/terminal"
)

// progress counts what an import has done. Its fields and display are for any
// goroutine.
type progress struct {
	commits  atomic.Int64 // those that are settled: all their changes are stored
	appended atomic.Int64 // events that this run stored
	known    atomic.Int64 // events that were stored already
	indexed  atomic.Int64 // events read to know what is stored
	walking  atomic.Bool  // all of these were read
}

// round counts for one walk of an import, in order. Its methods are called in one
// goroutine.
type round struct {
	total     *progress
	before    int64    // events that rounds before this one stored
	known     int64    // events that were there, with those
	appending uint64   // how many appends were begun
	appended  uint64   // how many of them are done
	ends      []uint64 // appending at the end of each commit that is not settled
}

// begin begins a round. What rounds before it stored, it finds.
func (p *progress) begin() *round {
	before := p.appended.Load()
	p.commits.Store(0)
	p.known.Store(0)
	return &round{total: p, before: before}
}

// found counts an event that was stored already.
func (r *round) found() {
	r.known++
	r.total.known.Store(max(0, r.known-r.before))
}

// endCommit notes that a commit has no more changes.
func (r *round) endCommit() {
	r.ends = append(r.ends, r.appending)
	r.settle()
}

// done counts the appends that are done.
func (r *round) done(p backend.ImportProgress) {
	r.appended = p.Appends
	r.total.appended.Store(r.before + int64(p.Events))
	r.settle()
}

// settle settles the commits whose changes are all stored.
func (r *round) settle() {
	n := 0
	for n < len(r.ends) && r.ends[n] <= r.appended {
		n++
	}
	r.ends = r.ends[n:]
	r.total.commits.Add(int64(n))
}

// display shows progress until stop is called: on a terminal a bar that moves,
// elsewhere, in a log for instance, a line every so often.
func (p *progress) display(w io.Writer, commits int, every time.Duration) (stop func()) {
	started := time.Now()
	render, clear := p.line, ""
	if terminal.Is(w) {
		render, clear, every = p.bar, "\r\x1b[K", time.Second/10
	}
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		ticker := time.NewTicker(every)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				fmt.Fprint(w, render(commits, time.Since(started)))
			case <-quit:
				fmt.Fprint(w, clear)
				return
			}
		}
	}()
	return func() {
		close(quit)
		<-done
	}
}

func (p *progress) line(commits int, elapsed time.Duration) string {
	if !p.walking.Load() {
		return fmt.Sprintf("reading what is stored: %s events\n", terminal.Grouped(p.indexed.Load()))
	}
	return fmt.Sprintf("%s of %s commits, %s events stored, %s there before\n",
		terminal.Grouped(p.commits.Load()), terminal.Grouped(int64(commits)), terminal.Grouped(p.appended.Load()), terminal.Grouped(p.known.Load()))
}

// bar is shorter than 80 characters, what the narrowest terminal has.
func (p *progress) bar(commits int, elapsed time.Duration) string {
	const width = 24
	if !p.walking.Load() {
		return fmt.Sprintf("\r\x1b[Kreading what is stored: %s events", terminal.Grouped(p.indexed.Load()))
	}
	share := float64(p.commits.Load()) / float64(max(commits, 1))
	full := min(int(share*width), width)
	return fmt.Sprintf("\r\x1b[K[%s%s] %3.0f%%  %s events, %s/s",
		strings.Repeat("=", full), strings.Repeat(" ", width-full), 100*share,
		terminal.Grouped(p.appended.Load()+p.known.Load()), rate(p.appended.Load(), elapsed))
}

// rate is n per second of elapsed.
func rate(n int64, elapsed time.Duration) string {
	return terminal.Grouped(int64(float64(n) / max(elapsed.Seconds(), 0.001)))
}
