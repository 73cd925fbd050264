package tsdb

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
)

func TestVerifyReadsAll(t *testing.T) {
	dir, now := t.TempDir(), time.Now()
	made := blocks(t, dir, 2, now.Add(-4*time.Hour))
	db := open(t, dir)
	for i := range 100 {
		appendAll(t, db, Sample{labels.FromStrings("__name__", "up"), now.Add(time.Duration(i) * time.Second).UnixMilli(), 1})
	}
	if _, err := Verify(dir, nil); err == nil {
		t.Error("an open folder was verified")
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	var done, total int64
	r, err := Verify(dir, func(d, n int64) {
		if d < done || d > n {
			t.Errorf("progress from %d to %d of %d", done, d, n)
		}
		done, total = d, n
	})
	if err != nil || len(r.Faults) > 0 || r.Blocks != 2 || r.Samples != 102 || done != total || total == 0 {
		t.Fatalf("%+v, %v, %d of %d bytes", r, err, done, total)
	}
	flip := func(path string, at int) {
		t.Helper()
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		data[at] ^= 1
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for path, at := range map[string]int{
		filepath.Join(made[0], "chunks", "000001"): 14,
		filepath.Join(made[1], "index"):            20,
		filepath.Join(dir, "wal", "00000000"):      50,
	} {
		flip(path, at)
		if r, err := Verify(dir, nil); err != nil || len(r.Faults) == 0 || r.Faults[0].Advice == "" {
			t.Errorf("%s with a bit flipped: %+v, %v", path, r, err)
		} else {
			t.Logf("%+v", r.Faults)
		}
		flip(path, at)
	}
}
