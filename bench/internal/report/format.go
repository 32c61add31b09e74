package report

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/tributary-es/tributary/bench/internal/jobs"
	"github.com/tributary-es/tributary/bench/internal/measure"
)

// unit is a unit of measure: a value divided by size is in it.
type unit struct {
	name string
	size float64
}

// unitFor returns the unit in which a value of the quantity is written.
func unitFor(q measure.Quantity, value float64) unit {
	switch q {
	case measure.Time, measure.Median:
		switch {
		case value >= 1:
			return unit{" s", 1}
		case value >= 1e-3:
			return unit{" ms", 1e-3}
		default:
			return unit{" µs", 1e-6}
		}
	case measure.Rate:
		return unit{"/s", 1}
	case measure.Bytes:
		return unit{" B", 1}
	default:
		return unit{"", 1}
	}
}

// significant writes x with three significant digits, and with commas between
// thousands.
func significant(x float64) string {
	if x == 0 || math.IsNaN(x) || math.IsInf(x, 0) {
		return strconv.FormatFloat(x, 'f', -1, 64)
	}
	digits := 2 - int(math.Floor(math.Log10(math.Abs(x))))
	if digits < 0 {
		// 123,456 is 123,000: the rest is noise.
		scale := math.Pow(10, float64(-digits))
		return commas(strconv.FormatFloat(math.Round(x/scale)*scale, 'f', 0, 64))
	}
	return commas(strconv.FormatFloat(x, 'f', digits, 64))
}

// commas puts commas between the thousands of a number in decimal notation.
func commas(number string) string {
	whole, fraction, _ := strings.Cut(number, ".")
	sign := ""
	if strings.HasPrefix(whole, "-") {
		sign, whole = "-", whole[1:]
	}
	for i := len(whole) - 3; i > 0; i -= 3 {
		whole = whole[:i] + "," + whole[i:]
	}
	if fraction != "" {
		whole += "." + fraction
	}
	return sign + whole
}

// value writes the median of a quantity.
func value(q measure.Quantity, s measure.Summary) string {
	u := unitFor(q, s.Median)
	return significant(s.Median/u.size) + u.name
}

// spread writes the quartiles of a quantity, in the unit of its median.
func spread(q measure.Quantity, s measure.Summary) string {
	u := unitFor(q, s.Median)
	return significant(s.Lower/u.size) + " to " + significant(s.Upper/u.size)
}

// ratio writes a ratio.
func ratio(o jobs.Outcome, x float64) string {
	text := strconv.FormatFloat(x, 'f', 2, 64)
	if math.Abs(x) >= 10 {
		text = significant(x)
	}
	if o.Faster {
		return text + "x faster"
	}
	return text + "x"
}

// target writes what a ratio should be; "" where nothing.
func target(o jobs.Outcome) string {
	bound := func(word string, x float64) string {
		text := fmt.Sprintf("%s %sx", word, strconv.FormatFloat(x, 'f', -1, 64))
		if o.Faster {
			text += " faster"
		}
		return text
	}
	switch {
	case o.Target.AtMost > 0:
		return bound("at most", o.Target.AtMost)
	case o.Target.AtLeast > 0:
		return bound("at least", o.Target.AtLeast)
	}
	return ""
}

// met says whether the median of the ratios is as it should be; "" where there
// is no target.
func met(o jobs.Outcome) string {
	switch {
	case o.Target.None():
		return ""
	case o.Target.Met(o.Ratio.Median):
		return "yes"
	}
	return "**no**"
}

// minutes writes how long something took.
func minutes(d time.Duration) string {
	if d < time.Minute {
		return d.Round(time.Second).String()
	}
	return strconv.Itoa(int(d.Round(time.Minute).Minutes())) + " min"
}
