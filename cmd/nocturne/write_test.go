package main

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"nocturne/tsdb"
)

// TestRemoteWriteOnAFullDisk sends to a history that takes nothing: the sender
// is told when to come again.
func TestRemoteWriteOnAFullDisk(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	db, err := tsdb.Open(tsdb.Options{Dir: t.TempDir(), MinFree: 1 << 60, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	write, err := (&house{history: db, log: log}).remoteWrite()
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	write(w, httptest.NewRequest(http.MethodPost, "/api/v1/write", strings.NewReader("\x00")), "gate")
	if w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" || !strings.Contains(w.Body.String(), "history is read-only") {
		t.Errorf("%d %v %s", w.Code, w.Header(), w.Body)
	}
}
