package tsdb

import (
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
)

// TestLateBlocksDoNotHideTheHead merges blocks while there is one of late
// samples in the time of the head. The library would take the outcome for a
// sign that the head of that time is in blocks, and drop it when it opens.
func TestLateBlocksDoNotHideTheHead(t *testing.T) {
	o := Options{Dir: t.TempDir(), Interval: 5 * time.Second, Log: slog.New(slog.DiscardHandler)} // blocks of 20 min
	db := openWith(t, o)
	start := time.Now().Add(-24 * time.Hour).Truncate(time.Hour)
	put := func(minute int, late string) {
		t.Helper()
		s := Sample{labels.FromStrings("__name__", "m", "late", late), start.Add(time.Duration(minute) * time.Minute).UnixMilli(), float64(minute)}
		if late == "yes" {
			s.T++
		}
		if r, err := db.Append(t.Context(), []Sample{s}); err != nil || r.Appended != 1 {
			t.Fatalf("minute %d: %+v, %v", minute, r, err)
		}
	}
	for minute := range 70 {
		put(minute, "no")
	}
	if err := db.inner.Compact(t.Context()); err != nil { // writes the first two
		t.Fatal(err)
	}
	put(69, "yes")
	for _, minute := range []int{45, 50, 65} {
		put(minute, "yes")
	}
	if err := db.inner.CompactOOOHead(t.Context()); err != nil {
		t.Fatal(err)
	}
	count := func() string {
		t.Helper()
		at := start.Add(2 * time.Hour)
		return fmt.Sprint(value(t, db, `count_over_time(m{late="no"}[2h])`, at), " and ", value(t, db, `count_over_time(m{late="yes"}[2h])`, at))
	}
	const want = "69 and 4" // the window does not hold its begin
	if got := count(); got != want {
		t.Fatalf("%s samples before any merge, want %s", got, want)
	}
	for range 3 {
		if err := db.inner.Compact(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if db.inner.Head().MinTime() > start.Add(45*time.Minute).UnixMilli() {
		t.Fatal("the head is written already: this shows nothing")
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	db = openWith(t, o)
	if got := count(); got != want {
		t.Errorf("%s samples after a merge and an opening, want %s", got, want)
	}
	// When the head of that time is written the blocks are merged after all.
	for minute := 70; minute < 130; minute++ {
		put(minute, "no")
	}
	before := len(db.inner.Blocks())
	for range 3 {
		if err := db.inner.Compact(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if after := len(db.inner.Blocks()); after >= before+3 {
		t.Errorf("%d blocks have become %d: nothing is merged any more", before, after)
	}
}

// TestCleanedSamplesStayDeleted deletes all of the newest block and has it
// cleaned and merged. With the block gone the library would replay, at the next
// opening, what the log still holds of it.
func TestCleanedSamplesStayDeleted(t *testing.T) {
	o := Options{Dir: t.TempDir(), Log: quiet, Interval: 5 * time.Second}
	db := openWith(t, o)
	start := time.Now().Add(-100 * time.Minute).Truncate(20 * time.Minute).UnixMilli()
	put := func(from, to int) {
		t.Helper()
		for at := start + int64(from)*60_000; at < start+int64(to)*60_000; at += 15_000 {
			appendAll(t, db, Sample{labels.FromStrings("__name__", "m", "n", fmt.Sprint(at/15_000%2)), at, 1})
		}
		if err := db.inner.Compact(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	count := func() int {
		t.Helper()
		got, err := readAll(t, db)
		if err != nil {
			t.Fatal(err)
		}
		return len(got)
	}
	put(0, 55)
	blocks := db.inner.Blocks()
	newest := blocks[len(blocks)-1].Meta()
	ms := []*labels.Matcher{labels.MustNewMatcher(labels.MatchRegexp, "__name__", ".+")}
	if err := db.Delete(t.Context(), ms, time.UnixMilli(start), time.UnixMilli(newest.MaxTime-1)); err != nil {
		t.Fatal(err)
	}
	want := count()
	clean := func(when string) {
		t.Helper()
		if err := errors.Join(db.CleanTombstones(t.Context()), db.inner.Compact(t.Context())); err != nil {
			t.Fatal(err)
		}
		if got := count(); got != want {
			t.Errorf("%s and cleaned: %d samples, want %d", when, got, want)
		}
	}
	clean("deleted")
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	db = openWith(t, o)
	if got := count(); got != want {
		t.Errorf("opened again: %d samples, want %d", got, want)
	}
	put(55, 95)
	want = count()
	clean("a newer block was written")
	for _, b := range db.inner.Blocks() {
		if m := b.Meta(); m.ULID == newest.ULID || m.Stats.NumTombstones > 0 {
			t.Errorf("block %s still has %d deletions", m.ULID, m.Stats.NumTombstones)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	db = openWith(t, o)
	if got := count(); got != want {
		t.Errorf("opened a third time: %d samples, want %d", got, want)
	}
}
