package report

import (
	"bytes"
	"cmp"
	"image/color"
	"math"
	"slices"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"

	"github.com/tributary-es/tributary/bench/internal/measure"
)

// Chart is a chart of a section.
type Chart struct {
	Name  string // of its file, without the extension
	Title string

	// Label says below the title what is shown.
	Label string

	// Log has the axis of values grow by factors.
	Log bool

	// Quantity is what the values are.
	Quantity measure.Quantity

	Groups []Group // of bars, the first on top; or
	Lines  []Line  // over the numbers that costs depend on
}

// Group is bars that belong together.
type Group struct {
	Label string
	Bars  []Bar
}

// Bar is a value, with what lies about it.
type Bar struct {
	Series string // whose it is
	measure.Summary
	Low, High float64 // how far nearly all values reach; both 0: not known
}

// Line is a value that depends on a number.
type Line struct {
	Series string
	Points []Point
}

// Point is a value where the number is N, with its quartiles.
type Point struct {
	N float64
	measure.Summary
}

var (
	ink     = color.RGBA{R: 0x24, G: 0x29, B: 0x2f, A: 0xff}
	subdued = color.RGBA{R: 0x57, G: 0x60, B: 0x6a, A: 0xff}
	faint   = color.RGBA{R: 0xe4, G: 0xe7, B: 0xeb, A: 0xff}
	blue    = color.RGBA{R: 0x1f, G: 0x6f, B: 0xc4, A: 0xff}
	gray    = color.RGBA{R: 0x7a, G: 0x82, B: 0x8c, A: 0xff}
	orange  = color.RGBA{R: 0xc7, G: 0x6b, B: 0x14, A: 0xff}
	green   = color.RGBA{R: 0x2b, G: 0x86, B: 0x57, A: 0xff}
)

const (
	chartWidth    = 760 // points, like all that follow
	margin        = 12
	headingHeight = 54
	axisHeight    = 24
	rowHeight     = 17
	groupGap      = 13
	titleSize     = 14
	textSize      = 10.5
	barWidth      = 9
)

// SVG draws the chart.
func (c Chart) SVG() ([]byte, error) {
	p := plot.New()
	p.BackgroundColor = color.White
	for _, style := range []*text.Style{&p.X.Tick.Label, &p.Y.Tick.Label} {
		style.Font, style.Color = sans(textSize), ink
	}
	p.X.LineStyle.Color, p.X.Tick.LineStyle.Color = ink, ink

	height := vg.Length(300)
	if len(c.Groups) > 0 {
		height = c.addGroups(p)
	} else {
		c.addLines(p)
	}
	canvas := vgsvg.New(chartWidth, height)
	all := draw.New(canvas)
	all.SetColor(color.White)
	all.Fill(all.Rectangle.Path())
	heading := text.Style{Color: ink, Font: sans(titleSize), XAlign: text.XLeft, YAlign: text.YTop, Handler: p.TextHandler}
	all.FillText(heading, vg.Point{X: margin, Y: all.Max.Y - margin}, c.Title)
	heading.Color, heading.Font = subdued, sans(textSize)
	all.FillText(heading, vg.Point{X: margin, Y: all.Max.Y - margin - titleSize - 5}, c.Label)
	p.Draw(draw.Crop(all, margin, -margin, margin, -headingHeight))
	var svg bytes.Buffer
	if _, err := canvas.WriteTo(&svg); err != nil {
		return nil, err
	}
	// Arial's letters are as wide as those that the layout was made with, and
	// there where these are not.
	return bytes.ReplaceAll(svg.Bytes(), []byte("font-family:Liberation Sans;"), []byte("font-family:'Liberation Sans',Arial,Helvetica,sans-serif;")), nil
}

func sans(size font.Length) font.Font {
	return font.Font{Typeface: "Liberation", Variant: "Sans", Size: size}
}

// colorOf gives each side the same color in all charts, and other series theirs
// by their place.
func colorOf(series string, place int) color.RGBA {
	switch series {
	case "Tributary":
		return blue
	case "nats.go":
		return gray
	case "PostgreSQL":
		return orange
	}
	return [...]color.RGBA{blue, orange, gray, green}[place%4]
}

// addGroups adds the bars, and returns the height of the chart.
func (c Chart) addGroups(p *plot.Plot) vg.Length {
	var ticks plot.ConstantTicks
	rows := bars{chart: c, low: math.Inf(1)}
	at := 0.0
	for _, g := range c.Groups {
		first := at
		for i, b := range g.Bars {
			rows.bars = append(rows.bars, placedBar{Bar: b, at: at, color: colorOf(b.Series, i)})
			rows.low = min(rows.low, positive(b.Low, b.Lower, b.Median))
			rows.high = max(rows.high, b.High, b.Upper, b.Median)
			at -= rowHeight
		}
		ticks = append(ticks, plot.Tick{Value: (first + at + rowHeight) / 2, Label: g.Label})
		at -= groupGap
	}
	rows.bottom = at + groupGap + rowHeight/2.0
	if c.Log {
		p.X.Scale = plot.LogScale{}
		// Room for the labels beside the bars.
		rows.low, rows.high = rows.low/1.15, rows.high*math.Pow(rows.high/rows.low, 0.35)
	} else {
		rows.low, rows.high = 0, rows.high*1.3
	}
	p.X.Tick.Marker = valueTicks{log: c.Log, quantity: c.Quantity}
	p.Y.Tick.Marker = ticks
	p.Y.LineStyle.Width, p.Y.Tick.LineStyle.Width = 0, 0
	p.Y.Padding = 8
	p.Add(gridlines{vertical: true}, rows)
	return vg.Length(-rows.bottom) + rowHeight/2 + headingHeight + axisHeight + margin
}

// positive returns the first that is above zero.
func positive(values ...float64) float64 {
	for _, v := range values {
		if v > 0 {
			return v
		}
	}
	return 0
}

type placedBar struct {
	Bar
	at    float64
	color color.RGBA
}

// bars draws bars, each with its value and series beside it.
type bars struct {
	chart             Chart
	bars              []placedBar
	low, high, bottom float64
}

// DataRange makes room for all.
func (b bars) DataRange() (xmin, xmax, ymin, ymax float64) {
	return b.low, b.high, b.bottom, rowHeight / 2
}

// Plot draws the bars.
func (b bars) Plot(c draw.Canvas, p *plot.Plot) {
	x, y := p.Transforms(&c)
	label := text.Style{Color: ink, Font: sans(textSize), XAlign: text.XLeft, YAlign: text.YCenter, Handler: p.TextHandler}
	for _, bar := range b.bars {
		ink, at := bar.color, y(bar.at)
		end := x(bar.Median)
		line := func(from, to vg.Length, width vg.Length, color color.Color) {
			c.StrokeLine2(draw.LineStyle{Color: color, Width: width}, from, at, to, at)
		}
		if b.chart.Log {
			// A bar from nowhere says nothing on such an axis: where most values are,
			// and nearly all.
			if bar.High > 0 {
				line(x(bar.Low), x(bar.High), 1.2, ink)
				end = x(bar.High)
			}
			line(x(bar.Lower), max(x(bar.Upper), x(bar.Lower)+1), barWidth, ink)
			middle := x(bar.Median)
			c.StrokeLine2(draw.LineStyle{Color: color.White, Width: 1.6}, middle, at-barWidth/2, middle, at+barWidth/2)
		} else {
			line(x(0), end, barWidth, ink)
			if bar.Upper > bar.Lower {
				line(x(bar.Lower), x(bar.Upper), 1.2, color.Black)
				end = max(end, x(bar.Upper))
			}
		}
		c.FillText(label, vg.Point{X: end + 6, Y: at}, bar.Series+" "+value(b.chart.Quantity, bar.Summary))
	}
}

// addLines adds the lines.
func (c Chart) addLines(p *plot.Plot) {
	l := lines{chart: c, xmin: math.Inf(1), ymin: math.Inf(1)}
	for _, line := range c.Lines {
		for _, point := range line.Points {
			l.xmin, l.xmax = min(l.xmin, point.N), max(l.xmax, point.N)
			l.ymin, l.ymax = min(l.ymin, positive(point.Lower, point.Median)), max(l.ymax, point.Upper, point.Median)
		}
	}
	l.xmin, l.xmax = l.xmin/1.3, l.xmax*8 // room for the labels at the ends
	p.X.Scale = plot.LogScale{}
	p.X.Tick.Marker = countTicks{}
	p.Y.Tick.Marker = valueTicks{log: c.Log, quantity: c.Quantity}
	p.Y.LineStyle.Width, p.Y.Tick.LineStyle.Width = 0, 0
	if c.Log {
		p.Y.Scale = plot.LogScale{}
		l.ymin, l.ymax = l.ymin/1.5, l.ymax*1.5
	} else {
		l.ymin, l.ymax = 0, l.ymax*1.15
	}
	p.Add(gridlines{}, l)
}

// lines draws lines, each with its name at its end.
type lines struct {
	chart                  Chart
	xmin, xmax, ymin, ymax float64
}

// DataRange makes room for all.
func (l lines) DataRange() (xmin, xmax, ymin, ymax float64) { return l.xmin, l.xmax, l.ymin, l.ymax }

// Plot draws the lines.
func (l lines) Plot(c draw.Canvas, p *plot.Plot) {
	x, y := p.Transforms(&c)
	names := make([]name, len(l.chart.Lines))
	for i, line := range l.chart.Lines {
		ink := colorOf(line.Series, i)
		var path []vg.Point
		for _, point := range line.Points {
			at := vg.Point{X: x(point.N), Y: y(point.Median)}
			path = append(path, at)
			if point.Upper > point.Lower {
				c.StrokeLine2(draw.LineStyle{Color: ink, Width: 1.2}, at.X, y(point.Lower), at.X, y(point.Upper))
			}
			c.DrawGlyph(draw.GlyphStyle{Color: ink, Radius: 3, Shape: draw.CircleGlyph{}}, at)
			names[i] = name{at: vg.Point{X: at.X + 10, Y: at.Y}, text: line.Series + " " + value(l.chart.Quantity, point.Summary), color: ink}
		}
		c.StrokeLines(draw.LineStyle{Color: ink, Width: 1.8}, path)
	}
	for _, n := range apart(names) {
		style := text.Style{Color: n.color, Font: sans(textSize), XAlign: text.XLeft, YAlign: text.YCenter, Handler: p.TextHandler}
		c.FillText(style, n.at, n.text)
	}
}

// name is what stands at the end of a line.
type name struct {
	at    vg.Point
	text  string
	color color.RGBA
}

// apart moves names up where they would lie upon each other.
func apart(names []name) []name {
	slices.SortFunc(names, func(a, b name) int { return cmp.Compare(a.at.Y, b.at.Y) })
	for i := 1; i < len(names); i++ {
		names[i].at.Y = max(names[i].at.Y, names[i-1].at.Y+textSize+3)
	}
	return names
}

// gridlines draws a faint line at each tick of the axis of values.
type gridlines struct{ vertical bool }

// Plot draws the lines.
func (g gridlines) Plot(c draw.Canvas, p *plot.Plot) {
	x, y := p.Transforms(&c)
	style := draw.LineStyle{Color: faint, Width: 0.8}
	axis := p.Y
	if g.vertical {
		axis = p.X
	}
	for _, tick := range axis.Tick.Marker.Ticks(axis.Min, axis.Max) {
		switch {
		case tick.IsMinor() || tick.Value < axis.Min || tick.Value > axis.Max:
		case g.vertical:
			c.StrokeLine2(style, x(tick.Value), c.Min.Y, x(tick.Value), c.Max.Y)
		default:
			c.StrokeLine2(style, c.Min.X, y(tick.Value), c.Max.X, y(tick.Value))
		}
	}
}

// valueTicks are round values of a quantity.
type valueTicks struct {
	log      bool
	quantity measure.Quantity
}

// Ticks returns them.
func (t valueTicks) Ticks(low, high float64) []plot.Tick {
	var ticks []plot.Tick
	add := func(v float64) {
		u := unitFor(t.quantity, v)
		if t.quantity == measure.Rate {
			u.name = "" // the label says it
		}
		ticks = append(ticks, plot.Tick{Value: v, Label: round(v/u.size) + u.name})
	}
	if !t.log {
		step := roundStep(high / 5)
		for i := 0; float64(i)*step <= high; i++ {
			add(float64(i) * step)
		}
		return ticks
	}
	factors := []float64{1, 2, 5}
	if high/low > 2000 {
		factors = []float64{1}
	}
	for power := math.Floor(math.Log10(low)); power <= math.Ceil(math.Log10(high)); power++ {
		for _, factor := range factors {
			if v := factor * math.Pow(10, power); v >= low && v <= high {
				add(v)
			}
		}
	}
	return ticks
}

// countTicks are powers of ten.
type countTicks struct{}

// Ticks returns them.
func (countTicks) Ticks(low, high float64) []plot.Tick {
	var ticks []plot.Tick
	for v := 1.0; v <= high; v *= 10 {
		if v >= low {
			ticks = append(ticks, plot.Tick{Value: v, Label: round(v)})
		}
	}
	return ticks
}

// roundStep returns 1, 2 or 5 times a power of ten, near x.
func roundStep(x float64) float64 {
	power := math.Pow(10, math.Floor(math.Log10(x)))
	switch {
	case x < 1.5*power:
		return power
	case x < 3.5*power:
		return 2 * power
	case x < 7.5*power:
		return 5 * power
	}
	return 10 * power
}

// round writes a round number without needless digits.
func round(x float64) string {
	text := significant(x)
	if strings.Contains(text, ".") {
		text = strings.TrimRight(strings.TrimRight(text, "0"), ".")
	}
	return text
}
