package main

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"nocturne/tsdb"
)

// TestHistoryIsReadRemotely opens the whole house with a remote store: it is
// asked with the sealed credential, and said on the about page's settings.
func TestHistoryIsReadRemotely(t *testing.T) {
	t.Parallel()
	var header atomic.Value
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header.Store(r.Header.Get("Authorization"))
		http.Error(w, "come again", http.StatusServiceUnavailable)
	}))
	defer srv.Close()
	f := func(credential, want string) {
		t.Helper()
		cfg, err := LoadConfig(writeConfig(t, "listen: 127.0.0.1:0\ndata: d\nlog: {level: error}\nhistory:\n  remote: {url: \""+srv.URL+"\", credential: store, timeout: 5s}\ncredentials:\n- name: store\n  http: "+credential+"\n"))
		if err != nil {
			t.Fatal(err)
		}
		h, err := openHouse(cfg, logger(cfg.Log), false)
		if err != nil {
			t.Fatal(err)
		}
		defer h.Close()
		_, err = h.history.QueryRange(t.Context(), "up", time.Now().Add(-time.Hour), time.Now(), time.Minute)
		if !errors.Is(err, tsdb.ErrRemote) || strings.Contains(err.Error(), "hunter2") || !strings.Contains(err.Error(), "come again") {
			t.Errorf("got %v", err)
		}
		if got := header.Load(); got != want {
			t.Errorf("sent %v, want %s", got, want)
		}
		var said strings.Builder
		for _, s := range cfg.settings() {
			said.WriteString(s.Name + " " + s.Value + "; ")
		}
		if !strings.Contains(said.String(), "2h here, read from "+srv.URL) || strings.Contains(said.String(), "hunter2") {
			t.Errorf("settings %s", said.String())
		}
	}
	f("{token: hunter2}", "Bearer hunter2")
	f("{user: nocturne, password: hunter2}", "Basic bm9jdHVybmU6aHVudGVyMg==")
}
