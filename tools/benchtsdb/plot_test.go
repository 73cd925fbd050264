package benchtsdb

import (
	"cmp"
	"encoding/xml"
	"errors"
	"fmt"
	"html"
	"io"
	"math"
	"slices"
	"strings"
	"testing"
)

// plot is a chart of how a figure grows with the number of series.
type plot struct {
	key, title, unit string
	scale            float64
}

var plots = []plot{
	{"appends", "Appends in-process: samples a CPU second", "M", 1e-6},
	{"write", "Remote write: samples a CPU second of the server", "M", 1e-6},
	{"memory", "Peak RSS under full load", "MB", 1e-6},
	{"dashboards", "50 dashboards during ingest: p99 of a query", "ms", 1},
	{"open", "Opening after kill -9", "s", 1},
}

// Colours that stay apart for most eyes, and on white as on dark pages.
var colours = map[string]string{"nocturne": "#0072b2", "Prometheus": "#d55e00", "VictoriaMetrics": "#8a63b8", "library": "#d55e00"}

const (
	plotWidth, plotHeight = 640, 360
	left, right           = 70, 150
	top, bottom           = 50, 50
)

// draw returns an SVG image with a line for each of those compared, both axes
// logarithmic; "" where there are fewer than two sizes.
func (p plot) draw(sections []*section) string {
	lines, sizes := p.gather(sections)
	if len(sizes) < 2 {
		return ""
	}
	low, high := math.Inf(1), math.Inf(-1)
	for _, points := range lines {
		for _, v := range points {
			low, high = min(low, v), max(high, v)
		}
	}
	low, high = math.Pow(10, math.Floor(math.Log10(low))), math.Pow(10, math.Ceil(math.Log10(high*1.0001)))
	x := func(series int) float64 {
		return left + (plotWidth-left-right)*part(float64(series), float64(sizes[0]), float64(sizes[len(sizes)-1]))
	}
	y := func(v float64) float64 { return plotHeight - bottom - (plotHeight-top-bottom)*part(v, low, high) }
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12"><rect width="100%%" height="100%%" fill="#fff"/>`+"\n", plotWidth, plotHeight)
	fmt.Fprintf(&b, `<text x="%d" y="24" font-size="15">%s (%s)</text>`+"\n", left, html.EscapeString(p.title), p.unit)
	for _, n := range sizes {
		fmt.Fprintf(&b, `<line x1="%.1f" x2="%.1f" y1="%d" y2="%d" stroke="#ddd"/><text x="%.1f" y="%d" text-anchor="middle">%s</text>`+"\n", x(n), x(n), top, plotHeight-bottom, x(n), plotHeight-bottom+18, short(n))
	}
	for v := low; v <= high*1.001; v *= 10 {
		for _, k := range []float64{1, 2, 5} {
			if v*k <= high*1.001 {
				fmt.Fprintf(&b, `<line x1="%d" x2="%d" y1="%.1f" y2="%.1f" stroke="#ddd"/><text x="%d" y="%.1f" text-anchor="end">%g</text>`+"\n", left, plotWidth-right, y(v*k), y(v*k), left-6, y(v*k)+4, round(v*k))
			}
		}
	}
	fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="middle">series</text>`+"\n", left+(plotWidth-left-right)/2, plotHeight-12)
	p.lines(&b, lines, sizes, x, y)
	b.WriteString("</svg>\n")
	return b.String()
}

// lines draws them, and their names at the right, apart from each other.
func (p plot) lines(b *strings.Builder, lines map[string]map[int]float64, sizes []int, x func(int) float64, y func(float64) float64) {
	var names []string
	for who := range lines {
		names = append(names, who)
	}
	// A line ends where it has its last figure: a run may have been broken off.
	end := map[string]int{}
	for _, who := range names {
		for n := range lines[who] {
			end[who] = max(end[who], n)
		}
	}
	slices.SortFunc(names, func(a, b string) int { return cmp.Compare(y(lines[a][end[a]]), y(lines[b][end[b]])) })
	lowest := math.Inf(-1)
	for _, who := range names {
		var points, dots strings.Builder
		for _, n := range sizes {
			v, ok := lines[who][n]
			if !ok {
				continue
			}
			fmt.Fprintf(&points, "%.1f,%.1f ", x(n), y(v))
			fmt.Fprintf(&dots, `<circle cx="%.1f" cy="%.1f" r="4" fill="%s"><title>%s, %s series: %.4g %s</title></circle>`, x(n), y(v), colours[who], who, short(n), v, p.unit)
		}
		at := max(y(lines[who][end[who]])+4, lowest+15)
		lowest = at
		fmt.Fprintf(b, `<polyline points="%s" fill="none" stroke="%s" stroke-width="2"/>%s<text x="%d" y="%.1f" fill="%s">%s</text>`+"\n", strings.TrimSpace(points.String()), colours[who], dots.String(), plotWidth-right+10, at, colours[who], who)
	}
}

// gather returns the figures by name and number of series, scaled.
func (p plot) gather(sections []*section) (map[string]map[int]float64, []int) {
	lines, sizes := map[string]map[int]float64{}, []int{}
	for _, s := range sections {
		for _, r := range s.Rows {
			if r.Key != p.key || s.Series == 0 {
				continue
			}
			sizes = append(sizes, s.Series)
			for _, f := range r.Figures {
				if lines[f.Who] == nil {
					lines[f.Who] = map[int]float64{}
				}
				lines[f.Who][s.Series] = f.Value * p.scale
			}
		}
	}
	slices.Sort(sizes)
	return lines, slices.Compact(sizes)
}

// part is where v lies between low and high on a logarithmic scale, 0 to 1.
func part(v, low, high float64) float64 { return math.Log(v/low) / math.Log(high/low) }

func round(v float64) float64 { return math.Round(v*1e6) / 1e6 }

func short(n int) string {
	if n >= 1000 && n%1000 == 0 {
		return fmt.Sprintf("%dk", n/1000)
	}
	return fmt.Sprint(n)
}

func TestPlot(t *testing.T) {
	sections := []*section{
		{Series: 500_000, Rows: []row{{Key: "open", Figures: []figure{one("nocturne", 20), one("Prometheus", 30)}}}},
		{Series: 10_000, Rows: []row{{Key: "open", Figures: []figure{one("nocturne", 0.5), one("Prometheus", 0.4)}}}},
	}
	p := plot{"open", "Opening <now>", "s", 1}
	svg := p.draw(sections)
	d, circles := xml.NewDecoder(strings.NewReader(svg)), 0
	for {
		tok, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("%v in\n%s", err, svg)
		}
		if e, ok := tok.(xml.StartElement); ok && e.Name.Local == "circle" {
			circles++
		}
	}
	if circles != 4 {
		t.Errorf("%d points, want 4:\n%s", circles, svg)
	}
	if svg := p.draw(sections[:1]); svg != "" {
		t.Errorf("a plot of one size:\n%s", svg)
	}
}
