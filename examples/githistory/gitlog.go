package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"iter"
	"strconv"
	"time"
)

// commit is one commit of the walk and what it did.
type commit struct {
	hash    string
	author  string
	email   string
	subject string
	time    time.Time // when the author wrote it; UTC
	entries []entry   // in git's order; none for an empty commit
}

// entry is what a commit did to one file. Paths are bytes, not text.
type entry struct {
	status  byte   // git's: Added, Copied (not with these arguments), Deleted, Modified, Renamed or Type changed
	mode    string // afterwards; 000000 where it is deleted
	path    string
	from    string // of a copy or a rename: the path it had
	added   int    // lines
	removed int    // lines
	binary  bool   // git counts no lines
}

// marker is the token that each commit begins with. No path can be taken for
// it: paths are read where they are due.
const marker = "commit"

// logArguments are those of git log for the history up to head.
//
// What git does by default depends on the user's configuration. What changes the
// answer is fixed here, so that everyone gets the same events.
func logArguments(head string) []string {
	return []string{
		"-c", "log.showRoot=true", "-c", "log.follow=false", "-c", "diff.relative=false",
		"log", "--reverse", "--topo-order",

		// A merge is left out: its parents' commits, which the walk has, are
		// where the work was done, by whom and when. What is lost are changes
		// made by hand in the merge itself, to resolve a conflict.
		"--no-merges",

		"--raw", "--numstat", "-z", "--no-abbrev",
		"-M50%", "-l1000", "--diff-algorithm=myers", "--ignore-submodules=none",
		"--no-ext-diff", "--no-textconv", "--no-color", "--no-show-signature", "--no-notes",
		"--encoding=UTF-8",
		"--format=tformat:%x00" + marker + "%x00%H%x00%an%x00%ae%x00%at%x00%ct%x00%s",
		head, "--",
	}
}

// errLog comes for output of git log that isn't what the arguments ask for.
var errLog = errors.New("can't make sense of git log's output")

// parseLog yields the commits in the output of git log with [logArguments]:
// tokens that end in NUL. A commit is the marker and six fields; then for each
// entry, if any, its modes, hashes and status, and one or two paths; then for
// each, its counts of lines. Between these there may be an empty token or a line
// break, depending on what comes before.
func parseLog(r io.Reader) iter.Seq2[commit, error] {
	return func(yield func(commit, error) bool) {
		p := logParser{in: bufio.NewReaderSize(r, 256<<10)}
		for {
			c, err := p.commit()
			if err == io.EOF {
				return
			}
			if err != nil {
				yield(commit{}, err)
				return
			}
			if !yield(c, nil) {
				return
			}
		}
	}
}

type logParser struct {
	in   *bufio.Reader
	next bool // the marker of the next commit was read
}

// commit returns the next commit, or [io.EOF] after the last.
func (p *logParser) commit() (commit, error) {
	for !p.next {
		token, err := p.token()
		if err != nil {
			return commit{}, err
		}
		switch {
		case string(token) == marker:
			p.next = true
		case len(token) > 0:
			return commit{}, fmt.Errorf("%w: %.80q where a commit begins", errLog, token)
		}
	}
	p.next = false
	c, err := p.header()
	if err != nil {
		return commit{}, err
	}
	places := map[string]int{} // of the entries, by path
	for {
		token, err := p.token()
		if err == io.EOF {
			return c, nil // the next call returns it again
		}
		if err != nil {
			return commit{}, err
		}
		token = bytes.TrimPrefix(token, []byte("\n"))
		switch {
		case len(token) == 0:
		case string(token) == marker:
			p.next = true
			return c, nil
		case token[0] == ':':
			e, err := p.entry(token)
			if err != nil {
				return commit{}, fmt.Errorf("in commit %s: %w", c.hash, err)
			}
			places[e.path] = len(c.entries)
			c.entries = append(c.entries, e)
		default:
			if err := p.counts(token, c.entries, places); err != nil {
				return commit{}, fmt.Errorf("in commit %s: %w", c.hash, err)
			}
		}
	}
}

func (p *logParser) header() (commit, error) {
	var fields [6]string
	for i := range fields {
		var err error
		if fields[i], err = p.field(); err != nil {
			return commit{}, err
		}
	}
	c := commit{hash: fields[0], author: fields[1], email: fields[2], subject: fields[5]}
	if len(c.hash) < 40 {
		return commit{}, fmt.Errorf("%w: commit hash %.80q", errLog, c.hash)
	}
	// Some old commits have times that make no sense, but for the author only.
	c.time = time.Unix(0, 0).UTC()
	for _, field := range fields[3:5] {
		seconds, err := strconv.ParseInt(field, 10, 64)
		if t := time.Unix(seconds, 0).UTC(); err == nil && t.Year() >= 1 && t.Year() <= 9999 {
			c.time = t
			break
		}
	}
	return c, nil
}

// entry parses ":100644 100644 <hash> <hash> M" and reads the paths it has.
func (p *logParser) entry(token []byte) (entry, error) {
	fields := bytes.Fields(token)
	if len(fields) != 5 {
		return entry{}, fmt.Errorf("%w: entry %.200q", errLog, token)
	}
	e := entry{mode: string(fields[1]), status: fields[4][0]} // R and C have a similarity behind
	var err error
	switch e.status {
	case 'A', 'D', 'M', 'T':
	case 'C', 'R':
		if e.from, err = p.path(); err != nil {
			return entry{}, err
		}
	default:
		return entry{}, fmt.Errorf("%w: status %q", errLog, fields[4])
	}
	e.path, err = p.path()
	return e, err
}

// counts parses "<added>\t<removed>\t<path>", where for a copy or a rename the
// path is empty and two tokens with paths follow, and notes them in the entry.
func (p *logParser) counts(token []byte, entries []entry, places map[string]int) error {
	fields := bytes.SplitN(token, []byte("\t"), 3)
	if len(fields) != 3 {
		return fmt.Errorf("%w: %.200q", errLog, token)
	}
	path := string(fields[2])
	if path == "" {
		if _, err := p.path(); err != nil {
			return err
		}
		var err error
		if path, err = p.path(); err != nil {
			return err
		}
	}
	place, ok := places[path]
	if !ok {
		return fmt.Errorf("%w: lines counted in %.200q, which was not changed", errLog, path)
	}
	e := &entries[place]
	if string(fields[0]) == "-" && string(fields[1]) == "-" {
		e.binary = true
		return nil
	}
	var err error
	if e.added, err = strconv.Atoi(string(fields[0])); err == nil {
		e.removed, err = strconv.Atoi(string(fields[1]))
	}
	if err != nil || e.added < 0 || e.removed < 0 {
		return fmt.Errorf("%w: counts of lines %.80q", errLog, token)
	}
	return nil
}

func (p *logParser) path() (string, error) {
	path, err := p.field()
	if err == nil && path == "" {
		return "", fmt.Errorf("%w: an empty path", errLog)
	}
	return path, err
}

// field returns a token that must be there.
func (p *logParser) field() (string, error) {
	token, err := p.token()
	if err == io.EOF {
		return "", fmt.Errorf("%w: it ends too early", errLog)
	}
	return string(token), err
}

// token returns what comes before the next NUL, or [io.EOF] at the end.
func (p *logParser) token() ([]byte, error) {
	token, err := p.in.ReadBytes(0)
	switch {
	case err == nil:
		return token[:len(token)-1], nil
	case err == io.EOF && len(bytes.TrimSpace(token)) > 0:
		return nil, fmt.Errorf("%w: it ends within %.80q", errLog, token)
	}
	return nil, err
}
