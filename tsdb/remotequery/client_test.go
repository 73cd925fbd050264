package remotequery

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/util/annotations"
)

var (
	at   = time.UnixMilli(1_780_000_000_123)
	from = at.Add(-time.Hour)
)

// served returns a client of a store that answers as f does.
func served(t *testing.T, o Options, f http.HandlerFunc) *Client {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = r.ParseForm() // a server that has not read the body does not see its client go
		f(w, r)
	}))
	t.Cleanup(srv.Close)
	o.URL = srv.URL
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func says(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	}
}

// TestValues reads one answer of each type, odd numbers included.
func TestValues(t *testing.T) {
	f := func(body, want string) {
		t.Helper()
		v, _, err := served(t, Options{}, says(200, `{"status":"success","data":`+body+`}`)).Query(t.Context(), "x", at, 0)
		if err != nil {
			t.Errorf("%s: %v", body, err)
			return
		}
		if got := fmt.Sprintf("%T %s", v, v); got != want {
			t.Errorf("%s: got %s, want %s", body, got, want)
		}
	}
	f(`{"resultType":"scalar","result":[1780000000.123,"-Inf"]}`, "promql.Scalar scalar: -Inf @[1780000000123]")
	f(`{"resultType":"string","result":[1780000000.1,"a\"b"]}`, `promql.String a"b`)
	f(`{"resultType":"vector","result":[]}`, "promql.Vector ")
	f(`{"resultType":"vector","result":[{"metric":{"b":"2","a":"1"},"value":[1780000000,"NaN"]}]}`, `promql.Vector {a="1", b="2"} => NaN @[1780000000000]`)
	f(` {"result":[ { "values":[ [ 1 , "1e3" ] , [ 2.5 , "-0" ] ] , "metric":{"__name__":"x"} } ], "resultType":"matrix"}`, "promql.Matrix {__name__=\"x\"} =>\n1000 @[1000]\n-0 @[2500]")

	v, _, err := served(t, Options{}, says(200, `{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[-1.5,"-0"]}]}}`)).Query(t.Context(), "x", at, 0)
	if err != nil || v.(promql.Vector)[0].T != -1500 || !math.Signbit(v.(promql.Vector)[0].F) {
		t.Errorf("got %v, %v", v, err)
	}
}

// TestBadStores has stores that fail in all ways that were thought of. None of
// them may come to an answer.
func TestBadStores(t *testing.T) {
	good := `{"status":"success","data":{"resultType":"matrix","result":[{"metric":{"a":"b"},"values":[[1780000000,"1"],[1780000000.1,"2"]]}]}}`
	f := func(o Options, h http.HandlerFunc, kind Kind, words string) {
		t.Helper()
		c := served(t, o, h)
		v, _, err := c.QueryRange(t.Context(), "x", from, at, time.Second, 0)
		own, ok := errors.AsType[*Error](err)
		if !ok || own.Kind != kind || v != nil || !strings.Contains(err.Error(), words) || !strings.Contains(err.Error(), c.URL()) {
			t.Errorf("got %v, %v; want %s with %q", v, err, kind, words)
		}
	}
	f(Options{}, says(500, "<html>oops"), Unavailable, "500 Internal Server Error: <html>oops")
	f(Options{}, says(503, `{"status":"error","errorType":"unavailable","error":"starting up"}`), Unavailable, "starting up")
	f(Options{}, says(503, `{"status":"error","errorType":"timeout","error":"query timed out"}`), Timeout, "query timed out")
	f(Options{}, says(400, `{"status":"error","errorType":"bad_data","error":"parse error"}`), BadData, "parse error")
	f(Options{}, says(422, `{"status":"error","errorType":"execution","error":"too many samples"}`), Execution, "too many samples")
	f(Options{}, says(401, "who are you"), Unavailable, "401")
	f(Options{}, says(404, "404 page not found"), Unavailable, "404")
	f(Options{}, says(200, `{"status":"error","errorType":"execution","error":"said with 200"}`), Unavailable, "said with 200")
	f(Options{}, http.RedirectHandler("http://elsewhere.invalid/", http.StatusTemporaryRedirect).ServeHTTP, Unavailable, "307")
	for i := range len(good) {
		f(Options{}, says(200, good[:i]), Garbled, "")
	}
	f(Options{}, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100000")
		_, _ = w.Write([]byte(good))
	}, Unavailable, "unexpected EOF")
	for _, lie := range []string{
		`null`, `[]`, `"success"`, `{}`, `{"status":"success"}`, `{"status":"success","data":null}`, `{"status":"fine","data":{}}`,
		`{"status":"success","data":[]}`, `{"status":"success","data":{"resultType":"vector","result":[]}}`,
		`{"status":"success","data":{"resultType":"matrix"}}`, `{"status":"success","data":{"resultType":"matrix","result":{}}}`,
		`{"status":"success","data":{"resultType":"matrix","result":7}}`,
	} {
		f(Options{}, says(200, lie), Garbled, "")
	}
	for _, element := range []string{
		`{"metric":[],"values":[[1780000000,"1"]]}`, `{"metric":{"a":1},"values":[[1780000000,"1"]]}`, `{"metric":{},"values":{"1780000000":"1"}}`,
		`{"metric":{},"values":[[1780000000,1]]}`, `{"metric":{},"values":[["1780000000","1"]]}`, `{"metric":{},"values":[[1780000000]]}`,
		`{"metric":{},"values":[[1780000000,"1","2"]]}`, `{"metric":{},"values":[1780000000,"1"]}`, `{"metric":{},"values":[[1780000000,"one"]]}`,
		`{"metric":{},"values":[[1780000000,"1"],[1780000000,"2"]]}`, `{"metric":{},"values":[[1780000000,"1"],[1779999999,"2"]]}`,
		`{"metric":{},"values":[[1780000001,"1"]]}`, `{"metric":{},"values":[[1,"1"]]}`, `{"metric":{},"values":null}`, `{"metric":{},"values":"x"}`,
		`{"metric":{},"values":[[1e300,"1"]]}`, `{"metric":{},"values":[[1780000000,"1"]]},{"metric":{},"values":[[1780000000,"1"]]}`,
	} {
		f(Options{}, says(200, `{"status":"success","data":{"resultType":"matrix","result":[`+element+`]}}`), Garbled, "")
	}
	f(Options{}, says(200, `{"status":"success","data":{"resultType":"matrix","result":[{"metric":{"a":"b"},"histograms":[[1,{}]]}]}}`), Unsupported, `{a="b"}`)
	f(Options{MaxSamples: 1}, says(200, good), TooLarge, "more than 1 samples")
	f(Options{MaxBytes: int64(len(good)) - 1}, says(200, good), TooLarge, "larger than")
	f(Options{MaxBytes: 1 << 20}, func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil { // without end
			if _, err := w.Write(make([]byte, 1<<16)); err != nil {
				return
			}
		}
	}, TooLarge, "larger than")
	f(Options{Timeout: 50 * time.Millisecond}, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, Timeout, "no answer in time")
	f(Options{Timeout: 50 * time.Millisecond}, func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write([]byte(good[:50]))
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}, Timeout, "no answer in time")
	f(Options{Header: func() (http.Header, error) { return nil, errors.New("sealed") }}, says(200, good), Unavailable, "open the credential: sealed")
}

func TestInstantRefusesWhatIsNoVector(t *testing.T) {
	for _, result := range []string{
		`{"resultType":"vector","result":[{"metric":{}}]}`, `{"resultType":"vector","result":[{"metric":{},"value":[1]}]}`,
		`{"resultType":"vector","result":[{"metric":{},"value":[1,"1"]},{"metric":{},"value":[1,"1"]}]}`,
		`{"resultType":"scalar","result":"1"}`, `{"resultType":"scalar","result":[[1,"1"]]}`, `{"resultType":"string","result":[1,2]}`, `{"resultType":"streams","result":[]}`,
	} {
		v, _, err := served(t, Options{}, says(200, `{"status":"success","data":`+result+`}`)).Query(t.Context(), "x", at, 0)
		if own, ok := errors.AsType[*Error](err); !ok || own.Kind != Garbled {
			t.Errorf("%s: got %v, %v", result, v, err)
		}
	}
}

func TestDeadAndGivenUp(t *testing.T) {
	c := served(t, Options{}, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(20*time.Millisecond, cancel)
	_, _, err := c.Query(ctx, "x", at, 0)
	if own, ok := errors.AsType[*Error](err); !ok || own.Kind != Canceled || !own.Answered() {
		t.Errorf("given up: %v", err)
	}
	srv := httptest.NewServer(http.NotFoundHandler())
	dead, err := New(Options{URL: srv.URL})
	if err != nil {
		t.Fatal(err)
	}
	srv.Close()
	_, _, err = dead.LabelValues(t.Context(), "job", nil, from, at, 0)
	if own, ok := errors.AsType[*Error](err); !ok || own.Kind != Unavailable || own.Answered() || strings.Contains(err.Error(), "match[]") {
		t.Errorf("dead: %v", err)
	}
}

// TestRequests holds what is sent against the API's documentation.
func TestRequests(t *testing.T) {
	var got string
	c := served(t, Options{Timeout: 7 * time.Second, Header: func() (http.Header, error) { return http.Header{"Authorization": {"Bearer t"}}, nil }},
		func(w http.ResponseWriter, r *http.Request) {
			got = r.Method + " " + r.URL.EscapedPath() + " " + r.Form.Encode() + " " + r.Header.Get("Authorization")
			data := `["a"]`
			switch {
			case strings.HasSuffix(r.URL.Path, "/query"):
				data = `{"resultType":"vector","result":[]}`
			case strings.HasSuffix(r.URL.Path, "/query_range"):
				data = `{"resultType":"matrix","result":[]}`
			case strings.HasSuffix(r.URL.Path, "/series"):
				data = `[{"a":"b"}]`
			}
			_, _ = w.Write([]byte(`{"status":"success","data":` + data + `,"warnings":["some is missing"],"infos":["PromQL info: odd"]}`))
		})
	ms := []*labels.Matcher{labels.MustNewMatcher(labels.MatchEqual, "__name__", "up"), labels.MustNewMatcher(labels.MatchNotRegexp, "site", `a|"b"`)}
	f := func(want string, notes annotations.Annotations, err error) {
		t.Helper()
		if unescaped, _ := url.QueryUnescape(got); err != nil || unescaped != want {
			t.Errorf("sent %s, want %s, %v", unescaped, want, err)
		}
		if w, i := notes.CountWarningsAndInfo(); w != 1 || i != 1 {
			t.Errorf("notes %v", notes)
		}
	}
	_, notes, err := c.Query(t.Context(), "up", at, 0)
	f("POST /api/v1/query query=up&time=1780000000.123&timeout=7 Bearer t", notes, err)
	_, notes, err = c.QueryRange(t.Context(), "up", from, at, 90*time.Second, time.Minute)
	f("POST /api/v1/query_range end=1780000000.123&lookback_delta=60&max_lookback=60&query=up&start=1779996400.123&step=90&timeout=7 Bearer t", notes, err)
	found, notes, err := c.Series(t.Context(), [][]*labels.Matcher{ms}, from, at, 3)
	f(`POST /api/v1/series end=1780000000.123&limit=3&match[]={__name__="up",site!~"a|\"b\""}&start=1779996400.123 Bearer t`, notes, err)
	if diff := cmp.Diff(`[{a="b"}]`, fmt.Sprint(found)); diff != "" {
		t.Error(diff)
	}
	_, notes, err = c.LabelNames(t.Context(), nil, from, at, 0)
	f("POST /api/v1/labels end=1780000000.123&start=1779996400.123 Bearer t", notes, err)
	names, notes, err := c.LabelValues(t.Context(), "a.b", nil, from, at, 0)
	f("GET /api/v1/label/U__a_2e_b/values end=1780000000.123&start=1779996400.123 Bearer t", notes, err)
	if diff := cmp.Diff([]string{"a"}, names); diff != "" {
		t.Error(diff)
	}
}

func TestOptionsAreChecked(t *testing.T) {
	for _, o := range []Options{
		{}, {URL: "ftp://x"}, {URL: "http://"}, {URL: "http://user:hunter2@x"}, {URL: "http://x/?token=hunter2"}, {URL: "http://x", Timeout: -1}, {URL: "http://hunter2 x/"},
	} {
		if _, err := New(o); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%+v: %v", o, err)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"status":"success","data":{"resultType":"matrix","result":[{"metric":{"a":"b"},"values":[[1780000000,"1"],[1780000000.1,"2"]]}]}}`))
	f.Add([]byte(`{"status":"success","data":{"resultType":"vector","result":[{"metric":{"a":"b"},"value":[1780000000,"NaN"]}]}}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		var out queryData
		if _, err := decode(&http.Response{StatusCode: 200}, body, &out); err != nil {
			return
		}
		if v, err := out.value(100); err == nil && v == nil {
			t.Error("neither a value nor an error")
		}
	})
}
