package archive_test

import (
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	library "github.com/prometheus/prometheus/tsdb"

	"nocturne/internal/need"
	"nocturne/tsdb/archive"
)

func blockDirs(t *testing.T, dir string) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, "01*"))
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// blockSamples reads the blocks of a folder without its logs.
func blockSamples(t *testing.T, dir string) map[string][]point {
	t.Helper()
	only := t.TempDir()
	for _, b := range blockDirs(t, dir) {
		if err := os.CopyFS(filepath.Join(only, filepath.Base(b)), os.DirFS(b)); err != nil {
			t.Fatal(err)
		}
	}
	return contents(t, only)
}

// TestAdmitBlocks takes the blocks of a Prometheus into an empty history: the
// damaged one is refused by name, the rest holds the same samples, and a
// second time there is nothing to do.
func TestAdmitBlocks(t *testing.T) {
	from := history(t, 60_000)
	blocks := blockDirs(t, from)
	into := filepath.Join(t.TempDir(), "history")
	bad := blocks[len(blocks)/2]
	chunk := filepath.Join(bad, "chunks", "000001")
	raw, err := os.ReadFile(chunk)
	if err != nil {
		t.Fatal(err)
	}
	raw[len(raw)/2] ^= 4
	if err := os.WriteFile(chunk, raw, 0o666); err != nil {
		t.Fatal(err)
	}
	o := archive.AdmitOptions{From: []string{from}, Into: into, Block: 20 * time.Minute, Latest: time.Now()}
	a, err := archive.AdmitBlocks(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if a.Blocks != len(blocks)-1 || len(a.Refused) != 1 || !strings.Contains(a.Refused[0], bad) {
		t.Errorf("of %d blocks: %+v", len(blocks), a)
	}
	if err := os.RemoveAll(bad); err != nil {
		t.Fatal(err)
	}
	if got := contents(t, into); !maps.EqualFunc(blockSamples(t, from), got, slices.Equal) {
		t.Error("the admitted samples differ")
	}
	o.From, o.Latest = blockDirs(t, into), time.UnixMilli(childStart)
	again, err := archive.AdmitBlocks(t.Context(), o)
	if err != nil || again.Present != len(o.From) || again.Blocks != 0 {
		t.Errorf("again: %+v, %v", again, err)
	}
	o.From = blockDirs(t, from)[:1]
	o.Into = filepath.Join(t.TempDir(), "other")
	if a, err := archive.AdmitBlocks(t.Context(), o); err != nil || len(a.Refused) != 1 || !strings.Contains(a.Refused[0], "the future") {
		t.Errorf("a block of the future: %+v, %v", a, err)
	}
}

// TestAdmitKeepsTheLog: blocks that reach over what a history holds in its log
// alone must not make the next opening believe that the log is in blocks.
func TestAdmitKeepsTheLog(t *testing.T) {
	into := history(t, 30_000)
	whole := contents(t, into)
	from := historyOf(t, "other", 60_000)
	a, err := archive.AdmitBlocks(t.Context(), archive.AdmitOptions{From: []string{from}, Into: into, Block: 20 * time.Minute})
	if err != nil || a.Cut == 0 || a.Cut == a.Blocks {
		t.Fatalf("%+v, %v", a, err)
	}
	got, others := contents(t, into), blockSamples(t, from)
	maps.Copy(whole, others)
	if len(others) != childSeries || !maps.EqualFunc(whole, got, slices.Equal) {
		t.Errorf("with %d series admitted, the history holds other samples than both did", len(others))
	}
}

// TestAdmitBesideAServer: an open store sees the blocks at its next reload.
func TestAdmitBesideAServer(t *testing.T) {
	into, from := filepath.Join(t.TempDir(), "history"), history(t, 20_000)
	o := library.DefaultOptions()
	o.BlockReloadInterval = time.Second
	o.RetentionDuration = (1000 * time.Hour).Milliseconds()
	db, err := library.Open(into, slog.New(slog.DiscardHandler), nil, o, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	a, err := archive.AdmitBlocks(t.Context(), archive.AdmitOptions{From: []string{from}, Into: into, Block: 20 * time.Minute})
	if err != nil || a.Blocks == 0 {
		t.Fatalf("%+v, %v", a, err)
	}
	need.Until(t, "the admitted blocks are seen", func() bool { return len(readAll(t, db)) == childSeries })
}
