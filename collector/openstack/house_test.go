package openstack

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"

	"nocturne/alerting"
	"nocturne/collector"
	"nocturne/internal/inventory"
	"nocturne/internal/ledger"
	"nocturne/internal/state"
	"nocturne/tsdb"
)

// edit changes the rows of a recorded list, or drops those for which f is false.
func (r *replay) edit(key, list string, f func(row map[string]any) bool) {
	r.t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	a, ok := r.answers[key]
	var doc map[string]any
	if !ok || json.Unmarshal(a.Body, &doc) != nil {
		r.t.Fatalf("nobody recorded %q", key)
	}
	var kept []any
	for _, row := range doc[list].([]any) {
		if f(row.(map[string]any)) {
			kept = append(kept, row)
		}
	}
	doc[list] = kept
	a.Body, _ = json.Marshal(doc)
	r.answers[key] = a
}

// observation is what the inventory is told of a poll.
func observation(target string, at time.Time, res collector.Result) inventory.Observation {
	o := inventory.Observation{Source: job, Target: target, At: at, Partial: len(res.Partial) > 0, Limited: len(res.Limited) > 0}
	for _, f := range res.Facts {
		g := inventory.Fact{Kind: f.Kind, Key: f.Key, Formerly: f.Formerly, Name: f.Name, Fields: f.Fields, Binding: f.Binding}
		for _, rel := range f.Relations {
			g.Relations = append(g.Relations, inventory.FactRelation(rel))
		}
		o.Facts = append(o.Facts, g)
	}
	return o
}

func newState(t *testing.T) *state.DB {
	t.Helper()
	db, err := state.Open(state.Options{InMemory: true})
	if err != nil {
		t.Fatal(err)
	}
	return db
}

// TestOwnProjectComesToAnEnd: a credential of one project sees its servers
// come, change and go like any other.
func TestOwnProjectComesToAnEnd(t *testing.T) {
	r := newReplay(t, "@web")
	source, target := r.source("right")
	db := newState(t)
	t.Cleanup(func() { db.Close() })
	graph, err := inventory.Open(db)
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	ended := map[string]bool{}
	s, err := collector.New(collector.Options{
		Sources: map[string]collector.Source{"openstack": source}, FirstWithin: time.Hour,
		Append: func(_ context.Context, samples []collector.Sample) error {
			mu.Lock()
			defer mu.Unlock()
			for _, smp := range samples {
				ended[smp.Labels.Get("name")+" "+smp.Labels.Get("status")] = value.IsStaleNaN(smp.V)
			}
			return nil
		},
		Observe: func(ctx context.Context, tg collector.Target, at time.Time, res collector.Result) error {
			return graph.Observe(ctx, observation(tg.Name, at, res))
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	defer func() { cancel(); <-done }()
	target.Kind, target.Interval = "openstack", time.Hour
	if err := s.Set([]collector.Target{target}); err != nil {
		t.Fatal(err)
	}
	poll := func() {
		t.Helper()
		if err := s.PollNow(t.Context(), target.Name); err != nil {
			t.Fatal(err)
		}
	}
	poll()
	had := len(graph.Items("instance"))
	gone := ""
	r.edit("2.87 GET /servers/detail", "servers", func(row map[string]any) bool {
		switch {
		case row["name"] == "web-09":
			row["status"] = "ACTIVE"
		case gone == "" && row["status"] == "ACTIVE":
			gone = row["name"].(string)
			return false
		}
		return true
	})
	poll()
	mu.Lock()
	defer mu.Unlock()
	for series, want := range map[string]bool{"web-09 ERROR": true, "web-09 ACTIVE": false, gone + " ACTIVE": true} {
		if got, ok := ended[series]; !ok || got != want {
			t.Errorf("%s has ended: %v, %v", series, got, ok)
		}
	}
	missing := 0
	for _, it := range graph.Items("instance") {
		if it.Missing {
			missing++
		}
		if it.Missing != (it.Name == gone) {
			t.Errorf("%s is missing: %v", it.Name, it.Missing)
		}
	}
	if missing != 1 || had < 2 {
		t.Errorf("%d of %d are missing", missing, had)
	}
}

// TestDeadHostIsNotGreen: a compute host is down whose hypervisor has a longer
// name. The alert is the hypervisor's, and nobody knows what its instances do,
// which Nova goes on calling ACTIVE.
func TestDeadHostIsNotGreen(t *testing.T) {
	const dead, domain = "rack2-node3", ".example.org"
	r := newReplay(t, "")
	r.edit("2.87 GET /os-services", "services", func(row map[string]any) bool {
		if row["host"] == dead {
			row["state"] = "down"
		}
		return true
	})
	r.edit("2.87 GET /os-hypervisors/detail", "hypervisors", func(row map[string]any) bool {
		if row["hypervisor_hostname"] == dead {
			row["state"] = "down"
		}
		row["hypervisor_hostname"] = row["hypervisor_hostname"].(string) + domain
		return true
	})
	r.edit("2.87 GET /servers/detail?all_tenants=1", "servers", func(row map[string]any) bool {
		const key = "OS-EXT-SRV-ATTR:hypervisor_hostname"
		if name, ok := row[key].(string); ok {
			row[key] = name + domain
		}
		return true
	})
	res := poll(t, r)
	rules, err := os.ReadFile("../../cmd/nocturne/defaults/rules.yml")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		e := judge(t, dir, rules, res)
		var down []alerting.Alert
		for _, a := range e.Alerts() {
			if a.Rule == "ComputeServiceDown" {
				down = append(down, a)
			}
		}
		if len(down) != 1 || down[0].Phase != alerting.Firing || down[0].Item != "hypervisor/zed/"+dead+domain {
			t.Errorf("alerts of the dead host: %+v", down)
		}
		unknown := 0
		for _, f := range res.Facts {
			if f.Kind != "instance" || f.Fields["status"] != "ACTIVE" {
				continue
			}
			st := e.Status("instance/" + f.Key)
			want := alerting.StateOK
			if f.Fields["host"] == dead {
				want = alerting.StateUnknown
				unknown++
				if !strings.Contains(strings.Join(st.Reasons, "\n"), "its host "+dead+" is down") {
					t.Errorf("%s: %q", f.Name, st.Reasons)
				}
			}
			if st.State != want {
				t.Errorf("%s on %s is %s %q, want %s", f.Name, f.Fields["host"], st.State, st.Reasons, want)
			}
		}
		if st := e.Status("hypervisor/zed/" + dead + domain); st.State != alerting.StateCritical {
			t.Errorf("the hypervisor is %s %q", st.State, st.Reasons)
		}
		if unknown == 0 {
			t.Error("nothing ran on the host")
		}
	})
}

// judge polls the same again and again for three minutes, and returns who
// judged it.
func judge(t *testing.T, dir string, rules []byte, res collector.Result) *alerting.Engine {
	t.Helper()
	quiet := slog.New(slog.NewTextHandler(io.Discard, nil))
	history, err := tsdb.Open(tsdb.Options{Dir: dir, Retention: time.Hour, OutOfOrder: time.Minute, Log: quiet})
	if err != nil {
		t.Fatal(err)
	}
	db := newState(t)
	graph, err := inventory.Open(db)
	if err != nil {
		t.Fatal(err)
	}
	chain, err := ledger.Open(db)
	if err != nil {
		t.Fatal(err)
	}
	e, err := alerting.New(alerting.Options{DB: history, State: db, Ledger: chain, Graph: graph, Log: quiet,
		RuleFiles: []alerting.File{{Name: "rules.yml", Data: rules}}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	for range 12 {
		now := time.Now()
		samples := []tsdb.Sample{{Labels: labels.FromStrings("__name__", "up", "job", job, "instance", "zed"), T: now.UnixMilli(), V: 1}}
		for _, s := range res.Samples {
			samples = append(samples, tsdb.Sample{Labels: s.Labels, T: now.UnixMilli(), V: s.V})
		}
		if _, err := history.Append(t.Context(), samples); err != nil {
			t.Fatal(err)
		}
		if err := graph.Observe(t.Context(), observation("zed", now, res)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(15 * time.Second)
	}
	for _, st := range e.Rules() {
		if st.Health == "err" {
			t.Errorf("rule %s: %s", st.Name, st.LastError)
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	t.Cleanup(func() {
		if err := history.Close(); err != nil {
			t.Error(err)
		}
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return e
}
