package forward_test

import (
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/tsdb/index"
	"github.com/prometheus/prometheus/tsdb/record"
	"github.com/prometheus/prometheus/tsdb/wlog"
	"github.com/prometheus/prometheus/util/compression"

	"nocturne/internal/need"
	"nocturne/tsdb"
	"nocturne/tsdb/forward"
)

// held are the samples of list that a store has.
func held(t *testing.T, db *tsdb.DB, list []tsdb.Sample) (have, lost []tsdb.Sample) {
	t.Helper()
	q, err := db.Raw().Querier(math.MinInt64, math.MaxInt64)
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	got := map[key]bool{}
	set := q.Select(t.Context(), false, nil, labels.MustNewMatcher(labels.MatchEqual, "__name__", "forwarded"))
	for set.Next() {
		s := set.At()
		for it := s.Iterator(nil); it.Next() != chunkenc.ValNone; {
			got[key{s.Labels().String(), it.AtT()}] = true
		}
	}
	if set.Err() != nil {
		t.Fatal(set.Err())
	}
	for _, s := range list {
		if got[key{s.Labels.String(), s.T}] {
			have = append(have, s)
		} else {
			lost = append(lost, s)
		}
	}
	return have, lost
}

// aChunk is some chunk of a series in the blocks, its times, and the file and
// place where it begins.
func aChunk(t *testing.T, history string, ls labels.Labels) (m chunks.Meta, path string, off int64) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(history, "*", "index"))
	if err != nil || len(files) < 3 {
		t.Fatalf("blocks %v, %v", files, err)
	}
	for _, file := range files {
		ix, err := index.NewFileReader(file, index.DecodePostingsRaw)
		if err != nil {
			t.Fatal(err)
		}
		defer ix.Close()
		p, err := ix.Postings(t.Context(), "instance", ls.Get("instance"))
		if err != nil {
			t.Fatal(err)
		}
		var b labels.ScratchBuilder
		var metas []chunks.Meta
		if !p.Next() {
			continue // of late samples of others
		}
		if err := ix.Series(p.At(), &b, &metas); err != nil || len(metas) == 0 {
			t.Fatalf("%d chunks, %v", len(metas), err)
		}
		segment, at := chunks.BlockChunkRef(metas[0].Ref).Unpack()
		return metas[0], filepath.Join(filepath.Dir(file), "chunks", fmt.Sprintf("%06d", segment+1)), int64(at)
	}
	t.Fatalf("%s is in none of %v", ls, files)
	return m, "", 0
}

// TestUnreadableChunkIsLeftOut damages a chunk of one series in the blocks that
// a new receiver gets the past from. All else comes.
func TestUnreadableChunkIsLeftOut(t *testing.T) {
	t.Parallel()
	r, dir := newFake(t), t.TempDir()
	h := openHouse(t, dir)
	past := polls(20, hoursAgo(3), hoursAgo(0))
	h.append(t, past)
	h.stop()
	m, path, off := aChunk(t, filepath.Join(dir, "history"), series(5))
	need.FlipByte(t, path, off+10)
	h = openHouse(t, dir, forward.Receiver{Name: "new", URL: r.URL, Backfill: 4 * time.Hour})
	var want []tsdb.Sample
	for _, s := range past {
		// A piece of time that holds a part of the chunk is left out with it.
		near := s.T >= m.MinTime-30_000 && s.T <= m.MaxTime+30_000
		if s.Labels.Get("instance") != series(5).Get("instance") || !near {
			want = append(want, s)
		}
	}
	if n := len(past) - len(want); n == 0 || n > 130 {
		t.Fatalf("%d samples are taken for unreadable", n)
	}
	r.lacks(t, want, 60*time.Second)
	need.Within(t, 10*time.Second, func() error {
		if s := h.f.Status()[0]; s.Unread == 0 || s.LastError == "" || s.Lag != 0 || !s.CatchUpFrom.IsZero() {
			return fmt.Errorf("status %+v", s)
		}
		return nil
	})
}

// TestRepairedLog damages what a dead receiver has not had of the log. What the
// repair dropped and mapped chunks still hold comes from the blocks.
func TestRepairedLog(t *testing.T) {
	t.Parallel()
	r, dir := newFake(t), t.TempDir()
	to := forward.Receiver{Name: "one", URL: r.URL}
	h := openHouse(t, dir, to)
	first := polls(20, hoursAgo(3), hoursAgo(1.5))
	h.append(t, first)
	r.lacks(t, first, 60*time.Second)
	r.answers(status(http.StatusServiceUnavailable))
	// More than fills a chunk of each series, and less than cuts the head.
	more := polls(20, hoursAgo(1.5), hoursAgo(1.5).Add(40*time.Minute))
	h.appendAll(t, more[:len(more)/40])
	wal := h.db.LogDir()
	had := segments(t, wal)
	newest := wlog.SegmentName(wal, had[len(had)-1])
	before, err := os.Stat(newest)
	if err != nil {
		t.Fatal(err)
	}
	h.appendAll(t, more[len(more)/40:])
	h.stop()
	need.FlipByte(t, newest, before.Size()+3000)
	r.answers(nil)
	h = openHouse(t, dir, to)
	if len(h.db.Stats().Lost) == 0 {
		t.Fatal("the log was not repaired: this shows nothing")
	}
	h.sendsWhatItHolds(t, r, more)
}

// TestOlderLog puts back the log of an earlier day, cut, so that it does not go
// on from the position, under blocks that hold more.
func TestOlderLog(t *testing.T) {
	t.Parallel()
	r, dir := newFake(t), t.TempDir()
	to := forward.Receiver{Name: "one", URL: r.URL}
	h := openHouse(t, dir, to)
	first := polls(20, hoursAgo(4), hoursAgo(3.8))
	h.append(t, first)
	r.lacks(t, first, 60*time.Second)
	wal, kept := h.db.LogDir(), filepath.Join(t.TempDir(), "wal")
	h.stop()
	if err := os.CopyFS(kept, os.DirFS(wal)); err != nil {
		t.Fatal(err)
	}
	h = openHouse(t, dir)
	more := polls(20, hoursAgo(3.8), hoursAgo(0))
	h.append(t, more)
	h.stop()
	if err := os.RemoveAll(wal); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(wal, os.DirFS(kept)); err != nil {
		t.Fatal(err)
	}
	had := segments(t, wal)
	last := wlog.SegmentName(wal, had[len(had)-1])
	st, err := os.Stat(last)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(last, st.Size()/2); err != nil {
		t.Fatal(err)
	}
	h = openHouse(t, dir, to)
	h.sendsWhatItHolds(t, r, more)
}

// sendsWhatItHolds waits until a receiver has what the store holds of list.
func (h *house) sendsWhatItHolds(t *testing.T, r *fake, list []tsdb.Sample) {
	t.Helper()
	have, lost := held(t, h.db, list)
	t.Logf("of %d samples our own store has lost %d", len(list), len(lost))
	if len(have) < len(list)/2 {
		t.Fatal("too little is left to show anything")
	}
	r.lacks(t, have, 60*time.Second)
}

// TestHistogramsAreCounted meets each kind of record that holds histograms.
func TestHistogramsAreCounted(t *testing.T) {
	t.Parallel()
	r, dir := newFake(t), t.TempDir()
	to := forward.Receiver{Name: "one", URL: r.URL}
	h := openHouse(t, dir, to)
	first := []tsdb.Sample{{Labels: series(1), T: time.Now().UnixMilli() - 1000, V: 1}}
	h.appendAll(t, first)
	r.lacks(t, first, 10*time.Second)
	h.stop() // the log is free to be written to
	wal, err := wlog.NewSize(slog.New(slog.DiscardHandler), nil, h.db.LogDir(), wlog.DefaultSegmentSize, compression.None)
	if err != nil {
		t.Fatal(err)
	}
	whole, custom := &histogram.Histogram{}, &histogram.Histogram{Schema: histogram.CustomBucketsSchema, CustomValues: []float64{1}}
	var enc record.Encoder
	at := time.Now().UnixMilli()
	ints := []record.RefHistogramSample{{Ref: 1, T: at, H: whole}, {Ref: 1, T: at, H: custom}}
	floats := []record.RefFloatHistogramSample{{Ref: 1, T: at, FH: whole.ToFloat(nil)}, {Ref: 1, T: at, FH: custom.ToFloat(nil)}}
	plain, _ := enc.HistogramSamples(ints[:1], nil)
	plainFloat, _ := enc.FloatHistogramSamples(floats[:1], nil)
	recs := [][]byte{plain, plainFloat, enc.CustomBucketsHistogramSamples(ints[1:], nil), enc.CustomBucketsFloatHistogramSamples(floats[1:], nil)}
	if err := wal.Log(recs...); err != nil {
		t.Fatal(err)
	}
	if err := wal.Close(); err != nil {
		t.Fatal(err)
	}
	h = openHouse(t, dir, to)
	h.appendAll(t, []tsdb.Sample{{Labels: series(1), T: at + 1000, V: 1}})
	need.Within(t, 10*time.Second, func() error {
		if s := h.f.Status()[0]; int(s.Skipped) != len(recs) {
			return fmt.Errorf("%d records of %d are counted", s.Skipped, len(recs))
		}
		return nil
	})
}
