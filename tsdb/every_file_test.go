package tsdb

import (
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
	defer db.Close()
	all := oracle{map[sampleKey]float64{}, map[sampleKey]float64{}}
	const series, step = 8, 5 * 1000
	start := time.Now().Add(-150 * time.Minute).Truncate(20 * time.Minute).UnixMilli()
	for n := range 130 * 12 {
		var batch []Sample
		for s := range series {
			at := start + int64(n)*step
			if s%2 == 1 && n%3 == 0 {
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
	from, to := start+20*60*1000, start+128*60*1000
	if err := db.inner.Delete(t.Context(), from, to, labels.MustNewMatcher(labels.MatchEqual, "n", "3")); err != nil {
		t.Fatal(err)
	}
	for k, v := range all.stored {
		if strings.Contains(k.series, `n="3"`) && k.t >= from && k.t <= to {
			all.deleted[k] = v
			delete(all.stored, k)
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

// TestEveryFileDamaged damages each file of a data folder in turn, and holds
// what the store answers against what it was given.
func TestEveryFileDamaged(t *testing.T) {
	if testing.Short() {
		t.Skip("long, and with the race detector longer")
	}
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
	if n := checkDamaged(t, base, "", all); n != 0 {
		t.Fatalf("%d samples are missing in the whole folder", n)
	}
	t.Logf("%d files, %d samples, %d deleted", len(files), len(all.stored), len(all.deleted))
	kinds := map[string]func([]byte) []byte{
		"cut":  func(b []byte) []byte { return b[:r.IntN(len(b))] },
		"flip": func(b []byte) []byte { b[r.IntN(len(b))] ^= 1 << r.IntN(8); return b },
		"zero": func(b []byte) []byte { i := r.IntN(len(b)); clear(b[i:min(len(b), i+512)]); return b },
		"none": func(b []byte) []byte { return b[:0] },
	}
	for _, file := range files {
		for _, kind := range slices.Sorted(maps.Keys(kinds)) {
			was, err := os.ReadFile(filepath.Join(base, file))
			if err != nil {
				t.Fatal(err)
			}
			if len(was) == 0 || (kind == "none" || kind == "zero") && r.IntN(4) > 0 {
				continue
			}
			dir := filepath.Join(t.TempDir(), "data")
			if err := os.CopyFS(dir, os.DirFS(base)); err != nil {
				t.Fatal(err)
			}
			data := kinds[kind](slices.Clone(was))
			if slices.Equal(was, data) {
				continue
			}
			if err := os.WriteFile(filepath.Join(dir, file), data, 0o600); err != nil {
				t.Fatal(err)
			}
			at := 0
			for at < len(data) && data[at] == was[at] {
				at++
			}
			what := fmt.Sprintf("%s: %s at %d of %d", file, kind, at, len(was))
			missing := checkDamaged(t, dir, what, all)
			t.Logf("%s: %d missing", what, missing)
			if err := os.RemoveAll(dir); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// checkDamaged opens a folder and returns how many samples are missing.
// A wrong value is a failure, a missing one unless something was reported.
func checkDamaged(t *testing.T, dir, what string, all oracle) int {
	t.Helper()
	found, err := Verify(dir, nil)
	if err != nil {
		t.Errorf("%s: %v", what, err)
	}
	faults := len(found.Faults)
	var first map[sampleKey]float64
	missing := 0
	openings := 1
	if !folder.IsBlock(strings.Split(what, "/")[0]) {
		openings = 2 // what a log is repaired to must last
	}
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
		if err := db.Close(); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		if opened > 0 {
			if failed == nil && !maps.Equal(got, first) {
				t.Errorf("%s: opened again, %d samples instead of %d", what, len(got), len(first))
			}
			break
		}
		first, missing = got, 0
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
		if missing > 0 && faults == 0 {
			t.Errorf("%s: %d samples missing, and Verify found nothing", what, missing)
		}
		if failed != nil {
			t.Logf("%s: %v", what, failed)
			if file, _, _ := strings.Cut(what, ":"); !strings.Contains(failed.Error(), file) {
				t.Errorf("%s: the error does not name the file: %v", what, failed)
			}
		}
	}
	return missing
}
