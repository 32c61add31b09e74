package report

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/tributary-es/tributary/bench/internal/jobs"
)

const introduction = `# Benchmarks

How fast this library is next to what one would use instead: nats.go alone, and a table of events in PostgreSQL. This file and
its charts are written by

    go -C bench run .

which starts the servers it needs itself; where ` + "`NATS_URL`" + ` is set, that server is measured, too. Don't edit it: what the program
can't know is in bench/notes.md, which ends this file.
`

const method = `## How it is measured

The two sides of a row take turns within each of %d rounds or more, after one that is not counted, in opposite order every other round, so that what the
machine does meanwhile meets both. A round's time is that of all its operations divided by their number, so that the slow ones count; the
charts of times show single operations. Tables have the medians of the rounds, and in brackets their quartiles. The ratio is ours by theirs, the median of
the rounds' ratios: of times and numbers of things, one below 1 is in our favour, of throughputs one above.

An event has %d bytes of data. "Raw" is nats.go without this library. Garbage is collected before each side's turn. The servers are reached over
loopback.
`

func (r *Report) markdown(w *bytes.Buffer) {
	fmt.Fprint(w, introduction+"\n")
	command := "by that command"
	if len(r.Args) > 0 {
		command = "with `" + strings.Join(r.Args, " ") + "`"
	}
	fmt.Fprintf(w, "Measured on %s, %s, in %s.\n\n", r.Measured.UTC().Format("2 January 2006"), command, minutes(r.Took))
	facts(w, slices.Concat(r.Machine, r.Versions))
	fmt.Fprintf(w, method, r.Rounds, jobs.DataSize)
	for _, s := range r.Sections {
		fmt.Fprintf(w, "\n## %s\n\n%s\n", s.Title, s.Intro)
		s.markdown(w)
	}
	r.hows(w)
	if r.Notes != "" {
		fmt.Fprintf(w, "\n%s\n", strings.TrimSpace(r.Notes))
	}
}

func facts(w *bytes.Buffer, facts []Fact) {
	fmt.Fprintln(w, "| | |\n| --- | --- |")
	for _, f := range facts {
		fmt.Fprintf(w, "| %s | %s |\n", f.Name, cell(f.Value))
	}
	fmt.Fprintln(w)
}

func (s Section) markdown(w *bytes.Buffer) {
	if s.Skipped != "" {
		fmt.Fprintf(w, "\n%s\n", s.Skipped)
		return
	}
	if len(s.Outcomes) > 0 {
		s.table(w)
	}
	for _, note := range s.notes() {
		fmt.Fprintf(w, "\n%s\n", note)
	}
	if s.Body != "" {
		fmt.Fprintf(w, "\n%s\n", strings.TrimSpace(s.Body))
	}
	for _, c := range s.Charts {
		fmt.Fprintf(w, "\n![%s](%s/%s.svg)\n", c.Title, chartDir, c.Name)
	}
}

func (s Section) table(w *bytes.Buffer) {
	fmt.Fprintln(w, "\n| row | work | next to | ours | theirs | ratio | target | met |\n| --- | --- | --- | --- | --- | --- | --- | --- |")
	for _, o := range s.Outcomes {
		ours, theirs := o.OursSummary(), o.TheirsSummary()
		fmt.Fprintf(w, "| %s | %s | %s | %s%s (%s) | %s (%s) | %s%s | %s | %s |\n",
			o.Key, cell(o.Work), cell(o.NextTo),
			value(o.Quantity, ours), remark(o), spread(o.Quantity, ours),
			value(o.Quantity, theirs), spread(o.Quantity, theirs),
			ratio(o, o.Ratio.Median), ratioSpread(o), target(o), met(o))
	}
}

// ratioSpread is the quartiles of the ratios, in brackets, where there are any.
func ratioSpread(o jobs.Outcome) string {
	if o.Ratio.Lower == o.Ratio.Upper {
		return ""
	}
	return fmt.Sprintf(" (%.2f to %.2f)", o.Ratio.Lower, o.Ratio.Upper)
}

// notes are those of the section's jobs, each once.
func (s Section) notes() []string {
	var notes []string
	for _, o := range s.Outcomes {
		for _, note := range o.Notes {
			if !slices.Contains(notes, note) {
				notes = append(notes, note)
			}
		}
	}
	return notes
}

// hows says of each row once how it was measured, by its section and key.
func (r *Report) hows(w *bytes.Buffer) {
	fmt.Fprint(w, "\n## What the rows are\n\nEach by the name that `-only` takes. Where several sections have a row, it is told of the first.\n\n")
	seen := make(map[string]bool)
	for _, s := range r.Sections {
		for _, o := range s.Outcomes {
			// Rows of the same kind share their sentence.
			if o.How == "" || seen[o.How] {
				continue
			}
			seen[o.How] = true
			fmt.Fprintf(w, "- **%s/%s**: %s\n", s.Key, o.Key, o.How)
		}
	}
}

// cell makes text fit for a table.
func cell(s string) string { return strings.ReplaceAll(s, "|", "\\|") }
