package forward

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/prometheus/tsdb/wlog"
	"github.com/prometheus/prometheus/util/compression"
)

func ignore([]byte) error { return nil }

// TestLogGoesOn reads a log while the library writes it, over segments, and
// takes it up again at every record.
func TestLogGoesOn(t *testing.T) {
	dir, quiet := t.TempDir(), slog.New(slog.DiscardHandler)
	w, err := wlog.NewSize(quiet, nil, dir, 64<<10, compression.Snappy)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	l, err := openLog(dir, 0, quiet)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var marks []position
	for n := range 400 {
		// Long ones fill pages, and span them.
		want := fmt.Appendf(nil, "%d %0*d", n, n%50*400, n)
		if err := w.Log(want); err != nil {
			t.Fatal(err)
		}
		got, err := l.next()
		if err != nil || cmp.Diff(string(want), string(got)) != "" {
			t.Fatalf("record %d: %q %v", n, got, err)
		}
		if _, err := l.next(); !errors.Is(err, io.EOF) {
			t.Fatalf("behind record %d: %v", n, err)
		}
		marks = append(marks, position{Segment: l.segment, Offset: l.offset, Print: l.print})
		if n%60 == 59 {
			if _, err := w.NextSegment(); err != nil {
				t.Fatal(err)
			}
		}
	}
	for n, p := range marks[:len(marks)-1] {
		if got := takeUp(t, dir, p); got != n+1 {
			t.Fatalf("after record %d: %d", n, got)
		}
		for _, wrong := range []position{
			{Segment: p.Segment, Offset: p.Offset, Print: p.Print + 1},
			{Segment: p.Segment, Offset: p.Offset + 1, Print: p.Print},
			{Segment: p.Segment + 100, Offset: p.Offset, Print: p.Print},
			{Segment: p.Segment, First: 4711},
		} {
			if got := takeUp(t, dir, wrong); got != -1 {
				t.Fatalf("%+v was taken for a position: record %d", wrong, got)
			}
		}
	}
}

// TestLogIsTakenUpAtTheStart knows a segment by its first record.
func TestLogIsTakenUpAtTheStart(t *testing.T) {
	dir, quiet := t.TempDir(), slog.New(slog.DiscardHandler)
	w, err := wlog.NewSize(quiet, nil, dir, 64<<10, compression.Snappy)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if sum, err := firstRecord(dir, 0, quiet); err != nil || sum != 0 {
		t.Errorf("the first record of an empty segment: %d, %v", sum, err)
	}
	if err := w.Log([]byte("7 first"), []byte("8 second")); err != nil {
		t.Fatal(err)
	}
	sum, err := firstRecord(dir, 0, quiet)
	if err != nil || sum == 0 {
		t.Fatalf("%d, %v", sum, err)
	}
	if got := takeUp(t, dir, position{First: sum}); got != 7 {
		t.Errorf("record %d", got)
	}
}

// TestFaultsEndIdleness has the lag counted again when the log cannot be read.
func TestFaultsEndIdleness(t *testing.T) {
	var f figures
	f.init("some")
	f.atEnd()
	if !f.idle {
		t.Fatal("not idle at the end of the log")
	}
	f.ill(errDamaged)
	if f.idle {
		t.Error("still idle, though the log cannot be read")
	}
}

// takeUp returns the number of the record behind a position, -1 when the log
// does not go on from there.
func takeUp(t *testing.T, dir string, p position) int {
	t.Helper()
	l, err := openLog(dir, p.Segment, slog.New(slog.DiscardHandler))
	if err == nil {
		defer l.Close()
		err = l.skip(p, ignore)
	}
	if errors.Is(err, errBehind) {
		return -1
	}
	if err != nil {
		t.Fatal(err)
	}
	rec, err := l.next()
	if err != nil {
		t.Fatal(err)
	}
	var n int
	if _, err := fmt.Sscan(string(rec), &n); err != nil {
		t.Fatal(err)
	}
	return n
}

// TestLogIsDamaged changes a byte of a record that has not been read yet.
func TestLogIsDamaged(t *testing.T) {
	dir, quiet := t.TempDir(), slog.New(slog.DiscardHandler)
	w, err := wlog.NewSize(quiet, nil, dir, 64<<10, compression.Snappy)
	if err != nil {
		t.Fatal(err)
	}
	for n := range 9 {
		if err := w.Log(fmt.Appendf(nil, "record %d", n)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	path := wlog.SegmentName(dir, 0)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	data[60] ^= 4
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := openLog(dir, 0, quiet)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for err == nil {
		_, err = l.next()
	}
	if !errors.Is(err, errDamaged) || l.offset == 0 || l.offset > 60 {
		t.Errorf("at offset %d: %v", l.offset, err)
	}
}
