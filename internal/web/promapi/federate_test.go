package promapi

import (
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/prometheus/storage"
	library "github.com/prometheus/prometheus/tsdb"

	"nocturne/internal/need"
	"nocturne/tsdb"
)

// TestFederatesLikePrometheus asks for the present, so its history ends now.
func TestFederatesLikePrometheus(t *testing.T) {
	_, r := need.Seed(t)
	h := randomHistoryTo(r, time.Now().Truncate(time.Second), 12*time.Minute)
	dir := h.folder(t)
	us, them := ours(t, dir, tsdb.Options{}).URL, peer(t, dir, outOfOrder)
	const (
		text    = "text/plain;version=0.0.4"
		delim   = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"
		metrics = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"
	)
	for _, accept := range []string{"", text, delim, metrics, text + ";escaping=allow-utf-8", delim + ";q=0.9,text/plain", "*/*"} {
		for _, match := range [][]string{
			{"up"}, {`{__name__=~".+"}`}, {"up", `{job="snmp"}`}, {"native"}, {"custom"}, {"ending"}, {"odd_values"}, {"nothing"}, {"up{"}, {}, {"{}"},
		} {
			form := url.Values{"match[]": match}
			want, got := federated1(t, them, accept, form), federated1(t, us, accept, form)
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("Accept %q, match %q (-prometheus +nocturne):\n%s", accept, match, d)
			}
			if len(match) == 2 && len(got.Body) < 1000 {
				t.Errorf("hardly anything to compare: %s", got.Body)
			}
		}
	}
}

func federated1(t *testing.T, base, accept string, form url.Values) reply {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), "GET", base+"/federate?"+form.Encode(), nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", accept)
	return send(t, req)
}

// TestBuildInfo compares the fields, not what they say of two programs.
func TestBuildInfo(t *testing.T) {
	_, r := need.Seed(t)
	dir := randomHistoryTo(r, time.Now().Truncate(time.Second), time.Minute).folder(t)
	us, them := ours(t, dir, tsdb.Options{}).URL, peer(t, dir, outOfOrder)
	values := regexp.MustCompile(`:("[^"]*"|[0-9]+|true|false)`)
	for path, extra := range map[string]string{"/api/v1/status/buildinfo": `,"nocturne":`, "/api/v1/status/runtimeinfo": ""} {
		want, got := request{path: path}.do(t, them), request{path: path}.do(t, us)
		got.Body, want.Body = values.ReplaceAllString(got.Body, ":"), values.ReplaceAllString(want.Body, ":")
		if extra != "" {
			want.Body = want.Body[:len(want.Body)-2] + extra + "}}"
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s (-prometheus +nocturne):\n%s", path, d)
		}
	}
}

// TestFederatesNoDamage has a series whose chunk is damaged: an answer without
// it would pass for whole.
func TestFederatesNoDamage(t *testing.T) {
	dir, now := t.TempDir(), time.Now().Add(-time.Minute).UnixMilli()
	var all []storage.Series
	for _, n := range []string{"1", "2"} {
		all = append(all, storage.MockSeries([]int64{0, 0}, []int64{now, now + 1}, []float64{1, 2}, []string{"__name__", "m", "n", n}))
	}
	block, err := library.CreateBlock(all, dir, 7_200_000, quiet())
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(block, "chunks", "000001")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)-6] ^= 1
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	us := ours(t, dir, tsdb.Options{}).URL
	if got := federated1(t, us, "", url.Values{"match[]": {`m{n="1"}`}}); got.Status != http.StatusOK {
		t.Errorf("the series that is whole: %+v", got)
	}
	if got := federated1(t, us, "", url.Values{"match[]": {"m"}}); got.Status != http.StatusInternalServerError {
		t.Errorf("answered %+v, want an error", got)
	}
}
