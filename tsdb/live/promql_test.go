package live

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/tsdb"

	"nocturne/internal/need"
)

// TestRandomQueriesAgainstTheLibrary asks the same of a window and of the
// library's own store with the same points, over the last minutes.
func TestRandomQueriesAgainstTheLibrary(t *testing.T) {
	_, r := need.Seed(t)
	now := time.Now().Truncate(time.Second)
	w := window(t, Options{})
	o := tsdb.DefaultOptions()
	o.OutOfOrderTimeWindow = 0
	db, err := tsdb.Open(t.TempDir(), nil, nil, o, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	fillBoth(t, r, w, db, now)
	reference := promql.NewEngine(promql.EngineOpts{MaxSamples: 2_000_000, Timeout: time.Minute, LookbackDelta: Lookback, EnableAtModifier: true, EnableNegativeOffset: true})
	full := 0
	for range 300 {
		expr := randomQuery(r)
		at := now.Add(-time.Duration(r.IntN(8*60*1000)) * time.Millisecond)
		step := time.Duration(1+r.IntN(30)) * time.Second
		end := at.Add(time.Duration(r.IntN(120)) * time.Second)
		q, err := reference.NewRangeQuery(t.Context(), db, nil, expr, at, end, step)
		if err != nil {
			t.Fatalf("%s: %v", expr, err)
		}
		want, wantErr := q.Exec(t.Context()).Matrix()
		got, gotErr := w.QueryRange(t.Context(), expr, at, end, step)
		if (wantErr == nil) != (gotErr == nil) || !slices.EqualFunc(want, got, sameSeries) {
			t.Errorf("%s from %s to %s by %s:\nwindow  %v %v\nlibrary %v %v", expr, at, end, step, got, gotErr, want, wantErr)
		}
		q.Close()
		if len(got) > 0 {
			full++
		}
	}
	t.Logf("300 queries, %d with an answer that holds something", full)
	if full < 150 {
		t.Errorf("only %d of 300 answers held something", full)
	}
}

// fillBoth appends ten minutes of seconds, with gaps.
func fillBoth(t *testing.T, r *rand.Rand, w *Window, db *tsdb.DB, now time.Time) {
	t.Helper()
	counters := map[string]float64{}
	for at := now.Add(-10 * time.Minute); !at.After(now); at = at.Add(time.Second) {
		app := db.Appender(context.Background())
		for i := range 3 {
			var points []Point
			for _, name := range []string{"octets", "load"} {
				if r.IntN(12) == 0 || at.Unix()/40%7 == int64(i) {
					continue // a missed second, and gaps of 40
				}
				ls := labels.FromStrings("__name__", name, "instance", fmt.Sprint("leaf", i), "site", fmt.Sprint("s", i%2))
				v := float64(r.IntN(500))
				if name == "octets" {
					counters[ls.String()] += v
					if r.IntN(150) == 0 {
						counters[ls.String()] = 0
					}
					v = counters[ls.String()]
				}
				p := Point{ls, at.UnixMilli() + int64(r.IntN(900)), v}
				points = append(points, p)
				if _, err := app.Append(0, p.Labels, p.T, p.V); err != nil {
					t.Fatal(err)
				}
			}
			put(t, w, fmt.Sprint("leaf", i), points...)
		}
		if err := app.Commit(); err != nil {
			t.Fatal(err)
		}
	}
}

func randomQuery(r *rand.Rand) string {
	pick := func(s ...string) string { return s[r.IntN(len(s))] }
	sel := pick("octets", "load") + pick("", `{instance="leaf1"}`, `{instance=~"leaf[01]"}`, `{site!="s0"}`, `{site!~"s1|x"}`, `{gone=""}`)
	window := pick("2s", "5s", "30s", "2m")
	offset := pick("", "", " offset 45s", " offset -10s", " @ end()")
	e := pick(sel+offset, "rate("+sel+"["+window+"]"+offset+")", "irate("+sel+"["+window+"])", "increase("+sel+"["+window+"])", "delta("+sel+"["+window+"])",
		pick("avg", "min", "max", "sum", "count", "last", "stddev", "present")+"_over_time("+sel+"["+window+"]"+offset+")", "max_over_time("+sel+"[1m:7s])",
		"timestamp("+sel+")", "resets("+sel+"["+window+"])", "absent("+sel+")")
	// The order of series is each store's own and, behind timestamp, another at
	// each asking. It decides which of equals is in the top, so that is of all,
	// and more than the last digits of how times of today deviate.
	over := []string{"sum", "avg", "max", "min", "count", "stddev"}
	if strings.HasPrefix(e, "timestamp(") {
		over = over[:5]
	}
	return pick(e, e, pick(over...)+pick("", " by (site)", " without (instance)")+" ("+e+")", "topk(3, "+e+")", e+" > 100",
		e+" / on (instance) load", "8 * ("+e+")", strings.ReplaceAll("X unless load", "X", e))
}

func sameSeries(a, b promql.Series) bool {
	return labels.Equal(a.Metric, b.Metric) && slices.EqualFunc(a.Floats, b.Floats, func(x, y promql.FPoint) bool {
		// Sums depend on the order of series, which is each store's own.
		return x.T == y.T && (x.F == y.F || math.IsNaN(x.F) && math.IsNaN(y.F) || math.Abs(x.F-y.F) <= 1e-9*math.Abs(x.F))
	})
}
