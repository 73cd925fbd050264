package tsdb

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"nocturne/internal/need"
)

// onMessage calls f when the library says something.
type onMessage struct {
	message string
	f       func()
}

func (onMessage) Enabled(context.Context, slog.Level) bool { return true }
func (h onMessage) WithAttrs([]slog.Attr) slog.Handler     { return h }
func (h onMessage) WithGroup(string) slog.Handler          { return h }
func (h onMessage) Handle(_ context.Context, r slog.Record) error {
	if r.Message == h.message {
		h.f()
	}
	return nil
}

// TestFirstMappedFile has the library truncate its mapped chunks, in a life in
// which nothing was mapped yet, while a late sample has the first chunk mapped.
// Without the guard (firstFile) it panics in about every fifth round, or cannot
// read what it mapped.
func TestFirstMappedFile(t *testing.T) {
	_, r := need.Seed(t)
	rounds := 25
	if testing.Short() {
		rounds = 6
	}
	base := filepath.Join(t.TempDir(), "base")
	o := Options{Dir: base, Interval: 5 * time.Second, MinFree: 1, Log: quiet}
	start := time.Now().Add(-60 * time.Minute).Truncate(20 * time.Minute).UnixMilli()
	stored := map[sampleKey]float64{}
	put := func(t *testing.T, db *DB, name string, at int64) error {
		ls := labels.FromStrings("__name__", "m", "n", name)
		stored[sampleKey{ls.String(), at}] = float64(at)
		got, err := db.Append(t.Context(), []Sample{{ls, at, float64(at)}})
		if err == nil && got.Appended != 1 {
			err = fmt.Errorf("%+v", got)
		}
		return err
	}
	must := func(t *testing.T, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for life := range 8 { // each leaves a file
		db, err := Open(o)
		must(t, err)
		for n := life * 43; n < (life+1)*43; n++ {
			must(t, put(t, db, "steady", start+int64(n)*5000))
		}
		if life == 7 {
			must(t, put(t, db, "late", start+int64(n0)*5000))
			for n := range 32 { // as many as a chunk of late samples takes
				must(t, put(t, db, "late", start+12*60_000+int64(n)*1000))
			}
		}
		must(t, errors.Join(db.inner.ForceHeadMMap(), db.Close()))
	}
	for round := range rounds {
		o.Dir = filepath.Join(t.TempDir(), "data")
		copyTo(t, base, o.Dir)
		wait := time.Duration(r.IntN(200)) * time.Microsecond
		late, ended := make(chan struct{}, 8), make(chan error, 1)
		o.Log = slog.New(onMessage{"Head GC completed", func() { late <- struct{}{} }})
		db, err := Open(o)
		must(t, err)
		must(t, put(t, db, "steady", start+31*60_000)) // the head is to be written
		go func() {
			var err error
			defer func() {
				if p := recover(); p != nil {
					err = fmt.Errorf("panic: %v", p)
				}
				ended <- err
			}()
			<-late
			time.Sleep(wait)
			err = put(t, db, "late", start+14*60_000+int64(round))
		}()
		if err := db.inner.Compact(t.Context()); err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		if err := <-ended; err != nil {
			t.Fatalf("round %d: a late sample while the head is truncated: %v", round, err) // what it locked is locked
		}
		holdAgainst(t, db, fmt.Sprintf("round %d", round), stored, func(sampleKey) bool { return true })
		must(t, db.Close())
		delete(stored, sampleKey{labels.FromStrings("__name__", "m", "n", "late").String(), start + 14*60_000 + int64(round)})
	}
}

// n0 is the sample at which the series of late ones begins.
const n0 = 8*43 - 1

// TestLateSamplesAfterAnOpening has the library write the late samples of an
// earlier life, of which chunks are left though they are in blocks, before
// anything is mapped. It would number the files of mapped chunks anew, and
// neither see nor write late samples that are mapped then.
func TestLateSamplesAfterAnOpening(t *testing.T) {
	for _, inOrder := range []bool{false, true} {
		t.Run(fmt.Sprintf("in order %v", inOrder), func(t *testing.T) {
			o := Options{Dir: t.TempDir()}
			db := openWith(t, o)
			now := time.Now().UnixMilli()
			stored := map[sampleKey]float64{}
			put := func(from, n int) {
				t.Helper()
				for i := from; i < from+n; i++ {
					s := Sample{labels.FromStrings("__name__", "m"), now - 20*60_000 + int64(i), float64(i)}
					stored[sampleKey{s.Labels.String(), s.T}] = s.V
					if r := appendAll(t, db, s); r.Appended != 1 {
						t.Fatalf("%+v", r)
					}
				}
			}
			again := func() {
				t.Helper()
				if err := db.Close(); err != nil {
					t.Fatal(err)
				}
				db = openWith(t, o)
			}
			all := func(sampleKey) bool { return true }
			last := 1
			if inOrder {
				last = 300
			}
			for i := range last {
				s := Sample{labels.FromStrings("__name__", "m"), now - int64(last-i), -1}
				stored[sampleKey{s.Labels.String(), s.T}] = s.V
				appendAll(t, db, s)
			}
			put(0, 200)
			if err := db.inner.CompactOOOHead(t.Context()); err != nil {
				t.Fatal(err)
			}
			again()
			if err := db.inner.CompactOOOHead(t.Context()); err != nil {
				t.Fatal(err)
			}
			put(200, 100)
			holdAgainst(t, db, "mapped", stored, all)
			if err := db.inner.CompactOOOHead(t.Context()); err != nil {
				t.Fatal(err)
			}
			holdAgainst(t, db, "written", stored, all)
			again()
			holdAgainst(t, db, "opened again", stored, all)
		})
	}
}

// TestHeadOfShortSeriesIsWritten has a head that is to be written and holds no
// chunk that can be mapped.
func TestHeadOfShortSeriesIsWritten(t *testing.T) {
	db := openWith(t, Options{Interval: 5 * time.Second})
	start := time.Now().Add(-60 * time.Minute).Truncate(20 * time.Minute)
	stored := map[sampleKey]float64{}
	for _, minute := range []int{1, 35} {
		s := Sample{labels.FromStrings("__name__", "m", "n", fmt.Sprint(minute)), start.Add(time.Duration(minute) * time.Minute).UnixMilli(), float64(minute)}
		stored[sampleKey{s.Labels.String(), s.T}] = s.V
		if r := appendAll(t, db, s); r.Appended != 1 {
			t.Fatalf("%+v", r)
		}
	}
	if err := db.inner.Compact(t.Context()); err != nil {
		t.Error(err)
	}
	if n := len(db.inner.Blocks()); n != 1 {
		t.Errorf("%d blocks, want one", n)
	}
	holdAgainst(t, db, "written", stored, func(sampleKey) bool { return true })
}

// TestChunksAloneStay cuts the log, so that a mapped chunk is all that is left
// of its samples. It stays at the openings after the repair too, which find
// nothing damaged.
func TestChunksAloneStay(t *testing.T) {
	o := Options{Dir: t.TempDir()}
	db := openWith(t, o)
	// Within one block's time, whose end would end a chunk.
	start := time.Now().Add(-2 * time.Hour).Truncate(2 * time.Hour).UnixMilli()
	for n := range 300 {
		appendAll(t, db, Sample{labels.FromStrings("__name__", "m"), start + int64(n)*15_000, float64(n)})
	}
	if err := errors.Join(db.inner.ForceHeadMMap(), db.Close()); err != nil {
		t.Fatal(err)
	}
	segment := filepath.Join(o.Dir, "wal", "00000000")
	data, err := os.ReadFile(segment)
	if err != nil {
		t.Fatal(err)
	}
	write(t, segment, data[:len(bytes.TrimRight(data, "\x00"))/3])
	var first map[sampleKey]float64
	for opening := range 3 {
		db = openWith(t, o)
		got, err := readAll(t, db)
		if err != nil {
			t.Fatal(err)
		}
		if opening == 0 {
			if first = got; len(db.Stats().Lost) == 0 || len(got) < 200 || len(got) == 300 {
				t.Fatalf("%d samples are left and %+v is told: this shows nothing", len(got), db.Stats().Lost)
			}
		}
		if len(got) != len(first) {
			t.Errorf("opening %d: %d samples instead of %d", opening, len(got), len(first))
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
