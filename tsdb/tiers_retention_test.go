package tsdb

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"

	"nocturne/internal/need"
)

// goOn appends n more hours and compacts, by which the library deletes blocks.
func goOn(t *testing.T, db *DB, r *rand.Rand, from time.Time, n int) time.Time {
	t.Helper()
	end := from.Add(time.Duration(n) * time.Hour)
	one := &walk{labels: labels.FromStrings("__name__", "gauge", "n", "later"), kind: "gauge", step: 60_000}
	for at := from; at.Before(end); at = at.Add(10 * time.Minute) {
		if _, err := db.Append(t.Context(), one.next(r, at, at.Add(10*time.Minute))); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.inner.Compact(t.Context()); err != nil {
		t.Fatal(err)
	}
	return end
}

// TestExpiredRawIsReadFromTiers keeps raw samples of 6 h. None goes before it
// is rolled up; then the tiers answer for those that went, as raw did, and say
// so.
func TestExpiredRawIsReadFromTiers(t *testing.T) {
	t.Parallel()
	_, r := need.Seed(t)
	start := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	db := history(t, t.TempDir(), r, start, 30, Options{Retention: 6 * time.Hour})
	now := goOn(t, db, r, start.Add(30*time.Hour), 2)
	if from := time.UnixMilli(db.tiers.rawFrom()); from.After(start.Add(time.Hour)) {
		t.Fatalf("raw samples begin at %s before anything was rolled up", from)
	}
	queries := map[string]func(a, b float64) bool{
		"max_over_time(gauge[1h])":              sameBits,
		"count_over_time(weird[2h])":            sameBits,
		"sum by (n) (avg_over_time(gauge[2h]))": rounded,
		"gauge":                                 sameBits,
	}
	before := map[string]map[string]map[int64]float64{}
	from, to := start.Add(3*time.Hour), start.Add(29*time.Hour)
	for expr := range queries {
		before[expr] = byLabels(db.fromRaw(t, expr, from, to, time.Hour))
	}
	if err := db.tiers.rollUp(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	goOn(t, db, r, now, 3)
	if from := time.UnixMilli(db.tiers.rawFrom()); from.Before(start.Add(20 * time.Hour)) {
		t.Fatalf("raw samples still begin at %s", from)
	}
	for expr, alike := range queries {
		q, err := db.RangeQuery(t.Context(), nil, expr, from, to, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		res := q.Exec(t.Context())
		if res.Err != nil {
			t.Fatal(res.Err)
		}
		if n, diff := differing(before[expr], byLabels(res), alike); len(diff) > 0 {
			t.Errorf("%s: %d values, %q", expr, n, diff)
		}
		if d := TiersOf(q); !slices.Equal(d, []string{"1h"}) {
			t.Errorf("%s read %v", expr, d)
		}
		if warnings, infos := res.Warnings.AsStrings(expr, 0, 0); len(warnings) > 0 || len(infos) != 1 || !strings.Contains(infos[0], "buckets of 1h") {
			t.Errorf("%s: warnings %q, infos %q", expr, warnings, infos)
		}
		q.Close()
	}
	for expr, want := range map[string]int{ // not the same as raw: a warning
		"max_over_time(gauge[7m])":                1,
		"rate(counter[5m])":                       1,
		"quantile_over_time(0.5, gauge[30m])":     1,
		"max_over_time(rate(counter[5m])[1h:1m])": 1,
		"gauge > 0":                 1,
		"absent(gauge{n=\"none\"})": 1,
		"vector(1)":                 0,
	} {
		res, err := db.QueryRange(t.Context(), expr, from.Add(7*time.Second), to, 10*time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		warnings, _ := res.Warnings.AsStrings(expr, 0, 0)
		if len(warnings) != want || len(res.Value.(promql.Matrix)) == 0 {
			t.Errorf("%s: %d series, warnings %q", expr, len(res.Value.(promql.Matrix)), warnings)
		}
		for _, s := range res.Value.(promql.Matrix) {
			if strings.Contains(s.Metric.String(), "/") {
				t.Errorf("%s answers with %s", expr, s.Metric)
			}
		}
	}
	byN := []*labels.Matcher{labels.MustNewMatcher(labels.MatchEqual, "n", "3")}
	if found, _, err := db.Series(t.Context(), [][]*labels.Matcher{byN}, from, to, 0); err != nil || len(found) != 3 || found[0].Len() != 3 {
		t.Errorf("series of expired samples: %v, %v", found, err)
	}
	if found, _, err := db.LabelNames(t.Context(), nil, from, to, 0); err != nil || !slices.Equal(found, []string{"Zone", "__name__", "n"}) {
		t.Errorf("label names of expired samples: %q, %v", found, err)
	}
	if found, _, err := db.LabelValues(t.Context(), "__name__", nil, from, to, 0); err != nil || !slices.Equal(found, []string{"counter", "gauge", "weird"}) {
		t.Errorf("names of expired samples: %q, %v", found, err)
	}
	if res, err := db.Query(t.Context(), "max_over_time(gauge[7m])", now); err != nil || len(res.Warnings) > 0 {
		t.Errorf("a query of the last minutes: %v, %v", err, res.Warnings)
	}
}

// TestTiersExpire bounds one tier by age and one by size.
func TestTiersExpire(t *testing.T) {
	t.Parallel()
	_, r := need.Seed(t)
	start := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	db := history(t, t.TempDir(), r, start, 40, Options{FiveMin: Keep{Age: 26 * time.Hour}, Hourly: Keep{Bytes: 1}})
	for range 2 { // the second time, what expired must not come back
		if err := db.tiers.rollUp(t.Context(), 0); err != nil {
			t.Fatal(err)
		}
		five := db.tiers.list[0].Covered()
		if len(five) != 1 || five[0].From < start.Add(12*time.Hour).UnixMilli() || five[0].From > start.Add(15*time.Hour).UnixMilli() {
			t.Errorf("5 min kept for 26 h of 40 covers %v", five)
		}
		if blocks := db.tiers.list[1].Stats().Blocks; blocks != 0 {
			t.Errorf("%d hourly blocks in one byte", blocks)
		}
	}
}

// TestDelete deletes a series for some hours and wants it gone from raw samples
// and tiers, and still gone after the tombstones are cleaned and the time is
// rolled up again.
func TestDelete(t *testing.T) {
	t.Parallel()
	_, r := need.Seed(t)
	start := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	db := history(t, t.TempDir(), r, start, 20, Options{})
	if err := db.tiers.rollUp(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	from, to := start.Add(5*time.Hour+time.Minute), start.Add(10*time.Hour+time.Minute)
	if err := db.Delete(t.Context(), nil, from, to); err == nil {
		t.Error("deleted without a matcher")
	}
	m := labels.MustNewMatcher(labels.MatchEqual, "n", "1")
	if err := db.Delete(t.Context(), []*labels.Matcher{m}, from, to); err != nil {
		t.Fatal(err)
	}
	check := func(when string) {
		t.Helper()
		for _, tier := range []string{"5m", "1h"} {
			res, _ := db.forced(t, `last_over_time({__name__=~"gauge|counter"}[1h])`, start.Add(time.Hour), start.Add(16*time.Hour), time.Hour, []string{tier}, 1<<62)
			for ls, values := range byLabels(res) {
				for at := range values {
					hour := time.UnixMilli(at).Sub(start).Hours()
					if strings.Contains(ls, `n="1"`) && hour >= 7 && hour <= 10 {
						t.Errorf("%s, %s: %s has a value at hour %v", when, tier, ls, hour)
					}
				}
				if len(values) < 4 {
					t.Errorf("%s, %s: %s has only %d values left", when, tier, ls, len(values))
				}
			}
		}
	}
	check("deleted")
	if err := db.CleanTombstones(t.Context()); err != nil {
		t.Fatal(err)
	}
	check("cleaned")
	last := RollupProgress{}
	if err := db.Rollup(t.Context(), start, start.Add(48*time.Hour), func(p RollupProgress) { last = p }); err != nil {
		t.Fatal(err)
	}
	check("rolled up again")
	if last.Tier != "1h" || last.Done != last.All || last.All < 15*time.Hour {
		t.Errorf("progress ended with %+v", last)
	}
}

// TestDamagedTierBlock opens a store with a damaged block in a tier: it is set
// aside, its buckets are made from raw samples, and rolled up again.
func TestDamagedTierBlock(t *testing.T) {
	t.Parallel()
	_, r := need.Seed(t)
	start := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	dir := t.TempDir()
	db := history(t, dir, r, start, 12, Options{})
	if err := db.tiers.rollUp(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	expr, from, to := "max_over_time(gauge[1h])", start.Add(time.Hour), start.Add(9*time.Hour)
	want := byLabels(db.fromRaw(t, expr, from, to, time.Hour))
	covered := db.tiers.list[1].Covered()
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	indexes, err := filepath.Glob(filepath.Join(dir, "rollup-1h", "*", "index"))
	if err != nil || len(indexes) == 0 {
		t.Fatal(indexes, err)
	}
	for _, name := range indexes {
		if err := os.Truncate(name, 30); err != nil {
			t.Fatal(err)
		}
	}
	if db, err = Open(Options{Dir: dir, Log: quiet}); err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if aside := db.Stats().SetAside; len(aside) != len(indexes) || !strings.HasPrefix(aside[0], "rollup-1h/") {
		t.Errorf("set aside %q", aside)
	}
	for range 2 {
		res, _ := db.forced(t, expr, from, to, time.Hour, []string{"1h", "5m"}, 1<<62)
		if _, diff := differing(want, byLabels(res), sameBits); len(diff) > 0 {
			t.Errorf("%q", diff)
		}
		if err := db.tiers.rollUp(t.Context(), 0); err != nil {
			t.Fatal(err)
		}
	}
	// Less of the end may be sealed: late samples are back from their log.
	if again := db.tiers.list[1].Covered(); len(again) != 1 || again[0].From != covered[0].From || again[0].To < start.Add(4*time.Hour).UnixMilli() {
		t.Errorf("covered %v, and after the damage %v", covered, again)
	}
}
