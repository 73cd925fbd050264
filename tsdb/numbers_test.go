package tsdb

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/tsdb/record"
	"github.com/prometheus/prometheus/tsdb/tsdbutil"
	"github.com/prometheus/prometheus/util/compression"
)

// TestNumbersOfLostSeries takes the records that name the series of the highest
// numbers out of the log: by damage, by a power cut that took the end of one
// log and left that of the other and what was mapped, and by damage and a kill
// in the repair. The library gives their numbers to the series that come next:
// those must get none of the samples, mapped or logged, nor the deletions.
func TestNumbersOfLostSeries(t *testing.T) {
	for name, lose := range map[string]func(t *testing.T, dir, segment string, data []byte, named []int64){
		"damaged": func(t *testing.T, _, segment string, data []byte, named []int64) {
			for _, off := range named[4:] {
				data[off+10] ^= 1
			}
			write(t, segment, data)
		},
		"cut": func(t *testing.T, dir, segment string, data []byte, named []int64) {
			write(t, segment, data[:named[4]])
			if err := os.Remove(filepath.Join(dir, logSizesName)); err != nil {
				t.Fatal(err)
			}
		},
		"killed in the repair": func(t *testing.T, dir, segment string, data []byte, named []int64) {
			for _, off := range named[4:] {
				data[off+10] ^= 1
			}
			write(t, segment, data)
			crashed := filepath.Join(t.TempDir(), "crashed")
			copyTo(t, dir, crashed)
			db, err := Open(Options{Dir: crashed, Log: quiet})
			if err != nil {
				t.Fatal(err)
			}
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
			// It came as far as the first segment.
			repaired, err := os.ReadFile(filepath.Join(crashed, "wal", "00000000"))
			if err != nil {
				t.Fatal(err)
			}
			write(t, segment, repaired)
			if err := os.MkdirAll(filepath.Join(dir, repairName), 0o777); err != nil {
				t.Fatal(err)
			}
			if err := os.Remove(filepath.Join(dir, logSizesName)); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) { testNumbers(t, lose) })
	}
}

func testNumbers(t *testing.T, lose func(t *testing.T, dir, segment string, data []byte, named []int64)) {
	const series = 8
	live := filepath.Join(t.TempDir(), "live")
	db := openWith(t, Options{Dir: live, segment: 2 * pageBytes})
	start := time.Now().Add(-110 * time.Minute).UnixMilli()
	stored := map[sampleKey]float64{}
	put := func(db *DB, n, shift int, which ...int) {
		t.Helper()
		var batch []Sample
		for _, i := range which {
			s := Sample{labels.FromStrings("__name__", "m", "n", fmt.Sprint(i)), start + int64(n)*15_000 + int64(shift), float64(i*10_000 + 2*n + shift)}
			batch = append(batch, s)
			stored[sampleKey{s.Labels.String(), s.T}] = s.V
		}
		if r := appendAll(t, db, batch...); r.Appended != len(which) {
			t.Fatalf("%+v of %v at %d", r, which, n)
		}
	}
	all := []int{0, 1, 2, 3, 4, 5, 6, 7}
	for i := range series { // each named by a record of its own
		put(db, 0, 0, i)
	}
	histograms := func(from, n int) {
		t.Helper()
		b, err := db.Source("test").Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for i := range n {
			b.AppendHistogram(labels.FromStrings("__name__", "h"), start+int64(from+i)*15_000, tsdbutil.GenerateTestHistogram(int64(i)), nil)
		}
		if r, err := b.Commit(); err != nil || r.Appended != n {
			t.Fatal(r, err)
		}
	}
	histograms(0, 1)
	for n := 1; n < 300; n++ {
		put(db, n, 0, all...)
		if n > 20 && n%4 == 0 {
			put(db, n-20, 1, all...) // late
		}
	}
	histograms(280, 10)
	if err := db.inner.Delete(t.Context(), start, start+200_000_000, labels.MustNewMatcher(labels.MatchEqual, "n", "4")); err != nil {
		t.Fatal(err)
	}
	if err := db.inner.ForceHeadMMap(); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "data")
	copyTo(t, live, dir)
	segment := filepath.Join(dir, "wal", "00000000")
	data, err := os.ReadFile(segment)
	if err != nil {
		t.Fatal(err)
	}
	var reader recordReader
	var named []int64
	walkLog(append([]byte(nil), data...), func(off int64, compr compression.Type, rec []byte) {
		if d, err := reader.read(compr, rec); err == nil && d.kind == record.Series {
			named = append(named, off)
		}
	})
	if len(named) != series+1 {
		t.Fatalf("%d records name series in the first segment", len(named))
	}
	lose(t, dir, segment, data, named)

	o := Options{Dir: dir, Log: quiet, segment: 2 * pageBytes}
	again := []int{7, 6, 5, 4, 3, 2, 1, 0}
	for life := range 3 {
		if db, err = Open(o); err != nil {
			t.Fatal(err)
		}
		t.Logf("opening %d: %d series, lost %+v", life, db.Stats().Series, db.Stats().Lost)
		if life == 0 {
			for i := range series {
				put(db, 320, 0, again[i], 10+i)
			}
		}
		for n := range 5 {
			put(db, 330+10*life+n, 0, again...)
			put(db, 321+5*life+n, 1, again...)
		}
		holdAgainst(t, db, fmt.Sprintf("opening %d", life), stored, func(k sampleKey) bool { return k.t >= start+320*15_000 })
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// holdAgainst wants no value in the store that was not stored so, and those
// that must be there.
func holdAgainst(t *testing.T, db *DB, when string, stored map[sampleKey]float64, must func(sampleKey) bool) {
	t.Helper()
	got, err := readAll(t, db)
	if err != nil {
		t.Fatal(err)
	}
	wrong, missing := 0, 0
	for k, v := range got {
		if k.series == `{__name__="h"}` {
			continue
		}
		if want, ok := stored[k]; !ok || want != v {
			if wrong++; wrong < 4 {
				t.Logf("%s: %v = %g, was stored as %g", when, k, v, want)
			}
		}
	}
	for k := range stored {
		if _, ok := got[k]; !ok && must(k) {
			if missing++; missing < 4 {
				t.Logf("%s: %v is missing", when, k)
			}
		}
	}
	if wrong > 0 || missing > 0 {
		t.Errorf("%s: %d of %d samples have a wrong value, %d are missing", when, wrong, len(got), missing)
	}
}

func write(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func copyTo(t *testing.T, from, to string) {
	t.Helper()
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
}
