package analysis_test

import (
	"fmt"
	"log/slog"
	"maps"
	"math"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/tsdb/chunkenc"

	"nocturne/internal/need"
	"nocturne/tsdb/analysis"
)

// TestAgainstBruteForce writes random series that come and go over six blocks
// and counts them by hand.
func TestAgainstBruteForce(t *testing.T) {
	_, r := need.Seed(t)
	dir := t.TempDir()
	const blocks, hour = 6, int64(3600_000)
	for b := range blocks {
		w, err := tsdb.NewBlockWriter(slog.New(slog.DiscardHandler), dir, 2*hour)
		if err != nil {
			t.Fatal(err)
		}
		app := w.Appender(t.Context())
		for n := range 200 {
			if r.IntN(3) == 0 {
				continue
			}
			ls := labels.FromStrings("__name__", fmt.Sprint("m", n%7), "job", fmt.Sprint("job", n%3), "instance", fmt.Sprint("host", n%11), "disk", strconv.Itoa(n/50), "n", strconv.Itoa(n%77))
			for i := range 1 + r.IntN(300) {
				if _, err := app.Append(0, ls, int64(b)*hour+int64(n%2)*3+int64(i)*6000+int64(n)*7, float64(r.IntN(1000))); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := app.Commit(); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	db, err := tsdb.OpenDBReadOnly(dir, t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	readers, err := db.Blocks()
	if err != nil {
		t.Fatal(err)
	}
	got, err := analysis.Analyze(t.Context(), readers, math.MaxInt, nil)
	if err != nil {
		t.Fatal(err)
	}
	byQuery(t, readers, got)
}

// byQuery counts anew by way of the library's queriers.
func byQuery(t *testing.T, readers []tsdb.BlockReader, got analysis.Report) {
	t.Helper()
	byMetric, bySource, values := map[string]analysis.Cost{}, map[string]analysis.Cost{}, map[string]map[string]bool{}
	inBlock := make([]map[string]string, len(readers)) // series to metric
	bytesOf, seriesOf := map[string]int64{}, map[string]int{}
	var samples, size int64
	known := map[string]bool{}
	for i, b := range readers {
		inBlock[i] = map[string]string{}
		q, err := tsdb.NewBlockChunkQuerier(b, math.MinInt64, math.MaxInt64)
		if err != nil {
			t.Fatal(err)
		}
		set := q.Select(t.Context(), true, nil, labels.MustNewMatcher(labels.MatchRegexp, "__name__", ".+"))
		for set.Next() {
			ls := set.At().Labels()
			metric, source := ls.Get("__name__"), fmt.Sprintf("job=%q instance=%q", ls.Get("job"), ls.Get("instance"))
			m, s := byMetric[metric], bySource[source]
			m.Name, s.Name = metric, source
			if !known[ls.String()] {
				known[ls.String()] = true
				m.Series++
				s.Series++
				ls.Range(func(l labels.Label) {
					if values[l.Name] == nil {
						values[l.Name] = map[string]bool{}
					}
					values[l.Name][l.Value] = true
					seriesOf[l.Name]++
					bytesOf[l.Name] += int64(len(l.Value))
				})
			}
			inBlock[i][ls.String()] = metric
			if i > 0 && inBlock[i-1][ls.String()] == "" {
				m.Appeared++
				s.Appeared++
			}
			for it := set.At().Iterator(nil); it.Next(); {
				c := it.At().Chunk
				n := int64(0)
				for points := c.Iterator(nil); points.Next() != chunkenc.ValNone; {
					n++
				}
				m.Samples, s.Samples, samples = m.Samples+n, s.Samples+n, samples+n
				m.Bytes, s.Bytes, size = m.Bytes+int64(len(c.Bytes())), s.Bytes+int64(len(c.Bytes())), size+int64(len(c.Bytes()))
			}
			byMetric[metric], bySource[source] = m, s
		}
		if err := set.Err(); err != nil {
			t.Fatal(err)
		}
		q.Close()
	}
	if got.Series != len(known) || got.Samples != samples || got.Bytes != size || got.Blocks != len(readers) {
		t.Errorf("%d series, %d samples, %d bytes; want %d, %d, %d", got.Series, got.Samples, got.Bytes, len(known), samples, size)
	}
	compare(t, "metrics", byMetric, got.Metrics)
	compare(t, "sources", bySource, got.Sources)
	for _, l := range got.Labels {
		want := analysis.Label{Name: l.Name, Values: len(values[l.Name]), Series: seriesOf[l.Name], Bytes: bytesOf[l.Name]}
		if l != want {
			t.Errorf("label %+v, want %+v", l, want)
		}
	}
	if len(got.Labels) != len(values) || got.Labels[0].Name != "n" {
		t.Errorf("labels: %+v", got.Labels)
	}
	for i, w := range got.Churn {
		gone, appeared := 0, 0
		if i > 0 {
			for s := range inBlock[i-1] {
				if inBlock[i][s] == "" {
					gone++
				}
			}
			for s := range inBlock[i] {
				if inBlock[i-1][s] == "" {
					appeared++
				}
			}
		}
		if w.Series != len(inBlock[i]) || w.Gone != gone || w.Appeared != appeared {
			t.Errorf("window %d: %+v, want %d series, %d appeared, %d gone", i, w, len(inBlock[i]), appeared, gone)
		}
	}
	if got.Restless[0].Appeared == 0 || !slices.IsSortedFunc(got.Restless, func(a, b analysis.Cost) int { return b.Appeared - a.Appeared }) {
		t.Errorf("restless: %+v", got.Restless)
	}
	if got.From != time.UnixMilli(readers[0].Meta().MinTime).UTC() {
		t.Errorf("from %s", got.From)
	}
}

func compare(t *testing.T, what string, want map[string]analysis.Cost, got []analysis.Cost) {
	t.Helper()
	have := map[string]analysis.Cost{}
	for _, c := range got {
		have[c.Name] = c
	}
	if diff := cmp.Diff(want, have); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
	if !slices.IsSortedFunc(got, func(a, b analysis.Cost) int { return b.Series - a.Series }) {
		t.Errorf("%s are not sorted: %v", what, slices.Collect(maps.Keys(have)))
	}
}
