package tsdb

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/prometheus/tsdb"
)

// sizeStore opens a store with eight blocks, of which a remote store, if there
// is one, has got the first two.
func sizeStore(t *testing.T, o Options, remote bool) *DB {
	t.Helper()
	made := filepath.Join(t.TempDir(), "made")
	if err := os.Mkdir(made, 0o777); err != nil {
		t.Fatal(err)
	}
	blocks(t, made, 8, time.Now()) // needs more room than it takes in the end
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	copyTo(t, made, o.Dir)
	if remote {
		o.Remote = &Remote{URL: "http://localhost:1", Behind: func() time.Duration { return 14 * time.Hour }}
	}
	return openWith(t, o)
}

// leftBlocks has the library look which blocks can go and names those that are left,
// by their numbers of blocks.
func leftBlocks(t *testing.T, db *DB) []string {
	t.Helper()
	if err := db.inner.CompactOOOHead(t.Context()); err != nil {
		t.Fatal(err)
	}
	q, err := db.Queryable().Querier(0, time.Now().UnixMilli())
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	found, _, err := q.LabelValues(t.Context(), "block", nil)
	if err != nil {
		t.Fatal(err)
	}
	return slices.Clone(found)
}

// TestSizeIsABound bounds the raw samples of a store by size, alone and as the
// buffer of a remote store that lacks most of them: the oldest go.
func TestSizeIsABound(t *testing.T) {
	for _, remote := range []bool{false, true} {
		t.Run(fmt.Sprintf("remote %v", remote), func(t *testing.T) {
			db := sizeStore(t, Options{}, remote)
			if got := leftBlocks(t, db); len(got) != 8 {
				t.Fatalf("without a bound blocks %q are left", got)
			}
			unsent := droppedUnsent.Get()
			byTime := slices.SortedFunc(slices.Values(db.inner.Blocks()), func(a, b *tsdb.Block) int { return int(a.MinTime() - b.MinTime()) })
			db.tiers.rawBytes = db.inner.Head().Size()
			for _, b := range byTime[5:] {
				db.tiers.rawBytes += b.Size()
			}
			if got := leftBlocks(t, db); !slices.Equal(got, []string{"5", "6", "7"}) {
				t.Errorf("blocks %q are left, want the newest three", got)
			}
			if n := droppedUnsent.Get() - unsent; remote && n != 3 || !remote && n != 0 {
				t.Errorf("%d blocks that were not sent are counted", n)
			}
			db.tiers.rawBytes = 1
			if got := leftBlocks(t, db); !slices.Equal(got, []string{"7"}) {
				t.Errorf("blocks %q are left, want the newest: the log would bring it back", got)
			}
		})
	}
}

// TestBufferMakesRoom fills the disk of a buffer for a remote store that lacks
// most of it. The oldest blocks go before samples are refused.
func TestBufferMakesRoom(t *testing.T) {
	const least = 4 << 20
	for _, remote := range []bool{false, true} {
		t.Run(fmt.Sprintf("remote %v", remote), func(t *testing.T) {
			d := newDisk(t, "32m")
			db := sizeStore(t, Options{Dir: d.dir, MinFree: least}, remote)
			if got := leftBlocks(t, db); len(got) != 8 {
				t.Fatalf("with room blocks %q are left", got)
			}
			d.fill(t, 2*least-16<<10)
			got := leftBlocks(t, db)
			if remote && (len(got) == 0 || len(got) > 7 || got[len(got)-1] != "7") || !remote && len(got) != 8 {
				t.Errorf("blocks %q are left", got)
			}
			if _, err := db.ReadOnly(); err != nil {
				t.Errorf("samples are refused: %v", err)
			}
			db.Close()
		})
	}
}
