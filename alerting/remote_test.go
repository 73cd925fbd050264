package alerting

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"nocturne/tsdb"
)

const remoteRules = `
groups:
- name: depths
  rules:
  - alert: Deep
    expr: max_over_time(depth{job="linux"}[1d]) > 5
  - alert: High
    expr: level{job="linux"} > 5
`

// TestRemoteStoreFails has rules read from a remote store that breaks in all
// ways: what needs it stays what it was and says that nobody knows, what the
// buffer holds is judged as ever, and all goes on when it is back.
func TestRemoteStoreFails(t *testing.T) {
	const holding = `{"resultType":"vector","result":[{"metric":{"job":"linux","instance":"web-1"},"value":[1,"7"]}]}`
	const nothing = `{"resultType":"vector","result":[]}`
	var answer atomic.Value // an http.HandlerFunc
	say := func(data string) {
		answer.Store(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprintf(w, `{"status":"success","data":%s}`, data)
		}))
	}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = r.ParseForm()
		answer.Load().(http.HandlerFunc)(w, r)
	}))
	defer srv.Close()
	var behind atomic.Int64
	h := newHouse(t, remoteRules)
	if err := h.db.Close(); err != nil {
		t.Fatal(err)
	}
	var err error
	if h.db, err = tsdb.Open(tsdb.Options{Dir: h.dir + "/buffer", Log: quiet(), QueryTimeout: 2 * time.Second, Remote: &tsdb.Remote{
		URL: srv.URL, Timeout: 300 * time.Millisecond, Behind: func() time.Duration { return time.Duration(behind.Load()) },
	}}); err != nil {
		t.Fatal(err)
	}
	h.engine()
	now := time.Now().Add(-20 * time.Minute).Truncate(time.Second)
	// turn polls and evaluates; it returns the reasons why alerts are unsure.
	turn := func(depth, level float64) map[string]string {
		t.Helper()
		now = now.Add(15 * time.Second)
		for name, v := range map[string]float64{"up": 1, "depth": depth, "level": level} {
			h.put(now, v, "__name__", name, "job", "linux", "instance", "web-1")
		}
		for _, g := range h.e.groups {
			h.e.evalGroup(t.Context(), g, now)
		}
		firing := map[string]string{}
		for _, a := range h.e.Alerts() {
			if a.Phase != Firing {
				t.Errorf("%s is %s", a.Rule, a.Phase)
			}
			firing[a.Rule] = a.Reason
			if a.Stale == (a.Reason == "") {
				t.Errorf("%s: stale is %v, for %q", a.Rule, a.Stale, a.Reason)
			}
		}
		return firing
	}
	want := func(got map[string]string, wanted ...string) {
		t.Helper()
		if len(got)*2 != len(wanted) {
			t.Fatalf("firing %q, want %q", got, wanted)
		}
		for i := 0; i < len(wanted); i += 2 {
			reason, ok := got[wanted[i]]
			if !ok || !strings.Contains(reason, wanted[i+1]) || wanted[i+1] == "" && reason != "" {
				t.Errorf("firing %q, want %q", got, wanted)
			}
		}
	}
	say(nothing)
	for range 30 { // what a buffer holds must be older than the lookback
		want(turn(1, 1))
	}
	say(holding)
	want(turn(7, 1), "Deep", "")
	level := 7.0
	for words, broken := range map[string]http.HandlerFunc{
		"does not answer": func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "down", http.StatusBadGateway) },
		"garbled": func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprintf(w, `{"status":"success","data":%s}`, holding[:40])
		},
		"timed out": func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
		"a matrix was": func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, `{"status":"success","data":{"resultType":"matrix","result":[]}}`)
		},
	} {
		answer.Store(broken)
		if level > 5 {
			want(turn(1, level), "Deep", words, "High", "")
		} else {
			want(turn(1, level), "Deep", words)
		}
		level = 8 - level // High comes and goes meanwhile
	}
	say(nothing)
	behind.Store(int64(30 * time.Minute)) // the emptiness of a store that lacks the newest means nothing
	want(turn(1, 1), "Deep", "lacks our newest samples")
	behind.Store(0)
	say(holding)
	want(turn(1, 1), "Deep", "")
	say(nothing)
	want(turn(1, 1))
}
