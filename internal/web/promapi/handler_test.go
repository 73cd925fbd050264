package promapi

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"

	"nocturne/tsdb"
)

// small returns the handler over three series with one sample each at 1000 s.
func small(t *testing.T) http.Handler {
	t.Helper()
	db, err := tsdb.Open(tsdb.Options{Dir: t.TempDir(), Log: quiet(), MaxAge: -1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	_, err = db.Append(t.Context(), []tsdb.Sample{
		{Labels: labels.FromStrings("__name__", "up", "instance", "a"), T: 1000_000, V: 1},
		{Labels: labels.FromStrings("__name__", "up", "instance", "b"), T: 1000_000, V: 0},
		{Labels: labels.FromStrings("__name__", "température", "où", "<là>"), T: 1000_000, V: 21.5},
	})
	if err != nil {
		t.Fatal(err)
	}
	return New(Options{DB: db})
}

func get(t *testing.T, h http.Handler, path string, kv ...string) (int, string) {
	t.Helper()
	form := url.Values{}
	for i := 0; i < len(kv); i += 2 {
		form.Add(kv[i], kv[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "GET", "/api/v1/"+path+"?"+form.Encode(), nil))
	return w.Code, w.Body.String()
}

// The expected bodies of these follow web/api/v1 of Prometheus 3.x; the
// Prometheus that Debian has knows neither limits nor infos nor UTF-8 names.
func TestLimits(t *testing.T) {
	h := small(t)
	f := func(want, path string, kv ...string) {
		t.Helper()
		if _, got := get(t, h, path, kv...); got != want {
			t.Errorf("%s %q:\n got %s\nwant %s", path, kv, got, want)
		}
	}
	const cut = `,"warnings":["results truncated due to limit"]}`
	f(`{"status":"success","data":{"resultType":"vector","result":[{"metric":{"__name__":"up","instance":"a"},"value":[1000,"1"]}]}`+cut,
		"query", "query", "up", "time", "1000", "limit", "1")
	f(`{"status":"success","data":{"resultType":"matrix","result":[{"metric":{"__name__":"up","instance":"a"},"values":[[1000,"1"],[1000.500,"1"]]}]}`+cut,
		"query_range", "query", "up", "start", "1000", "end", "1000.5", "step", "0.5", "limit", "1")
	f(`{"status":"success","data":[{"__name__":"up","instance":"a"}]`+cut, "series", "match[]", "up", "limit", "1")
	f(`{"status":"success","data":[{"__name__":"up","instance":"a"},{"__name__":"up","instance":"b"}]}`, "series", "match[]", "up", "limit", "2")
	f(`{"status":"success","data":["__name__","instance"]`+cut, "labels", "limit", "2")
	f(`{"status":"success","data":["a"]`+cut, "label/instance/values", "limit", "1")
	f(`{"status":"error","errorType":"bad_data","error":"invalid parameter \"limit\": limit must be non-negative"}`, "labels", "limit", "-1")
	f(`{"status":"error","errorType":"bad_data","error":"invalid parameter \"limit\": strconv.Atoi: parsing \"x\": invalid syntax"}`, "query", "query", "up", "limit", "x")
}

func TestUTF8Names(t *testing.T) {
	h := small(t)
	f := func(want, path string, kv ...string) {
		t.Helper()
		if _, got := get(t, h, path, kv...); got != want {
			t.Errorf("%s %q:\n got %s\nwant %s", path, kv, got, want)
		}
	}
	f(`{"status":"success","data":{"resultType":"vector","result":[{"metric":{"__name__":"température","où":"<là>"},"value":[1000,"21.5"]}]}}`,
		"query", "query", `{"température"}`, "time", "1000")
	f(`{"status":"success","data":["\u003clà\u003e"]}`, "label/o%C3%B9/values")
	f(`{"status":"success","data":["\u003clà\u003e"]}`, "label/U__o_f9_/values")
}

func TestNotes(t *testing.T) {
	_, got := get(t, small(t), "query", "query", "rate(up[5m])", "time", "1000")
	want := `{"status":"success","data":{"resultType":"vector","result":[]},"infos":["PromQL info: metric might not be a counter, name does not end in _total/_sum/_count/_bucket: \"up\" (1:6)"]}`
	// One sample gives no rate, and so no info; two do.
	if got != `{"status":"success","data":{"resultType":"vector","result":[]}}` && got != want {
		t.Errorf("got %s", got)
	}
	_, got = get(t, small(t), "query", "query", "quantile(2, up)", "time", "1000")
	if !strings.Contains(got, `"warnings":["PromQL warning: quantile value should be between 0 and 1, got 2 (1:10)"]`) {
		t.Errorf("no warning: %s", got)
	}
	_, got = get(t, small(t), "query", "query", "up", "time", "1000", "stats", "yes")
	if !strings.Contains(got, `"stats":{"timings":{`) || !strings.Contains(got, `value \"yes\" for parameter \"stats\" is deprecated`) {
		t.Errorf("no statistics or no warning: %s", got)
	}
}

func TestHistogramEncoding(t *testing.T) {
	h := &histogram.FloatHistogram{
		Schema: 0, Count: 6, Sum: 1.5, ZeroThreshold: 0.25, ZeroCount: 3,
		PositiveSpans: []histogram.Span{{Offset: 0, Length: 2}}, PositiveBuckets: []float64{1, 2},
	}
	want := `[1.005,{"count":"6","sum":"1.5","buckets":[[3,"-0.25","0.25","3"],[0,"0.5","1","1"],[0,"1","2","2"]]}]`
	if got := string(appendHistogramPoint(nil, promql.HPoint{T: 1005, H: h})); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestGoneClientAndWrongMethod(t *testing.T) {
	h := small(t)
	ctx, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
	defer cancel()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequestWithContext(ctx, "GET", "/api/v1/query?query=up", nil))
	if w.Code != http.StatusServiceUnavailable || !strings.Contains(w.Body.String(), `"errorType":"timeout"`) {
		t.Errorf("late: %d %s", w.Code, w.Body)
	}
	gone, leave := context.WithCancel(t.Context())
	leave()
	w = httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequestWithContext(gone, "GET", "/api/v1/query?query=up", nil))
	if w.Code != 499 || !strings.Contains(w.Body.String(), `"errorType":"canceled"`) {
		t.Errorf("gone: %d %s", w.Code, w.Body)
	}
	w = httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "DELETE", "/api/v1/query?query=up", nil))
	if w.Code != http.StatusMethodNotAllowed {
		t.Errorf("DELETE: %d", w.Code)
	}
}
