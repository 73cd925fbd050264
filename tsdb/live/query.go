package live

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/util/annotations"
)

// Lookback is how old the newest point of a series may be to count as its
// value now. Points come each second: one that is older was not renewed.
const Lookback = 5 * time.Second

// engine evaluates queries over windows. It keeps nothing between two queries.
var engine = promql.NewEngine(promql.EngineOpts{
	MaxSamples:               2_000_000,
	Timeout:                  5 * time.Second,
	LookbackDelta:            Lookback,
	NoStepSubqueryIntervalFn: func(int64) int64 { return time.Second.Milliseconds() },
	EnableAtModifier:         true,
	EnableNegativeOffset:     true,
})

// Queryable gives PromQL engines read access to the window.
func (w *Window) Queryable() storage.Queryable {
	return storage.QueryableFunc(func(from, to int64) (storage.Querier, error) {
		return querier{w, from, to}, nil
	})
}

// Query evaluates a PromQL expression over the window at one time.
func (w *Window) Query(ctx context.Context, expr string, t time.Time) (promql.Vector, error) {
	q, err := engine.NewInstantQuery(ctx, w.Queryable(), nil, expr, t)
	if err != nil {
		return nil, fmt.Errorf("query %q: %w", expr, err)
	}
	v, err := q.Exec(ctx).Vector()
	if err != nil {
		return nil, fmt.Errorf("query %q: %w", expr, err)
	}
	return v, nil
}

// QueryRange evaluates a PromQL expression over the window at from, from+step,
// ... up to to.
func (w *Window) QueryRange(ctx context.Context, expr string, from, to time.Time, step time.Duration) (promql.Matrix, error) {
	if step <= 0 {
		return nil, fmt.Errorf("query %q: step %s is not positive", expr, step)
	}
	q, err := engine.NewRangeQuery(ctx, w.Queryable(), nil, expr, from, to, step)
	if err != nil {
		return nil, fmt.Errorf("query %q: %w", expr, err)
	}
	m, err := q.Exec(ctx).Matrix()
	if err != nil {
		return nil, fmt.Errorf("query %q: %w", expr, err)
	}
	return m, nil
}

// querier reads the points between from and to, Unix milliseconds.
type querier struct {
	w        *Window
	from, to int64
}

func (q querier) Close() error { return nil }

func (q querier) Select(ctx context.Context, _ bool, hints *storage.SelectHints, matchers ...*labels.Matcher) storage.SeriesSet {
	from, to := q.from, q.to
	if hints != nil {
		from, to = max(from, hints.Start), min(to, hints.End)
	}
	found, err := q.matching(ctx, from, to, matchers)
	if err != nil {
		return storage.ErrSeriesSet(err)
	}
	return &seriesSet{found: found}
}

// matching returns the series with points between from and to that match, in
// the order of their labels.
func (q querier) matching(ctx context.Context, from, to int64, matchers []*labels.Matcher) ([]Series, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	equal := map[string]string{}
	for _, m := range matchers {
		if m.Type == labels.MatchEqual && m.Value != "" {
			equal[m.Name] = m.Value
		}
	}
	found, err := q.w.Select(labels.FromMap(equal), time.UnixMilli(from), time.UnixMilli(to))
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(found, func(s Series) bool {
		return slices.ContainsFunc(matchers, func(m *labels.Matcher) bool { return !m.Matches(s.Labels.Get(m.Name)) })
	}), nil
}

func (q querier) LabelValues(ctx context.Context, name string, _ *storage.LabelHints, matchers ...*labels.Matcher) ([]string, annotations.Annotations, error) {
	return q.collect(ctx, matchers, func(l labels.Label) (string, bool) { return l.Value, l.Name == name })
}

func (q querier) LabelNames(ctx context.Context, _ *storage.LabelHints, matchers ...*labels.Matcher) ([]string, annotations.Annotations, error) {
	return q.collect(ctx, matchers, func(l labels.Label) (string, bool) { return l.Name, true })
}

func (q querier) collect(ctx context.Context, matchers []*labels.Matcher, take func(labels.Label) (string, bool)) ([]string, annotations.Annotations, error) {
	found, err := q.matching(ctx, q.from, q.to, matchers)
	if err != nil {
		return nil, nil, err
	}
	set := map[string]bool{}
	for _, s := range found {
		s.Labels.Range(func(l labels.Label) {
			if v, ok := take(l); ok {
				set[v] = true
			}
		})
	}
	return slices.Sorted(maps.Keys(set)), nil, nil
}

// seriesSet walks over copies of series.
type seriesSet struct {
	found []Series
	next  int
}

func (s *seriesSet) Next() bool                        { s.next++; return s.next <= len(s.found) }
func (s *seriesSet) Err() error                        { return nil }
func (s *seriesSet) Warnings() annotations.Annotations { return nil }

func (s *seriesSet) At() storage.Series {
	x := s.found[s.next-1]
	return &storage.SeriesEntry{
		Lset:             x.Labels,
		SampleIteratorFn: func(chunkenc.Iterator) chunkenc.Iterator { return storage.NewListSeriesIterator(points(x.Points)) },
	}
}

type points []XY

func (p points) Get(i int) chunks.Sample { return sample{p[i]} }
func (p points) Len() int                { return len(p) }

// sample is a point as the engine's iterators read it: always a float.
type sample struct{ xy XY }

func (s sample) T() int64                      { return s.xy.T }
func (s sample) ST() int64                     { return 0 }
func (s sample) F() float64                    { return s.xy.V }
func (s sample) H() *histogram.Histogram       { return nil }
func (s sample) FH() *histogram.FloatHistogram { return nil }
func (s sample) Type() chunkenc.ValueType      { return chunkenc.ValFloat }
func (s sample) Copy() chunks.Sample           { return s }
