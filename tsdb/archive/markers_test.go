package archive_test

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	library "github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/tsdb/wlog"

	"nocturne/internal/need"
	"nocturne/tsdb/archive"
)

// TestLateSamplesDuringCompaction takes a picture at the worst moment: a
// compaction has mapped the late samples to a file buffer, the blocks are not
// written yet, and the next late sample has left its marker in the log.
func TestLateSamplesDuringCompaction(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "history")
	o := library.DefaultOptions()
	o.NoLockfile = true
	o.RetentionDuration = (1000 * time.Hour).Milliseconds()
	o.OutOfOrderTimeWindow = time.Hour.Milliseconds()
	db, err := library.Open(dir, slog.New(slog.DiscardHandler), nil, o, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	want := map[int64]bool{}
	add := func(at int64) {
		t.Helper()
		app := db.Appender(t.Context())
		if _, err := app.Append(0, labels.FromStrings("__name__", "s"), childStart+at, float64(at)); err != nil {
			t.Fatal(err)
		}
		if err := app.Commit(); err != nil {
			t.Fatal(err)
		}
		want[childStart+at] = true
	}
	add(2_000_000)
	for at := range int64(10) {
		add(1_000_000 + at)
	}
	if _, err := library.NewOOOCompactionHead(t.Context(), db.Head()); err != nil {
		t.Fatal(err)
	}
	add(1_500_000)

	still, err := archive.Hold(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer still.Close()
	picture, err := still.Open(2*time.Hour, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer picture.Close()
	got := readAll(t, picture)[`{__name__="s"}`]
	for _, p := range got {
		if !want[p.t] || p.v != float64(p.t-childStart) {
			t.Errorf("a sample %v that was not appended", p)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d samples, want %d", len(got), len(want))
	}
	if err := archive.WriteHead(t.Context(), picture, 2*time.Hour); err != nil {
		t.Fatal(err)
	}
	samples := uint64(0)
	for _, b := range picture.Blocks() {
		samples += b.Meta().Stats.NumSamples
	}
	if samples != uint64(len(want)) {
		t.Errorf("%d samples in the picture's blocks, want %d", samples, len(want))
	}
}

// TestTornRecord: what the server had written of a record by halves is not in
// the picture, which opens without a repair; damage farther back stays to be
// found.
func TestTornRecord(t *testing.T) {
	_, r := need.Seed(t)
	dir := history(t, 6000)
	segments, err := filepath.Glob(filepath.Join(dir, "wal", "0*"))
	if err != nil {
		t.Fatal(err)
	}
	path := segments[len(segments)-1]
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	readable := func() error {
		t.Helper()
		still, err := archive.Hold(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer still.Close()
		sr, err := wlog.NewSegmentsReader(filepath.Join(still.Dir(), "wal"))
		if err != nil {
			t.Fatal(err)
		}
		defer sr.Close()
		records := wlog.NewReader(sr)
		for records.Next() {
		}
		return records.Err()
	}
	for range 20 {
		n := 1 + r.IntN(len(whole))
		if err := os.WriteFile(path, whole[:n], 0o666); err != nil {
			t.Fatal(err)
		}
		if err := readable(); err != nil {
			t.Fatalf("cut at %d of %d: %v", n, len(whole), err)
		}
	}
	whole[len(whole)/3] ^= 8
	if err := os.WriteFile(path, whole, 0o666); err != nil {
		t.Fatal(err)
	}
	if readable() == nil {
		t.Error("a flipped bit went unseen")
	}
}
