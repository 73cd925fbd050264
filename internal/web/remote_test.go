package web

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"nocturne/tsdb"
)

// TestPagesOfADeadRemoteStore has the history read from a store that is not
// there: it is said on the page of the history and to who asks whether we are ready, a
// chart is an error and not an empty one.
func TestPagesOfADeadRemoteStore(t *testing.T) {
	t.Parallel()
	e := openEstate(t, plan{people: true})
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	db, err := tsdb.Open(tsdb.Options{Dir: t.TempDir(), Log: quietly(), Remote: &tsdb.Remote{URL: gone.URL}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	e.History = db
	f := func(path string, status int, words string) {
		t.Helper()
		got := e.get("ann", path)
		if got.Code != status || !strings.Contains(got.Body.String(), words) {
			t.Errorf("%s: %d %.300s; want %d with %q", path, got.Code, got.Body, status, words)
		}
	}
	f("/admin/history", http.StatusOK, "not asked yet")
	if _, err := db.QueryRange(t.Context(), "up", time.Now().Add(-time.Hour), time.Now(), time.Minute); err == nil {
		t.Fatal("a store that is gone answered")
	} else if status, text := statusOf(err); status != http.StatusBadGateway || !strings.Contains(text, "not seen") {
		t.Errorf("for people: %d %s", status, text)
	}
	f("/admin/history", http.StatusOK, "does not answer since")
	f("/readyz", http.StatusServiceUnavailable, "does not answer since")
	if tiles, err := e.askTiles(t.Context(), time.Now()); err == nil || len(tiles) != 0 {
		t.Errorf("figures of a store that is gone: %v, %v", tiles, err)
	}
}
