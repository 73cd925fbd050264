package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"nocturne/internal/lab"
	"nocturne/internal/need"
)

// slowRepair is the built-in runbook of restarts with a first step that lasts,
// so that a browser can watch the job while it runs.
const slowRepair = `name: restart-service
title: Restart a systemd service
description: Lets connections drain, restarts the unit and asks for its state.
parameters:
- name: service
  description: the unit, such as nginx.service
  required: true
  pattern: '[A-Za-z0-9@:_.-]+'
steps:
- name: drain
  shell: for n in 8 7 6 5 4 3 2 1; do echo "$n connections left on" {{service}}; sleep 0.6; done; echo drained
  timeout: 30s
  idempotent: true
- name: restart
  shell: systemctl restart {{service}}
  timeout: 45s
- name: state
  shell: systemctl is-active {{service}}
  timeout: 10s
  idempotent: true
`

// stage is a house on a lab that a browser looks at. The house can be stopped
// and started again behind the same address; the lab goes on.
type stage struct {
	lab  *lab.Lab
	cfg  Config
	t    *testing.T
	mu   sync.Mutex
	h    *house // nil while it is down
	stop context.CancelFunc
	done chan error
}

func newStage(t *testing.T) *stage {
	t.Helper()
	seed, _ := need.Seed(t)
	l, err := lab.New(lab.Options{Seed: seed})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cfg, err := demoConfig(l, dir, filepath.Join(dir, "data"), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	runbook := filepath.Join(dir, "restart-service.yaml")
	if err := os.WriteFile(runbook, []byte(slowRepair), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg.Automation.Runbooks = []string{runbook}
	s := &stage{lab: l, cfg: cfg, t: t}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := l.Run(ctx); err != nil {
			t.Errorf("lab: %v", err)
		}
	})
	t.Cleanup(func() { cancel(); wg.Wait() })
	if err := s.up(); err != nil {
		t.Fatal(err)
	}
	s.cfg.Listen = s.h.listener.Addr().String()
	t.Cleanup(func() {
		if err := s.down(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func (s *stage) up() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.h != nil {
		return nil
	}
	h, err := openHouse(s.cfg, testLog(s.t), true)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	s.h, s.stop, s.done = h, cancel, make(chan error, 1)
	go func() { s.done <- h.Run(ctx) }()
	return nil
}

func (s *stage) down() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.h == nil {
		return nil
	}
	s.stop()
	h := s.h
	s.h = nil
	if err := <-s.done; err != nil {
		return err
	}
	return h.Close()
}

type truthRack struct {
	Name     string       `json:"name"`
	Contents []truthPlace `json:"contents"`
}

type truthPlace struct {
	ID     string `json:"id"`
	U      int    `json:"u"`
	Height int    `json:"height"`
	Role   string `json:"role"`
}

// truth is what the pages are held against: the lab's own knowledge.
func (s *stage) truth() (map[string]any, error) {
	racks := []truthRack{}
	place := func(id, role string, p lab.Place) {
		for i := range racks {
			if racks[i].Name == p.Rack {
				racks[i].Contents = append(racks[i].Contents, truthPlace{id, p.U, p.Height, role})
			}
		}
	}
	for _, r := range s.lab.Racks() {
		racks = append(racks, truthRack{Name: r.Name})
	}
	for _, a := range s.lab.Agents() {
		place("device/"+a.Name, a.Role, a.Place)
	}
	type host struct {
		Name     string   `json:"name"`
		Rack     string   `json:"rack"`
		Services []string `json:"services"`
	}
	var hosts []host
	for _, h := range s.lab.Hosts() {
		place("host/"+h.Name, "host", h.Place)
		hosts = append(hosts, host{h.Name, h.Place.Rack, h.Services})
	}
	token, _, err := s.h.access.SetupToken()
	if err != nil {
		return nil, err
	}
	base := s.h.address()
	return map[string]any{
		"seed": s.lab.Seed(), "base": base, "setup": base + "/setup?token=" + token,
		"wiring": wiring(s.lab), "racks": racks, "hosts": hosts,
	}, nil
}

// control is what the script asks and does beside the browser.
func (s *stage) control() http.Handler {
	mux := http.NewServeMux()
	answer := func(pattern string, f func(r *http.Request) (any, error)) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			v, err := f(r)
			if err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
				return
			}
			if err := json.NewEncoder(w).Encode(v); err != nil {
				s.t.Errorf("%s: %v", pattern, err)
			}
		})
	}
	answer("GET /truth", func(*http.Request) (any, error) { return s.truth() })
	answer("GET /journal", func(*http.Request) (any, error) { return s.lab.Journal(), nil })
	answer("GET /service", func(r *http.Request) (any, error) {
		return s.lab.ServiceState(r.FormValue("host"), r.FormValue("unit"))
	})
	answer("POST /stop", func(r *http.Request) (any, error) {
		return nil, s.lab.StopService(r.FormValue("host"), r.FormValue("unit"))
	})
	answer("POST /break", func(r *http.Request) (any, error) {
		s.lab.BreakRemedy(map[string]lab.RemedyMode{"fails": lab.RemedyFails, "lies": lab.RemedyLies}[r.FormValue("mode")])
		return nil, nil
	})
	answer("POST /down", func(*http.Request) (any, error) { return nil, s.down() })
	answer("POST /up", func(*http.Request) (any, error) { return nil, s.up() })
	return mux
}

// TestBrowser uses the product as a newcomer does, in headless Chromium, on a
// lab from a random seed: from the set-up link to a loop that closes before
// one's eyes. Its pictures are kept in artifacts/e2e.
func TestBrowser(t *testing.T) {
	if testing.Short() {
		t.Skip("short: the browser is part of the whole test")
	}
	need.Binary(t, "chromium", "chromium")
	node := need.Binary(t, "node", "nodejs")
	tool, err := filepath.Abs("../../tools/browser")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(tool, "node_modules")); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("needs tools/browser/install: node_modules is not there")
		}
		t.Skip("needs tools/browser/install: node_modules is not there")
	}
	artifacts, err := filepath.Abs("../../artifacts/e2e")
	if err != nil {
		t.Fatal(err)
	}
	s := newStage(t)
	control := httptest.NewServer(s.control())
	t.Cleanup(control.Close)
	ctx, cancel := context.WithTimeout(t.Context(), 6*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, node, "--test", "--test-reporter=spec", filepath.Join(tool, "e2e.test.mjs"))
	cmd.Env = append(os.Environ(), "NOCTURNE_CONTROL="+control.URL, "NOCTURNE_ARTIFACTS="+artifacts, fmt.Sprintf("NOCTURNE_SEED=%d", s.lab.Seed()))
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
}
