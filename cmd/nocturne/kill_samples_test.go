package main

import (
	"log/slog"
	"net/url"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/promql"

	"nocturne/tsdb"
)

// acked is every sample that a query answered with: it may never be gone.
type acked struct {
	mu sync.Mutex
	at map[string]map[model.Time]model.SampleValue // by series; mu guards it
}

func newAcked() *acked { return &acked{at: map[string]map[model.Time]model.SampleValue{}} }

// selectors are what is looked at: each target's health, a gauge, a counter,
// and what the alerts are made of.
var selectors = []string{"up", `node_systemd_unit_state{state="failed"}`, "sysUpTime", `ifHCInOctets{ifIndex="1"}`, `node_cpu_seconds_total{cpu="0",mode="idle"}`}

func (p *process) matrix(selector, window string) (model.Matrix, error) {
	var answer struct {
		Data struct{ Result model.Matrix }
	}
	err := p.get("/api/v1/query?query="+url.QueryEscape(selector+"["+window+"]"), &answer)
	return answer.Data.Result, err
}

// watch takes note of samples until the child is gone or the returned function
// is called; that waits for the last one.
func (a *acked) watch(p *process) (done func()) {
	end, over := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(over)
		tick := time.NewTicker(150 * time.Millisecond)
		defer tick.Stop()
		for {
			for _, s := range selectors {
				m, err := p.matrix(s, "20s")
				if err != nil {
					break // it was killed, or is about to be
				}
				a.add(m)
			}
			select {
			case <-p.gone:
				return
			case <-end:
				return
			case <-tick.C:
			}
		}
	}()
	return sync.OnceFunc(func() { close(end); <-over })
}

func (a *acked) add(m model.Matrix) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, s := range m {
		name := s.Metric.String()
		if a.at[name] == nil {
			a.at[name] = map[model.Time]model.SampleValue{}
		}
		for _, v := range s.Values {
			a.at[name][v.Timestamp] = v.Value
		}
	}
}

// holds wants every acknowledged sample in the child's answers.
func (a *acked) holds(t *testing.T, p *process) {
	t.Helper()
	now := newAcked()
	for _, s := range selectors {
		m, err := p.matrix(s, "1h")
		if err != nil {
			if p.dies(5 * time.Second) { // killed while it recovered; the next one is asked
				return
			}
			t.Fatalf("after a kill: %v", err)
		}
		now.add(m)
	}
	t.Logf("%d acknowledged samples, all there: %v", a.count(), a.within(t, now))
}

func (a *acked) count() (n int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, s := range a.at {
		n += len(s)
	}
	return n
}

func (a *acked) within(t *testing.T, now *acked) bool {
	t.Helper()
	a.mu.Lock()
	defer a.mu.Unlock()
	lost := 0
	for name, samples := range a.at {
		for at, v := range samples {
			if got, ok := now.at[name][at]; !ok || got != v {
				if lost++; lost < 5 {
					t.Errorf("%s at %v: %v was acknowledged, now %v, %v", name, at, v, got, ok)
				}
			}
		}
	}
	if lost > 0 {
		t.Errorf("%d acknowledged samples are lost", lost)
	}
	return lost == 0
}

// samples reads the history itself once more.
func (j *judge) samples() {
	t := j.c.t
	db, err := tsdb.Open(tsdb.Options{Dir: filepath.Join(j.c.data(), "history"), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatalf("the history does not open: %v", err)
	}
	defer func() {
		if err := db.Close(); err != nil {
			t.Errorf("close history: %v", err)
		}
	}()
	now := newAcked()
	for _, s := range selectors {
		r, err := db.Query(t.Context(), s+"[1h]", time.Now())
		if err != nil {
			t.Fatal(err)
		}
		for _, series := range r.Value.(promql.Matrix) {
			m := model.Metric{}
			for name, value := range series.Metric.Map() {
				m[model.LabelName(name)] = model.LabelValue(value)
			}
			out := &model.SampleStream{Metric: m}
			for _, p := range series.Floats {
				out.Values = append(out.Values, model.SamplePair{Timestamp: model.Time(p.T), Value: model.SampleValue(p.F)})
			}
			now.add(model.Matrix{out})
		}
	}
	j.c.acked.within(t, now)
}
