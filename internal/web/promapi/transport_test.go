package promapi

import (
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/metadata"

	"nocturne/internal/need"
	"nocturne/tsdb"
)

func exchange(t *testing.T, method, url string, headers ...string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	res, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, string(body)
}

// TestMethodsAndOrigins compares what is not in a body: methods that a path
// does not take, and what a browser asks before a page of another site may.
func TestMethodsAndOrigins(t *testing.T) {
	_, r := need.Seed(t)
	dir := randomHistoryTo(r, time.Now().Add(-time.Hour).Truncate(time.Minute), 5*time.Minute).folder(t)
	us, them := ours(t, dir, tsdb.Options{}).URL, peer(t, dir, outOfOrder)
	for _, path := range []string{"query", "query_range", "series", "labels", "label/a/values", "metadata", "targets", "rules", "status/tsdb", "status/buildinfo", "format_query", "admin/tsdb/delete_series", "admin/tsdb/clean_tombstones"} {
		for _, method := range []string{"GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"} {
			want, wantBody := exchange(t, method, them+"/api/v1/"+path, "Origin", "http://elsewhere")
			got, gotBody := exchange(t, method, us+"/api/v1/"+path, "Origin", "http://elsewhere")
			if got.StatusCode != want.StatusCode || got.StatusCode == http.StatusMethodNotAllowed && gotBody != wantBody {
				t.Errorf("%s %s: %d %q, want %d %q", method, path, got.StatusCode, gotBody, want.StatusCode, wantBody)
			}
			if got.StatusCode == http.StatusMethodNotAllowed {
				for m := range strings.SplitSeq(want.Header.Get("Allow"), ", ") {
					if !strings.Contains(got.Header.Get("Allow"), m) {
						t.Errorf("%s %s: Allow %q, want %q in it", method, path, got.Header.Get("Allow"), m)
					}
				}
				continue
			}
			for _, h := range []string{"Allow-Origin", "Allow-Headers", "Allow-Methods", "Expose-Headers"} {
				if d := cmp.Diff(want.Header.Get("Access-Control-"+h), got.Header.Get("Access-Control-"+h)); d != "" {
					t.Errorf("%s %s: Access-Control-%s: %s", method, path, h, d)
				}
			}
		}
	}
	for _, path := range []string{"/federate?match[]=up", "/federate"} {
		want, _ := exchange(t, "POST", them+path)
		if got, _ := exchange(t, "POST", us+path); got.StatusCode != want.StatusCode {
			t.Errorf("POST %s: %d, want %d", path, got.StatusCode, want.StatusCode)
		}
	}
}

func TestCompressed(t *testing.T) {
	_, r := need.Seed(t)
	h := randomHistoryTo(r, time.Now().Truncate(time.Second), 20*time.Minute)
	us := ours(t, h.folder(t), tsdb.Options{}).URL
	long := fmt.Sprintf("/api/v1/query_range?query=%%7Bjob!%%3D%%22%%22%%7D&start=%d&end=%d&step=1", time.Now().Add(-19*time.Minute).Unix(), time.Now().Add(-time.Minute).Unix())
	for _, path := range []string{"/api/v1/series?match[]=%7Bjob!%3D%22%22%7D", "/federate?match[]=up", long} {
		whole, plain := exchange(t, "GET", us+path, "Accept-Encoding", "identity")
		if inPieces := whole.ContentLength < 0; inPieces != (path == long) || inPieces != (len(plain) > 2*pieceBytes) {
			t.Errorf("%s: %d bytes, length told as %d", path, len(plain), whole.ContentLength)
		}
		if path == long && !json.Valid([]byte(plain)) {
			t.Errorf("no JSON: %.300s", plain)
		}
		for _, accept := range []string{"gzip", "deflate, gzip;q=0.5", "GZIP"} {
			res, packed := exchange(t, "GET", us+path, "Accept-Encoding", accept)
			if res.Header.Get("Content-Encoding") != "gzip" || !strings.Contains(strings.Join(res.Header.Values("Vary"), ","), "Accept-Encoding") {
				t.Errorf("%s: %v", accept, res.Header)
				continue
			}
			z, err := gzip.NewReader(strings.NewReader(packed))
			if err != nil {
				t.Fatal(err)
			}
			if got, err := io.ReadAll(z); err != nil || string(got) != plain {
				t.Errorf("%s %s: %v, %d bytes, want %d", path, accept, err, len(got), len(plain))
			}
		}
		for _, accept := range []string{"gzip;q=0", "br", "xgzip"} {
			if res, body := exchange(t, "GET", us+path, "Accept-Encoding", accept); res.Header.Get("Content-Encoding") != "" || body != plain {
				t.Errorf("%s: encoded as %q", accept, res.Header.Get("Content-Encoding"))
			}
		}
	}
	if res, _ := exchange(t, "GET", us+"/api/v1/query?query=1", "Accept-Encoding", "gzip"); res.Header.Get("Content-Encoding") != "" {
		t.Error("a small body is compressed")
	}
}

// TestMetadataOfSenders: what remote write told is shown beside what targets
// have.
func TestMetadataOfSenders(t *testing.T) {
	db, err := tsdb.Open(tsdb.Options{Dir: t.TempDir(), Log: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var told tsdb.Metadata
	told.Set("go_goroutines", metadata.Metadata{Type: model.MetricTypeGauge, Help: "Goroutines <now>."})
	told.Set("go_goroutines", metadata.Metadata{Type: model.MetricTypeUnknown, Help: "Others."})
	told.Set("http_requests", metadata.Metadata{Type: model.MetricTypeCounter, Unit: "requests"})
	s := httptest.NewServer(New(Options{DB: db, Metadata: &told}))
	defer s.Close()
	f := func(want string, kv ...string) {
		t.Helper()
		if got := ask("metadata", kv...).do(t, s.URL); got.Body != `{"status":"success","data":{`+want+`}}` {
			t.Errorf("%q:\n got %s\nwant %s", kv, got.Body, want)
		}
	}
	const (
		first  = `{"type":"gauge","unit":"","help":"Goroutines \u003cnow\u003e."}`
		second = `{"type":"unknown","unit":"","help":"Others."}`
		other  = `"http_requests":[{"type":"counter","unit":"requests","help":""}]`
	)
	f(`"go_goroutines":[` + first + "," + second + `],` + other)
	f(`"go_goroutines":[`+first+`],`+other, "limit_per_metric", "1")
	f(`"go_goroutines":[`+first+","+second+`]`, "limit", "1")
	f(other, "metric", "http_requests")
	f("", "metric", "nothing")
}
