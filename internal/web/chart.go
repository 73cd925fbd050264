package web

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/prometheus/prometheus/promql"

	"nocturne/tsdb/live"
)

const (
	chartPoints = 600              // of one series, its live end not counted
	liveSpan    = 15 * time.Minute // how far back live points are asked for
	// settling is how many points of a run of live points are left out: until
	// a run is as long as Lookback, a rate over it comes out too low.
	settling = int(live.Lookback / time.Second)
)

// spans are the ranges that a chart can show.
var spans = map[string]time.Duration{"hour": time.Hour, "day": 24 * time.Hour, "week": 7 * 24 * time.Hour}

// chartData is what a chart draws.
type chartData struct {
	Series []chartSeries `json:"series"`
	From   float64       `json:"from" doc:"Unix seconds"`
	To     float64       `json:"to" doc:"Unix seconds"`
}

// chartSeries is one line of a chart, oldest point first.
type chartSeries struct {
	Key   string       `json:"key" doc:"Names the series within its panel, here and in the live stream"`
	Label string       `json:"label"`
	Unit  string       `json:"unit"`
	Pts   []chartPoint `json:"pts" doc:"Pairs of Unix seconds and value; null where nothing was measured"`
}

// chartPoint is a value at T, Unix milliseconds. A NaN is a gap.
type chartPoint struct {
	T int64
	V float64
}

// MarshalJSON writes [seconds, value] or [seconds, null].
func (p chartPoint) MarshalJSON() ([]byte, error) {
	b := strconv.AppendFloat([]byte{'['}, float64(p.T)/1000, 'f', -1, 64)
	b = append(b, ',')
	if math.IsNaN(p.V) || math.IsInf(p.V, 0) {
		return append(b, "null]"...), nil
	}
	v, err := json.Marshal(p.V)
	return append(append(b, v...), ']'), err
}

// Schema says what MarshalJSON writes.
func (chartPoint) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeArray, MinItems: new(2), MaxItems: new(2), Items: &huma.Schema{Type: huma.TypeNumber, Nullable: true}}
}

// plot is a panel made ready for one item.
type plot struct {
	panel
	sel, pick string
	interval  time.Duration // of the item's target
}

// window is what rates over the history are taken over.
func (p plot) window(step time.Duration) time.Duration {
	return max(time.Minute, 4*p.interval, step)
}

// plotOf makes a panel ready: it finds the item's series and those of them
// that were busiest since from.
func (s *Server) plotOf(ctx context.Context, id string, p panel, from, to time.Time) (plot, error) {
	out := plot{panel: p, sel: s.selectorOf(id, p.Job), interval: s.intervalOf(s.targetOf(id))}
	if out.sel == "" {
		return out, notFound{"series of " + id}
	}
	if p.Pick == "" {
		return out, nil
	}
	res, err := s.History.Query(ctx, expr(p.Pick, out.sel, "", to.Sub(from)), to)
	if err != nil {
		return out, err
	}
	v, err := res.Vector()
	if err != nil {
		return out, err
	}
	var names []string
	for _, x := range v {
		names = append(names, regexp.QuoteMeta(x.Metric.Get(p.By)))
	}
	slices.Sort(names)
	out.pick = picked(p.By, names)
	return out, nil
}

func picked(label string, names []string) string {
	return fmt.Sprintf(",%s=~%q", label, strings.Join(names, "|"))
}

// empty tells whether there was nothing to choose from.
func (p plot) empty() bool { return p.Pick != "" && p.pick == picked(p.By, nil) }

func (s *Server) intervalOf(target string) time.Duration {
	for _, t := range s.Collector.Status() {
		if t.Target.Name == target {
			return t.Target.Interval
		}
	}
	return time.Minute
}

// chart is what a panel of an item shows of the last hour, day or week.
func (s *Server) chart(ctx context.Context, id, name, span string) (chartData, error) {
	length, ok := spans[span]
	if !ok {
		return chartData{}, invalid{"the range is hour, day or week"}
	}
	ps := panelsOf(id)
	i := slices.IndexFunc(ps, func(p panel) bool { return p.Name == name })
	if _, known := s.Graph.Item(id); !known || i < 0 {
		return chartData{}, notFound{"chart " + name + " of " + id}
	}
	to := time.Now()
	p, err := s.plotOf(ctx, id, ps[i], to.Add(-length), to)
	if err != nil {
		return chartData{}, err
	}
	step := stepOf(length, p.interval)
	past, err := s.history(ctx, p, to.Truncate(step).Add(-length), to, step)
	if err != nil {
		return chartData{}, err
	}
	if span == "hour" && p.Live {
		fine, err := s.fine(ctx, p, to.Add(-liveSpan), to)
		if err != nil {
			return chartData{}, err
		}
		past = refined(past, fine, step)
	}
	out := chartData{Series: past, From: float64(to.Add(-length).Unix()), To: float64(to.Unix())}
	for i := range out.Series {
		out.Series[i].Pts = gapped(out.Series[i].Pts, step)
	}
	return out, nil
}

// stepOf fits a range to the points of a chart, but not much finer than what
// was measured.
func stepOf(length, interval time.Duration) time.Duration {
	return max(time.Second, interval/2, length/chartPoints).Round(time.Second)
}

// history draws a plot from the store. A value counts no longer than a rate's
// window, so that what ended is not drawn on.
func (s *Server) history(ctx context.Context, p plot, from, to time.Time, step time.Duration) ([]chartSeries, error) {
	w := p.window(step)
	return p.draw(w, func(query string) (promql.Matrix, error) {
		q, err := s.History.RangeQuery(ctx, promql.NewPrometheusQueryOpts(false, w), query, from, to, step)
		if err != nil {
			return nil, fmt.Errorf("query %q: %w", query, err)
		}
		m, err := q.Exec(ctx).Matrix()
		if err != nil {
			return nil, fmt.Errorf("query %q: %w", query, err)
		}
		return m, nil
	})
}

// fine draws a plot by the second from the live window.
func (s *Server) fine(ctx context.Context, p plot, from, to time.Time) ([]chartSeries, error) {
	p.Lines = p.now()
	out, err := p.draw(live.Lookback, func(query string) (promql.Matrix, error) {
		return s.Live.QueryRange(ctx, query, from.Truncate(time.Second), to.Truncate(time.Second), time.Second)
	})
	for i := range out {
		out[i].Pts = settled(out[i].Pts)
	}
	return slices.DeleteFunc(out, func(c chartSeries) bool { return len(c.Pts) == 0 }), err
}

// draw runs the lines of a plot. Series of one label are one, as when an
// interface's alias changed.
func (p plot) draw(w time.Duration, ask func(string) (promql.Matrix, error)) ([]chartSeries, error) {
	out := []chartSeries{}
	at := map[string]int{}
	for _, l := range p.Lines {
		m, err := ask(expr(l.Query, p.sel, p.pick, w))
		if err != nil {
			return nil, err
		}
		first := len(out)
		for _, found := range m {
			label := l.label(found.Metric)
			i, ok := at[label]
			if !ok {
				i = len(out)
				out = append(out, chartSeries{Key: label, Label: label, Unit: p.Unit})
				at[label] = i
			}
			for _, f := range found.Floats {
				out[i].Pts = append(out[i].Pts, chartPoint{f.T, f.F})
			}
		}
		slices.SortStableFunc(out[first:], func(a, b chartSeries) int { return naturally(a.Label, b.Label) })
		for i, c := range out {
			at[c.Key] = i
			out[i].Pts = ordered(c.Pts)
		}
	}
	return out, nil
}

// ordered sorts points by time, one a time.
func ordered(pts []chartPoint) []chartPoint {
	byTime := func(a, b chartPoint) int { return int(a.T - b.T) }
	if !slices.IsSortedFunc(pts, byTime) {
		slices.SortStableFunc(pts, byTime)
	}
	return slices.CompactFunc(pts, func(a, b chartPoint) bool { return a.T == b.T })
}

// settled leaves out the first points of each run of seconds.
func settled(pts []chartPoint) []chartPoint {
	var out []chartPoint
	run := 0
	for i, p := range pts {
		run++
		if i == 0 || p.T-pts[i-1].T > 1500 {
			run = 1
		}
		if run > settling {
			out = append(out, p)
		}
	}
	return out
}

// refined puts fine points in the place of the coarse ones near them.
func refined(coarse, fine []chartSeries, step time.Duration) []chartSeries {
	for _, f := range fine {
		i := slices.IndexFunc(coarse, func(c chartSeries) bool { return c.Key == f.Key })
		if i < 0 {
			coarse = append(coarse, f)
			continue
		}
		kept := slices.DeleteFunc(coarse[i].Pts, func(p chartPoint) bool { return near(f.Pts, p.T, step.Milliseconds()) })
		coarse[i].Pts = ordered(append(kept, f.Pts...))
	}
	return coarse
}

// near tells whether a point lies less than within from t.
func near(pts []chartPoint, t, within int64) bool {
	i, _ := slices.BinarySearchFunc(pts, t-within+1, func(p chartPoint, t int64) int { return int(p.T - t) })
	return i < len(pts) && pts[i].T < t+within
}

// gapped puts a gap where a step or more is missing.
func gapped(pts []chartPoint, step time.Duration) []chartPoint {
	out := make([]chartPoint, 0, len(pts))
	for i, p := range pts {
		if i > 0 && p.T-pts[i-1].T > step.Milliseconds()*3/2 {
			out = append(out, chartPoint{pts[i-1].T + step.Milliseconds(), math.NaN()})
		}
		out = append(out, p)
	}
	return out
}
