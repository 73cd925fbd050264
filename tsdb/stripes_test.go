package tsdb

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/oklog/ulid/v2"
	"github.com/prometheus/prometheus/tsdb"

	"nocturne/tsdb/folder"
)

// TestStripesFollowTheNewestBlock makes folders of blocks by their meta.json.
func TestStripesFollowTheNewestBlock(t *testing.T) {
	dir := t.TempDir()
	if n := stripes(dir); n != tsdb.DefaultStripeSize {
		t.Errorf("%d stripes for an empty folder", n)
	}
	for i, c := range []struct {
		series uint64
		end    int64
		want   int
	}{{0, 10, 1024}, {9000, 20, 2048}, {17_000, 30, 4096}, {50_000, 25, 4096}, {1_000_000, 40, 16384}, {3, 50, 1024}} {
		m := tsdb.BlockMeta{ULID: ulid.Make(), MaxTime: c.end, Stats: tsdb.BlockStats{NumSeries: c.series}}
		raw, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		block := filepath.Join(dir, m.ULID.String())
		if err := os.Mkdir(block, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(block, folder.MetaName), raw, 0o600); err != nil {
			t.Fatal(err)
		}
		if n := stripes(dir); n != c.want {
			t.Errorf("block %d: %d stripes, want %d", i, n, c.want)
		}
	}
}
