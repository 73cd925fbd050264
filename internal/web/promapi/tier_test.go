package promapi

import (
	"encoding/json"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"nocturne/internal/need"
	"nocturne/tsdb"
)

// TestTierIsTold asks for days of which rollups exist: the answer says that it
// was read from them, in a header and, unless it was raw, in the body.
func TestTierIsTold(t *testing.T) {
	start := time.Now().Add(-72 * time.Hour).Truncate(24 * time.Hour)
	db, err := tsdb.Open(tsdb.Options{Dir: t.TempDir(), Log: quiet(), Interval: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for at := start; at.Before(start.Add(60 * time.Hour)); at = at.Add(10 * time.Minute) {
		var batch []tsdb.Sample
		for m := range 10 {
			now := at.Add(time.Duration(m) * time.Minute)
			batch = append(batch, tsdb.Sample{Labels: labels.FromStrings("__name__", "load"), T: now.UnixMilli(), V: float64(now.Unix() % 977)})
		}
		if _, err := db.Append(t.Context(), batch); err != nil {
			t.Fatal(err)
		}
	}
	ask := func(expr string, from, to time.Time, step string) (tier, body string) {
		t.Helper()
		q := url.Values{"query": {expr}, "start": {from.Format(time.RFC3339)}, "end": {to.Format(time.RFC3339)}, "step": {step}}
		w := httptest.NewRecorder()
		New(Options{DB: db}).ServeHTTP(w, httptest.NewRequest("GET", "/api/v1/query_range?"+q.Encode(), nil))
		if w.Code != 200 {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
		return w.Header().Get(tierHeader), w.Body.String()
	}
	from, to := start.Add(2*time.Hour), start.Add(50*time.Hour)
	const expr = "max_over_time(load[1h])"
	tier, raw := ask(expr, from, to, "1h")
	if tier != "raw" || strings.Contains(raw, "infos") {
		t.Errorf("before any rollup: %q, %.200s", tier, raw)
	}
	// The blocks are written once the samples are no news any more.
	var body string
	need.Until(t, "the answer is read from the tier", func() bool {
		if err := db.Rollup(t.Context(), start, to.Add(10*time.Hour), nil); err != nil {
			t.Fatal(err)
		}
		tier, body = ask(expr, from, to, "1h")
		return tier == "1h"
	})
	if !strings.Contains(body, `"infos":["PromQL info: `) || result(t, body) != result(t, raw) {
		t.Errorf("read from the tier: %.300s, raw: %.300s", body, raw)
	}
	if tier, _ := ask("stddev_over_time(load[1h])", from, to, "1h"); tier != "raw" {
		t.Errorf("a function that buckets cannot answer is read from %q", tier)
	}
	if tier, _ := ask("1 + 1", from, to, "1h"); tier != "" {
		t.Errorf("a query of no series is read from %q", tier)
	}
}

// result is the part of an answer that holds values.
func result(t *testing.T, body string) string {
	t.Helper()
	var a struct{ Data json.RawMessage }
	if err := json.Unmarshal([]byte(body), &a); err != nil {
		t.Fatal(err)
	}
	return string(a.Data)
}
