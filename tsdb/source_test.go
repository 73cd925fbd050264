package tsdb

import (
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/tsdb/record"
	"github.com/prometheus/prometheus/tsdb/wlog"

	"nocturne/internal/need"
)

func openWith(t *testing.T, o Options) *DB {
	t.Helper()
	o.Log = slog.New(slog.DiscardHandler)
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	db, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func numbered(n int) labels.Labels {
	return labels.FromStrings("__name__", "s", "n", fmt.Sprint(n))
}

// TestLimitsHold lets senders append random series at once: no count is ever
// above its limit, every sample is counted once, and the head holds what the
// sources count.
func TestLimitsHold(t *testing.T) {
	seed, _ := need.Seed(t)
	const perSource, inAll, workers, rounds = 120, 300, 4, 60
	db := openWith(t, Options{Limits: Limits{Series: inAll, SeriesPerSource: perSource}})
	now := time.Now().UnixMilli()
	names := []string{"a", "b", "c", "d"}
	sent := map[string]int{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for i, name := range names {
		for w := range workers {
			wg.Go(func() {
				r := rand.New(rand.NewPCG(seed, uint64(i*workers+w)))
				total := 0
				for round := range rounds {
					batch := make([]Sample, 1+r.IntN(20))
					for j := range batch {
						// A fifth of the series are everybody's.
						n := r.IntN(200)
						if n >= 40 {
							n += 1000 * i
						}
						batch[j] = Sample{numbered(n), now + int64(round)*1000 - int64(w), 1}
					}
					got, err := db.Source(name).Append(t.Context(), batch)
					if err != nil || got.Appended+got.Rejected() != len(batch) {
						t.Error(got, err, len(batch))
					}
					total += len(batch)
					sum := 0
					for _, s := range db.Stats().Sources {
						sum += s.Series
						if s.Series > perSource {
							t.Errorf("source %s has %d series of %d", s.Name, s.Series, perSource)
						}
					}
					if sum > inAll || db.inner.Head().NumSeries() > inAll {
						t.Errorf("%d series counted, %d in the head, of %d", sum, db.inner.Head().NumSeries(), inAll)
					}
				}
				mu.Lock()
				sent[name] += total
				mu.Unlock()
			})
		}
	}
	wg.Wait()
	sum, limited := 0, 0
	for _, s := range db.Stats().Sources {
		sum += s.Series
		limited += s.Appended.SourceLimit + s.Appended.SeriesLimit
		if n := s.Appended.Appended + s.Appended.Rejected(); n != sent[s.Name] {
			t.Errorf("source %s counted %d samples, was sent %d", s.Name, n, sent[s.Name])
		}
	}
	if head := int(db.inner.Head().NumSeries()); sum != head || head != inAll || limited == 0 {
		t.Errorf("%d series counted, %d in the head, %d samples over a limit; want %d, %d and some", sum, head, limited, inAll, inAll)
	}
	if n := value(t, db, `count({__name__="s"})`, time.UnixMilli(now+rounds*1000)); n != inAll {
		t.Errorf("%g series to be asked for, want %d", n, inAll)
	}
}

// TestSeriesStopCountingWhenTheHeadDropsThem fills a source up with series
// that end, moves the head past them and fills it up again.
func TestSeriesStopCountingWhenTheHeadDropsThem(t *testing.T) {
	db := openWith(t, Options{Limits: Limits{SeriesPerSource: 10}})
	src := db.Source("leaf")
	start := time.Now().Add(-12 * time.Hour).UnixMilli()
	fill := func(from int, at int64) (batch []Sample) {
		for n := range 20 {
			batch = append(batch, Sample{numbered(from + n), at, 1})
		}
		return batch
	}
	want := AppendResult{Appended: 10, SourceLimit: 10}
	if got, err := src.Append(t.Context(), fill(0, start)); err != nil || got != want {
		t.Fatal(got, err)
	}
	b, err := src.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ref := b.Append(numbered(0), start+1000, 1)
	if ref == 0 {
		t.Fatal("no reference to a series that is there")
	}
	if _, err := b.Commit(); err != nil {
		t.Fatal(err)
	}
	for h := range 11 {
		appendAll(t, db, Sample{labels.FromStrings("__name__", "clock"), start + int64(h)*time.Hour.Milliseconds(), 1})
	}
	if err := db.inner.Compact(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := src.Stats().Series; n != 0 {
		t.Fatalf("%d series of the source after the head has dropped them", n)
	}
	if b, err = src.Begin(t.Context()); err != nil {
		t.Fatal(err)
	}
	if b.AppendRef(ref, time.Now().UnixMilli(), 1) {
		t.Error("a reference to a dropped series is taken")
	}
	if err := b.Rollback(); err != nil {
		t.Fatal(err)
	}
	if got, err := src.Append(t.Context(), fill(100, time.Now().UnixMilli())); err != nil || got != want {
		t.Error(got, err)
	}
	if got, head := src.Stats().Series+db.own.Stats().Series, int(db.inner.Head().NumSeries()); got != head {
		t.Errorf("%d series counted, %d in the head", got, head)
	}
}

// TestSeriesOfBeforeBelongToWhoAppends counts series from before a restart to
// the source that goes on with them.
func TestSeriesOfBeforeBelongToWhoAppends(t *testing.T) {
	dir := t.TempDir()
	db := openWith(t, Options{Dir: dir})
	now := time.Now().UnixMilli()
	for n := range 10 {
		if _, err := db.Source("a").Append(t.Context(), []Sample{{numbered(n), now, 1}}); err != nil {
			t.Fatal(err)
		}
	}
	db = reopen(t, db, dir)
	for n := range 4 {
		for _, name := range []string{"b", "a"} { // b is first
			if _, err := db.Source(name).Append(t.Context(), []Sample{{numbered(n), now + 1000, 1}}); err != nil {
				t.Fatal(err)
			}
		}
	}
	if a, b := db.Source("a").Stats().Series, db.Source("b").Stats().Series; a != 0 || b != 4 {
		t.Errorf("a has %d and b %d series, want 0 and 4", a, b)
	}
}

// TestSeriesAreInTheLogBeforeTheirSamples lets many append to the same new
// series at once, and reads the log as a restart would: a sample before its
// series would be lost, though it was acknowledged.
func TestSeriesAreInTheLogBeforeTheirSamples(t *testing.T) {
	dir := t.TempDir()
	db := openWith(t, Options{Dir: dir})
	now := time.Now().UnixMilli()
	seed, _ := need.Seed(t)
	const rounds, each = 10, 2000
	var wg sync.WaitGroup
	for w := range 4 {
		r := rand.New(rand.NewPCG(seed, uint64(w)))
		wg.Go(func() {
			for round := range rounds {
				// One makes all series in one batch while the others go through
				// them a few at a time.
				size := 10
				if w == 0 {
					size = each
				}
				order := r.Perm(each)
				for k := 0; k < each; k += size {
					batch := make([]Sample, size)
					for i := range batch {
						batch[i] = Sample{numbered(round*each + order[k+i]), now + int64(round*8+w), 1}
					}
					if r, err := db.Append(t.Context(), batch); err != nil || r.Appended != len(batch) {
						t.Error(r, err)
					}
				}
			}
		})
	}
	wg.Wait()
	segments, err := wlog.NewSegmentsReader(filepath.Join(dir, "wal"))
	if err != nil {
		t.Fatal(err)
	}
	defer segments.Close()
	known, early := map[chunks.HeadSeriesRef]bool{}, 0
	dec := record.NewDecoder(labels.NewSymbolTable(), slog.New(slog.DiscardHandler))
	for r := wlog.NewReader(segments); r.Next(); {
		switch dec.Type(r.Record()) {
		case record.Series:
			list, err := dec.Series(r.Record(), nil)
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range list {
				known[s.Ref] = true
			}
		case record.Samples, record.SamplesV2:
			list, err := dec.Samples(r.Record(), nil)
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range list {
				if !known[s.Ref] {
					early++
				}
			}
		}
	}
	if early > 0 || len(known) != rounds*each {
		t.Errorf("%d samples before their series, %d series of %d", early, len(known), rounds*each)
	}
}

func TestSourcesAreBounded(t *testing.T) {
	db := openWith(t, Options{})
	for i := range 2000 {
		db.Source(fmt.Sprint("sender ", i))
	}
	if n := len(db.Stats().Sources); n != maxSources+1 {
		t.Errorf("%d sources of 2000, want %d", n, maxSources+1)
	}
	if first := db.Source("sender 1"); first != db.Source("sender 1") || db.Source("sender 1999").Name() != otherSource {
		t.Error("a source's handle is not its own")
	}
	// What a name may hold must not break the metrics.
	odd := db.Source("a\"b\\\n{}\xff" + strings.Repeat("x", 500))
	if _, err := odd.Append(t.Context(), []Sample{{numbered(1), 0, 1}}); err != nil {
		t.Error(err)
	}
}

func TestEachReasonIsCounted(t *testing.T) {
	db := openWith(t, Options{Limits: Limits{Labels: 3, LabelNameLength: 10, LabelValueLength: 20}})
	src, now := db.Source("x"), time.Now()
	s := func(at time.Time, v float64, kv ...string) Sample {
		return Sample{labels.FromStrings(kv...), at.UnixMilli(), v}
	}
	up := []string{"__name__", "up"}
	got, err := src.Append(t.Context(), []Sample{
		s(now, 1, up...), s(now.Add(9*time.Minute), 1, "__name__", "ahead"),
	})
	if err != nil || got.Appended != 2 {
		t.Fatal(got, err)
	}
	b, err := src.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range []Sample{
		s(now, 2, up...), s(now.Add(-time.Hour), 1, up...), s(now.Add(-time.Hour), 1, "__name__", "new"),
		s(now.Add(11*time.Minute), 1, up...), s(now.Add(11*time.Minute), 1, "__name__", "new"),
		s(now, 1, "a", "b"), s(now, 1, "__name__", "x", "b", "\xff"),
		s(now, 1, "__name__", "x", "a", "1", "b", "2", "c", "3"), s(now, 1, "__name__", "x", strings.Repeat("a", 11), "1"),
		s(now, 1, "__name__", "x", "a", strings.Repeat("1", 21)), s(now, 1, "__name__", "x", "a", strings.Repeat("1", 20)),
	} {
		b.Append(x.Labels, x.T, x.V)
	}
	got, err = b.Commit()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(AppendResult{Appended: 1, Duplicate: 1, TooOld: 2, Future: 2, Invalid: 2, LabelLimit: 3}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if len(b.Rejections()) != 10 {
		t.Errorf("%d rejections described, want 10", len(b.Rejections()))
	}
	if r, ok := errors.AsType[*Rejection](b.Rejections()[0]); !ok || r.Series != `{__name__="up"}` || r.Reason != Duplicate {
		t.Errorf("first rejection: %v", b.Rejections()[0])
	}
	if st := src.Stats(); st.Series != 3 || st.Appended.Appended != 3 || st.Appended.Rejected() != 10 {
		t.Errorf("stats: %+v", st)
	}
}
