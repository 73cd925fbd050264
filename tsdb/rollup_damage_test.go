package tsdb

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/VictoriaMetrics/metrics"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/tsdb/chunks"

	"nocturne/internal/need"
	"nocturne/tsdb/rollup"
)

const damagedHours = 60

// damagedStore has three series with a sample a minute from start on, and raw
// samples kept for six hours once they are rolled up.
func damagedStore(t *testing.T, start time.Time) *DB {
	t.Helper()
	db := openWith(t, Options{Retention: 6 * time.Hour})
	for hour := range damagedHours {
		var batch []Sample
		for minute := range 60 {
			for n := range 3 {
				batch = append(batch, Sample{labels.FromStrings("__name__", "m", "n", fmt.Sprint(n)), start.Add(time.Duration(hour*60+minute)*time.Minute).UnixMilli() + 1, 1})
			}
		}
		appendAll(t, db, batch...)
		if hour%4 == 3 {
			if err := db.inner.Compact(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	return db
}

// blockAt is the raw block of a time.
func blockAt(t *testing.T, db *DB, at time.Time) *tsdb.Block {
	t.Helper()
	for _, b := range db.inner.Blocks() {
		if b.MinTime() <= at.UnixMilli() && at.UnixMilli() < b.MaxTime() {
			return b
		}
	}
	t.Fatalf("no block at %s", at)
	return nil
}

// chunkOf is the chunk of series 1 in a block that begins first.
func chunkOf(t *testing.T, b *tsdb.Block) (found chunks.Meta) {
	t.Helper()
	ix, err := b.Index()
	if err != nil {
		t.Fatal(err)
	}
	defer ix.Close()
	p, err := ix.Postings(t.Context(), "n", "1")
	if err != nil {
		t.Fatal(err)
	}
	var sb labels.ScratchBuilder
	var metas []chunks.Meta
	for p.Next() {
		if err := ix.Series(p.At(), &sb, &metas); err != nil {
			t.Fatal(err)
		}
		found = metas[0]
	}
	return found
}

// TestDamagedChunkIsRolledUpAround damages one chunk of one series amid the raw
// samples. All else is rolled up, and the raw samples expire.
func TestDamagedChunkIsRolledUpAround(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	db := damagedStore(t, start)
	b := blockAt(t, db, start.Add(30*time.Hour+30*time.Minute))
	c := chunkOf(t, b)
	segment, off := chunks.BlockChunkRef(c.Ref).Unpack()
	need.FlipByte(t, filepath.Join(b.Dir(), "chunks", fmt.Sprintf("%06d", segment+1)), int64(off)+20)
	unreadable := metrics.GetOrCreateCounter(`nocturne_tsdb_rollup_series_unreadable_total{tier="5m"}`)
	before := unreadable.Get()
	if err := db.tiers.rollUp(t.Context(), 0); err == nil {
		t.Fatal("nothing was found damaged")
	}
	third := start.Add(2 * 24 * time.Hour).UnixMilli()
	if five := db.tiers.list[0].Covered(); len(five) != 2 || five[1].From != third || five[1].To < third+8*time.Hour.Milliseconds() {
		t.Errorf("after the first run 5 min cover %v, want the days before and after the damage", five)
	}
	for range readableTries {
		_ = db.tiers.rollUp(t.Context(), 0) // it fails until it is tried otherwise
	}
	if err := db.tiers.rollUp(t.Context(), 0); err != nil {
		t.Errorf("rollups still fail: %v", err)
	}
	if n := unreadable.Get() - before; n != 1 {
		t.Errorf("%d series are counted as unreadable", n)
	}
	if err := db.Expire(t.Context()); err != nil {
		t.Fatal(err)
	}
	if from := time.UnixMilli(db.tiers.rawFrom()); from.Before(start.Add(50 * time.Hour)) {
		t.Errorf("raw samples still begin at %s", from)
	}
	for _, tier := range []struct {
		name  string
		width time.Duration
	}{{"5m", 5 * time.Minute}, {"1h", time.Hour}} {
		res, _ := db.forced(t, fmt.Sprintf("count_over_time(m[%s])", tier.name), start.Add(time.Hour), start.Add(52*time.Hour), tier.width, []string{tier.name}, 1<<62)
		got := byLabels(res)
		missing := 0
		for n := range 3 {
			series := got[labels.FromStrings("n", fmt.Sprint(n)).String()]
			for at := start.Add(time.Hour); !at.After(start.Add(52 * time.Hour)); at = at.Add(tier.width) {
				v, ok := series[at.UnixMilli()]
				hour := at.Add(-1).Truncate(time.Hour)
				hit := n == 1 && hour.Add(time.Hour).UnixMilli() >= c.MinTime && hour.UnixMilli() <= c.MaxTime
				switch want := tier.width.Minutes(); {
				case ok && (hit || v != want):
					t.Errorf("%s: series %d at %s has %g samples, want %g", tier.name, n, at, v, want)
				case !ok && !hit:
					missing++
				}
			}
		}
		if missing > 0 {
			t.Errorf("tier %s lacks %d buckets of what could be read", tier.name, missing)
		}
	}
}

// TestUnreadableRawExpires has a raw block of which nothing can be read. What is
// before and after is rolled up, and all raw samples expire in the end.
func TestUnreadableRawExpires(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	db := damagedStore(t, start)
	b := blockAt(t, db, start.Add(30*time.Hour+30*time.Minute))
	st, err := os.Stat(filepath.Join(b.Dir(), "index"))
	if err != nil {
		t.Fatal(err)
	}
	for off := int64(60); off < st.Size()/2; off += 7 { // symbols and series
		need.FlipByte(t, filepath.Join(b.Dir(), "index"), off)
	}
	old := func() bool {
		if err := db.Expire(t.Context()); err != nil {
			t.Fatal(err)
		}
		return slices.ContainsFunc(db.inner.Blocks(), func(of *tsdb.Block) bool { return of.Meta().ULID == b.Meta().ULID })
	}
	for run := range rollUpTries {
		if !old() {
			t.Fatalf("raw samples went after %d tries", run)
		}
		if err := db.tiers.rollUp(t.Context(), 0); err == nil {
			t.Fatalf("run %d: rolled up", run)
		}
	}
	if old() {
		t.Error("raw samples that cannot be read are kept for ever")
	}
	day := 24 * time.Hour.Milliseconds()
	second := rollup.Range{From: start.UnixMilli() + day, To: start.UnixMilli() + 2*day}
	five := db.tiers.list[0].Covered()
	if len(five) != 2 || five[0].To != second.From || five[1].From != second.To {
		t.Errorf("5 min cover %v, want all but %v", five, second)
	}
}

// TestBatchThatTakesLong commits a late sample in a batch that began before the
// newest samples moved on. Its bucket must not be rolled up by then.
func TestBatchThatTakesLong(t *testing.T) {
	db := openWith(t, Options{Interval: 5 * time.Second}) // blocks of 20 min
	start := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	m := labels.FromStrings("__name__", "m")
	put := func(from, to int) {
		t.Helper()
		for at := start.Add(time.Duration(from) * time.Minute); at.Before(start.Add(time.Duration(to) * time.Minute)); at = at.Add(15 * time.Second) {
			appendAll(t, db, Sample{m, at.UnixMilli() + 1, 1})
		}
	}
	put(0, 62)
	if err := db.inner.Compact(t.Context()); err != nil {
		t.Fatal(err)
	}
	b, err := db.Source("slow").Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	b.Append(m, start.Add(32*time.Minute).UnixMilli()+5000, 1)
	put(62, 68)
	appendAll(t, db, Sample{m, start.Add(60*time.Minute).UnixMilli() + 5000, 1})
	if err := db.inner.CompactOOOHead(t.Context()); err != nil { // as a deletion does
		t.Fatal(err)
	}
	if err := db.tiers.rollUp(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	if r, err := b.Commit(); err != nil || r.Appended != 1 {
		t.Fatal(r, err)
	}
	put(68, 120)
	for range 2 {
		if err := db.inner.Compact(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := db.tiers.rollUp(t.Context(), 0); err != nil {
			t.Fatal(err)
		}
	}
	from, to := start.Add(20*time.Minute), start.Add(50*time.Minute)
	res, _ := db.forced(t, "count_over_time(m[5m])", from, to, 5*time.Minute, []string{"5m"}, 1<<62)
	if n, diff := differing(byLabels(db.fromRaw(t, "count_over_time(m[5m])", from, to, 5*time.Minute)), byLabels(res), sameBits); n == 0 || len(diff) > 0 {
		t.Errorf("%d values, %q", n, diff)
	}
}
