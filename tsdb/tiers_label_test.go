package tsdb

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"nocturne/tsdb/rollup"
)

// TestLabelOfTheTiersIsRefused has a sender use the name by which tiers keep
// kinds apart, and one that stands behind it. A block of elsewhere with such
// series must not keep others from being rolled up.
func TestLabelOfTheTiersIsRefused(t *testing.T) {
	t.Parallel()
	db := openWith(t, Options{Interval: 5 * time.Second})
	start := time.Now().Add(-6 * time.Hour)
	bad := []labels.Labels{
		labels.FromStrings("__name__", "m", rollup.Label, "max"),
		labels.FromStrings("__name__", "m", rollup.Label+"z", "1"),
	}
	for _, ls := range bad {
		r, err := db.Append(t.Context(), []Sample{{Labels: ls, T: start.UnixMilli(), V: 1}})
		if err != nil || r.Invalid != 1 {
			t.Errorf("%s: %+v, %v", ls, r, err)
		}
	}
	for at := start; at.Before(start.Add(5 * time.Hour)); at = at.Add(time.Minute) {
		app := db.inner.Appender(t.Context())
		for _, ls := range append(bad, labels.FromStrings("__name__", "m")) {
			db.owners.allow(ls)
			if _, err := app.Append(0, ls, at.UnixMilli(), 1); err != nil {
				t.Fatal(err)
			}
		}
		if err := app.Commit(); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.SettleBlocks(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, tier := range db.Stats().Tiers {
		if tier.Samples == 0 {
			t.Errorf("nothing is in tier %s", tier.Name)
		}
	}
}

// TestReadLimitCountsBuckets reads more of a tier than one query may read.
func TestReadLimitCountsBuckets(t *testing.T) {
	t.Parallel()
	db := openWith(t, Options{Interval: 5 * time.Second, MaxRead: 200})
	start := time.Now().Add(-31 * time.Hour).Truncate(time.Hour)
	for at := start; at.Before(start.Add(30 * time.Hour)); at = at.Add(time.Minute) {
		var batch []Sample
		for i := range 10 {
			batch = append(batch, Sample{Labels: numbered(i), T: at.UnixMilli(), V: 1})
		}
		if _, err := db.Append(t.Context(), batch); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.SettleBlocks(t.Context()); err != nil {
		t.Fatal(err)
	}
	for expr, over := range map[string]bool{
		`max_over_time(s{n="1"}[10h])`:     false,
		`sum(max_over_time(s[24h]))`:       true,
		`sum(max_over_time(s[5h] @ 1e15))`: false,
	} {
		q, err := db.InstantQuery(t.Context(), nil, expr, start.Add(24*time.Hour))
		if err != nil {
			t.Fatal(err)
		}
		tiers := TiersOf(q)
		_, err = exec(t.Context(), q)
		if is := errors.As(err, new(ReadLimitError)); is != over || !is && err != nil {
			t.Errorf("%s, read from %v: %v", expr, tiers, err)
		}
		if over && !slices.Contains(tiers, "1h") {
			t.Errorf("%s is read from %v", expr, tiers)
		}
	}
}
