package alerting

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"nocturne/internal/inventory"
	"nocturne/internal/ledger"
	"nocturne/internal/state"
	"nocturne/tsdb"
)

// house is an Engine on real stores that survives restarts.
type house struct {
	t         *testing.T
	dir       string
	rules     string
	notifiers []Notifier
	repeat    time.Duration
	poll      time.Duration

	db    *tsdb.DB
	state *state.DB
	graph *inventory.Graph
	chain *ledger.Chain
	e     *Engine
}

func newHouse(t *testing.T, rules string) *house {
	t.Helper()
	h := &house{t: t, dir: t.TempDir(), rules: rules, poll: 15 * time.Second}
	h.start()
	t.Cleanup(h.stop)
	return h
}

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

func (h *house) start() {
	h.t.Helper()
	var err error
	if h.db, err = tsdb.Open(tsdb.Options{Dir: h.dir + "/tsdb", Retention: 30 * 24 * time.Hour, OutOfOrder: 24 * time.Hour, Log: quiet()}); err != nil {
		h.t.Fatal(err)
	}
	if h.state, err = state.Open(state.Options{Dir: h.dir + "/state", Log: quiet()}); err != nil {
		h.t.Fatal(err)
	}
	if h.graph, err = inventory.Open(h.state); err != nil {
		h.t.Fatal(err)
	}
	if h.chain, err = ledger.Open(h.state); err != nil {
		h.t.Fatal(err)
	}
	h.engine()
}

func (h *house) engine() {
	h.t.Helper()
	var err error
	h.e, err = New(Options{
		DB: h.db, State: h.state, Ledger: h.chain, Graph: h.graph, Notifiers: h.notifiers,
		RuleFiles: []File{{Name: "rules.yml", Data: []byte(h.rules)}},
		Interval:  5 * time.Second, PollInterval: h.poll, Repeat: h.repeat, ExternalURL: "http://noc", Log: quiet(),
	})
	if err != nil {
		h.t.Fatal(err)
	}
}

func (h *house) stop() {
	if h.db == nil {
		return
	}
	if err := h.db.Close(); err != nil {
		h.t.Error(err)
	}
	if err := h.state.Close(); err != nil {
		h.t.Error(err)
	}
	h.db = nil
}

// restart closes everything and opens it again, as after a crash.
func (h *house) restart() {
	h.t.Helper()
	h.stop()
	h.start()
}

func (h *house) put(t time.Time, v float64, kv ...string) {
	h.t.Helper()
	r, err := h.db.Append(h.t.Context(), []tsdb.Sample{{Labels: labels.FromStrings(kv...), T: t.UnixMilli(), V: v}})
	if err != nil || r.Appended != 1 {
		h.t.Fatalf("append %v at %s: %+v, %v", kv, t, r, err)
	}
}

func (h *house) eval(t time.Time) {
	h.t.Helper()
	for _, g := range h.e.groups {
		h.e.evalGroup(context.WithoutCancel(h.t.Context()), g, t)
	}
	for _, r := range h.e.Rules() {
		if r.Health == "err" && r.Group != "broken" {
			h.t.Fatalf("rule %s: %s", r.Name, r.LastError)
		}
	}
}

func (h *house) one() Alert {
	h.t.Helper()
	all := h.e.Alerts()
	if len(all) != 1 {
		h.t.Fatalf("%d alerts, want 1: %+v", len(all), all)
	}
	return all[0]
}

// log lists the transitions as "rule from>to".
func (h *house) log() []string {
	h.t.Helper()
	var out []string
	for entry, err := range h.e.Transitions().Read(1) {
		if err != nil {
			h.t.Fatal(err)
		}
		out = append(out, fmt.Sprintf("%s %s>%s", entry.Value.Rule, entry.Value.From, entry.Value.To))
	}
	return out
}

func (h *house) wantLog(want ...string) {
	h.t.Helper()
	if got := h.log(); !slices.Equal(got, want) {
		h.t.Fatalf("transitions\n got %q\nwant %q", got, want)
	}
}

const serviceRules = `
groups:
- name: services
  rules:
  - alert: ServiceDown
    expr: node_systemd_unit_state{state="active"} == 0
    for: 10s
    labels: {severity: critical}
    annotations: {summary: '{{ $labels.name }} on {{ $labels.instance }} is {{ $value }}'}
`

var unit = []string{"__name__", "node_systemd_unit_state", "job", "linux", "instance", "web-1", "name", "shop.service", "state", "active"}
var upWeb = []string{"__name__", "up", "job", "linux", "instance", "web-1"}

func TestPendingFiringResolved(t *testing.T) {
	h := newHouse(t, serviceRules)
	t0 := time.Now().Add(-10 * time.Minute).Truncate(time.Second)
	at := func(s int) time.Time { return t0.Add(time.Duration(s) * time.Second) }
	h.put(at(0), 1, unit...)
	h.eval(at(1))
	if n := len(h.e.Alerts()); n != 0 {
		t.Fatalf("%d alerts before anything is wrong", n)
	}
	h.put(at(5), 0, unit...)
	h.eval(at(6))
	if a := h.one(); a.Phase != Pending || !a.ActiveAt.Equal(at(6)) {
		t.Fatalf("got %s since %s", a.Phase, a.ActiveAt)
	}
	h.put(at(10), 0, unit...)
	h.eval(at(15))
	if a := h.one(); a.Phase != Pending {
		t.Fatalf("%s before its `for` is over", a.Phase)
	}
	h.eval(at(16))
	a := h.one()
	if a.Phase != Firing || a.Annotations["summary"] != "shop.service on web-1 is 0" || a.Severity() != Critical || a.Incident == "" {
		t.Fatalf("got %+v", a)
	}
	h.put(at(20), 1, unit...)
	h.eval(at(21))
	if n := len(h.e.Alerts()); n != 0 {
		t.Fatalf("%d alerts after the end", n)
	}
	past, err := h.e.Episode(a.Episode)
	if err != nil || past.Phase != Resolved || !past.ResolvedAt.Equal(at(21)) || past.Value != 0 {
		t.Fatalf("got %+v, %v", past, err)
	}
	h.wantLog("ServiceDown inactive>pending", "ServiceDown pending>firing", "ServiceDown firing>resolved")
	inc, err := h.e.Incident(a.Incident)
	if err != nil || !inc.Closed.Equal(at(21)) {
		t.Fatalf("incident %+v, %v", inc, err)
	}
	var told []string
	for entry, err := range h.chain.Incident(a.Incident) {
		if err != nil {
			t.Fatal(err)
		}
		told = append(told, entry.Action)
	}
	if !slices.Equal(told, []string{Firing, Resolved}) {
		t.Fatalf("ledger tells %q", told)
	}
}
