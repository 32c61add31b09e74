package report

import (
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tributary-es/tributary/bench/internal/measure"
)

func around(median float64) measure.Summary {
	return measure.Summary{Median: median, Lower: 0.8 * median, Upper: 1.3 * median}
}

func exampleCharts() []Chart {
	bar := func(series string, median float64) Bar {
		return Bar{Series: series, Summary: around(median), Low: median / 2, High: median * 3}
	}
	rate := func(series string, median float64) Bar { return Bar{Series: series, Summary: around(median)} }
	return []Chart{
		{
			Name: "times", Title: "Times", Label: "median, quartiles", Log: true, Quantity: measure.Time,
			Groups: []Group{
				{"append", []Bar{bar("Tributary", 34e-6), bar("nats.go", 33e-6)}},
				{"load", []Bar{bar("Tributary", 1.2e-3), bar("PostgreSQL", 0.9e-3)}},
			},
		},
		{
			Name: "rates", Title: "Rates", Label: "events a second", Quantity: measure.Rate,
			Groups: []Group{
				{"64 writers", []Bar{rate("Tributary", 31_000), rate("nats.go", 30_000)}},
				{"forward", []Bar{rate("Tributary", 410_000)}},
			},
		},
		{
			Name: "numbers", Title: "Numbers", Label: "by event streams", Log: true, Quantity: measure.Time,
			Lines: []Line{
				{"warm", []Point{{1e3, around(200e-6)}, {1e4, around(210e-6)}, {1e5, around(220e-6)}, {1e6, around(250e-6)}}},
				{"cold", []Point{{1e3, around(900e-6)}, {1e4, around(1.8e-3)}, {1e5, around(2.9e-3)}, {1e6, around(7e-3)}}},
				{"after a restart", []Point{{1e3, around(1e-3)}, {1e4, around(2.1e-3)}, {1e5, around(3.5e-3)}, {1e6, around(7.1e-3)}}},
			},
		},
	}
}

func TestChartsAreWellFormedAndSayWhatTheyShow(t *testing.T) {
	for _, c := range exampleCharts() {
		t.Run(c.Name, func(t *testing.T) {
			svg, err := c.SVG()
			if err != nil {
				t.Fatal(err)
			}
			if dir := os.Getenv("CHARTS"); dir != "" { // to look at them
				if err := os.WriteFile(filepath.Join(dir, c.Name+".svg"), svg, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			decoder := xml.NewDecoder(strings.NewReader(string(svg)))
			for {
				if _, err := decoder.Token(); errors.Is(err, io.EOF) {
					break
				} else if err != nil {
					t.Fatal(err)
				}
			}
			want := []string{c.Title, c.Label}
			for _, g := range c.Groups {
				want = append(want, g.Label)
				for _, b := range g.Bars {
					want = append(want, b.Series+" "+value(c.Quantity, b.Summary))
				}
			}
			for _, l := range c.Lines {
				last := l.Points[len(l.Points)-1]
				want = append(want, l.Series+" "+value(c.Quantity, last.Summary))
			}
			for _, text := range want {
				if !strings.Contains(string(svg), ">"+text+"<") {
					t.Errorf("the chart does not say %q", text)
				}
			}
		})
	}
}
