package report

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/tributary-es/tributary/bench/internal/jobs"
)

// Print writes a section's rows as a table for a terminal.
func Print(w io.Writer, title string, outcomes []jobs.Outcome) error {
	fmt.Fprintf(w, "\n%s\n\n", title)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "row\twork\tnext to\tours\ttheirs\tratio\ttarget\tmet")
	for _, o := range outcomes {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", o.Key, plain(o.Work), plain(o.NextTo),
			value(o.Quantity, o.OursSummary())+remark(o), value(o.Quantity, o.TheirsSummary()), ratio(o, o.Ratio.Median), target(o), plain(met(o)))
	}
	return t.Flush()
}

// plain takes the marks of Markdown out.
func plain(s string) string { return strings.NewReplacer("`", "", "*", "").Replace(s) }

// remark is what a row says besides, in brackets.
func remark(o jobs.Outcome) string {
	if o.Remark == nil {
		return ""
	}
	return ", " + o.Remark(o.Ours, o.Theirs)
}
