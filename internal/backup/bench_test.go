package backup_test

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	library "github.com/prometheus/prometheus/tsdb"

	"github.com/oklog/ulid/v2"

	"nocturne/internal/backup"
	"nocturne/internal/backup/disk"
	"nocturne/internal/ledger"
	"nocturne/internal/state"
)

// BenchmarkWhole measures a backup of 512 MB of blocks and its restore beside a
// plain copy of the same files, synced: what the disk gives.
func BenchmarkWhole(b *testing.B) {
	const size, blocks = 64 << 20, 8
	data := filepath.Join(b.TempDir(), "data")
	for n := range blocks {
		id := ulid.MustNew(uint64(1_700_000_000_000+n), nil)
		dir := filepath.Join(data, "history", id.String())
		check(b, os.MkdirAll(filepath.Join(dir, "chunks"), 0o700))
		raw, err := json.Marshal(library.BlockMeta{ULID: id, MinTime: int64(n) * 1000, MaxTime: int64(n)*1000 + 1000, Version: 1})
		check(b, err)
		check(b, os.WriteFile(filepath.Join(dir, "meta.json"), raw, 0o600))
		noise := make([]byte, size)
		for i := range noise {
			noise[i] = byte(i * (i >> 8) >> n)
		}
		check(b, os.WriteFile(filepath.Join(dir, "chunks", "000001"), noise, 0o600))
		check(b, os.WriteFile(filepath.Join(dir, "index"), noise[:1000], 0o600))
	}
	check(b, os.MkdirAll(filepath.Join(data, "history", "wal"), 0o700))
	db, err := state.Open(state.Options{Dir: filepath.Join(data, "state"), Log: slog.New(slog.DiscardHandler)})
	check(b, err)
	defer db.Close()
	chain, err := ledger.Open(db)
	check(b, err)
	src := backup.Source{Data: data, State: db, Ledger: chain, History: filepath.Join(data, "history")}
	rate := func(what string, start time.Time) {
		b.ReportMetric(float64(size*blocks)/1e6/time.Since(start).Seconds(), what+"_MB/s")
	}
	for n := 0; b.Loop(); n++ {
		start := time.Now()
		copyTree(b, filepath.Join(data, "history"), filepath.Join(b.TempDir(), fmt.Sprint("copy", n)))
		rate("plain_copy", start)
		store, err := disk.Make(filepath.Join(b.TempDir(), fmt.Sprint("to", n)))
		check(b, err)
		start = time.Now()
		_, err = backup.MakeWhole(b.Context(), src, store, backup.Options{})
		check(b, err)
		rate("backup", start)
		start = time.Now()
		_, err = backup.Restore(b.Context(), store, backup.RestoreOptions{Into: filepath.Join(b.TempDir(), fmt.Sprint("back", n))})
		check(b, err)
		rate("restore", start)
		check(b, store.Close())
	}
}

func copyTree(b *testing.B, from, to string) {
	b.Helper()
	check(b, filepath.WalkDir(from, func(p string, d os.DirEntry, err error) error {
		rel, _ := filepath.Rel(from, p)
		if err != nil || d.IsDir() {
			return os.MkdirAll(filepath.Join(to, rel), 0o700)
		}
		in, err := os.Open(p)
		check(b, err)
		defer in.Close()
		out, err := os.Create(filepath.Join(to, rel))
		check(b, err)
		_, err = io.Copy(out, in)
		check(b, err)
		check(b, out.Sync())
		return out.Close()
	}))
}
