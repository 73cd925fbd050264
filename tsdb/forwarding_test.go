package tsdb

import (
	"errors"
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
