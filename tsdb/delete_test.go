package tsdb

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/tsdb/index"

	"nocturne/internal/need"
)

// noPostings is an index of which only the order of questions matters.
type noPostings struct{ tsdb.IndexReader }

func (noPostings) Postings(context.Context, string, ...string) (index.Postings, error) {
	return index.NewListPostings(nil), nil
}

func (noPostings) PostingsForLabelMatching(context.Context, string, func(string) bool) index.Postings {
	return index.NewListPostings(nil)
}

func (noPostings) PostingsForAllLabelValues(context.Context, string) index.Postings {
	return index.NewListPostings(nil)
}

// TestLibrarySwapsNoMatchers has the library sort random matchers in place: it
// must find them in its own order already.
func TestLibrarySwapsNoMatchers(t *testing.T) {
	t.Parallel()
	_, r := need.Seed(t)
	swapped := 0
	for range 2000 {
		ms := randomMatchers(r)
		given := slices.Clone(ms)
		ordered := intersectingFirst(ms)
		if d := cmp.Diff(texts(given), texts(ms)); d != "" {
			t.Fatalf("the caller's matchers are changed: %s", d)
		}
		want := texts(ordered)
		for _, list := range [][]*labels.Matcher{ms, ordered} {
			if _, err := tsdb.PostingsForMatchers(t.Context(), noPostings{}, list...); err != nil {
				t.Fatal(err)
			}
		}
		if d := cmp.Diff(want, texts(ordered)); d != "" {
			t.Fatalf("of %v: the library sorts (-ours +its):\n%s", texts(given), d)
		}
		if !slices.Equal(texts(given), texts(ms)) {
			swapped++
		}
	}
	if swapped < 100 {
		t.Errorf("the library swapped only %d of 2000 as they came: this shows nothing", swapped)
	}
}

func randomMatchers(r *rand.Rand) []*labels.Matcher {
	var ms []*labels.Matcher
	for range 1 + r.IntN(30) {
		kind := []labels.MatchType{labels.MatchEqual, labels.MatchNotEqual, labels.MatchRegexp, labels.MatchNotRegexp}[r.IntN(4)]
		value := []string{"", "a", ".+", "a|b", "a?", "x"}[r.IntN(6)]
		ms = append(ms, labels.MustNewMatcher(kind, fmt.Sprint("n", r.IntN(10)), value))
	}
	return ms
}

func texts(ms []*labels.Matcher) (out []string) {
	for _, m := range ms {
		out = append(out, m.String())
	}
	return out
}

// TestDeletionHeedsItsDeadline deletes while a rollup is written: the deletion
// gives up in time, has deleted nothing, and is done once there is none.
func TestDeletionHeedsItsDeadline(t *testing.T) {
	t.Parallel()
	_, r := need.Seed(t)
	start := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	db := history(t, t.TempDir(), r, start, 8, Options{})
	ms := []*labels.Matcher{labels.MustNewMatcher(labels.MatchEqual, "n", "1")}
	left := func() (n int) {
		all, err := readAll(t, db)
		if err != nil {
			t.Fatal(err)
		}
		return len(all)
	}
	all := left()
	change := map[string]func(context.Context) error{
		"deletion": func(ctx context.Context) error { return db.Delete(ctx, ms, start, start.Add(100*time.Hour)) },
		"cleaning": db.CleanTombstones,
	}
	if err := db.tiers.writing.Acquire(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	for name, do := range change {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		if err := do(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s during a rollup: %v", name, err)
		}
		cancel()
	}
	if n := left(); n != all {
		t.Errorf("%d of %d samples are left of a deletion that gave up", n, all)
	}
	db.tiers.writing.Release(1)
	for name, do := range change {
		if err := do(t.Context()); err != nil {
			t.Errorf("%s after the rollup: %v", name, err)
		}
	}
	if n := left(); n == 0 || n >= all {
		t.Errorf("%d of %d samples are left", n, all)
	}
}

// TestNothingIsDeletedElsewhere wants to be told where a deletion does not
// reach, and while nothing can be written.
func TestNothingIsDeletedElsewhere(t *testing.T) {
	t.Parallel()
	ms := []*labels.Matcher{labels.MustNewMatcher(labels.MatchEqual, "n", "1")}
	for name, c := range map[string]struct {
		o    Options
		want error
	}{
		"remote":    {Options{Remote: &Remote{URL: "http://127.0.0.1:1"}}, ErrElsewhere},
		"full disk": {Options{MinFree: 1 << 60}, ErrReadOnly},
	} {
		c.o.Dir, c.o.Log = t.TempDir(), quiet
		db, err := Open(c.o)
		if err != nil {
			t.Fatal(err)
		}
		if err := db.Delete(t.Context(), ms, time.Unix(0, 0), time.Now()); !errors.Is(err, c.want) {
			t.Errorf("%s: deleted: %v", name, err)
		}
		if err := db.CleanTombstones(t.Context()); !errors.Is(err, c.want) {
			t.Errorf("%s: cleaned: %v", name, err)
		}
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestDeletionIsOnDisk looks at what of the log was synced when a deletion
// returns: all of it.
func TestDeletionIsOnDisk(t *testing.T) {
	t.Parallel()
	db := open(t, t.TempDir())
	now := time.Now().UnixMilli()
	if _, err := db.Append(t.Context(), []Sample{{Labels: labels.FromStrings("__name__", "m", "n", "1"), T: now, V: 1}}); err != nil {
		t.Fatal(err)
	}
	if err := db.Synced(t.Context()); err != nil {
		t.Fatal(err)
	}
	synced := map[string]int64{}
	db.WatchSync(func(path string, size int64) { synced[path] = size })
	if err := db.Delete(t.Context(), []*labels.Matcher{labels.MustNewMatcher(labels.MatchEqual, "n", "1")}, time.UnixMilli(0), time.UnixMilli(now)); err != nil {
		t.Fatal(err)
	}
	segments, err := filepath.Glob(filepath.Join(db.options.Dir, "wal", "0*"))
	if err != nil || len(segments) == 0 {
		t.Fatal(segments, err)
	}
	newest := segments[len(segments)-1]
	if st, err := os.Stat(newest); err != nil || st.Size() == 0 || synced[newest] != st.Size() {
		t.Errorf("of %d bytes of the log %d are synced: %v", st.Size(), synced[newest], err)
	}
}
