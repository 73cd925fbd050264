package tsdb

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/tsdb/chunkenc"

	"nocturne/internal/need"
	"nocturne/tsdb/folder"
)

// sampleKey is a sample without its value.
type sampleKey struct {
	series string
	t      int64
}

// oracle is what a store was given, and what of that was deleted again.
type oracle struct {
	stored  map[sampleKey]float64
	deleted map[sampleKey]float64
}

var smallOptions = Options{Interval: 5 * time.Second, Log: slog.New(slog.DiscardHandler), MinFree: 1, segment: 2 * pageBytes}

// fullFolder is a store with blocks that were compacted and deleted from, a
// checkpoint, logs of several segments and mapped chunks, as a kill leaves it.
func fullFolder(t *testing.T, dir string, r *rand.Rand) oracle {
	t.Helper()
	o := smallOptions
	o.Dir = filepath.Join(t.TempDir(), "live")
	db, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	all := oracle{map[sampleKey]float64{}, map[sampleKey]float64{}}
	const series, step, deleteAt = 8, 5 * 1000, 120 * 12
	start := time.Now().Add(-150 * time.Minute).Truncate(20 * time.Minute).UnixMilli()
	for n := range 130 * 12 {
		if n == deleteAt {
			db = deleteSome(t, db, o, start+20*60*1000, start+118*60*1000, all)
		}
		var batch []Sample
		for s := range series {
			at := start + int64(n)*step
			if s%2 == 1 && n%3 == 0 && (s != 3 || n < deleteAt) {
				at -= 11 * 60 * 1000 // late, between two of the series
				at += 1000
			}
			ls := labels.FromStrings("__name__", "m", "n", fmt.Sprint(s))
			batch = append(batch, Sample{ls, at, r.Float64()})
			all.stored[sampleKey{ls.String(), at}] = batch[s].V
		}
		if got := appendAll(t, db, batch...); got.Appended != series {
			t.Fatalf("%+v", got)
		}
		if n%(5*12) == 0 {
			if err := db.inner.Compact(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := db.inner.ForceHeadMMap(); err != nil {
		t.Fatal(err)
	}
	if err := db.logs.sync(); err != nil {
		t.Fatal(err)
	}
	db.logs.mu.Lock()
	db.logs.note(true)
	db.logs.mu.Unlock()
	if err := db.CheckBlocks(); err != nil {
		t.Fatal(err)
	}
	// A close would write out the mapped chunks; a copy is what a kill leaves.
	if err := os.CopyFS(dir, os.DirFS(o.Dir)); err != nil {
		t.Fatal(err)
	}
	return all
}

// deleteSome deletes from a series, in blocks and in the log, and opens the
// store again: what was mapped before a deletion is not read after it.
func deleteSome(t *testing.T, db *DB, o Options, from, to int64, all oracle) *DB {
	t.Helper()
	ms := []*labels.Matcher{labels.MustNewMatcher(labels.MatchEqual, "n", "3")}
	if err := errors.Join(db.Delete(t.Context(), ms, time.UnixMilli(from), time.UnixMilli(to)), db.Close()); err != nil {
		t.Fatal(err)
	}
	for k, v := range all.stored {
		if strings.Contains(k.series, `n="3"`) && k.t >= from && k.t <= to {
			all.deleted[k] = v
			delete(all.stored, k)
		}
	}
	db, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	return db
}

// readAll returns all samples of a store, and what kept it from reading some.
func readAll(t *testing.T, db *DB) (map[sampleKey]float64, error) {
	t.Helper()
	q, err := db.Queryable().Querier(0, time.Now().Add(24*time.Hour).UnixMilli())
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	got := map[sampleKey]float64{}
	set := q.Select(t.Context(), false, nil, labels.MustNewMatcher(labels.MatchRegexp, "__name__", ".+"))
	var it chunkenc.Iterator
	for set.Next() {
		s := set.At()
		it = s.Iterator(it)
		for it.Next() != chunkenc.ValNone {
			at, v := it.At()
			got[sampleKey{s.Labels().String(), at}] = v
		}
		if err := it.Err(); err != nil {
			return got, err
		}
	}
	return got, set.Err()
}

// TestEveryFileDamaged damages or removes each file of a data folder in turn,
// and holds what the store answers against what it was given, also after a life
// that goes on from there.
func TestEveryFileDamaged(t *testing.T) {
	if testing.Short() {
		t.Skip("long, and with the race detector longer")
	}
	t.Parallel()
	_, r := need.Seed(t)
	base := filepath.Join(t.TempDir(), "base")
	all := fullFolder(t, base, r)
	var files []string
	if err := filepath.WalkDir(base, func(path string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			files = append(files, relative(base, path))
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"checkpoint.", "wbl/", "chunks_head/", "tombstones", sumName} {
		if !slices.ContainsFunc(files, func(f string) bool { return strings.Contains(f, want) }) {
			t.Fatalf("no %s in %q", want, files)
		}
	}
	if n := checkDamaged(t, base, "", all, false); n != 0 {
		t.Fatalf("%d samples are missing in the whole folder", n)
	}
	t.Logf("%d files, %d samples, %d deleted", len(files), len(all.stored), len(all.deleted))
	kinds := map[string]func([]byte) []byte{
		"cut":  func(b []byte) []byte { return b[:r.IntN(len(b))] },
		"flip": func(b []byte) []byte { b[r.IntN(len(b))] ^= 1 << r.IntN(8); return b },
		"zero": func(b []byte) []byte { i := r.IntN(len(b)); clear(b[i:min(len(b), i+512)]); return b },
		"none": func(b []byte) []byte { return b[:0] },
		"gone": nil,
	}
	for _, file := range files {
		inBlock := folder.IsBlock(strings.Split(file, "/")[0])
		for _, kind := range slices.Sorted(maps.Keys(kinds)) {
			was, err := os.ReadFile(filepath.Join(base, file))
			if err != nil {
				t.Fatal(err)
			}
			rare := kind == "none" || kind == "zero" || kind == "gone" && inBlock
			if len(was) == 0 && kind != "gone" || rare && r.IntN(4) > 0 {
				continue
			}
			dir := filepath.Join(t.TempDir(), "data")
			copyTo(t, base, dir)
			what := fmt.Sprintf("%s: %s of %d", file, kind, len(was))
			if kind == "gone" {
				if err := os.Remove(filepath.Join(dir, file)); err != nil {
					t.Fatal(err)
				}
			} else {
				data := kinds[kind](slices.Clone(was))
				if slices.Equal(was, data) {
					continue
				}
				write(t, filepath.Join(dir, file), data)
				at := 0
				for at < len(data) && data[at] == was[at] {
					at++
				}
				what = fmt.Sprintf("%s: %s at %d of %d", file, kind, at, len(was))
			}
			missing := checkDamaged(t, dir, what, all, !inBlock && (kind == "gone" || r.IntN(3) == 0) || r.IntN(12) == 0)
			t.Logf("%s: %d missing", what, missing)
			if err := os.RemoveAll(dir); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// liveOn appends to a store that was repaired, to new series before the old,
// and compacts.
func liveOn(t *testing.T, db *DB, what string, all oracle) map[sampleKey]float64 {
	t.Helper()
	later := map[sampleKey]float64{}
	newest := int64(0)
	for k := range all.stored {
		newest = max(newest, k.t)
	}
	for n := range 25 {
		var batch []Sample
		for s := range 16 {
			at := newest + 60_000 + int64(n)*5000
			if s%2 == 1 && n > 4 {
				at -= 10*60*1000 + 2500 // late, between two of all others
			}
			ls := labels.FromStrings("__name__", "m", "n", fmt.Sprint(15-s))
			batch = append(batch, Sample{ls, at, float64(-n)})
			later[sampleKey{ls.String(), at}] = float64(-n)
		}
		if got, err := db.Append(t.Context(), batch); err != nil || got.Appended != len(batch) {
			t.Errorf("%s: goes on with %+v, %v", what, got, err)
			return nil
		}
	}
	if err := db.inner.Compact(t.Context()); err != nil {
		t.Logf("%s: goes on: %v", what, err)
	}
	return later
}

// checkDamaged opens a folder and returns how many samples are missing.
// A wrong value is a failure, a missing one unless something was reported.
func checkDamaged(t *testing.T, dir, what string, all oracle, live bool) int {
	t.Helper()
	found, err := Verify(dir, nil)
	if err != nil {
		t.Errorf("%s: %v", what, err)
	}
	openings := 1
	switch {
	case live:
		openings = 3
	case !folder.IsBlock(strings.Split(what, "/")[0]):
		openings = 2 // what a log is repaired to must last
	}
	var first, later map[sampleKey]float64
	missing := 0
	for opened := range openings {
		o := smallOptions
		o.Dir = dir
		db, err := Open(o)
		if err != nil {
			t.Errorf("%s: does not open: %v", what, err)
			return 0
		}
		got, failed := readAll(t, db)
		told := failed != nil || len(db.Stats().SetAside)+len(db.Stats().Lost) > 0
		if opened == 0 {
			first = got
			missing = checkFirst(t, what, got, all, told)
			if missing > 0 && len(found.Faults) == 0 {
				t.Errorf("%s: %d samples missing, and Verify found nothing", what, missing)
			}
			if file, _, _ := strings.Cut(what, ":"); failed != nil && !strings.Contains(failed.Error(), file) {
				t.Errorf("%s: the error does not name the file: %v", what, failed)
			}
			if live {
				later = liveOn(t, db, what, all)
			}
		} else if failed == nil {
			checkAgain(t, fmt.Sprintf("%s, opening %d", what, opened+1), got, first, later)
		}
		if err := db.Close(); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	return missing
}

func checkFirst(t *testing.T, what string, got map[sampleKey]float64, all oracle, told bool) (missing int) {
	t.Helper()
	risen := 0
	for k, v := range got {
		if want, ok := all.stored[k]; ok && want == v {
			continue
		}
		if want, ok := all.deleted[k]; ok && want == v {
			risen++
			continue
		}
		t.Errorf("%s: %v = %g, never stored", what, k, v)
	}
	for k := range all.stored {
		if _, ok := got[k]; !ok {
			missing++
		}
	}
	if !told && missing+risen > 0 {
		t.Errorf("%s: %d samples missing, %d deleted ones back, and nothing said", what, missing, risen)
	}
	return missing
}

// checkAgain wants what the first opening found and what came later, and
// nothing else.
func checkAgain(t *testing.T, what string, got, first, later map[sampleKey]float64) {
	t.Helper()
	want := maps.Clone(first)
	maps.Copy(want, later)
	if maps.Equal(got, want) {
		return
	}
	wrong, gone := 0, 0
	for k, v := range got {
		if is, ok := want[k]; !ok || is != v {
			if wrong++; wrong < 3 {
				t.Logf("%s: %v = %g, want %g", what, k, v, is)
			}
		}
	}
	for k := range want {
		if _, ok := got[k]; !ok {
			if gone++; gone < 3 {
				t.Logf("%s: %v is gone", what, k)
			}
		}
	}
	t.Errorf("%s: %d samples are wrong and %d gone of %d", what, wrong, gone, len(want))
}
