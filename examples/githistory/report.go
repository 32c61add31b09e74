package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/google/uuid"

	"github.com/tributary-es/tributary/backend"
	"github.com/tributary-es/tributary/examples/internal/terminal"
)

// report answers questions from the events of one repository, and from nothing
// else.
type report struct {
	backend backend.Backend
	key     string                 // of the repository
	foreign map[uuid.UUID]struct{} // events to leave out
}

// fileTotal is what the events of one path add up to.
type fileTotal struct {
	path    filePath
	changes int64
	added   int64
	removed int64
	authors map[string]struct{} // by e-mail address
	last    time.Time
}

// totals is what all events add up to.
type totals struct {
	files   map[filePath]*fileTotal
	changes int64
	added   int64
	removed int64
	commits map[uuid.UUID]struct{}
	authors map[string]struct{}
	first   time.Time
	last    time.Time
}

// summarize reads every event once.
func (r *report) summarize(ctx context.Context) (*totals, error) {
	t := &totals{
		files:   map[filePath]*fileTotal{},
		commits: map[uuid.UUID]struct{}{},
		authors: map[string]struct{}{},
	}
	options := backend.ReadAllOptions{Under: repositoryPrefix(r.key), BatchSize: 2000}
	for events, err := range backend.ReadAll(ctx, r.backend, options, uuid.Nil) {
		if err != nil {
			return nil, err
		}
		for _, e := range events {
			if _, ok := r.foreign[e.EventUUID]; ok {
				continue
			}
			change, err := decode(e)
			if err != nil {
				return nil, err
			}
			t.add(change)
		}
	}
	return t, nil
}

func (t *totals) add(c recorded) {
	f := t.files[c.Path]
	if f == nil {
		f = &fileTotal{path: c.Path, authors: map[string]struct{}{}}
		t.files[c.Path] = f
	}
	author := strings.ToLower(cmp.Or(c.Email, c.Author))
	f.changes++
	f.added += int64(c.Added)
	f.removed += int64(c.Removed)
	f.authors[author] = struct{}{}
	f.last = later(f.last, c.Time)
	t.changes++
	t.added += int64(c.Added)
	t.removed += int64(c.Removed)
	t.authors[author] = struct{}{}
	t.commits[c.commit] = struct{}{}
	t.last = later(t.last, c.Time)
	if t.first.IsZero() || c.Time.Before(t.first) {
		t.first = c.Time
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// printTotals prints the totals, and the files with the most changes.
func printTotals(w io.Writer, t *totals, top int) error {
	fmt.Fprintf(w, "%s in %s: %s, %s, +%s -%s lines",
		terminal.Counted(t.changes, "event"), terminal.Counted(int64(len(t.commits)), "commit"), terminal.Counted(int64(len(t.files)), "path"),
		terminal.Counted(int64(len(t.authors)), "author"), terminal.Grouped(t.added), terminal.Grouped(t.removed))
	if t.changes == 0 || top < 1 {
		_, err := fmt.Fprintln(w)
		return err
	}
	fmt.Fprintf(w, ", %s to %s\n", t.first.Format(time.DateOnly), t.last.Format(time.DateOnly))
	files := make([]*fileTotal, 0, len(t.files))
	for _, f := range t.files {
		files = append(files, f)
	}
	slices.SortFunc(files, func(a, b *fileTotal) int {
		return cmp.Or(cmp.Compare(b.changes, a.changes), cmp.Compare(a.path, b.path))
	})
	// The path comes last: the width of some scripts on a terminal is a guess,
	// and nothing comes after it to be moved out of line.
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "\nchanges\tadded\tremoved\tauthors\tlast change\t  path")
	for _, f := range files[:min(top, len(files))] {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t  %s\n", terminal.Grouped(f.changes), terminal.Grouped(f.added), terminal.Grouped(f.removed),
			terminal.Grouped(int64(len(f.authors))), f.last.Format(time.DateOnly), terminal.Printable(string(f.path)))
	}
	return table.Flush()
}

// errNoFile comes for a path that no event is of.
var errNoFile = errors.New("no event is of this path; paths are those from the top of the repository")

// history returns the events of a file, in the order in which they are stored,
// preceded, where it was renamed, by those of the path it had before.
func (r *report) history(ctx context.Context, path filePath) ([]recorded, error) {
	h := historian{report: r, visited: map[uuid.UUID]bool{}}
	if err := h.follow(ctx, path, uuid.Nil); err != nil {
		return nil, err
	}
	if len(h.events) == 0 { // they are all of another history
		return nil, fmt.Errorf("%w: %s", errNoFile, terminal.Printable(string(path)))
	}
	// A rename is in both event streams. Where both were read, one is enough.
	type rename struct {
		to     filePath
		commit uuid.UUID
	}
	arrived := map[rename]bool{}
	for _, e := range h.events {
		if e.eventType == fileRenamedFrom {
			arrived[rename{e.Path, e.commit}] = true
		}
	}
	return slices.DeleteFunc(h.events, func(e recorded) bool {
		return e.eventType == fileRenamedTo && arrived[rename{e.To, e.commit}]
	}), nil
}

// historian collects the events of a file under all its names.
type historian struct {
	report  *report
	visited map[uuid.UUID]bool // files can be renamed in circles
	events  []recorded
}

// follow collects the events of path: all of them, or, given the commit that
// renamed it, those before, and those that other branches went on to make under
// the old name until another file took it.
func (h *historian) follow(ctx context.Context, path filePath, renamed uuid.UUID) error {
	events, err := h.report.events(ctx, path)
	if err != nil {
		return err
	}
	gone := false
	for _, e := range events {
		if gone && (e.eventType == fileCreated || e.eventType == fileRenamedFrom) {
			return nil
		}
		gone = gone || renamed != uuid.Nil && e.commit == renamed
		if h.visited[e.id] {
			continue
		}
		h.visited[e.id] = true
		if e.eventType == fileRenamedFrom {
			if err := h.follow(ctx, e.From, e.commit); err != nil {
				return err
			}
		}
		h.events = append(h.events, e)
	}
	return nil
}

// events reads the event stream of path.
func (r *report) events(ctx context.Context, path filePath) ([]recorded, error) {
	var all []recorded
	for events, err := range r.backend.StreamForward(ctx, streamName(r.key, string(path)), 500, uuid.Nil) {
		if errors.Is(err, backend.ErrStreamNotFound) {
			return nil, fmt.Errorf("%w: %s", errNoFile, terminal.Printable(string(path)))
		}
		if err != nil {
			return nil, err
		}
		for _, event := range events {
			if _, ok := r.foreign[event.EventUUID]; ok {
				continue
			}
			e, err := decode(event)
			if err != nil {
				return nil, err
			}
			all = append(all, e)
		}
	}
	return all, nil
}

// printHistory prints the events of one file.
func printHistory(w io.Writer, path filePath, events []recorded) error {
	fmt.Fprintf(w, "%s: %s\n\n", terminal.Printable(string(path)), terminal.Counted(int64(len(events)), "event"))
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, e := range events {
		lines := fmt.Sprintf("+%d -%d", e.Added, e.Removed)
		switch {
		case e.eventType == fileRenamedTo:
			lines = ""
		case e.Binary:
			lines = "binary"
		}
		fmt.Fprintf(table, "%s\t%.10s\t%s\t%s\t%s: %s\n", e.Time.Format(time.DateOnly), e.Commit,
			e.what(), lines, terminal.Printable(e.Author), terminal.Printable(e.Subject))
	}
	return table.Flush()
}

// what says in a word or two what happened.
func (c recorded) what() string {
	switch c.eventType {
	case fileCreated:
		return "created"
	case fileChanged:
		return "changed"
	case fileRenamedFrom:
		return "renamed from " + terminal.Printable(string(c.From))
	case fileRenamedTo:
		return "renamed to " + terminal.Printable(string(c.To))
	case fileDeleted:
		return "deleted"
	}
	return terminal.Printable(c.eventType)
}
