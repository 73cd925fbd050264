package tsdb

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/chunks"
)

type floatSample struct {
	t int64
	v float64
}

func (s floatSample) T() int64                      { return s.t }
func (s floatSample) ST() int64                     { return 0 }
func (s floatSample) F() float64                    { return s.v }
func (s floatSample) H() *histogram.Histogram       { return nil }
func (s floatSample) FH() *histogram.FloatHistogram { return nil }
func (s floatSample) Type() chunkenc.ValueType      { return chunkenc.ValFloat }
func (s floatSample) Copy() chunks.Sample           { return s }

// blocks makes n blocks of two hours with one sample each and returns their
// folders.
func blocks(t *testing.T, dir string, n int, end time.Time) []string {
	t.Helper()
	var made []string
	for i := range n {
		at := end.Add(-time.Duration(n-i) * 2 * time.Hour).Truncate(2 * time.Hour).UnixMilli()
		s := storage.NewListSeries(labels.FromStrings("__name__", "up", "block", fmt.Sprint(i)), []chunks.Sample{floatSample{at, float64(i)}})
		path, err := tsdb.CreateBlock([]storage.Series{s}, dir, 2*time.Hour.Milliseconds(), slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		made = append(made, path)
	}
	return made
}

func TestDamagedBlocksAreSetAside(t *testing.T) {
	damages := map[string]func(block string) error{
		"index cut":     func(b string) error { return os.Truncate(filepath.Join(b, "index"), 30) },
		"index gone":    func(b string) error { return os.Remove(filepath.Join(b, "index")) },
		"meta not JSON": func(b string) error { return os.WriteFile(filepath.Join(b, "meta.json"), []byte("{"), 0o600) },
		"meta of another": func(b string) error {
			return os.WriteFile(filepath.Join(b, "meta.json"), []byte(`{"version":1,"ulid":"01BX5ZZKBKACTAV9WEVGEMMVRZ","maxTime":5}`), 0o600)
		},
		"chunks overwrite": func(b string) error {
			return os.WriteFile(filepath.Join(b, "chunks", "000001"), []byte("nonsense"), 0o600)
		},
	}
	for _, name := range slices.Sorted(maps.Keys(damages)) {
		t.Run(name, func(t *testing.T) {
			dir, now := t.TempDir(), time.Now()
			made := blocks(t, dir, 3, now)
			if err := damages[name](made[1]); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				db := open(t, dir)
				if v := value(t, db, `count(count_over_time(up[1d]))`, now); v != 2 {
					t.Errorf("%g series are left, want 2", v)
				}
				if err := db.Close(); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := os.Stat(made[1] + ".damaged"); err != nil {
				t.Errorf("the damaged block is not kept: %v", err)
			}
		})
	}
}

func TestDamagedLogIsKept(t *testing.T) {
	dir := t.TempDir()
	db := open(t, dir)
	now := time.Now().Truncate(2 * time.Hour).Add(-time.Hour) // all in the log alone, as none is over a block's end
	for i := range 100 {
		appendAll(t, db, Sample{labels.FromStrings("__name__", "up"), now.Add(time.Duration(i) * time.Second).UnixMilli(), 1})
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "wal", "00000000")
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	whole[len(strings.TrimRight(string(whole), "\x00"))/2] ^= 0xff
	if err := os.WriteFile(path, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	db = open(t, dir)
	left := value(t, db, `count_over_time(up[1h])`, now.Add(2*time.Minute))
	if left != 99 {
		t.Errorf("%g of 100 samples are left, want all but the one whose record is damaged", left)
	}
	if lost := db.Stats().Lost; len(lost) != 1 || lost[0].Bytes == 0 || lost[0].To.Sub(lost[0].From) != 2*time.Second {
		t.Errorf("lost %+v, want the second before and after the damaged record", lost)
	}
	aside := db.Stats().SetAside
	if len(aside) != 1 {
		t.Fatalf("set aside %q, want one log", aside)
	}
	kept, err := os.ReadFile(filepath.Join(dir, aside[0], "wal", "00000000"))
	if err != nil || !slices.Equal(kept, whole) {
		t.Errorf("the damaged log is not kept whole: %v", err)
	}
	db = reopen(t, db, dir)
	if again := db.Stats().SetAside; len(again) != 0 {
		t.Errorf("a repaired log is set aside again: %q", again)
	}
}

// TestSyncCoversEveryGrownSegment has segments come and grow as rotation does.
func TestSyncCoversEveryGrownSegment(t *testing.T) {
	dir := t.TempDir()
	l := newLogSync(dir)
	var synced []string
	l.fsync = func(f *os.File) error {
		rel, err := filepath.Rel(dir, f.Name())
		synced = append(synced, rel)
		return errors.Join(err, f.Sync())
	}
	grow := func(names ...string) {
		t.Helper()
		for _, name := range names {
			path := filepath.Join(dir, name)
			if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
				t.Fatal(err)
			}
			f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
			if err != nil {
				t.Fatal(err)
			}
			_, err = f.WriteString("record")
			if err := errors.Join(err, f.Close()); err != nil {
				t.Fatal(err)
			}
		}
	}
	step := func(want ...string) {
		t.Helper()
		synced = nil
		if err := l.sync(); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, synced); diff != "" {
			t.Errorf("synced (-want +got):\n%s", diff)
		}
	}
	step()
	grow("wal/00000000")
	step("wal/00000000")
	step()
	grow("wal/00000000", "wal/00000001", "wal/00000002", "wbl/00000000")
	step("wal/00000000", "wal/00000001", "wal/00000002", "wbl/00000000")
	if err := os.Remove(filepath.Join(dir, "wal", "00000000")); err != nil {
		t.Fatal(err)
	}
	grow("wal/00000002")
	step("wal/00000002")
}

// TestDamagedBlockWhileOpen damages a block under an open store, and drops in
// one that is damaged, as a restore from a bad backup does.
func TestDamagedBlockWhileOpen(t *testing.T) {
	dir, now := t.TempDir(), time.Now()
	made := blocks(t, dir, 4, now.Add(-4*time.Hour))
	spare := filepath.Join(t.TempDir(), filepath.Base(made[3]))
	if err := os.Rename(made[3], spare); err != nil {
		t.Fatal(err)
	}
	db := open(t, dir)
	left := func() float64 { return value(t, db, `count(count_over_time(up[1d]))`, now) }
	if n := left(); n != 3 {
		t.Fatalf("%g series, want 3", n)
	}
	// The library holds the file open: what it holds is not to be changed.
	index, err := os.ReadFile(filepath.Join(made[0], "index"))
	if err != nil {
		t.Fatal(err)
	}
	index[len(index)/2] ^= 1
	if err := writeDurably(filepath.Join(made[0], "index"), index); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(filepath.Join(spare, "tombstones"), 5); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(made[3], os.DirFS(spare)); err != nil {
		t.Fatal(err)
	}
	if err := db.inner.CompactOOOHead(t.Context()); err == nil { // loads blocks
		t.Error("a damaged block was loaded")
	}
	if err := db.CheckBlocks(); err != nil {
		t.Fatal(err)
	}
	if err := db.inner.CompactOOOHead(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := left(); n != 2 {
		t.Errorf("%g series are left, want 2", n)
	}
	want := []string{filepath.Base(made[0]) + damagedSuffix, filepath.Base(made[3]) + damagedSuffix}
	got := db.Stats().SetAside
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("set aside %q, want %q", got, want)
	}
}

// TestLateSamplesOutliveKillInCompaction kills a store between the moment when
// the library maps the late samples of its head for compaction, and that when
// the blocks are there. What comes late in between has it write markers of no
// chunk, which at replay drop all before them.
func TestLateSamplesOutliveKillInCompaction(t *testing.T) {
	dir, now := t.TempDir(), time.Now()
	db := open(t, dir)
	up := labels.FromStrings("__name__", "up")
	n := 0
	late := func() {
		for range 5 {
			n++
			appendAll(t, db, Sample{up, now.Add(time.Duration(n-600) * time.Second).UnixMilli(), 1})
		}
	}
	appendAll(t, db, Sample{up, now.UnixMilli(), 1})
	late()
	if _, err := tsdb.NewOOOCompactionHead(t.Context(), db.inner.Head()); err != nil {
		t.Fatal(err)
	}
	late()
	killed := t.TempDir()
	if err := os.CopyFS(killed, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	db = open(t, killed)
	if got := value(t, db, `count_over_time(up[1h])`, now.Add(time.Minute)); got != float64(n+1) {
		t.Errorf("%g of %d samples are left", got, n+1)
	}
}
