package rollup

import (
	"log/slog"
	"math"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/chunks"

	"nocturne/internal/need"
)

func (p point) T() int64                      { return p.t }
func (p point) ST() int64                     { return 0 }
func (p point) F() float64                    { return p.v }
func (p point) H() *histogram.Histogram       { return nil }
func (p point) FH() *histogram.FloatHistogram { return nil }
func (p point) Type() chunkenc.ValueType      { return chunkenc.ValFloat }
func (p point) Copy() chunks.Sample           { return p }

var stale = math.Float64frombits(value.StaleNaN)

// randomSeries has samples in (from, to]: gauges, counters with resets, gaps,
// NaN, Inf and staleness markers.
func randomSeries(r *rand.Rand, from, to int64) []point {
	var out []point
	step := []int64{15_000, 30_000, 60_000, 600_000}[r.IntN(4)]
	counts, v := r.IntN(2) == 0, 0.0
	first, jitter := from+1+r.Int64N(step), int64(20)
	if r.IntN(2) == 0 { // some samples are at the very end of a bucket
		first, jitter = from+step, 1
	}
	for t := first; t <= to; t += step + r.Int64N(jitter) {
		switch {
		case r.IntN(200) == 0:
			out = append(out, point{t, stale})
			t += step * r.Int64N(3*time.Hour.Milliseconds()/step)
			continue
		case r.IntN(100) == 0 && counts:
			v = 0
		case counts:
			v += float64(r.IntN(1000)) / 8
		default:
			v = r.NormFloat64() * 100
		}
		w := v
		if !counts && r.IntN(300) == 0 {
			w = []float64{math.NaN(), math.Inf(1), math.Inf(-1)}[r.IntN(3)]
		}
		out = append(out, point{t, w})
	}
	return out
}

// cut makes raw blocks of the series at the given times.
func cut(t *testing.T, dir string, series map[string][]point, times []int64) []*tsdb.Block {
	t.Helper()
	var blocks []*tsdb.Block
	for i := range len(times) - 1 {
		var list []storage.Series
		for name, points := range series {
			var in []chunks.Sample
			for _, p := range points {
				if p.t >= times[i] && p.t < times[i+1] {
					in = append(in, p)
				}
			}
			if len(in) > 0 {
				list = append(list, storage.NewListSeries(labelsOf(name), in))
			}
		}
		if len(list) == 0 {
			continue
		}
		path, err := tsdb.CreateBlock(list, dir, 4*(times[i+1]-times[i])+1, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		b, err := tsdb.OpenBlock(nil, path, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { b.Close() })
		blocks = append(blocks, b)
	}
	return blocks
}

// labelsOf gives some series labels that begin with all of another's.
func labelsOf(name string) labels.Labels {
	b := labels.NewScratchBuilder(4)
	b.Add("__name__", "m")
	for i, c := range name {
		b.Add(string(rune('a'+i)), string(c))
	}
	return b.Labels()
}

// oracle says what a tier must hold, straight from the definitions.
func oracle(points []point, width int64, k Kind, of Range) []point {
	byEnd := map[int64][]point{}
	var ends []int64
	for _, p := range points {
		end := int64(math.Ceil(float64(p.t)/float64(width))) * width
		if end <= of.From || end > of.To {
			continue
		}
		if byEnd[end] == nil {
			ends = append(ends, end)
		}
		byEnd[end] = append(byEnd[end], p)
	}
	var out []point
	for _, end := range ends {
		in := slices.DeleteFunc(slices.Clone(byEnd[end]), func(p point) bool { return value.IsStaleNaN(p.v) })
		if len(in) == 0 {
			continue
		}
		num := slices.DeleteFunc(slices.Clone(in), func(p point) bool { return math.IsNaN(p.v) })
		less := func(a, b point) int {
			switch {
			case a.v < b.v:
				return -1
			case a.v > b.v:
				return 1
			}
			return 0
		}
		switch k {
		case Count:
			out = append(out, point{end, float64(len(in))})
		case Max, Min:
			v := math.NaN()
			if len(num) > 0 && k == Max {
				v = slices.MaxFunc(num, less).v
			} else if len(num) > 0 {
				v = slices.MinFunc(num, less).v
			}
			out = append(out, point{end, v})
		case Last:
			all := byEnd[end]
			final := all[len(all)-1]
			if !value.IsStaleNaN(final.v) && final.t > end-Lookback.Milliseconds() {
				out = append(out, point{end, final.v})
			} else {
				out = append(out, point{end - 1, in[len(in)-1].v}, point{end, stale})
			}
		}
	}
	return out
}

func readTier(t *testing.T, q Queryable, tier *Tier, k Kind, r Range) map[string][]point {
	t.Helper()
	querier, err := q.Querier(r.From+1, r.To)
	if err != nil {
		t.Fatal(err)
	}
	defer querier.Close()
	set := querier.Select(t.Context(), true, nil, labels.MustNewMatcher(labels.MatchEqual, "__name__", "m"),
		labels.MustNewMatcher(labels.MatchEqual, Label, reading(tier.Name(), k)))
	out := map[string][]point{}
	var before labels.Labels
	for set.Next() {
		ls := set.At().Labels()
		if ls.Get(Label) != "" || labels.Compare(before, ls) >= 0 {
			t.Fatalf("series %s after %s", ls, before)
		}
		before = ls
		it := set.At().Iterator(nil)
		for it.Next() == chunkenc.ValFloat {
			at, v := it.At()
			out[ls.String()] = append(out[ls.String()], point{at, v})
		}
		if it.Err() != nil {
			t.Fatal(it.Err())
		}
	}
	if set.Err() != nil {
		t.Fatal(set.Err())
	}
	return out
}

// sameBits compares values to the last bit, but all NaN that are no staleness
// markers are one.
var sameBits = cmp.Comparer(func(a, b point) bool {
	if value.IsStaleNaN(a.v) || value.IsStaleNaN(b.v) {
		return a.t == b.t && value.IsStaleNaN(a.v) && value.IsStaleNaN(b.v)
	}
	return a.t == b.t && (a.v == b.v || math.IsNaN(a.v) && math.IsNaN(b.v))
})

// nothing is a storage without samples.
var nothing = storage.QueryableFunc(func(int64, int64) (storage.Querier, error) { return storage.NoopQuerier(), nil })

func TestTierHoldsWhatTheDefinitionsSay(t *testing.T) {
	_, r := need.Seed(t)
	hour := time.Hour.Milliseconds()
	start := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC).UnixMilli()
	end := start + 30*hour
	series := map[string][]point{}
	for i, name := range []string{"x", "xy", "xyz", "xz", "y", "yxx", "z"} {
		series[name] = randomSeries(r, start, end-int64(i)*hour)
	}
	times := []int64{start}
	for times[len(times)-1] <= end {
		times = append(times, times[len(times)-1]+1+r.Int64N(5*hour)) // blocks that straddle buckets
	}
	raw := cut(t, filepath.Join(t.TempDir(), "raw"), series, times)
	for _, width := range []time.Duration{5 * time.Minute, time.Hour} {
		begun, ended := 0, 0
		compacting := func() func() { begun++; return func() { ended++ } }
		tier, err := Open(Options{Dir: filepath.Join(t.TempDir(), "tier"), Width: width, Log: slog.New(slog.DiscardHandler), Compacting: compacting})
		if err != nil {
			t.Fatal(err)
		}
		defer tier.Close()
		w := width.Milliseconds()
		for from := start; from < end; {
			to := min(end, from+w*(1+r.Int64N(6*hour/w)))
			if err := tier.Write(t.Context(), Range{from, to}, raw); err != nil {
				t.Fatal(err)
			}
			from = to
		}
		check := func(when string) {
			for _, k := range []Kind{Count, Max, Min, Last} {
				want := map[string][]point{}
				for name, points := range series {
					if p := oracle(points, w, k, Range{start, end}); len(p) > 0 {
						want[labelsOf(name).String()] = p
					}
				}
				got := readTier(t, Queryable{Raw: nothing, Tiers: []*Tier{tier}}, tier, k, Range{start, end})
				if d := cmp.Diff(want, got, sameBits); d != "" {
					t.Errorf("%s, %s of %s: %s", when, k, tier.Name(), d)
				}
			}
		}
		check("as written")
		before := tier.Stats()
		if begun < before.Blocks {
			t.Errorf("%s told of %d blocks begun, of %d", tier.Name(), begun, before.Blocks)
		}
		merges := begun
		for more := true; more; {
			if more, err = tier.Merge(t.Context()); err != nil {
				t.Fatal(err)
			}
			if more {
				merges++
			}
		}
		if begun != merges || ended != begun {
			t.Errorf("%s told of %d blocks begun and %d ended, after merging of %d", tier.Name(), begun, ended, merges)
		}
		check("merged")
		after := tier.Stats()
		if d := cmp.Diff(before.Covered, after.Covered); d != "" || before.Samples != after.Samples {
			t.Errorf("merging changed what %s covers from %+v to %+v", tier.Name(), before, after)
		}
		t.Logf("%s: %d blocks and %d bytes, merged %d and %d", tier.Name(), before.Blocks, before.Bytes, after.Blocks, after.Bytes)
	}
}
