package rollup

import (
	"log/slog"
	"math"
	"path/filepath"
	"testing"
	"time"

	"nocturne/internal/need"
)

// TestTotalsAddUpAcrossBlocks wants the counter made of totals to have grown as
// much as the raw samples have, over resets, over gaps of hours and days, and
// over blocks cut in the middle of all that.
func TestTotalsAddUpAcrossBlocks(t *testing.T) {
	_, r := need.Seed(t)
	minute, hour := time.Minute.Milliseconds(), time.Hour.Milliseconds()
	start := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC).UnixMilli()
	var samples []point
	v, want := 100.0, 0.0
	for at := start + 1; at <= start+100*hour; at += minute {
		if r.IntN(400) == 0 {
			at = min(at+r.Int64N(20*hour), start+100*hour)
		}
		before := v
		if v += float64(r.IntN(100)) / 4; r.IntN(200) == 0 {
			v = float64(r.IntN(5))
		}
		switch {
		case len(samples) == 0:
		case v >= before:
			want += v - before
		default:
			want += v
		}
		samples = append(samples, point{at, v})
	}
	end := start + 101*hour
	var times []int64
	for at := start; at <= end; at += 7 * hour {
		times = append(times, at)
	}
	raw := cut(t, filepath.Join(t.TempDir(), "raw"), map[string][]point{"c": samples}, append(times, end+1))
	for _, width := range []time.Duration{5 * time.Minute, time.Hour} {
		tier, err := Open(Options{Dir: filepath.Join(t.TempDir(), "tier"), Width: width, Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		defer tier.Close()
		for from := start; from < end; {
			to := min(end, from+hour*(1+r.Int64N(5)))
			if err := tier.Write(t.Context(), Range{from, to}, raw); err != nil {
				t.Fatal(err)
			}
			from = to
		}
		for _, k := range []Kind{Whole, Ends} {
			for _, got := range readTier(t, Queryable{Raw: nothing, Tiers: []*Tier{tier}}, tier, k, Range{start, end}) {
				for i, p := range got {
					if i > 0 && (p.t <= got[i-1].t || p.v < got[i-1].v) {
						t.Fatalf("%s of %s: %v after %v", k, tier.Name(), p, got[i-1])
					}
				}
				if grown := got[len(got)-1].v; math.Abs(grown-want) > 1e-6 {
					t.Errorf("%s of %s grew %v, the samples %v", k, tier.Name(), grown, want)
				}
			}
		}
	}
}

// TestGapsAreNoSpikes wants what a counter grew in a gap to be seen by windows
// that begin before the gap, and by none that begins in it or at its end.
func TestGapsAreNoSpikes(t *testing.T) {
	minute, hour := time.Minute.Milliseconds(), time.Hour.Milliseconds()
	start := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC).UnixMilli()
	var samples []point
	for at := start + minute; at <= start+10*hour; at += minute {
		if at <= start+2*hour || at > start+6*hour+30*minute {
			samples = append(samples, point{at, float64(at-start) / 1000})
		}
	}
	raw := cut(t, filepath.Join(t.TempDir(), "raw"), map[string][]point{"c": samples}, []int64{start, start + 4*hour, start + 10*hour + 1})
	for _, width := range []time.Duration{5 * time.Minute, time.Hour} {
		tier, err := Open(Options{Dir: filepath.Join(t.TempDir(), "tier"), Width: width, Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		defer tier.Close()
		for _, r := range []Range{{start, start + 3*hour}, {start + 3*hour, start + 10*hour}} {
			if err := tier.Write(t.Context(), r, raw); err != nil {
				t.Fatal(err)
			}
		}
		counter := readTier(t, Queryable{Raw: nothing, Tiers: []*Tier{tier}}, tier, Whole, Range{start, start + 10*hour})[labelsOf("c").String()]
		value := func(at int64) float64 {
			for _, p := range counter {
				if p.t == at {
					return p.v
				}
			}
			t.Fatalf("%s has nothing at %d min", tier.Name(), (at-start)/minute)
			return 0
		}
		before, first := start+2*hour, endOf(start+6*hour+31*minute, tier.width)
		if grew := value(first) - value(before); math.Abs(grew-float64(first-before)/1000) > 1 {
			t.Errorf("%s grew %v over the gap", tier.Name(), grew)
		}
		if grew := value(first) - value(first-tier.width+1); grew > width.Seconds() {
			t.Errorf("%s grew %v in the bucket after the gap, more than in %s", tier.Name(), grew, width)
		}
	}
}
