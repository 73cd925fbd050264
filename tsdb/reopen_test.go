package tsdb

import (
	"bytes"
	"log/slog"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"nocturne/internal/need"
)

// TestReopeningThatFails has the log unreadable when the store is to be opened
// anew: it stays closed, and comes back when the log can be read.
func TestReopeningThatFails(t *testing.T) {
	_, r := need.Seed(t)
	var said bytes.Buffer
	db, err := Open(Options{Dir: t.TempDir(), Log: slog.New(slog.NewTextHandler(&said, nil))})
	if err != nil {
		t.Fatal(err)
	}
	w := newWriter(r)
	if err := w.append(t, db); err != nil {
		t.Fatal(err)
	}
	full, sync := true, db.logs.fsync
	db.logs.fsync = func(f *os.File) error {
		if full {
			return &os.PathError{Op: "sync", Path: f.Name(), Err: unix.ENOSPC}
		}
		return sync(f)
	}
	if err := db.Synced(t.Context()); err == nil || db.broken() == nil {
		t.Fatalf("a sync without room: %v", err)
	}
	full = false
	nowhere := segmentPath(db.LogDir(), 99)
	if err := os.Symlink("nowhere", nowhere); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		db.reopen()
	}
	if text := said.String(); strings.Count(text, "reopen history after its disk was full") != 3 || strings.Contains(text, "close history after") {
		t.Errorf("said: %s", text)
	}
	if err := w.append(t, db); err == nil {
		t.Error("a closed store takes samples")
	}
	if err := os.Remove(nowhere); err != nil {
		t.Fatal(err)
	}
	db.reopen()
	if err := w.append(t, db); err != nil {
		t.Fatal(err)
	}
	w.check(t, db)
	if err := db.Close(); err != nil {
		t.Error(err)
	}
}
