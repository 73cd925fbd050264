package web

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"nocturne/alerting"
	"nocturne/automation"
	"nocturne/automation/badgerq"
	"nocturne/automation/inspection"
	"nocturne/automation/remedy"
	"nocturne/collector"
	"nocturne/internal/access"
	"nocturne/internal/inventory"
	"nocturne/internal/ledger"
	"nocturne/internal/need"
	"nocturne/internal/state"
	"nocturne/tsdb"
	"nocturne/tsdb/live"
)

// The names that somebody gives things to break a page: markup, an attribute
// that would show as one of its own, length, slashes, other scripts and
// directions.
const (
	nastyMarkup = `<script>alert(1)</script>`
	nastyQuotes = `" x-broken="1" onmouseover='alert(2)' <img src=x onerror=alert(3)>`
	nastyScript = "Ünïcødé \u202egnihtemos\u202c שלום 漢字 🦉"
	nastySlash  = `a//b/../c?d=e&f#g%2F`
)

var nastyLong = strings.Repeat("long-name-", 20)

const estateRules = `
groups:
- name: hosts
  interval: 1s
  rules:
  - alert: ServiceFailed
    expr: node_systemd_unit_state{state="failed",name=~"shop.*"} == 1
    labels: {severity: critical}
    annotations: {summary: '{{ $labels.name }} failed on {{ $labels.instance }}', description: 'A description with <b>markup</b>.'}
  - alert: OddFailed
    expr: node_systemd_unit_state{state="failed",name=~"odd.*"} == 1
    labels: {severity: major}
  - alert: LoneFailed
    expr: node_systemd_unit_state{state="failed",name=~"<.*"} == 1
    annotations: {summary: '{{ $labels.name }} failed'}
  - record: hosts:count
    expr: count(node_systemd_unit_state)
- name: waiting
  interval: 1s
  rules:
  - alert: WillFire
    expr: node_load1 > 0
    for: 1h
- name: broken
  rules:
  - alert: Broken
    expr: sum by (
`

const estateRunbook = `
name: restart
title: 'Restart <script>alert(1)</script>'
description: 'Restarts " x-broken="1" a unit.'
parameters:
- name: unit
  description: 'the unit <script>alert(1)</script>'
  required: true
- name: level
  default: '3'
  pattern: '[0-9]'
steps:
- name: restart
  shell: systemctl restart {{unit}} # <script>alert(1)</script>
  timeout: 10m
- name: look
  shell: systemctl is-active {{unit}}
  idempotent: true
`

const estateRemedies = `
remedies:
- name: impatient
  alert: ServiceFailed
  match: {instance: web-broken}
  runbook: restart
  host: '{{ .Labels.instance }}'
  parameters: {unit: '{{ .Labels.name }}'}
  verify_within: 2s
- name: restart
  alert: ServiceFailed
  runbook: restart
  host: '{{ .Labels.instance }}'
  parameters: {unit: '{{ .Labels.name }}'}
  verify_within: 2m
- name: odd
  alert: OddFailed
  runbook: restart
  host: '{{ .Labels.nothing }}'
  parameters: {unit: '{{ .Labels.name }}'}
`

const estateInspections = `
inspections:
- name: daily
  title: 'Daily <script>alert(1)</script>'
  schedule: "0 6 * * *"
  checks:
  - {name: memory, title: 'Memory " x-broken="1', query: node_memory_MemAvailable_bytes, unit: bytes, warn: '> 10', fail: '> 1000'}
  - {name: all, title: All answer, query: up, fail: '< 1', expect: 'group by (job, instance) (last_over_time(up[1h])) or label_replace(vector(1), "instance", "nobody", "", "")'}
  - {name: empty, title: Never seen, query: absent_metric, fail: '> 1'}
`

// troubles are the hosts of the full estate, by what becomes of them.
var troubles = map[string]string{
	"web-fixed": "shop.service", "web-broken": "shop.service", "web-stuck": "shop.service", "web-lost": "shop.service", "web-kept": "shop.service",
	"web-odd": "odd.service", "web-lone": nastyMarkup + ".service",
}

// estate is the whole product with its pages, on simulated targets.
type estate struct {
	*Server
	t         testing.TB
	dir       string
	state     *state.DB
	hand      *stagehand
	remedies  *remedy.Remedies
	sessions  map[string]string // by name
	stop      func()
	setupLink string // the one-time token
}

// plan is what an estate is opened with.
type plan struct {
	people                                       bool
	inventory, rules, runbook, remedies, reports string
	targets                                      []collector.Target
	failed                                       map[string]string
}

func fullPlan() plan {
	targets := []collector.Target{
		{Name: "leaf1", Kind: "snmp", Address: "127.0.0.1:161", Credential: "lab", Interval: 5 * time.Second},
		{Name: "spine1", Kind: "snmp", Address: nastyMarkup, Interval: 5 * time.Second},
		{Name: "deaf" + nastyQuotes, Kind: "snmp", Address: "127.0.0.2:161", Interval: 5 * time.Second},
		{Name: "zed", Kind: "openstack", Address: "http://127.0.0.1/v3", Interval: 5 * time.Second},
		{Name: "web-ok", Kind: "linux", Address: "127.0.0.1:22", Interval: 5 * time.Second},
	}
	for name := range troubles {
		targets = append(targets, collector.Target{Name: name, Kind: "linux", Address: "127.0.0.1:22", Interval: 5 * time.Second})
	}
	return plan{
		people: true, inventory: nastyInventory(), rules: estateRules, runbook: estateRunbook, remedies: estateRemedies, reports: estateInspections,
		targets: targets, failed: troubles,
	}
}

// nastyInventory is a hall in which everything has a name that breaks pages.
func nastyInventory() string {
	var b strings.Builder
	fmt.Fprintf(&b, `
sites:
- name: 'lab & co'
  title: %[1]q
  rooms:
  - name: hall
    title: %[2]q
    racks:
    - {name: r01, title: %[1]q, row: %[2]q, contents: [{kind: device, name: leaf1, u: 40}, {kind: device, name: spine1, u: 40}, {kind: host, name: web-ok, u: 1, height: 2}, {kind: device, name: pdu1, face: rear}, {kind: device, name: half, u: 3.5, height: 1.5}]}
    - {name: r02, title: %[3]q, units: 12, contents: [{kind: host, name: web-kept, u: 2}, {kind: device, name: x1, u: 5, face: rear}, {kind: device, name: x2, u: 6}, {kind: device, name: x3, u: 7}]}
    - {name: empty}
- {name: other}
applications:
- {name: shop, title: %[1]q, depends_on: [host/web-fixed, host/web-ok]}
items:
- {id: device/x1, name: %[1]q, fields: {role: %[2]q, serial: %[1]q}}
- {id: device/x2, name: %[3]q, fields: {role: leaf}}
- {id: device/x3, name: %[4]q}
- {id: %[5]q, name: slashes}
- {id: 'host/a:b', name: ''}
- {id: feed/a, name: a kind that nobody knows}
- {id: host/web-fixed}
- {id: host/web-kept}
relations:
- {from: host/web-ok, type: powered-by, to: device/pdu1, fields: {feed: %[2]q}}
`, nastyMarkup, nastyQuotes, nastyLong, nastyScript, "device/"+nastySlash)
	return b.String()
}

func openEstate(t testing.TB, p plan) *estate {
	t.Helper()
	dir, log := t.TempDir(), quietly()
	e := &estate{t: t, dir: dir, hand: &stagehand{failed: map[string]string{}, deaf: map[string]bool{"deaf" + nastyQuotes: true}}, sessions: map[string]string{}}
	maps.Copy(e.hand.failed, p.failed)
	e.state = must[*state.DB](t)(state.Open(state.Options{Dir: filepath.Join(dir, "state"), Log: log}))
	t.Cleanup(func() { e.state.Close() })
	o := Options{Build: "test", Started: time.Now(), Settings: []Setting{{"Data", dir}, {"Nasty", nastyMarkup}}, Faults: []string{"rules.yaml:1: " + nastyMarkup}, Log: log}
	o.Ledger = must[*ledger.Chain](t)(ledger.Open(e.state))
	o.History = must[*tsdb.DB](t)(tsdb.Open(tsdb.Options{Dir: filepath.Join(dir, "history"), Log: log}))
	t.Cleanup(func() { o.History.Close() })
	o.Live = must[*live.Window](t)(live.New(live.Options{}))
	o.Access = must[*access.Access](t)(access.Open(access.Options{State: e.state, Ledger: o.Ledger, KeyFile: filepath.Join(dir, "key")}))
	o.Graph = must[*inventory.Graph](t)(inventory.Open(e.state))
	if p.inventory != "" {
		must[inventory.ImportReport](t)(o.Graph.ImportYAML(t.Context(), "hall.yaml", []byte(p.inventory), "system"))
	}
	e.wire(&o, p)
	e.Server = must[*Server](t)(New(o))
	e.settle(p)
	return e
}

// wire makes what polls, judges and acts.
func (e *estate) wire(o *Options, p plan) {
	t, log := e.t, o.Log
	sources := map[string]collector.Source{"snmp": e.hand, "linux": e.hand, "local": e.hand, "openstack": e.hand}
	o.Collector = must[*collector.Scheduler](t)(collector.New(collector.Options{
		Sources: sources, Log: log, FirstWithin: time.Millisecond,
		Append: func(ctx context.Context, samples []collector.Sample) error {
			out := make([]tsdb.Sample, len(samples))
			for i, s := range samples {
				out[i] = tsdb.Sample(s)
			}
			_, err := o.History.Append(ctx, out)
			return err
		},
		Observe: func(ctx context.Context, target collector.Target, at time.Time, res collector.Result) error {
			return o.Graph.Observe(ctx, observed(target, at, res.Facts, len(res.Partial) > 0))
		},
	}))
	if err := o.Collector.Set(p.targets); err != nil {
		t.Fatal(err)
	}
	var files []alerting.File
	if p.rules != "" {
		files = append(files, alerting.File{Name: "rules.yaml", Data: []byte(p.rules)})
	}
	o.Alerts = must[*alerting.Engine](t)(alerting.New(alerting.Options{DB: o.History, State: e.state, Ledger: o.Ledger, Graph: o.Graph, RuleFiles: files, Log: log}))
	var books []automation.Runbook
	if p.runbook != "" {
		books = append(books, must[automation.Runbook](t)(automation.ParseRunbook("restart.yaml", []byte(p.runbook))))
	}
	o.Jobs = must[*automation.Executor](t)(automation.New(automation.Options{
		State: e.state, Ledger: o.Ledger, Runner: e.hand, Queue: must[*badgerq.Queue](t)(badgerq.New(e.state)), Runbooks: books, Log: log, Drain: 50 * time.Millisecond,
		Hosts: func(name string) (automation.Host, bool) {
			// Each has an address of its own: on one machine runs one job at a time.
			return automation.Host{Name: name, Address: name + ".example:22", Credential: "ssh"}, strings.HasPrefix(name, "web-")
		},
	}))
	if p.remedies != "" {
		o.Remedies = must[[]remedy.Remedy](t)(remedy.Parse("remedies.yaml", []byte(p.remedies)))
	}
	e.remedies = must[*remedy.Remedies](t)(remedy.New(remedy.Options{
		Alerts: o.Alerts, Jobs: o.Jobs, State: e.state, Ledger: o.Ledger, Remedies: o.Remedies, Poll: o.Collector.PollNow, Log: log,
	}))
	var checks []inspection.Inspection
	if p.reports != "" {
		checks = must[[]inspection.Inspection](t)(inspection.Parse("inspections.yaml", []byte(p.reports)))
	}
	o.Inspections = must[*inspection.Inspector](t)(inspection.New(inspection.Options{DB: o.History, Ledger: o.Ledger, State: e.state, Inspections: checks, Log: log}))
}

func observed(t collector.Target, at time.Time, facts []collector.Fact, partial bool) inventory.Observation {
	out := inventory.Observation{Source: collector.Job(t.Kind), Target: t.Name, At: at, Partial: partial}
	for _, f := range facts {
		g := inventory.Fact{Kind: f.Kind, Key: f.Key, Name: f.Name, Fields: f.Fields, Binding: f.Binding}
		for _, r := range f.Relations {
			g.Relations = append(g.Relations, inventory.FactRelation(r))
		}
		if f.Neighbour != nil {
			g.Neighbour = new(inventory.Neighbour(*f.Neighbour))
		}
		out.Facts = append(out.Facts, g)
	}
	return out
}

// settle lets people in and signs them on.
func (e *estate) settle(p plan) {
	t := e.t
	token, needed, err := e.Access.SetupToken()
	if err != nil || !needed {
		t.Fatalf("set-up token: needed %v, %v", needed, err)
	}
	e.setupLink = token
	if !p.people {
		return
	}
	if _, err := e.Access.Setup(t.Context(), token, "ann", "correct horse battery"); err != nil {
		t.Fatal(err)
	}
	if err := e.Access.AddPerson(t.Context(), access.Actor{Name: "ann", Role: access.Administrator}, "vic", access.Viewer, "stapled to the wall"); err != nil {
		t.Fatal(err)
	}
	for name, password := range map[string]string{"ann": "correct horse battery", "vic": "stapled to the wall"} {
		res := e.post("", "/login", "name", name, "password", password)
		for _, c := range res.Result().Cookies() {
			if c.Name == sessionCookie {
				e.sessions[name] = c.Value
			}
		}
		if e.sessions[name] == "" {
			t.Fatalf("%s cannot sign in: %d %s", name, res.Code, res.Body)
		}
	}
}

// run runs all parts until the test ends.
func (e *estate) run() *estate {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for name, run := range map[string]func(context.Context) error{
		"history": e.History.Run, "collector": e.Collector.Run, "alerts": e.Alerts.Run, "jobs": e.Jobs.Run, "remedies": e.remedies.Run, "web": e.Run,
	} {
		wg.Go(func() {
			if err := run(ctx); err != nil && ctx.Err() == nil {
				e.t.Errorf("%s: %v", name, err)
			}
		})
	}
	e.stop = sync.OnceFunc(func() { cancel(); wg.Wait() })
	e.t.Cleanup(e.stop)
	return e
}

// until waits for a condition that other goroutines bring about.
func (e *estate) until(what string, holds func() bool) {
	e.t.Helper()
	need.Within(e.t, 2*time.Minute, func() error {
		if !holds() {
			return errors.New(what)
		}
		return nil
	})
}

// do sends a request as somebody; "" is nobody.
func (e *estate) do(as string, r *http.Request) *httptest.ResponseRecorder {
	if as != "" {
		r.AddCookie(&http.Cookie{Name: sessionCookie, Value: e.sessions[as]})
	}
	w := httptest.NewRecorder()
	e.Handler().ServeHTTP(w, r)
	return w
}

func (e *estate) get(as, path string) *httptest.ResponseRecorder {
	return e.do(as, httptest.NewRequest(http.MethodGet, path, nil))
}

func (e *estate) post(as, path string, kv ...string) *httptest.ResponseRecorder {
	form := url.Values{}
	for i := 0; i < len(kv); i += 2 {
		form.Add(kv[i], kv[i+1])
	}
	r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return e.do(as, r)
}
