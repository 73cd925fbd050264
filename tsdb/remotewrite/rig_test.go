package remotewrite_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/prompb"
	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/util/compression"

	"nocturne/tsdb"
	"nocturne/tsdb/remotewrite"
)

// batch is a tsdb.Batch as the handler sees it.
type batch struct{ *tsdb.Batch }

func (b batch) Commit() (remotewrite.Outcome, error) {
	r, err := b.Batch.Commit()
	return remotewrite.Outcome{Samples: r.Appended - b.Histograms(), Histograms: b.Histograms(), Rejected: r.Rejected(), Faults: b.Rejections()}, err
}

// rig is a store behind a handler behind a server.
type rig struct {
	db   *tsdb.DB
	url  string
	mu   sync.Mutex // guards below
	meta map[string]string
}

func newRig(t testing.TB, o tsdb.Options, ro remotewrite.Options) *rig {
	t.Helper()
	o.Log = slog.New(slog.DiscardHandler)
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	db, err := tsdb.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{db: db, meta: map[string]string{}}
	ro.Begin = func(ctx context.Context, sender string) (remotewrite.Batch, error) {
		b, err := db.Source(sender).Begin(ctx)
		return batch{b}, err
	}
	ro.Metadata = func(metric string, kind model.MetricType, help, unit string) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.meta[metric] = fmt.Sprint(kind, "|", help, "|", unit)
	}
	h, err := remotewrite.New(ro)
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) { h.Serve(w, q, q.Header.Get("X-Sender")) }))
	r.url = srv.URL
	t.Cleanup(func() {
		srv.Close()
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

// known is what senders said of a metric.
func (r *rig) known(metric string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.meta[metric]
}

// pack compresses a message.
func pack(t testing.TB, b []byte) []byte {
	t.Helper()
	if len(b) == 0 {
		return []byte{0}
	}
	out, err := compression.Encode(compression.Snappy, b, nil)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

const typeV2 = "application/x-protobuf;proto=io.prometheus.write.v2.Request"

// send posts a body and returns the answer.
func send(t testing.TB, url, kind string, body []byte) (int, http.Header, string) {
	t.Helper()
	q, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	q.Header.Set("Content-Encoding", "snappy")
	q.Header.Set("X-Sender", "test")
	if kind != "" {
		q.Header.Set("Content-Type", kind)
	}
	res, err := http.DefaultClient.Do(q)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, res.Header, string(text)
}

// series is one series of a request in either protocol.
type series struct {
	labels  []string // name, value, ...
	samples []prompb.Sample
}

func v1(list ...series) *prompb.WriteRequest {
	q := &prompb.WriteRequest{}
	for _, s := range list {
		ts := prompb.TimeSeries{Samples: s.samples}
		for i := 0; i < len(s.labels); i += 2 {
			ts.Labels = append(ts.Labels, prompb.Label{Name: s.labels[i], Value: s.labels[i+1]})
		}
		q.Timeseries = append(q.Timeseries, ts)
	}
	return q
}

func v2(list ...series) *writev2.Request {
	table := writev2.NewSymbolTable()
	q := &writev2.Request{}
	for _, s := range list {
		ts := writev2.TimeSeries{}
		for _, x := range s.labels {
			ts.LabelsRefs = append(ts.LabelsRefs, table.Symbolize(x))
		}
		for _, x := range s.samples {
			ts.Samples = append(ts.Samples, writev2.Sample{Timestamp: x.Timestamp, Value: x.Value})
		}
		q.Timeseries = append(q.Timeseries, ts)
	}
	q.Symbols = table.Symbols()
	return q
}

func marshal(t testing.TB, m interface{ Marshal() ([]byte, error) }) []byte {
	t.Helper()
	b, err := m.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// stored reads all float samples of the last five hours back, as series ->
// time -> bits.
func (r *rig) stored(t testing.TB) map[string]map[int64]uint64 {
	t.Helper()
	q, err := r.db.Query(t.Context(), `{__name__=~".+"}[5h]`, time.Now().Add(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	m, err := q.Matrix()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]map[int64]uint64{}
	for _, s := range m {
		at := map[int64]uint64{}
		for _, p := range s.Floats {
			at[p.T] = math.Float64bits(p.F)
		}
		out[s.Metric.String()] = at
	}
	return out
}

// raw reads the one series of a metric with its staleness markers.
func (r *rig) raw(t testing.TB, metric string) map[int64]uint64 {
	t.Helper()
	q, err := r.db.Queryable().Querier(math.MinInt64, math.MaxInt64)
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	set := q.Select(t.Context(), false, nil, labels.MustNewMatcher(labels.MatchEqual, "__name__", metric))
	out := map[int64]uint64{}
	for set.Next() {
		for it := set.At().Iterator(nil); it.Next() == chunkenc.ValFloat; {
			at, v := it.At()
			out[at] = math.Float64bits(v)
		}
	}
	if set.Err() != nil {
		t.Fatal(set.Err())
	}
	return out
}

func sample(at time.Time, v float64) prompb.Sample {
	return prompb.Sample{Timestamp: at.UnixMilli(), Value: v}
}
