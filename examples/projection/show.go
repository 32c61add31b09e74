package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/tributary-es/tributary/backend"
	"github.com/tributary-es/tributary/examples/internal/localnats"
	"github.com/tributary-es/tributary/examples/internal/terminal"
)

// notes is how many notes stand below the table on a terminal.
const notes = 6

// show shows the read model, and how far it is: drawn anew all the time on a
// terminal; elsewhere, in a log for instance, by a line every so often.
type show struct {
	out     io.Writer
	backend backend.Backend
	totals  *totals
	options options
	address string

	mu     sync.Mutex
	drawn  bool // on a terminal
	recent []string
}

// note tells something that happened.
func (s *show) note(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.drawn {
		fmt.Fprintln(s.out, text)
		return
	}
	s.recent = append(s.recent, time.Now().Format(time.TimeOnly)+" "+text)
	s.recent = s.recent[max(0, len(s.recent)-notes):]
}

// start shows it until ctx ends or stop is called.
func (s *show) start(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	every := s.options.every
	s.mu.Lock()
	s.drawn = terminal.Is(s.out)
	s.mu.Unlock()
	if s.drawn {
		every = 200 * time.Millisecond
		fmt.Fprint(s.out, "\x1b[2J")
	} else {
		fmt.Fprintf(s.out, "Another worker:\n  %s\n", s.command("projection -worker"))
	}
	var showing sync.WaitGroup
	showing.Go(func() {
		ticker := time.NewTicker(every)
		defer ticker.Stop()
		for {
			info, err := s.look(ctx)
			switch {
			case ctx.Err() != nil:
				return
			case err != nil:
				s.note(fmt.Sprint("looking at the subscription: ", err))
			case s.drawn:
				s.draw(info)
			default:
				s.note(s.line(info))
			}
			select {
			case <-ticker.C:
			case <-ctx.Done():
				return
			}
		}
	})
	return func() {
		cancel()
		showing.Wait()
	}
}

// look asks for the state of the subscription; before it exists it is the zero
// value.
func (s *show) look(ctx context.Context) (backend.SubscriptionInfo, error) {
	infos, err := backend.Subscriptions(ctx, s.backend)
	for _, info := range infos {
		if info.Name == subscription {
			return info, nil
		}
	}
	return backend.SubscriptionInfo{}, err
}

// line is all there is to tell in a line.
func (s *show) line(info backend.SubscriptionInfo) string {
	var members []string
	for _, m := range info.Members {
		members = append(members, fmt.Sprintf("%s has %s", terminal.Printable(m.Name), terminal.Counted(int64(m.Partitions), "part")))
	}
	if members == nil {
		members = []string{"no worker yet"}
	}
	return s.amount() + "; " + lag(info) + "; " + strings.Join(members, ", ")
}

func (s *show) amount() string {
	s.totals.mu.Lock()
	defer s.totals.mu.Unlock()
	return fmt.Sprintf("%s in %s", terminal.Counted(int64(s.totals.changes), "change"), terminal.Counted(int64(s.totals.files), "row"))
}

// lag is how far the subscription is behind.
func lag(info backend.SubscriptionInfo) string {
	text := "up to date"
	if info.Behind > 0 {
		text = fmt.Sprintf("%s behind, the oldest stored %s ago", terminal.Counted(int64(info.Behind), "commit"), info.OldestAge.Round(100*time.Millisecond))
	}
	if info.Parked > 0 {
		text += fmt.Sprintf(", %s parked", terminal.Counted(int64(info.Parked), "commit"))
	}
	return text
}

// command is how to start another example on the same server.
func (s *show) command(example string) string {
	return localnats.URLVariable + "='" + s.address + "' go run ./examples/" + example
}

// draw draws all of it anew, over what was drawn before.
func (s *show) draw(info backend.SubscriptionInfo) {
	var b strings.Builder
	fmt.Fprintf(&b, "Files changed per author and day: %s, %s\n\n", s.amount(), lag(info))
	for _, m := range info.Members {
		fmt.Fprintf(&b, "  %s has %s, was heard of %s ago\n", terminal.Printable(m.Name),
			terminal.Counted(int64(m.Partitions), "part"), time.Since(m.SeenAt).Round(100*time.Millisecond))
	}
	fmt.Fprintf(&b, "\nKill one: kill -9, and its number. Another one, or more to do:\n  %s\n  %s\n\n",
		s.command("projection -worker"), s.command("githistory"))
	_ = s.table(&b)
	s.mu.Lock()
	defer s.mu.Unlock()
	b.WriteString("\n" + strings.Join(s.recent, "\n") + "\n")
	// Each line is written over the one that was there, and what is left of it, or
	// below, is cleared: that doesn't flicker.
	fmt.Fprint(s.out, "\x1b[H"+strings.ReplaceAll(b.String(), "\n", "\x1b[K\n")+"\x1b[J")
}

// table prints the authors and days with the most files.
func (s *show) table(w io.Writer) error {
	all := s.totals.all()
	// The author comes last: how wide some scripts are on a terminal is a guess.
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "files\tchanges\tday\t  author")
	for _, of := range all[:min(s.options.top, len(all))] {
		fmt.Fprintf(table, "%s\t%s\t%s\t  %s\n", terminal.Grouped(int64(of.files)), terminal.Grouped(int64(of.changes)), of.day, terminal.Printable(of.author))
	}
	return table.Flush()
}

// last prints the result.
func (s *show) last() error {
	s.totals.mu.Lock()
	files, changes := s.totals.files, s.totals.changes
	s.totals.mu.Unlock()
	fmt.Fprintf(s.out, "%s, in %s of a day, author and file.\n\n", terminal.Counted(int64(changes), "change"), terminal.Counted(int64(files), "row"))
	return s.table(s.out)
}
