// Package report writes down what was measured: as a table for the terminal, and
// as a document with charts.
package report

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/tributary-es/tributary/bench/internal/jobs"
)

// Report is what a run measured.
type Report struct {
	Measured time.Time // when the run began
	Took     time.Duration
	Args     []string // what the command was given
	Rounds   int
	Machine  []Fact
	Versions []Fact
	Sections []Section
	Notes    string // written by hand, taken over as it is
}

// Section is what was measured on one server.
type Section struct {
	Key      string
	Title    string
	Intro    string
	Outcomes []jobs.Outcome
	Skipped  string // why there is nothing; empty: there is
	Body     string // more, in Markdown
	Charts   []Chart
}

// Add adds a section, and prints its rows.
func (r *Report) Add(w io.Writer, s Section) error {
	r.Sections = append(r.Sections, s)
	if len(s.Outcomes) == 0 {
		if s.Body == "" {
			return nil
		}
		_, err := fmt.Fprintf(w, "\n%s\n\n%s", s.Title, s.Body)
		return err
	}
	return Print(w, s.Title, s.Outcomes)
}

// Write writes the document benchmarks.md into dir, and its charts into the
// directory benchmarks beside it.
func (r *Report) Write(dir string) error {
	charts := filepath.Join(dir, chartDir)
	if err := os.MkdirAll(charts, 0o755); err != nil {
		return err
	}
	// Those of a run before, which had other sections.
	old, err := filepath.Glob(filepath.Join(charts, "*.svg"))
	if err != nil {
		return err
	}
	var errs []error
	for _, path := range old {
		errs = append(errs, os.Remove(path))
	}
	for _, s := range r.Sections {
		for _, c := range s.Charts {
			svg, err := c.SVG()
			if err != nil {
				return fmt.Errorf("chart %s: %w", c.Name, err)
			}
			errs = append(errs, os.WriteFile(filepath.Join(charts, c.Name+".svg"), svg, 0o644))
		}
	}
	var text bytes.Buffer
	r.markdown(&text)
	errs = append(errs, os.WriteFile(filepath.Join(dir, "benchmarks.md"), text.Bytes(), 0o644))
	return errors.Join(errs...)
}

// chartDir is where the charts are, as the document refers to them.
const chartDir = "benchmarks"
