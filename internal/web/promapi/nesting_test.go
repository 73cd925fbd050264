package promapi

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"nocturne/tsdb"
)

// TestDeepQueriesAreRefused sends what the library's parser takes minutes for.
func TestDeepQueriesAreRefused(t *testing.T) {
	db, err := tsdb.Open(tsdb.Options{Dir: t.TempDir(), Log: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	api := New(Options{DB: db})
	for _, path := range []string{"query", "query_range", "format_query", "parse_query", "query_exemplars"} {
		for depth, status := range map[int]int{100: http.StatusOK, 200_000: http.StatusBadRequest} {
			form := url.Values{"query": {strings.Repeat("(", depth) + "up" + strings.Repeat(")", depth)}, "start": {"1000"}, "end": {"1001"}, "step": {"1"}}
			r := httptest.NewRequest("POST", "/api/v1/"+path, strings.NewReader(form.Encode()))
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			w := httptest.NewRecorder()
			api.ServeHTTP(w, r)
			if w.Code != status || status != http.StatusOK && !strings.Contains(w.Body.String(), "nest deeper") {
				t.Errorf("%s, %d levels: %d %.200s", path, depth, w.Code, w.Body)
			}
		}
	}
}
