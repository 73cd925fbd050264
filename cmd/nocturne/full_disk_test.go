package main

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"nocturne/automation"
	"nocturne/internal/lab"
	"nocturne/internal/need"
	"nocturne/internal/state"
)

// ask is an answer of the pages to nobody in particular.
func (h *house) ask(path string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.web.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	return w
}

// TestFullDiskDuringEverything fills the disk under a running product for a
// while: it stays up, says that it is read-only, runs nothing that it cannot
// record, and goes on by itself when there is room. NOCTURNE_FULL_DISK is for
// how long (20s).
func TestFullDiskDuringEverything(t *testing.T) {
	whole(t)
	d := need.NewDisk(t, "400m")
	h := startHall(t, lab.Options{Racks: 2, Hosts: 6}, func(c *Config) {
		c.Data = filepath.Join(d.Dir, "data")
		c.Collector.Interval, c.Collector.Timeout, c.Alerting.Interval = 2*time.Second, 1500*time.Millisecond, time.Second
		shortProof(t, c)
	})
	h.settled(t)
	eventually(t, time.Minute, "the reserve is held", func() bool { _, err := h.state.ReadOnly(); return err == nil && d.Room() < 330<<20 })
	before := h.lastSample()
	d.Fill(4 << 20)
	eventually(t, 10*time.Second, "it is read-only", func() bool {
		_, s := h.state.ReadOnly()
		_, m := h.history.ReadOnly()
		return s != nil && m != nil
	})
	if w := h.ask("/readyz"); w.Code != http.StatusServiceUnavailable || !strings.Contains(w.Body.String(), "state: ") || !strings.Contains(w.Body.String(), "history: ") {
		t.Errorf("/readyz says %d %s", w.Code, w.Body)
	}
	victim := h.lab.Hosts()[0]
	if err := h.lab.StopService(victim.Name, victim.Services[0]); err != nil {
		t.Fatal(err)
	}
	spec := automation.Spec{ID: "on-a-full-disk", Runbook: "restart-service", Hosts: []string{victim.Name}, Parameters: map[string]string{"service": victim.Services[0]}}
	if _, err := h.jobs.Submit(t.Context(), spec); !errors.Is(err, state.ErrReadOnly) {
		t.Errorf("a job was taken that cannot be recorded: %v", err)
	}
	full := 20 * time.Second
	if s := os.Getenv("NOCTURNE_FULL_DISK"); s != "" {
		var err error
		if full, err = time.ParseDuration(s); err != nil {
			t.Fatalf("NOCTURNE_FULL_DISK: %v", err)
		}
	}
	<-time.After(full) // the fault is there all the while, and must not end anything
	if w := h.ask("/healthz"); w.Code != http.StatusOK {
		t.Errorf("/healthz says %d", w.Code)
	}
	if n := restarts(h.lab, victim.Name, victim.Services[0]); n != 0 {
		t.Errorf("%d commands ran unrecorded", n)
	}
	d.Free()
	eventually(t, 30*time.Second, "records and samples are taken again", func() bool { return h.ask("/readyz").Code == http.StatusOK && h.lastSample() > before })
	eventually(t, 60*time.Second, "the service is repaired", func() bool {
		s, err := h.lab.ServiceState(victim.Name, victim.Services[0])
		return err == nil && s == "active"
	})
	if n := restarts(h.lab, victim.Name, victim.Services[0]); n != 1 {
		t.Errorf("the repair ran %d times", n)
	}
	eventually(t, 60*time.Second, "the alert is resolved", func() bool {
		_, there := h.alertOn(victim.Name, victim.Services[0])
		return !there
	})
	if n, err := h.ledger.Verify(t.Context()); err != nil || n == 0 {
		t.Errorf("the ledger: %d entries, %v", n, err)
	}
}

// lastSample is the Unix time in ms of the newest sample.
func (h *hall) lastSample() int64 {
	_, newest, _ := h.history.Bounds()
	return newest
}

// TestStartOnAFullDisk starts where there is no room left: it comes up, says
// so, and works once there is.
func TestStartOnAFullDisk(t *testing.T) {
	d := need.NewDisk(t, "400m")
	cfg := quietConfig(filepath.Join(d.Dir, "data"))
	first, err := openHouse(cfg, testLog(t), false)
	if err != nil {
		t.Fatal(err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	d.Fill(2 << 20)
	cfg.Collector.Local = true
	cfg.Collector.Interval, cfg.Collector.Timeout = time.Second, 900*time.Millisecond
	h, err := openHouse(cfg, testLog(t), false)
	if err != nil {
		t.Fatal(err)
	}
	run(t, func(ctx context.Context) error { <-ctx.Done(); return nil }, h)
	eventually(t, 10*time.Second, "it says that it is read-only", func() bool {
		w := h.ask("/readyz")
		return w.Code == http.StatusServiceUnavailable && strings.Contains(w.Body.String(), "state: ")
	})
	d.Free()
	eventually(t, 60*time.Second, "it works", func() bool {
		_, newest, ok := h.history.Bounds()
		return h.ask("/readyz").Code == http.StatusOK && ok && time.Since(time.UnixMilli(newest)) < 3*time.Second
	})
	spec := automation.Spec{ID: "afterwards", Runbook: "restart-service", Hosts: []string{"nobody"}, Parameters: map[string]string{"service": "x"}}
	if _, err := h.jobs.Submit(t.Context(), spec); !errors.Is(err, automation.ErrInvalid) {
		t.Errorf("a job for a host that is not there: %v", err)
	}
}
