package tsdb_test

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/prometheus/model/labels"

	"nocturne/tsdb"
	"nocturne/tsdb/conformance"
)

// TestDeletedLateSamples deletes samples that came late, before and after they
// are written as a block. They stay deleted when the head is written as blocks
// and when the store is opened again, where the library maps late chunks anew.
func TestDeletedLateSamples(t *testing.T) {
	t.Parallel()
	for name, written := range map[string]bool{"in the head": false, "in a block": true} {
		t.Run(name, func(t *testing.T) {
			dir, ctx := t.TempDir(), context.Background()
			var db *tsdb.DB
			open := func() {
				t.Helper()
				var err error
				if db, err = tsdb.Open(tsdb.Options{Dir: dir, Log: slog.New(slog.DiscardHandler)}); err != nil {
					t.Fatal(err)
				}
			}
			do := func(errs ...error) {
				t.Helper()
				for _, err := range errs {
					if err != nil {
						t.Fatal(err)
					}
				}
			}
			open()
			ls, newest := labels.FromStrings("__name__", "m"), time.Now().Truncate(time.Hour).UnixMilli()
			var want []conformance.Point
			put := func(at int64, stays bool) {
				r, err := db.Append(ctx, []tsdb.Sample{{Labels: ls, T: at, V: 1}})
				if err != nil || r.Appended != 1 {
					t.Fatal(r, err)
				}
				if stays {
					want = append(want, conformance.Point{T: at, V: 1})
				}
			}
			put(newest, false)
			for i := range int64(200) { // several chunks of late samples
				put(newest-1_200_000+i*1000, i < 50)
			}
			want = append(want, conformance.Point{T: newest, V: 1})
			if written {
				do(db.CompactLate(ctx))
			}
			m := labels.MustNewMatcher(labels.MatchEqual, "__name__", "m")
			from := time.UnixMilli(newest - 1_150_000)
			do(db.Delete(ctx, []*labels.Matcher{m}, from, time.UnixMilli(newest-1)))
			put(newest-1_100_000, true) // late, after the deletion
			want[50], want[51] = want[51], want[50]
			for range 2 {
				do(db.Close())
				open()
				do(db.CompactLate(ctx), db.CleanTombstones(ctx))
				got, err := asStore{db}.Select("m", 0, newest)
				do(err)
				if d := cmp.Diff(want, got); d != "" {
					t.Error(d)
				}
			}
			do(db.Close())
		})
	}
}
