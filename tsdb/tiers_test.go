package tsdb

import (
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/timestamp"
	stale "github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"

	"nocturne/internal/need"
	"nocturne/tsdb/rollup"
)

var quiet = slog.New(slog.DiscardHandler)

// history opens a store in dir and appends random series from start on, in
// order but for some late samples, and compacts.
func history(t *testing.T, dir string, r *rand.Rand, start time.Time, hours int, o Options) *DB {
	t.Helper()
	o.Dir, o.Log = dir, quiet
	db, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() }) // again, where a test has closed it
	series := randomSeries(r)
	for at := start; at.Before(start.Add(time.Duration(hours) * time.Hour)); at = at.Add(10 * time.Minute) {
		var batch []Sample
		for _, s := range series {
			batch = append(batch, s.next(r, at, at.Add(10*time.Minute))...)
		}
		if _, err := db.Append(t.Context(), batch); err != nil {
			t.Fatal(err)
		}
		if at.Minute() == 0 && at.Hour()%4 == 0 {
			if err := db.inner.Compact(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	return db
}

// walk is a random series.
type walk struct {
	labels labels.Labels
	kind   string // "gauge", "counter", "weird"
	step   int64
	v      float64
	until  int64 // silent until then
	held   []Sample
}

func randomSeries(r *rand.Rand) []*walk {
	var out []*walk
	for _, kind := range []string{"gauge", "counter", "weird"} {
		for i := range 5 {
			ls := labels.FromStrings("__name__", kind, "n", fmt.Sprint(i), "Zone", "z")
			if i == 0 {
				ls = labels.FromStrings("__name__", kind, "Zone", "z")
			}
			out = append(out, &walk{labels: ls, kind: kind, step: []int64{15_000, 30_000, 60_000}[r.IntN(3)]})
		}
	}
	return out
}

// next are the samples from from to to, without to. Some come late, with a
// later call.
func (w *walk) next(r *rand.Rand, from, to time.Time) []Sample {
	out := w.held
	w.held = nil
	for t := floorTo(from.UnixMilli(), w.step); t < to.UnixMilli(); t += w.step {
		at := t + int64(w.labels.Hash()%2*3333) // half of the series at the ends of buckets
		if t < from.UnixMilli() || at < w.until {
			continue
		}
		switch {
		case r.IntN(400) == 0:
			w.until = at + 1 + r.Int64N(2*time.Hour.Milliseconds())
			if r.IntN(2) == 0 {
				out = append(out, Sample{w.labels, at, math.Float64frombits(stale.StaleNaN)})
			}
			continue
		case w.kind == "counter" && r.IntN(300) == 0:
			w.v = float64(r.IntN(3))
		case w.kind == "counter":
			w.v += float64(r.IntN(2000)) / 16
		default:
			w.v = r.NormFloat64() * 1000
		}
		v := w.v
		if w.kind == "weird" && r.IntN(50) == 0 {
			v = []float64{math.NaN(), math.Inf(1), math.Inf(-1), 1e300, math.Copysign(0, -1)}[r.IntN(5)]
		}
		s := Sample{w.labels, at, v}
		if r.IntN(50) == 0 {
			w.held = append(w.held, s)
		} else {
			out = append(out, s)
		}
	}
	return out
}

func floorTo(t, step int64) int64 { return t - t%step }

// forced evaluates over the tiers as if raw samples had expired before rawFrom.
func (db *DB) forced(t *testing.T, expr string, from, to time.Time, step time.Duration, only []string, rawFrom int64) (*promql.Result, rollup.Answer) {
	t.Helper()
	var q promql.Query
	var err error
	if from.Equal(to) {
		q, err = db.engine.NewInstantQuery(t.Context(), db.tiers.over(db.inner), nil, expr, from)
	} else {
		q, err = db.engine.NewRangeQuery(t.Context(), db.tiers.over(db.inner), nil, expr, from, to, step)
	}
	if err != nil {
		t.Fatal(expr, err)
	}
	h := db.tiers.holdings()
	h.RawFrom = rawFrom
	h.Tiers = slices.DeleteFunc(h.Tiers, func(h rollup.Holding) bool { return len(only) > 0 && !slices.Contains(only, h.Name) })
	a := rollup.Rewrite(q.Statement().(*parser.EvalStmt), h)
	r := q.Exec(t.Context())
	if r.Err != nil {
		t.Fatal(expr, r.Err)
	}
	return r, a
}

func (db *DB) fromRaw(t *testing.T, expr string, from, to time.Time, step time.Duration) *promql.Result {
	t.Helper()
	var q promql.Query
	var err error
	if from.Equal(to) {
		q, err = db.engine.NewInstantQuery(t.Context(), db.inner, nil, expr, from)
	} else {
		q, err = db.engine.NewRangeQuery(t.Context(), db.inner, nil, expr, from, to, step)
	}
	if err != nil {
		t.Fatal(expr, err)
	}
	r := q.Exec(t.Context())
	if r.Err != nil {
		t.Fatal(expr, r.Err)
	}
	return r
}

// byLabels are the values of a result by series and time.
func byLabels(r *promql.Result) map[string]map[int64]float64 {
	out := map[string]map[int64]float64{}
	put := func(ls labels.Labels, t int64, v float64) {
		if out[ls.String()] == nil {
			out[ls.String()] = map[int64]float64{}
		}
		out[ls.String()][t] = v
	}
	switch v := r.Value.(type) {
	case promql.Vector:
		for _, s := range v {
			put(s.Metric, s.T, s.F)
		}
	case promql.Matrix:
		for _, s := range v {
			for _, p := range s.Floats {
				put(s.Metric, p.T, p.F)
			}
		}
	}
	return out
}

// differing counts the values of a and b and returns the first that are not
// alike.
func differing(a, b map[string]map[int64]float64, alike func(a, b float64) bool) (int, []string) {
	n := 0
	var diff []string
	for ls, as := range a {
		for t, v := range as {
			n++
			if w, ok := b[ls][t]; !ok || !alike(v, w) {
				diff = append(diff, fmt.Sprintf("%s at %s: raw %v, tier %v (%v)", ls, timestamp.Time(t).UTC().Format(time.TimeOnly), v, w, ok))
			}
		}
	}
	for ls, bs := range b {
		for t, w := range bs {
			if _, ok := a[ls][t]; !ok {
				diff = append(diff, fmt.Sprintf("%s at %s: raw has none, tier %v", ls, timestamp.Time(t).UTC().Format(time.TimeOnly), w))
			}
		}
	}
	return n, diff[:min(len(diff), 5)]
}

func sameBits(a, b float64) bool { return a == b || math.IsNaN(a) && math.IsNaN(b) }

func rounded(a, b float64) bool {
	return sameBits(a, b) || math.Abs(a-b) <= 1e-9*max(math.Abs(a), math.Abs(b), 1e-3)
}

// TestWholeWindowsEqualRaw holds what tiers answer over whole buckets against
// what raw samples answer, by the same engine.
func TestWholeWindowsEqualRaw(t *testing.T) {
	if testing.Short() {
		t.Skip("long, and with the race detector longer")
	}
	t.Parallel()
	_, r := need.Seed(t)
	start := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	db := history(t, t.TempDir(), r, start, 30, Options{})
	if err := db.tiers.rollUp(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	for _, tier := range db.tiers.list {
		t.Logf("%+v", tier.Stats())
		if len(tier.Covered()) != 1 {
			t.Fatalf("tier %s covers %v", tier.Name(), tier.Covered())
		}
	}
	functions := []struct {
		expr  string
		alike func(a, b float64) bool
	}{
		{"max_over_time(%s[%s]%s)", sameBits},
		{"min_over_time(%s[%s]%s)", sameBits},
		{"count_over_time(%s[%s]%s)", sameBits},
		{"last_over_time(%s[%s]%s)", sameBits},
		{"sum_over_time(%s[%s]%s)", rounded},
		{"avg_over_time(%s[%s]%s)", rounded},
		{"%s%.0s%s", sameBits}, // a plain selector
	}
	total := 0
	for range 120 {
		tier := db.tiers.list[r.IntN(2)]
		width := tier.Width()
		f := functions[r.IntN(len(functions))]
		selector := []string{"gauge", "counter", `weird{n!=""}`, `{__name__=~"gauge|counter",n="1"}`}[r.IntN(4)]
		if r.IntN(2) == 0 && selector[0] == '{' {
			selector = "weird"
		}
		w := width * time.Duration(1+r.IntN(5))
		offset := ""
		if r.IntN(3) == 0 {
			offset = " offset " + (width * time.Duration(1+r.IntN(3))).String()
		}
		if selector[0] == '{' && f.expr[0] != '%' && f.expr[0] != 'l' {
			selector = "gauge" // without names the two would be one
		}
		expr := fmt.Sprintf(f.expr, selector, w, offset)
		from := start.Add(width * time.Duration(r.IntN(int(20*time.Hour/width))))
		to, step := from, time.Duration(0)
		if r.IntN(4) > 0 {
			step = width * time.Duration(1+r.IntN(4))
			to = from.Add(step * time.Duration(1+r.IntN(20)))
		}
		raw := byLabels(db.fromRaw(t, expr, from, to, step))
		res, a := db.forced(t, expr, from, to, step, []string{tier.Name()}, math.MaxInt64)
		if !slices.Equal(a.Tiers, []string{tier.Name()}) {
			t.Fatalf("%s read %v", expr, a.Tiers)
		}
		if warnings, _ := res.Warnings.CountWarningsAndInfo(); warnings > 0 {
			t.Errorf("%s: %v", expr, res.Warnings)
		}
		n, diff := differing(raw, byLabels(res), f.alike)
		total += n
		if len(diff) > 0 {
			t.Errorf("%s from %s to %s step %s of %s: %q", expr, from, to, step, tier.Name(), diff)
		}
	}
	for expr, want := range map[string][]string{ // nothing has expired
		"max_over_time(gauge[1h])":                            {"1h"},
		"max_over_time(gauge[5m]) + min_over_time(weird[1h])": {"5m", "1h"},
		"rate(counter[1h])":                                   {"5m"},
		"gauge":                                               {"1h"},
		"timestamp(gauge)":                                    {"raw"},
		"max_over_time(gauge[7m])":                            {"raw"},
		"stddev_over_time(gauge[1h])":                         {"raw"},
		"max_over_time(rate(counter[1h])[2h:1h])":             {"raw"},
		"max_over_time(gauge[1h] @ 1772330400)":               {"raw"},
		"1":                                                   nil,
	} {
		q, err := db.RangeQuery(t.Context(), nil, expr, start.Add(2*time.Hour), start.Add(20*time.Hour), time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		if got := TiersOf(q); !slices.Equal(got, want) {
			t.Errorf("%s reads %v, want %v", expr, got, want)
		}
	}
	t.Logf("%d values compared", total)
	if total < 1000 {
		t.Error("that is too few")
	}
}
