package tsdb

import (
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
