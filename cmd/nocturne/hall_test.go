package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"nocturne/alerting"
	"nocturne/automation"
	"nocturne/internal/lab"
	"nocturne/internal/need"
	"nocturne/internal/secret"
)

// receiver is a webhook's far end that keeps what it gets.
type receiver struct {
	url string

	mu  sync.Mutex
	got []notification // mu guards it
}

type notification struct {
	Status string `json:"status"`
	Alerts []struct {
		Status      string            `json:"status"`
		Labels      map[string]string `json:"labels"`
		Annotations map[string]string `json:"annotations"`
	} `json:"alerts"`
}

func newReceiver(t *testing.T) *receiver {
	r := &receiver{}
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, q *http.Request) {
		var n notification
		if err := json.NewDecoder(q.Body).Decode(&n); err != nil {
			t.Errorf("webhook body: %v", err)
		}
		r.mu.Lock()
		r.got = append(r.got, n)
		r.mu.Unlock()
	}))
	t.Cleanup(srv.Close)
	r.url = srv.URL
	return r
}

// any tells whether a notification holds an alert that f is true of.
func (r *receiver) any(f func(status string, labels, annotations map[string]string) bool) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, n := range r.got {
		for _, a := range n.Alerts {
			if f(a.Status, a.Labels, a.Annotations) {
				return true
			}
		}
	}
	return false
}

// hall is a running house on a running lab.
type hall struct {
	*house
	lab  *lab.Lab
	hook *receiver
	seed uint64
}

// whole marks a test of the whole house that the quick run (-short, with the
// race detector) leaves to the full one: two such tests stay in it.
func whole(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("a test of the whole house, left to the run without -short")
	}
}

// startHall runs the product on a lab from a random seed, faults by hand.
func startHall(t *testing.T, o lab.Options, change ...func(*Config)) *hall {
	t.Helper()
	seed, _ := need.Seed(t)
	o.Seed = seed
	l, err := lab.New(o)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cfg, err := demoConfig(l, dir, filepath.Join(dir, "data"), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h := &hall{lab: l, hook: newReceiver(t), seed: seed}
	cfg.Alerting.Webhooks = []WebhookConfig{{Name: "noc", URL: secret.Text(h.hook.url)}}
	for _, f := range change {
		f(&cfg)
	}
	if h.house, err = openHouse(cfg, testLog(t), true); err != nil {
		t.Fatal(err)
	}
	run(t, func(ctx context.Context) error { return l.Run(ctx) }, h.house)
	return h
}

// run runs a lab and a house until the test ends.
func run(t *testing.T, simulate func(context.Context) error, h *house) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := simulate(ctx); err != nil {
			t.Errorf("lab: %v", err)
		}
	})
	wg.Go(func() {
		if err := h.Run(ctx); err != nil {
			t.Errorf("run: %v", err)
		}
	})
	t.Cleanup(func() {
		cancel()
		wg.Wait()
		if err := h.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
}

type testWriter struct{ t *testing.T }

func (w testWriter) Write(b []byte) (int, error) {
	w.t.Logf("%s", b)
	return len(b), nil
}

func testLog(t *testing.T) *slog.Logger {
	w := io.Discard
	if testing.Verbose() {
		w = testWriter{t}
	}
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.LevelWarn}))
}

// eventually asks until ok is true; what names the wish.
func eventually(t *testing.T, within time.Duration, what string, ok func() bool) {
	t.Helper()
	deadline := time.NewTimer(within)
	defer deadline.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-deadline.C:
			t.Fatalf("not within %v: %s", within, what)
		case <-tick.C:
		}
	}
}

// settled waits until every target answered once.
func (h *hall) settled(t *testing.T) {
	t.Helper()
	eventually(t, 30*time.Second, "every target answers", func() bool {
		for _, s := range h.collector.Status() {
			if s.LastOK.IsZero() {
				return false
			}
		}
		return true
	})
}

// alertOn returns the newest alert of a rule on a host's unit.
func (h *hall) alertOn(host, unit string) (alerting.Alert, bool) {
	for _, a := range h.alerts.Alerts() {
		if a.Rule == "ServiceFailed" && a.Labels.Get("instance") == host && a.Labels.Get("name") == unit {
			return a, true
		}
	}
	return alerting.Alert{}, false
}

func (h *hall) jobOf(episode string) (automation.Job, bool) {
	for _, j := range h.jobs.Jobs(1000) {
		if j.Episode == episode {
			return j, true
		}
	}
	return automation.Job{}, false
}

// restarts counts how often the lab began to restart a unit: told so plainly, or
// by a step with a probe, whose fence ends with 125 where it lets nothing through.
func restarts(l *lab.Lab, host, unit string) int {
	n := 0
	plain := fmt.Sprintf("systemctl restart '%s'", unit)
	fenced := "(eval '" + strings.ReplaceAll(plain, "'", `'\''`) + "')"
	for _, e := range l.Journal() {
		if e.Host == host && (e.Command == plain || strings.Contains(e.Command, fenced) && e.Exit != 125) {
			n++
		}
	}
	return n
}

// shortProof lets a remedy prove itself within seconds.
func shortProof(t *testing.T, c *Config) {
	t.Helper()
	f, err := defaultFile("remedies.yaml")
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "remedies.yaml")
	if err := os.WriteFile(name, []byte(strings.ReplaceAll(string(f.data), "verify_within: 30s", "verify_within: 6s")), 0o600); err != nil {
		t.Fatal(err)
	}
	c.Automation.Remedies = []string{name}
}

// runLab runs a hall until the test ends.
func runLab(t *testing.T, l *lab.Lab) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("lab: %v", err)
		}
	})
}
