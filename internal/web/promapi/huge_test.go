package promapi

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/tsdb/index"
	"github.com/prometheus/prometheus/tsdb/tombstones"

	"nocturne/tsdb"
)

const (
	hugeSeries  = 10_000
	hugeSamples = 10_000 // of each series, at 30 s
	hugeBlock   = "01ARYZ6S41TSV4RRFFQ69G5FAV"
)

// hugeFolder is a data folder with a hundred million samples. All series have
// the same chunks, encoded once and at two bits a sample.
func hugeFolder(t *testing.T) (dir string, end time.Time) {
	t.Helper()
	end = time.Now().Truncate(time.Hour).Add(-time.Hour)
	begin := end.Add(-hugeSamples * 30 * time.Second).UnixMilli()
	dir = t.TempDir()
	block := filepath.Join(dir, hugeBlock)
	meta := fmt.Sprintf(`{"ulid":%q,"minTime":%d,"maxTime":%d,"version":1,"stats":{"numSamples":%d,"numSeries":%d},"compaction":{"level":1,"sources":[%q]}}`,
		hugeBlock, begin, end.UnixMilli(), hugeSeries*hugeSamples, hugeSeries, hugeBlock)
	err := errors.Join(os.MkdirAll(block, 0o755), os.WriteFile(filepath.Join(block, "meta.json"), []byte(meta), 0o644))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tombstones.WriteFile(quiet(), block, tombstones.NewMemTombstones()); err != nil {
		t.Fatal(err)
	}
	hugeIndex(t, block, hugeChunks(t, begin))
	return dir, end
}

func hugeChunks(t *testing.T, begin int64) []chunks.Meta {
	t.Helper()
	var metas []chunks.Meta
	for i := 0; i < hugeSamples; {
		c := chunkenc.NewXORChunk()
		app, err := c.Appender()
		if err != nil {
			t.Fatal(err)
		}
		m := chunks.Meta{Chunk: c, MinTime: begin + int64(i)*30_000}
		for range min(120, hugeSamples-i) {
			m.MaxTime = begin + int64(i)*30_000
			app.Append(0, m.MaxTime, 1)
			i++
		}
		metas = append(metas, m)
	}
	return metas
}

func hugeIndex(t *testing.T, block string, metas []chunks.Meta) {
	t.Helper()
	data, err := chunks.NewWriter(filepath.Join(block, "chunks"))
	if err != nil {
		t.Fatal(err)
	}
	w, err := index.NewWriter(t.Context(), filepath.Join(block, "index"))
	if err != nil {
		t.Fatal(err)
	}
	for i := range hugeSeries {
		if i == 0 {
			err = w.AddSymbol("")
		}
		if err := errors.Join(err, w.AddSymbol(fmt.Sprintf("%05d", i))); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.AddSymbol("__name__"), w.AddSymbol("huge"), w.AddSymbol("i")); err != nil {
		t.Fatal(err)
	}
	for i := range hugeSeries {
		ls := labels.FromStrings("__name__", "huge", "i", fmt.Sprintf("%05d", i))
		if err := data.WriteChunks(metas...); err != nil { // sets their refs
			t.Fatal(err)
		}
		if err := w.AddSeries(storage.SeriesRef(i), ls, metas...); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.Close(), data.Close()); err != nil {
		t.Fatal(err)
	}
}

// TestHundredMillionSamples asks for them in several ways. Each gets a clear
// error soon, and none takes the memory that it asks for.
func TestHundredMillionSamples(t *testing.T) {
	if testing.Short() {
		t.Skip("reads fifty million samples, twice")
	}
	dir, end := hugeFolder(t)
	us := ours(t, dir, tsdb.Options{}).URL
	at, from := unix(end), unix(end.Add(-80*time.Hour))
	instant := func(expr string) request {
		return request{"/api/v1/query", values([]string{"query", expr, "time", at}), true}
	}
	one := instant(`count_over_time(huge{i="00007"}[90h])`).do(t, us)
	if one.Status != http.StatusOK || !strings.Contains(one.Body, `"10000"`) {
		t.Fatalf("one series: %+v", one)
	}
	const (
		reads = `query would read more than 50000000 samples from storage: ask for a shorter time range or fewer series`
		holds = `query processing would load too many samples into memory in query execution`
	)
	for _, q := range []struct {
		request
		want string
	}{
		{instant(`sum(count_over_time(huge[90h]))`), reads},
		{request{"/api/v1/query_range", values([]string{"query", `sum(max_over_time({__name__=~".+"}[1h]))`, "start", from, "end", at, "step", "1h"}), true}, reads},
		{instant(`huge[90h]`), holds},
		{instant(`sum_over_time(huge[90h:30s])`), holds},
		{request{"/api/v1/query_range", values([]string{"query", `huge`, "start", from, "end", at, "step", "30"}), true}, holds},
	} {
		began, peak := time.Now(), watchHeap(t)
		got := q.do(t, us)
		took, heap := time.Since(began), peak()
		want := reply{http.StatusUnprocessableEntity, "application/json", `{"status":"error","errorType":"execution","error":"` + q.want + `"}`}
		if got != want {
			t.Errorf("%s: %d %.300s", q, got.Status, got.Body)
		}
		t.Logf("%s: %v, heap %d MB", q.form.Get("query"), took.Round(time.Millisecond), heap>>20)
		if heap > 1<<30 {
			t.Errorf("%s: the heap grew to %d MB", q, heap>>20)
		}
	}
	if after := instant(`count(huge)`).do(t, us); after.Status != http.StatusOK || !strings.Contains(after.Body, `"10000"`) {
		t.Errorf("after all that: %+v", after)
	}
}

// watchHeap returns a function that ends the watch and tells the largest heap
// that was seen meanwhile.
func watchHeap(t *testing.T) func() uint64 {
	t.Helper()
	runtime.GC()
	stop, peak := make(chan struct{}), make(chan uint64)
	go func() {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		var most uint64
		for {
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			most = max(most, m.HeapInuse)
			select {
			case <-stop:
				peak <- most
				return
			case <-tick.C:
			}
		}
	}()
	return func() uint64 {
		close(stop)
		return <-peak
	}
}
