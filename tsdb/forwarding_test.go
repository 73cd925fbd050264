package tsdb

import (
	"errors"
	"math"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
)

// TestBoundsOfBlocksAlone opens a folder that holds a block of late samples,
// as an import makes them, and no log.
func TestBoundsOfBlocksAlone(t *testing.T) {
	dir := t.TempDir()
	db, err := Open(Options{Dir: dir, Log: quiet})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now().Truncate(time.Second)
	late := now.Add(-20 * time.Minute).UnixMilli()
	for _, at := range []int64{now.UnixMilli(), late} {
		if r, err := db.Append(t.Context(), []Sample{{Labels: labels.FromStrings("__name__", "m"), T: at, V: 1}}); err != nil || r.Appended != 1 {
			t.Fatal(r, err)
		}
	}
	if err := errors.Join(db.CompactLate(t.Context()), db.Close()); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"wal", "wbl", mappedFolder, logSizesName} {
		if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if db, err = Open(Options{Dir: dir, Log: quiet}); err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if s := db.Stats(); s.Series != 0 || s.Blocks != 1 {
		t.Fatalf("want a block and an empty head: %+v", s)
	}
	if oldest, newest, ok := db.Bounds(); !ok || oldest > late || newest < late {
		t.Errorf("from %d to %d, %v; a sample is at %d", oldest, newest, ok, late)
	}
}

// TestLateBlockBeyondTheOthers loses the logs behind a block of late samples
// that reaches beyond the newest block in order: what it holds is still within
// the end that receivers are sent samples up to.
func TestLateBlockBeyondTheOthers(t *testing.T) {
	o := smallOptions
	o.Dir = t.TempDir()
	db := openWith(t, o)
	start := time.Now().Add(-time.Hour).Truncate(20 * time.Minute).UnixMilli()
	put := func(at int64, v float64) {
		t.Helper()
		if r := appendAll(t, db, Sample{labels.FromStrings("__name__", "m"), at, v}); r.Appended != 1 {
			t.Fatal(r)
		}
	}
	for at := start; at < start+50*60_000; at += 15_000 {
		put(at, 1)
	}
	late := start + 45*60_000 + 1
	put(late, 7)
	if err := errors.Join(db.inner.Compact(t.Context()), db.Close()); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"wal", "wbl", mappedFolder, logSizesName} {
		if err := os.RemoveAll(filepath.Join(o.Dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	db = openWith(t, o)
	got, err := readAll(t, db)
	if err != nil {
		t.Fatal(err)
	}
	newest := int64(math.MinInt64)
	for k := range got {
		newest = max(newest, k.t)
	}
	if end := db.End(); newest != late || end < newest {
		t.Errorf("the newest sample is at %d, want %d; the end is %d", newest, late, end)
	}
}
