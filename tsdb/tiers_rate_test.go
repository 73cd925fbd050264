package tsdb

import (
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	stale "github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/tsdb/chunkenc"

	"nocturne/internal/need"
)

// rawSamples reads all samples of the series that match, by labels without
// name.
func rawSamples(t *testing.T, db *DB, name string) map[string][]Sample {
	t.Helper()
	q, err := db.inner.Querier(math.MinInt64, math.MaxInt64)
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	out := map[string][]Sample{}
	set := q.Select(t.Context(), false, nil, labels.MustNewMatcher(labels.MatchEqual, "__name__", name))
	for set.Next() {
		ls := labels.NewBuilder(set.At().Labels()).Del("__name__").Labels()
		it := set.At().Iterator(nil)
		for it.Next() == chunkenc.ValFloat {
			at, v := it.At()
			if !stale.IsStaleNaN(v) {
				out[ls.String()] = append(out[ls.String()], Sample{ls, at, v})
			}
		}
	}
	if set.Err() != nil {
		t.Fatal(set.Err())
	}
	return out
}

// increaseIn is what a counter grew between its samples in (from, to],
// resets accounted for.
func increaseIn(samples []Sample, from, to int64) float64 {
	sum, before := 0.0, -1
	for i, s := range samples {
		if s.T <= from || s.T > to {
			continue
		}
		if before >= 0 {
			if d := s.V - samples[before].V; d >= 0 {
				sum += d
			} else {
				sum += s.V
			}
		}
		before = i
	}
	return sum
}

// edge is the most that a counter grew, or would grow at the mean rate of the
// window, in one bucket of the window (from, to] or next to it.
func edge(samples []Sample, from, to, width int64) float64 {
	most := increaseIn(samples, from, to) * float64(width) / float64(to-from)
	for start := from - width; start <= to; start += width {
		// Samples a bit to either side: what comes with the first sample of a
		// bucket belongs to it.
		most = max(most, increaseIn(samples, start-width/2, start+width+width/2))
	}
	return most
}

// TestRatesAgreeWithRaw holds rate and increase over at least two whole
// buckets against raw. They may differ by one bucket's edge; where samples are
// dense, much less.
func TestRatesAgreeWithRaw(t *testing.T) {
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
	samples := rawSamples(t, db, "counter")
	var n, missing, extra int
	var worst, sum float64
	for range 60 {
		tier := db.tiers.list[r.IntN(2)]
		width := tier.Width()
		w := width * time.Duration(2+r.IntN(5))
		f := []string{"rate", "increase"}[r.IntN(2)]
		from := start.Add(width * time.Duration(r.IntN(int(20*time.Hour/width))))
		step := width * time.Duration(1+r.IntN(4))
		to := from.Add(step * time.Duration(r.IntN(20)))
		expr := fmt.Sprintf("%s(counter[%s])", f, w)
		raw := byLabels(db.fromRaw(t, expr, from, to, step))
		res, _ := db.forced(t, expr, from, to, step, []string{tier.Name()}, math.MaxInt64)
		got := byLabels(res)
		for ls, values := range raw {
			for at, v := range values {
				u, ok := got[ls][at]
				if !ok {
					missing++
					t.Errorf("%s: %s at %d: raw %v, the tier has none", expr, ls, at, v)
					continue
				}
				if f == "rate" {
					u, v = u*w.Seconds(), v*w.Seconds()
				}
				allowed := edge(samples[ls], at-w.Milliseconds(), at, width.Milliseconds())
				d := math.Abs(u - v)
				n++
				if d > allowed+1e-6 {
					t.Errorf("%s of %s: %s at %d: raw %v, tier %v, differ by more than %v", expr, tier.Name(), ls, at, v, u, allowed)
				}
				if allowed > 0 {
					worst, sum = max(worst, d/allowed), sum+d/allowed
				}
			}
		}
		for ls, values := range got {
			for at := range values {
				if _, ok := raw[ls][at]; !ok {
					extra++
				}
			}
		}
	}
	t.Logf("%d values, difference in buckets' edges: %.3f at most, %.4f on average; %d only on raw, %d only in the tier", n, worst, sum/float64(n), missing, extra)
}

// TestOtherWindowsAreNear asks for windows and times that are no whole buckets,
// as if raw samples had expired. Each answer carries a warning. The greatest
// value lies between those that raw has over the window less a bucket and over
// the window and a bucket before; a rate is within the edges of two buckets.
func TestOtherWindowsAreNear(t *testing.T) {
	if testing.Short() {
		t.Skip("long, and with the race detector longer")
	}
	t.Parallel()
	_, r := need.Seed(t)
	start := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	db := history(t, t.TempDir(), r, start, 12, Options{})
	if err := db.tiers.rollUp(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	samples := map[string]map[string][]Sample{"gauge": rawSamples(t, db, "gauge"), "counter": rawSamples(t, db, "counter")}
	width := 5 * time.Minute
	b, n := width.Milliseconds(), 0
	for range 60 {
		w := 2*width + time.Duration(r.IntN(3600))*time.Second
		at := start.Add(3*time.Hour + time.Duration(r.IntN(5*3600_000)+1)*time.Millisecond)
		expr := fmt.Sprintf("max_over_time(gauge[%s])", w)
		name := "gauge"
		if r.IntN(2) == 0 {
			expr, name = fmt.Sprintf("increase(counter[%s])", w), "counter"
		}
		res, a := db.forced(t, expr, at, at, 0, []string{"5m"}, math.MaxInt64)
		if warnings, _ := a.Notes.CountWarningsAndInfo(); warnings != 1 {
			t.Errorf("%s: %d warnings", expr, warnings)
		}
		to := at.UnixMilli()
		from := to - w.Milliseconds()
		raw := byLabels(db.fromRaw(t, expr, at, at, 0))
		for ls, values := range byLabels(res) {
			got := values[to]
			n++
			switch name {
			case "gauge":
				least, most := greatest(samples[name][ls], from, to-b), greatest(samples[name][ls], from-2*b, to)
				if got < least || got > most {
					t.Errorf("%s: %s at %d: %v is not between %v and %v", expr, ls, to, got, least, most)
				}
			case "counter":
				want, known := raw[ls][to]
				if allowed := 2 * edge(samples[name][ls], from-b, to, b); known && math.Abs(got-want) > allowed+1e-6 {
					t.Errorf("%s: %s at %d: raw %v, tier %v, differ by more than %v", expr, ls, to, want, got, allowed)
				}
			}
		}
	}
	if n < 60 {
		t.Errorf("only %d values compared", n)
	}
}

func greatest(samples []Sample, from, to int64) float64 {
	most := math.Inf(-1)
	for _, s := range samples {
		if s.T > from && s.T <= to {
			most = max(most, s.V)
		}
	}
	return most
}
