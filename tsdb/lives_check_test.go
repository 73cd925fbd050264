package tsdb_test

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/storage"
	library "github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/tsdb/chunkenc"

	"nocturne/tsdb"
	"nocturne/tsdb/rollup"
)

// everySample calls f for all samples of all series of q.
func everySample(q storage.Querier, f func(ls labels.Labels, t int64, v float64) error) error {
	set := q.Select(context.Background(), false, nil, labels.MustNewMatcher(labels.MatchEqual, "__name__", "m"))
	for set.Next() {
		it := set.At().Iterator(nil)
		for it.Next() == chunkenc.ValFloat {
			t, v := it.At()
			if err := f(set.At().Labels(), t, v); err != nil {
				return err
			}
		}
		if it.Err() != nil {
			return it.Err()
		}
	}
	return set.Err()
}

// raw holds the raw samples against the oracle and returns how many there are.
// What was written and not acknowledged counts as acknowledged from then on.
func (o *livesOracle) raw(t *testing.T, db *tsdb.DB) (n int) {
	t.Helper()
	q, err := db.Queryable().Querier(0, math.MaxInt64)
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	var wrong []string
	seen := map[[2]int]bool{}
	err = everySample(q, func(ls labels.Labels, at int64, v float64) error {
		n++
		s, err := strconv.Atoi(ls.Get("n"))
		if err != nil {
			return err
		}
		k := int((at - livesTime(s, 0)) / livesStep)
		x := [2]int{s, k}
		state := o.at(s, k)
		switch {
		case at != livesTime(s, k) || !livesActive(s, k) || ls.Len() != 2:
			wrong = append(wrong, fmt.Sprintf("%s at %d was never written", ls, at))
		case math.Float64bits(v) != math.Float64bits(livesValue(o.seed, s, k)):
			wrong = append(wrong, fmt.Sprintf("%v is %v", x, v))
		case seen[x]:
			wrong = append(wrong, fmt.Sprintf("%v is doubled", x))
		case *state == gone:
			wrong = append(wrong, fmt.Sprintf("%v was deleted and is back", x))
		case *state == unknown && (o.first < 0 || k < o.first-livesHour):
			wrong = append(wrong, fmt.Sprintf("%v comes from nowhere", x))
		case *state == unknown:
			*state = there
			o.adopted++
		}
		seen[x] = true
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	kept := db.Stats().MaxTime.Add(-livesRaw).UnixMilli()
	for s, states := range o.state {
		for k, state := range states {
			if state == there && livesTime(s, k) > kept && !seen[[2]int{s, k}] {
				wrong = append(wrong, fmt.Sprintf("%v is lost", [2]int{s, k}))
			}
		}
	}
	if len(wrong) > 0 {
		t.Errorf("%d wrong of %d raw samples (series and tick): %q; deletions %v; this life began at tick %d", len(wrong), n, wrong[:min(len(wrong), 12)], o.deletes, o.first)
	}
	return n
}

// tiers reads the blocks of the tiers with the library, and wants all that raw
// samples have expired of, and each bucket once and right.
func (o *livesOracle) tiers(t *testing.T, db *tsdb.DB, dir string) {
	t.Helper()
	st := db.Stats()
	for i, width := range []int64{300_000, 3_600_000} {
		tier, oldest := st.Tiers[i], livesStart
		if i == 0 {
			oldest = max(oldest, st.MaxTime.Add(-livesFive).UnixMilli())
		}
		all := rollup.Range{From: oldest, To: st.MinTime.UnixMilli() / width * width}
		if all.From < all.To {
			if missing := all.Without(tier.Covered); len(missing) > 0 {
				t.Errorf("tier %s lacks %v of expired samples", tier.Name, missing)
			}
		}
		got := o.stored(t, filepath.Join(dir, "rollup-"+tier.Name))
		var wrong []string
		for key, want := range o.want(width) {
			if !slices.ContainsFunc(tier.Covered, func(of rollup.Range) bool { return key[1] > of.From && key[1] <= of.To }) {
				continue
			}
			b, ok := got[key]
			delete(got, key)
			if o.buckets++; !want.holds(b, ok) {
				wrong = append(wrong, fmt.Sprintf("%v is %v, not %v", key, b, want))
			}
		}
		for key, b := range got {
			wrong = append(wrong, fmt.Sprintf("%v is %v, where there is none", key, b))
		}
		if len(wrong) > 0 {
			t.Errorf("tier %s has %d wrong buckets: %q", tier.Name, len(wrong), wrong[:min(len(wrong), 8)])
		}
	}
}

// stored reads the buckets of the tier in dir by series and end.
func (o *livesOracle) stored(t *testing.T, dir string) map[[2]int64]livesBucket {
	t.Helper()
	blocks, err := filepath.Glob(filepath.Join(dir, "0*"))
	if err != nil {
		t.Fatal(err)
	}
	got := map[[2]int64]livesBucket{}
	type what struct {
		key  [2]int64
		kind rollup.Kind
	}
	seen := map[what]bool{}
	for _, path := range blocks {
		b, err := library.OpenBlock(slog.New(slog.DiscardHandler), path, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		q, err := library.NewBlockQuerier(b, 0, math.MaxInt64)
		if err != nil {
			t.Fatal(err)
		}
		err = everySample(q, func(ls labels.Labels, at int64, v float64) error {
			s, err := strconv.Atoi(ls.Get("n"))
			if err != nil {
				return err
			}
			kind := rollup.Kind(ls.Get(rollup.Label))
			key := [2]int64{int64(s), at}
			if seen[what{key, kind}] {
				t.Errorf("%s of series %d at %d is doubled", kind, s, at)
			}
			seen[what{key, kind}] = true
			x, ok := got[key]
			switch kind {
			case rollup.Count:
				x.count = v
			case rollup.Sum:
				x.sum = v
			case rollup.Min:
				x.min = v
			case rollup.Max:
				x.max = v
			default:
				if !ok {
					return nil
				}
			}
			got[key] = x
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := q.Close(); err != nil {
			t.Fatal(err)
		}
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return got
}

// query asks PromQL for the counts of all full hours, wherever they are read
// from, and of the last hours of raw samples, which ends amid a bucket.
func (o *livesOracle) query(t *testing.T, db *tsdb.DB) {
	t.Helper()
	newest := db.Stats().MaxTime
	if newest.UnixMilli() < livesStart+3_600_000 {
		return
	}
	all, least := o.want(3_600_000), map[[2]int64]float64{}
	for key, b := range o.want(300_000) {
		if !b.touched { // else it goes whole with what is deleted of it
			least[livesKey(int(key[0]), key[1], 3_600_000)] += b.count
		}
	}
	for key, got := range counts(t, db, time.Hour, time.UnixMilli(livesStart).Add(time.Hour), newest.Truncate(time.Hour)) {
		if want := all[key]; got > want.count || got < least[key] {
			t.Errorf("%v samples of series %d in the hour to %d, want %v, or %v without buckets that were deleted from", got, key[0], key[1], want.count, least[key])
		}
		delete(all, key)
	}
	for key, want := range all {
		if want.count > 0 && !want.touched && key[1] > livesStart && key[1] <= newest.UnixMilli() {
			t.Errorf("no samples of series %d in the hour to %d, want %v", key[0], key[1], want.count)
		}
	}
	end, window, sum := newest.Add(-7*time.Millisecond), 6*time.Hour+7*time.Minute, map[[2]int64]float64{}
	for s, states := range o.state {
		for k, state := range states {
			if at := livesTime(s, k); state == there && at <= end.UnixMilli() && at > end.Add(-window).UnixMilli() && !math.IsNaN(livesValue(o.seed, s, k)) {
				sum[[2]int64{int64(s), end.UnixMilli()}]++
			}
		}
	}
	if d := cmp.Diff(sum, counts(t, db, window, end, end)); d != "" {
		t.Errorf("samples of the last %s: %s", window, d)
	}
}

// counts asks PromQL how many samples there are in each window of a series.
func counts(t *testing.T, db *tsdb.DB, window time.Duration, from, to time.Time) map[[2]int64]float64 {
	t.Helper()
	res, err := db.QueryRange(t.Context(), fmt.Sprintf("count_over_time(m[%s])", window), from, to, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	got := map[[2]int64]float64{}
	for _, s := range res.Value.(promql.Matrix) {
		n, err := strconv.Atoi(s.Metric.Get("n"))
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range s.Floats {
			got[[2]int64{int64(n), p.T}] = p.F
		}
	}
	return got
}
