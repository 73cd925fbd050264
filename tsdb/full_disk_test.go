package tsdb

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"golang.org/x/sys/unix"

	"nocturne/internal/need"
)

// disk is a file system of its own that can be filled.
type disk struct{ dir string }

func newDisk(t *testing.T, size string) disk {
	t.Helper()
	d := disk{t.TempDir()}
	if err := unix.Mount("tmpfs", d.dir, "tmpfs", 0, "size="+size); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("mount a tmpfs: %v", err)
		}
		t.Skipf("needs the right to mount a tmpfs: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(d.dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return d
}

// fill takes all of the disk but left bytes.
func (d disk) fill(t *testing.T, left int64) {
	t.Helper()
	f, err := os.Create(filepath.Join(d.dir, "filler"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var st unix.Statfs_t
	for {
		if err := unix.Statfs(d.dir, &st); err != nil {
			t.Fatal(err)
		}
		n := int64(st.Bavail)*st.Bsize - left
		if n <= 0 {
			return
		}
		size, err := f.Seek(0, 2)
		if err != nil {
			t.Fatal(err)
		}
		if err := unix.Fallocate(int(f.Fd()), 0, size, n); err != nil && !errors.Is(err, unix.ENOSPC) {
			t.Fatal(err)
		}
	}
}

func (d disk) free(t *testing.T) {
	t.Helper()
	if err := os.Remove(filepath.Join(d.dir, "filler")); err != nil {
		t.Fatal(err)
	}
}

// writer appends random batches and remembers what was acknowledged.
type writer struct {
	r     *rand.Rand
	start int64
	n     int
	acked map[sampleKey]float64
	tried map[sampleKey]float64
}

func newWriter(r *rand.Rand) *writer {
	return &writer{r: r, start: time.Now().Add(-3 * time.Hour).UnixMilli(), acked: map[sampleKey]float64{}, tried: map[sampleKey]float64{}}
}

// append writes one batch, a tenth of it late and with a series now and then
// that was never seen before.
func (w *writer) append(t *testing.T, db *DB) error {
	t.Helper()
	batch := make([]Sample, 1+w.r.IntN(2000))
	for i := range batch {
		w.n++
		at, name := w.start+int64(w.n), fmt.Sprint(w.n%100)
		if w.n%10 == 0 {
			at -= 5 * 60 * 1000
		}
		if w.n%97 == 0 {
			name = fmt.Sprint("new", w.n)
		}
		batch[i] = Sample{labels.FromStrings("__name__", "m", "n", name, "padding", "a label that takes some room in the log"), at, w.r.Float64()}
		w.tried[sampleKey{batch[i].Labels.String(), at}] = batch[i].V
	}
	got, err := db.Append(t.Context(), batch)
	if err != nil {
		return err
	}
	if got.Appended != len(batch) {
		t.Fatalf("%+v of %d", got, len(batch))
	}
	for _, s := range batch {
		w.acked[sampleKey{s.Labels.String(), s.T}] = s.V
	}
	return nil
}

// check holds a store against what it acknowledged.
func (w *writer) check(t *testing.T, db *DB) {
	t.Helper()
	got, err := readAll(t, db)
	if err != nil {
		t.Fatal(err)
	}
	lost := 0
	for k, v := range w.acked {
		if g, ok := got[k]; !ok || g != v {
			lost++
		}
	}
	maps.DeleteFunc(got, func(k sampleKey, v float64) bool { want, ok := w.tried[k]; return ok && want == v })
	if lost > 0 || len(got) > 0 {
		t.Fatalf("%d of %d acknowledged samples lost, %d were never offered", lost, len(w.acked), len(got))
	}
}

func running(t *testing.T, db *DB) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- db.Run(ctx) }()
	return func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}

// TestFullDisk fills a disk below what the store leaves free: it turns
// read-only, answers, opens again as a kill left it, and takes samples by
// itself when there is room.
func TestFullDisk(t *testing.T) {
	_, r := need.Seed(t)
	d := newDisk(t, "48m")
	o := Options{Dir: filepath.Join(d.dir, "data"), Log: slog.New(slog.DiscardHandler), MinFree: 4 << 20}
	db, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	w := newWriter(r)
	stop := running(t, db)
	for range 20 {
		if err := w.append(t, db); err != nil {
			t.Fatal(err)
		}
	}
	need.Until(t, "the reserve is made", func() bool { return db.room.reserved() == o.MinFree })
	d.fill(t, 5<<20)
	for err == nil {
		err = w.append(t, db)
	}
	if !errors.Is(err, ErrReadOnly) || !errors.Is(db.Stats().ReadOnly, ErrReadOnly) || db.Stats().SyncErr != nil {
		t.Fatalf("%v, %+v", err, db.Stats())
	}
	if db.broken() != nil {
		t.Errorf("the library met the full disk: %v", db.broken())
	}
	d.fill(t, 0) // others fill the rest
	w.check(t, db)
	if err := db.Synced(t.Context()); err != nil {
		t.Errorf("what was taken is not on disk: %v", err)
	}
	t.Logf("%d samples acknowledged, then: %v", len(w.acked), err)

	// A kill leaves the files as they are: open them, still without any room.
	stop()
	d.abandon(t, db)
	if db, err = Open(o); err != nil {
		t.Fatalf("open on a full disk: %v", err)
	}
	stop = running(t, db)
	w.check(t, db)
	if err := w.append(t, db); !errors.Is(err, ErrReadOnly) {
		t.Fatalf("append on a full disk: %v", err)
	}
	d.free(t)
	need.Until(t, "samples are taken again", func() bool { return w.append(t, db) == nil })
	if err := db.Stats().ReadOnly; err != nil {
		t.Error(err)
	}
	need.Until(t, "the reserve is whole again", func() bool { return db.room.reserved() == o.MinFree })
	stop()
	db = reopenWith(t, db, o)
	w.check(t, db)
	d.fill(t, 0)
	db = reopenWith(t, db, o) // an orderly end on a full disk
	w.check(t, db)
}

// TestFailedLogWrites lets the library meet the full disk, in the middle of a
// record: what is acknowledged after that must not be lost behind it.
func TestFailedLogWrites(t *testing.T) {
	_, r := need.Seed(t)
	d := newDisk(t, "16m")
	o := Options{Dir: filepath.Join(d.dir, "data"), Log: slog.New(slog.DiscardHandler), MinFree: 1}
	db, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { db.Close() }()
	w := newWriter(r)
	stop := running(t, db)
	broke := 0
	for round := range 4 {
		for range 10 {
			if err := w.append(t, db); err != nil {
				t.Fatal(err)
			}
		}
		d.fill(t, int64(r.IntN(64<<10)))
		for err = nil; err == nil; {
			err = w.append(t, db)
		}
		if !errors.Is(err, ErrReadOnly) {
			t.Fatal(err)
		}
		if db.broken() != nil {
			broke++
		}
		if round%2 == 0 { // the library may go on writing before anyone looks
			d.free(t)
			_ = w.append(t, db)
			_ = w.append(t, db)
		} else {
			w.check(t, db)
			d.free(t)
		}
		need.Until(t, "samples are taken again", func() bool { return w.append(t, db) == nil })
		w.check(t, db)
	}
	if broke == 0 {
		t.Error("the library has met no full disk")
	}
	t.Logf("%d samples acknowledged, %d of 4 times a write of the log failed", len(w.acked), broke)
	stop()
	d.abandon(t, db)
	if db, err = Open(o); err != nil {
		t.Fatal(err)
	}
	w.check(t, db)
	db = reopenWith(t, db, o)
	w.check(t, db)
}

// abandon leaves a store's files as a kill does. The store itself is closed
// with room to spare, so that it lets go of all files, and what it writes then
// is thrown away; a disk that was full is full again.
func (d disk) abandon(t *testing.T, db *DB) {
	t.Helper()
	copied := t.TempDir()
	if err := os.CopyFS(copied, os.DirFS(db.options.Dir)); err != nil {
		t.Fatal(err)
	}
	_, err := os.Stat(filepath.Join(d.dir, "filler"))
	full := err == nil
	if full {
		d.free(t)
	}
	if err := errors.Join(db.inner.Close(), db.logs.close(), db.lock.Release()); err != nil {
		t.Logf("close: %v", err)
	}
	if err := os.RemoveAll(db.options.Dir); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(db.options.Dir, os.DirFS(copied)); err != nil {
		t.Fatal(err)
	}
	if full {
		d.fill(t, 0)
	}
}

func reopenWith(t *testing.T, db *DB, o Options) *DB {
	t.Helper()
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	db, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

// TestSyncWithoutRoom has a sync fail for want of room, as network and thin
// disks do, which unlike other failures passes.
func TestSyncWithoutRoom(t *testing.T) {
	_, r := need.Seed(t)
	db := open(t, t.TempDir())
	w := newWriter(r)
	if err := w.append(t, db); err != nil {
		t.Fatal(err)
	}
	var full atomic.Bool
	full.Store(true)
	real := db.logs.fsync
	db.logs.fsync = func(f *os.File) error {
		if full.Load() {
			return &os.PathError{Op: "sync", Path: f.Name(), Err: unix.ENOSPC}
		}
		return real(f)
	}
	if err := w.append(t, db); err != nil {
		t.Fatal(err)
	}
	if err := db.Synced(t.Context()); !errors.Is(err, ErrReadOnly) {
		t.Fatalf("Synced: %v", err)
	}
	full.Store(false)
	if err := db.Synced(t.Context()); !errors.Is(err, ErrReadOnly) {
		t.Fatalf("a later sync lies: %v", err)
	}
	if err := w.append(t, db); !errors.Is(err, ErrReadOnly) {
		t.Fatalf("append: %v", err)
	}
	w.check(t, db)
	stop := running(t, db)
	defer stop()
	need.Until(t, "samples are taken again", func() bool { return w.append(t, db) == nil })
	if err := db.Synced(t.Context()); err != nil {
		t.Error(err)
	}
	w.check(t, db)
	if s := db.Stats(); s.SyncErr != nil || s.ReadOnly != nil || len(s.Lost)+len(s.SetAside) > 0 {
		t.Errorf("%+v", s)
	}
}
