package main

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"nocturne/internal/need"
)

func TestRemoteWriteFaults(t *testing.T) {
	f := func(receiver string, want ...string) {
		t.Helper()
		name := writeConfig(t, "credentials:\n- {name: c, ssh: {user: u, key: k}}\nhistory:\n  remote_write:\n  - "+receiver+"\n")
		_, err := LoadConfig(name)
		if err == nil {
			t.Errorf("%q was taken", receiver)
			return
		}
		for _, w := range want {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%q: got %q, want %q in it", receiver, err, w)
			}
		}
		if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: the fault %q tells a secret", receiver, err)
		}
	}
	f("{name: a/b, url: ftp://x}", `history.remote_write[0].name: "a/b" is not`, "history.remote_write[0].url: is no http")
	f("{name: a, url: 'http://u:hunter2@x/'}", "history.remote_write[0].url: holds a user or password")
	f("{name: a, url: http://x/, protocol: 3}", `history.remote_write[0].protocol: "3" is neither`)
	f("{name: a, url: http://x/, credential: c}", `history.remote_write[0].credential: "c" is of kind ssh, not http`)
	f("{name: a, url: http://x/, ca_file: nowhere.pem}", "history.remote_write[0].ca_file:")
	f("{name: a, url: http://x/, shards: -1, backfill: -1h}", "history.remote_write[0]")
	f("{name: a, url: http://x/, headers: {authorization: hunter2}}", "history.remote_write[0].headers.authorization: is set by the request itself")
	f("{name: a, url: http://x/, urls: y}", ":5: history.remote_write[0].urls: unknown field")
	f("{name: a, url: http://x/, write_relabel: [{regex: '('}]}", "history.remote_write[0].write_relabel[0].regex:")
	f("{name: a, url: http://x/, write_relabel: [{action: lose}]}", "history.remote_write[0].write_relabel[0].action:")
	f("{name: a, url: http://x/, write_relabel: [{source_labels: [a]}]}", "history.remote_write[0].write_relabel[0]:", "target_label")
	f("{name: a, url: http://x/}\n  - {name: a, url: http://y/}", `history.remote_write[1].name: "a" is the name of history.remote_write[0] already`)
	name := writeConfig(t, "credentials:\n- {name: c, http: {user: u, password: p, token: hunter2, cert_file: x}}\n- {name: d, http: {}}\n")
	_, err := LoadConfig(name)
	for _, want := range []string{"credentials[0].http: wants a user or a token", "credentials[0].http: wants cert_file and key_file", "credentials[1].http: is empty"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q in it", err, want)
		}
	}
}

// TestRemoteWriteIsWired runs the house with a receiver that wants a token.
func TestRemoteWriteIsWired(t *testing.T) {
	var good, bad atomic.Int64
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") == "Bearer hunter2" {
			good.Add(1)
		} else {
			bad.Add(1)
		}
	}))
	defer receiver.Close()
	name := writeConfig(t, fmt.Sprintf(`
listen: 127.0.0.1:0
credentials:
- {name: store, http: {token: hunter2}}
history:
  remote_write:
  - name: far
    url: %s
    credential: store
    external_labels: {site: north}
    write_relabel:
    - {source_labels: [__name__], regex: "node_.*", action: keep}
collector: {interval: 1s, timeout: 800ms}
`, receiver.URL))
	cfg, err := LoadConfig(name)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Data = filepath.Join(t.TempDir(), "data")
	ctx, cancel := context.WithCancel(t.Context())
	up, served := make(chan *house, 1), make(chan error, 1)
	var said strings.Builder
	go func() { served <- serve(ctx, cfg, &said, func(h *house) { up <- h }) }()
	end := sync.OnceValue(func() error { cancel(); return <-served })
	defer func() { _ = end() }()
	select {
	case h := <-up:
		need.Until(t, "samples are sent, and others dropped", func() bool { s := h.forward.Status()[0]; return s.Sent > 0 && s.Dropped > 0 })
	case err := <-served:
		served <- err
	}
	if err := end(); err != nil || good.Load() == 0 || bad.Load() != 0 {
		t.Errorf("%d requests with the token, %d without: %v", good.Load(), bad.Load(), err)
	}
}
