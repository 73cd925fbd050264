package remotewrite_test

import (
	"bytes"
	"encoding/binary"
	"math"
	"math/rand/v2"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/prompb"
	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"

	"nocturne/internal/need"
	"nocturne/tsdb"
	"nocturne/tsdb/remotewrite"
)

// both sends the same series by each protocol, the second a second later and
// under another name.
func both(t *testing.T, r *rig, list ...series) map[string]int {
	t.Helper()
	one, _, _ := send(t, r.url, "", pack(t, marshal(t, v1(list...))))
	two, _, _ := send(t, r.url, typeV2, pack(t, marshal(t, v2(list...))))
	return map[string]int{"1.0": one, "2.0": two}
}

func TestStoresWhatCame(t *testing.T) {
	r := newRig(t, tsdb.Options{}, remotewrite.Options{})
	now := time.Now().Truncate(time.Second)
	values := []float64{0, 1.5, -1, math.Inf(1), math.Inf(-1), math.NaN(), math.Float64frombits(value.StaleNaN), math.MaxFloat64, 5e-324}
	s := series{labels: []string{"__name__", "up", "job", "a"}}
	want := map[int64]uint64{}
	for i, v := range values {
		at := now.Add(time.Duration(i-20) * time.Second)
		s.samples = append(s.samples, sample(at, v))
		want[at.UnixMilli()] = math.Float64bits(v)
	}
	// The second time as well: each sample is there already, with that value.
	for range 2 {
		if diff := cmp.Diff(map[string]int{"1.0": 204, "2.0": 204}, both(t, r, s)); diff != "" {
			t.Fatal(diff)
		}
	}
	if diff := cmp.Diff(want, r.raw(t, "up")); diff != "" {
		t.Errorf("stored (-want +got):\n%s", diff)
	}
}

func TestBadTimesAreToldAndTheRestIsStored(t *testing.T) {
	now := time.Now().Truncate(time.Second)
	up := func(job string, samples ...prompb.Sample) series {
		return series{labels: []string{"__name__", "up", "job", job}, samples: samples}
	}
	for _, c := range []struct {
		name   string
		bad    series
		reason string
	}{
		{"1970", up("old", sample(time.Unix(0, 0), 1)), "too old"},
		{"1970 and known", up("a", sample(time.Unix(1, 0), 1)), "too old"},
		{"2100", up("new", sample(time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC), 1)), "too far in the future"},
		{"end of time", up("a", prompb.Sample{Timestamp: math.MaxInt64, Value: 1}), "too far in the future"},
		{"start of time", up("b", prompb.Sample{Timestamp: math.MinInt64, Value: 1}), "too old"},
		{"duplicate", up("a", sample(now, 2)), "duplicate sample"},
		{"nameless", series{labels: []string{"job", "a"}, samples: []prompb.Sample{sample(now, 1)}}, "no metric name"},
		{"twice the label", series{labels: []string{"__name__", "up", "x", "1", "x", "2"}, samples: []prompb.Sample{sample(now, 1)}}, `duplicate label "x"`},
		{"no UTF-8", series{labels: []string{"__name__", "up", "x", "\xff"}, samples: []prompb.Sample{sample(now, 1)}}, "invalid metric name or labels"},
		{"huge value", series{labels: []string{"__name__", "up", "x", strings.Repeat("x", 5000)}, samples: []prompb.Sample{sample(now, 1)}}, "label value of 5000 bytes"},
		{"huge name", series{labels: []string{"__name__", "up", strings.Repeat("x", 2000), "1"}, samples: []prompb.Sample{sample(now, 1)}}, "label name of 2000 bytes"},
		{"huge set", series{labels: []string{"__name__", "up", "x", strings.Repeat("x", 17<<20)}, samples: []prompb.Sample{sample(now, 1)}}, "labels of 17"},
		{"many labels", series{labels: manyLabels(70), samples: []prompb.Sample{sample(now, 1)}}, "70 labels, at most 64"},
	} {
		t.Run(c.name, func(t *testing.T) {
			for kind, encode := range encoders {
				r := newRig(t, tsdb.Options{}, remotewrite.Options{})
				if code, _, text := send(t, r.url, kind, pack(t, encode(t, up("a", sample(now, 1))))); code != http.StatusNoContent {
					t.Fatal(code, text)
				}
				code, head, text := send(t, r.url, kind, pack(t, encode(t, up("first", sample(now, 1)), c.bad, up("last", sample(now, 1)))))
				if code != http.StatusBadRequest || !strings.Contains(text, c.reason) || len(text) > 5000 {
					t.Errorf("%q: %d %.500s", kind, code, text)
				}
				if n := head.Get("X-Prometheus-Remote-Write-Samples-Written"); kind == typeV2 && n != "2" {
					t.Errorf("%s samples written, want 2", n)
				}
				if got := r.stored(t); len(got) != 3 {
					t.Errorf("%q: stored %v, want the three good series", kind, got)
				}
				if st := r.db.Source("test").Stats(); st.Appended.Appended != 3 || st.Appended.Rejected() != 1 || st.Series != 3 {
					t.Errorf("%q: counted %+v", kind, st)
				}
			}
		})
	}
}

var encoders = map[string]func(testing.TB, ...series) []byte{
	"":     func(t testing.TB, s ...series) []byte { return marshal(t, v1(s...)) },
	typeV2: func(t testing.TB, s ...series) []byte { return marshal(t, v2(s...)) },
}

func manyLabels(n int) []string {
	out := []string{"__name__", "up"}
	for i := range n - 1 {
		out = append(out, "l"+strings.Repeat("x", i), "v")
	}
	return out
}

// TestFirstSampleOf1970 is the one time that the library would take it: the
// head is empty.
func TestFirstSampleOf1970(t *testing.T) {
	r := newRig(t, tsdb.Options{}, remotewrite.Options{})
	s := series{labels: []string{"__name__", "up"}, samples: []prompb.Sample{sample(time.Unix(0, 0), 1)}}
	if code, _, text := send(t, r.url, "", pack(t, marshal(t, v1(s)))); code != http.StatusBadRequest || !strings.Contains(text, "too old") {
		t.Error(code, text)
	}
}

// TestMetadata sends by 2.0 what a metric is, late and then changed: the
// series is known by then.
func TestMetadata(t *testing.T) {
	r := newRig(t, tsdb.Options{}, remotewrite.Options{})
	now := time.Now().Truncate(time.Second)
	for i, c := range []struct {
		kind       writev2.Metadata_MetricType
		help, unit string
		want       string
	}{
		{0, "", "", ""},
		{0, "", "", ""},
		{writev2.Metadata_METRIC_TYPE_COUNTER, "Bytes out.", "bytes", "counter|Bytes out.|bytes"},
		{writev2.Metadata_METRIC_TYPE_GAUGE, "Bytes.", "", "gauge|Bytes.|"},
	} {
		table := writev2.NewSymbolTable()
		q := &writev2.Request{Timeseries: []writev2.TimeSeries{{
			LabelsRefs: []uint32{table.Symbolize("__name__"), table.Symbolize("out")},
			Samples:    []writev2.Sample{{Timestamp: now.Add(time.Duration(i) * time.Second).UnixMilli(), Value: 1}},
			Metadata:   writev2.Metadata{Type: c.kind, HelpRef: table.Symbolize(c.help), UnitRef: table.Symbolize(c.unit)},
		}}}
		q.Symbols = table.Symbols()
		if code, _, text := send(t, r.url, typeV2, pack(t, marshal(t, q))); code != http.StatusNoContent {
			t.Fatal(code, text)
		}
		if got := r.known("out"); got != c.want {
			t.Errorf("request %d: %q, want %q", i, got, c.want)
		}
	}
}

// TestGarbage sends what is no request: nothing is stored, what was stays, and
// the answer says why.
func TestGarbage(t *testing.T) {
	_, rnd := need.Seed(t)
	r := newRig(t, tsdb.Options{}, remotewrite.Options{})
	now := time.Now().Truncate(time.Second)
	good := series{labels: []string{"__name__", "up", "job", "a"}, samples: []prompb.Sample{sample(now, 1)}}
	both(t, r, good)
	before := r.stored(t)
	for range 400 {
		for kind := range encoders {
			b := make([]byte, rnd.IntN(300))
			for i := range b {
				b[i] = byte(rnd.Uint32())
			}
			body := b
			if rnd.IntN(2) == 0 {
				body = pack(t, b)
			}
			code, _, text := send(t, r.url, kind, body)
			if code != http.StatusBadRequest && code != http.StatusNoContent || code == http.StatusBadRequest && text == "" {
				t.Fatalf("%x: %d %q", b, code, text)
			}
		}
	}
	for kind, encode := range encoders {
		whole := encode(t, series{labels: []string{"__name__", "cut", "job", "a"}, samples: []prompb.Sample{sample(now, 1)}})
		for n := 1; n < len(whole); n++ {
			if code, _, _ := send(t, r.url, kind, pack(t, whole[:n])); code != http.StatusBadRequest && kind == "" {
				t.Errorf("cut at %d of %d: %d", n, len(whole), code)
			}
			packed := pack(t, whole)
			if code, _, _ := send(t, r.url, kind, packed[:min(n, len(packed)-1)]); code != http.StatusBadRequest {
				t.Errorf("block cut at %d: %d", n, code)
			}
		}
	}
	if diff := cmp.Diff(before, r.stored(t)); diff != "" {
		t.Errorf("garbage changed what is stored (-want +got):\n%s", diff)
	}
}

// TestBitFlips flips every bit of good requests in turn. Some are good still;
// none may break anything or touch what is stored.
func TestBitFlips(t *testing.T) {
	r := newRig(t, tsdb.Options{}, remotewrite.Options{})
	now := time.Now().Truncate(time.Second)
	kept := series{labels: []string{"__name__", "kept"}, samples: []prompb.Sample{sample(now, 1)}}
	both(t, r, kept)
	want := r.stored(t)[`{__name__="kept"}`]
	for kind, encode := range encoders {
		whole := encode(t, series{labels: []string{"__name__", "flipped", "job", "a"}, samples: []prompb.Sample{sample(now, 1), sample(now.Add(time.Second), 2)}})
		for i := range len(whole) * 8 {
			b := bytes.Clone(whole)
			b[i/8] ^= 1 << (i % 8)
			if code, _, text := send(t, r.url, kind, pack(t, b)); code >= 500 || code == 400 && text == "" {
				t.Errorf("bit %d: %d %q", i, code, text)
			}
		}
	}
	if diff := cmp.Diff(want, r.stored(t)[`{__name__="kept"}`]); diff != "" {
		t.Error(diff)
	}
}

// TestBombs sends blocks that claim or hold far more than they weigh.
func TestBombs(t *testing.T) {
	r := newRig(t, tsdb.Options{}, remotewrite.Options{MaxBody: 1 << 20})
	claim := func(n uint64, rest int) []byte { return append(binary.AppendUvarint(nil, n), make([]byte, rest)...) }
	for name, c := range map[string]struct {
		body []byte
		want int
	}{
		"claims 4 GB":       {claim(4<<30-1, 100), 400},
		"claims 16 EB":      {claim(math.MaxUint64, 100), 400},
		"claims 1 MB":       {claim(1<<20, 100), 400},
		"holds 2 MB":        {pack(t, make([]byte, 2<<20)), 400},
		"weighs 2 MB":       {bytes.Repeat([]byte("x"), 2<<20), 413},
		"nothing":           {nil, 400},
		"a number unending": {bytes.Repeat([]byte{0xff}, 20), 400},
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		code, _, text := send(t, r.url, "", c.body)
		runtime.ReadMemStats(&after)
		if code != c.want || text == "" {
			t.Errorf("%s: %d %q, want %d", name, code, text, c.want)
		}
		if took := after.TotalAlloc - before.TotalAlloc; took > 8<<20 {
			t.Errorf("%s: %d bytes allocated", name, took)
		}
	}
}

func TestNegotiation(t *testing.T) {
	r := newRig(t, tsdb.Options{}, remotewrite.Options{})
	for kind, want := range map[string]int{
		"application/x-protobuf":                               204,
		"application/x-protobuf;proto=prometheus.WriteRequest": 204,
		typeV2: 204,
		"application/x-protobuf;proto=io.prometheus.write.v3.Request": 415,
		"application/json":             415,
		"application/x-protobuf;proto": 415,
		"application/x-protobuf;a=b;proto=io.prometheus.write.v2.Request":      204,
		"application/x-protobuf; proto=io.prometheus.write.v2.Request":         204, // as a parameter of another name
		"text/plain;proto=io.prometheus.write.v2.Request; charset=utf-8; q=.5": 415,
	} {
		if code, _, text := send(t, r.url, kind, []byte{0}); code != want {
			t.Errorf("%s: %d %s, want %d", kind, code, text, want)
		}
	}
	q, err := http.NewRequestWithContext(t.Context(), http.MethodPost, r.url, strings.NewReader("x"))
	if err != nil {
		t.Fatal(err)
	}
	q.Header.Set("Content-Encoding", "zstd")
	res, err := http.DefaultClient.Do(q)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusUnsupportedMediaType {
		t.Errorf("zstd: %d", res.StatusCode)
	}
}

// anySeries makes good and bad series at random.
func anySeries(r *rand.Rand, now time.Time) series {
	pick := func(list ...string) string { return list[r.IntN(len(list))] }
	s := series{labels: []string{"__name__", pick("up", "up", "http_requests_total", "a.b/c")}}
	for _, name := range []string{"instance", "job", "zone"}[:r.IntN(4)] {
		s.labels = append(s.labels, name, pick("a", "b", "", "été", "x y"))
	}
	switch r.IntN(40) {
	case 0:
		s.labels = append(s.labels, "zzz", "\xff\xfe")
	case 1:
		s.labels = s.labels[2:]
	case 2:
		s.labels = append(s.labels, "zzz", "1", "zzz", "2")
	case 3:
		s.labels = append(s.labels, "", "1")
	}
	for range 1 + r.IntN(3) {
		at := now.Add(-time.Duration(r.IntN(100)) * time.Second)
		switch r.IntN(60) {
		case 0:
			at = time.Unix(int64(r.IntN(1000)), 0)
		case 1:
			at = now.Add(100 * 365 * 24 * time.Hour)
		case 2:
			at = now.Add(-3 * time.Hour)
		}
		// Of two values at a time the library keeps either, but for the newest.
		v := float64(at.Unix() % 3)
		if r.IntN(10) == 0 {
			at, v = now, float64(r.IntN(3))
		}
		s.samples = append(s.samples, sample(at, v))
	}
	return s
}
