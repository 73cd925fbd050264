package state

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"nocturne/internal/need"
)

// diskOptions are for a disk of 64 MB.
func diskOptions(d need.Disk) Options {
	return Options{Dir: filepath.Join(d.Dir, "state"), MinFree: 8 << 20}
}

// filler writes records until the state is read-only, and remembers which it
// was promised.
type filler struct {
	racks *Table[rack]
	log   *Log[line]
	n     int
	acked map[string]Rev
	lines uint64
}

func newFiller(t *testing.T, db *DB) *filler {
	t.Helper()
	return &filler{racks: NewTable[rack](db, "rack", 1), log: must[*Log[line]](t)(NewLog[line](db, "events", 1)), acked: map[string]Rev{}}
}

func (f *filler) step() error {
	f.n++
	name := fmt.Sprintf("r%06d", f.n)
	rev, err := f.racks.Put(name, rack{Name: strings.Repeat("x", 1000+f.n%9000), Units: f.n}, 0)
	if err != nil {
		return err
	}
	f.acked[name] = rev
	seq, err := f.log.Append(line{name})
	if err == nil {
		f.lines = seq
	}
	return err
}

// check holds the database against what was promised.
func (f *filler) check(t *testing.T, db *DB) {
	t.Helper()
	racks, lost := NewTable[rack](db, "rack", 1), 0
	for name, rev := range f.acked {
		if _, got, err := racks.Get(name); err != nil || got != rev {
			lost++
		}
	}
	log := must[*Log[line]](t)(NewLog[line](db, "events", 1))
	if lost > 0 || log.Last() < f.lines {
		t.Fatalf("%d of %d records lost, the log ends at %d of %d", lost, len(f.acked), log.Last(), f.lines)
	}
	f.racks, f.log = racks, log
}

// TestFullDisk fills the disk while records are written: writes are refused by
// name, reading goes on, nothing acknowledged is lost, it closes and opens on
// the full disk, and writes again by itself when there is room.
func TestFullDisk(t *testing.T) {
	d := need.NewDisk(t, "64m")
	o := diskOptions(d)
	db := must[*DB](t)(Open(o))
	defer func() { db.Close() }()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() { _ = db.Run(ctx) }()
	f := newFiller(t, db)
	for range 500 {
		if err := f.step(); err != nil {
			t.Fatal(err)
		}
	}
	need.Until(t, "the reserve is held", func() bool {
		st, err := os.Stat(filepath.Join(o.Dir, reserveName))
		return err == nil && st.Size() == o.MinFree
	})
	d.Fill(o.MinFree + 4<<20)
	var err error
	for err == nil && f.n < 100_000 {
		err = f.step()
	}
	if since, why := db.ReadOnly(); !errors.Is(err, ErrReadOnly) || !errors.Is(why, ErrReadOnly) || since.IsZero() || !strings.Contains(err.Error(), o.Dir) {
		t.Fatalf("after %d writes: %v; read-only since %v: %v", f.n, err, since, why)
	}
	t.Logf("%d records, then: %v", len(f.acked), err)
	// Others take what is left, once what Badger still had to write is written.
	room, still := d.Room(), 0
	need.Until(t, "nothing more is written for half a second", func() bool {
		if now := d.Room(); now != room {
			room, still = now, 0
		}
		still++
		return still > 50
	})
	d.Fill(0)
	f.check(t, db)
	if err := f.step(); !errors.Is(err, ErrReadOnly) {
		t.Fatalf("a write on the full disk: %v", err)
	}
	if err := db.Close(); err != nil {
		t.Fatalf("close on a full disk: %v", err)
	}
	db = must[*DB](t)(Open(o))
	f.check(t, db)
	d.Fill(0) // merging tables may have made room by now
	if err := f.step(); !errors.Is(err, ErrReadOnly) {
		t.Fatalf("a write after opening on the full disk: %v", err)
	}
	d.Free()
	need.Until(t, "records are written again", func() bool { return f.step() == nil })
	if _, err := db.ReadOnly(); err != nil {
		t.Error(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	db = must[*DB](t)(Open(o))
	f.check(t, db)
}

// TestKilledOnAFullDisk leaves the files as a kill does, with the disk full to
// the last byte, and opens them.
func TestKilledOnAFullDisk(t *testing.T) {
	d := need.NewDisk(t, "64m")
	o := diskOptions(d)
	db := must[*DB](t)(Open(o))
	f := newFiller(t, db)
	for range 500 {
		if err := f.step(); err != nil {
			t.Fatal(err)
		}
	}
	db.room.tend()
	copied := filepath.Join(d.Dir, "killed")
	if out, err := exec.Command("cp", "-a", "--sparse=always", o.Dir, copied).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(o.Dir); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(copied, reserveName), make([]byte, o.MinFree), 0o600); err != nil {
		t.Fatal(err)
	}
	o.Dir = copied
	d.Fill(0)
	db, err := Open(o)
	if err != nil {
		t.Fatalf("open on a full disk: %v", err)
	}
	f.check(t, db)
	if err := f.step(); !errors.Is(err, ErrReadOnly) {
		t.Errorf("a write: %v", err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	// Without a reserve there is nothing to open with: said, not crashed on.
	if err := os.Remove(filepath.Join(copied, reserveName)); err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	d.Fill(0)
	if _, err := Open(o); !errors.Is(err, ErrReadOnly) || !strings.Contains(err.Error(), "are needed to open it") {
		t.Errorf("open without any room: %v", err)
	}
}
