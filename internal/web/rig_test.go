package web

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"nocturne/alerting"
	"nocturne/automation"
	"nocturne/automation/badgerq"
	"nocturne/automation/inspection"
	"nocturne/collector"
	"nocturne/internal/access"
	"nocturne/internal/inventory"
	"nocturne/internal/ledger"
	"nocturne/internal/need"
	"nocturne/internal/secret"
	"nocturne/internal/state"
	"nocturne/tsdb"
	"nocturne/tsdb/live"
)

const rigRules = `
groups:
- name: hosts
  interval: 1s
  rules:
  - alert: ServiceFailed
    expr: node_systemd_unit_state{state="failed"} == 1
    labels: {severity: critical}
    annotations: {summary: '{{ $labels.name }} failed on {{ $labels.instance }}'}
`

const rigRunbook = `
name: greet
title: Say a few lines
parameters:
- name: word
  default: hello
steps:
- name: say
  shell: echo {{word}}
`

const rigInspections = `
inspections:
- name: daily
  title: Daily look
  schedule: "0 6 * * *"
  checks:
  - name: answer
    title: All answer
    query: up
    fail: "< 1"
`

const rigInventory = `
items:
- {id: site/lab, name: Lab}
`

// world is what the rig's targets answer: a switch whose port n receives n
// kilobytes a second, and a host with one service.
type world struct {
	start  time.Time
	failed atomic.Bool // the service
	deaf   atomic.Bool // nothing answers
}

func (w *world) Poll(_ context.Context, t collector.Target) (collector.Result, error) {
	if w.deaf.Load() {
		return collector.Result{}, fmt.Errorf("poll %s: no answer", t.Name)
	}
	now := time.Now()
	job := collector.Job(t.Kind)
	var res collector.Result
	add := func(name string, v float64, kv ...string) {
		b := labels.NewBuilder(labels.FromStrings(kv...))
		b.Set("__name__", name).Set("job", job).Set("instance", t.Name)
		res.Samples = append(res.Samples, collector.Sample{Labels: b.Labels(), T: now.UnixMilli(), V: v})
	}
	binding := map[string]string{"job": job, "instance": t.Name}
	if t.Kind == "linux" {
		add("node_memory_MemTotal_bytes", 100)
		add("node_memory_MemAvailable_bytes", 75)
		for _, st := range []string{"active", "failed"} {
			v := 0.0
			if (st == "failed") == w.failed.Load() {
				v = 1
			}
			add("node_systemd_unit_state", v, "name", "shop.service", "state", st)
		}
		res.Facts = []collector.Fact{{Kind: "host", Key: t.Name, Name: t.Name, Binding: binding}}
		return res, nil
	}
	res.Facts = []collector.Fact{{Kind: "device", Key: t.Name, Name: t.Name, Binding: binding, Fields: map[string]string{"sysDescr": "a switch"}}}
	for n := 1; n <= 8; n++ {
		name := fmt.Sprint("Ethernet", n)
		octets := now.Sub(w.start).Seconds() * 1000 * float64(n)
		add("ifHCInOctets", octets, "ifName", name)
		add("ifHCOutOctets", octets/2, "ifName", name)
		add("ifInErrors", 0, "ifName", name)
		res.Facts = append(res.Facts, collector.Fact{
			Kind: "interface", Key: t.Name + "/" + name, Name: name,
			Relations: []collector.Relation{{Type: "part-of", Kind: "device", Key: t.Name}},
			Binding:   map[string]string{"job": job, "instance": t.Name, "ifName": name},
		})
	}
	return res, nil
}

// talker runs a command by printing the lines that it is given.
type talker struct{ say chan string }

func (r *talker) Run(ctx context.Context, _ automation.Host, _, _ string, o automation.RunOptions) (int, error) {
	if err := o.BeforeSend(ctx); err != nil {
		return 0, err
	}
	for {
		select {
		case line, more := <-r.say:
			if !more {
				return 0, nil
			}
			if _, err := io.WriteString(o.Output, line+"\n"); err != nil {
				return 0, err
			}
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

// rig is the whole product with simulated targets, behind a real HTTP server.
type rig struct {
	*Server
	t             testing.TB
	http          *httptest.Server
	world         *world
	talker        *talker
	state         *state.DB
	admin, viewer string // tokens
	administrator access.Actor
	stopWeb       context.CancelFunc
}

func must[T any](t testing.TB) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func quietly() *slog.Logger { return slog.New(slog.DiscardHandler) }

func newRig(t testing.TB) *rig {
	t.Helper()
	dir, log := t.TempDir(), quietly()
	r := &rig{t: t, world: &world{start: time.Now()}, talker: &talker{say: make(chan string)}}
	r.state = must[*state.DB](t)(state.Open(state.Options{Dir: filepath.Join(dir, "state"), Log: log}))
	t.Cleanup(func() { r.state.Close() })
	o := Options{Build: "test", Started: time.Now(), Log: log}
	o.Ledger = must[*ledger.Chain](t)(ledger.Open(r.state))
	o.History = must[*tsdb.DB](t)(tsdb.Open(tsdb.Options{Dir: filepath.Join(dir, "history"), Log: log}))
	t.Cleanup(func() { o.History.Close() })
	o.Live = must[*live.Window](t)(live.New(live.Options{}))
	o.Access = must[*access.Access](t)(access.Open(access.Options{State: r.state, Ledger: o.Ledger, KeyFile: filepath.Join(dir, "key")}))
	o.Graph = must[*inventory.Graph](t)(inventory.Open(r.state))
	o.Collector = r.collector(o, log)
	o.Alerts = must[*alerting.Engine](t)(alerting.New(alerting.Options{
		DB: o.History, State: r.state, Ledger: o.Ledger, Graph: o.Graph, Log: log, RuleFiles: []alerting.File{{Name: "rules.yaml", Data: []byte(rigRules)}},
	}))
	rb := must[automation.Runbook](t)(automation.ParseRunbook("greet.yaml", []byte(rigRunbook)))
	o.Jobs = must[*automation.Executor](t)(automation.New(automation.Options{
		State: r.state, Ledger: o.Ledger, Runner: r.talker, Queue: must[*badgerq.Queue](t)(badgerq.New(r.state)), Runbooks: []automation.Runbook{rb}, Log: log,
		Hosts: func(name string) (automation.Host, bool) {
			return automation.Host{Name: name, Address: "127.0.0.1:22", Credential: "ssh"}, name == "web-1"
		},
		Drain: 50 * time.Millisecond,
	}))
	checks := must[[]inspection.Inspection](t)(inspection.Parse("inspections.yaml", []byte(rigInspections)))
	o.Inspections = must[*inspection.Inspector](t)(inspection.New(inspection.Options{DB: o.History, Ledger: o.Ledger, State: r.state, Inspections: checks, Log: log}))
	r.Server = must[*Server](t)(New(o))
	r.people()
	r.run()
	return r
}

func (r *rig) collector(o Options, log *slog.Logger) *collector.Scheduler {
	c := must[*collector.Scheduler](r.t)(collector.New(collector.Options{
		Sources: map[string]collector.Source{"snmp": r.world, "linux": r.world}, Log: log, FirstWithin: time.Millisecond,
		Append: func(ctx context.Context, samples []collector.Sample) error {
			out := make([]tsdb.Sample, len(samples))
			for i, s := range samples {
				out[i] = tsdb.Sample(s)
			}
			_, err := o.History.Append(ctx, out)
			return err
		},
		Observe: func(ctx context.Context, t collector.Target, at time.Time, res collector.Result) error {
			seen := inventory.Observation{Source: collector.Job(t.Kind), Target: t.Name, At: at, Partial: len(res.Partial) > 0}
			for _, f := range res.Facts {
				g := inventory.Fact{Kind: f.Kind, Key: f.Key, Name: f.Name, Fields: f.Fields, Binding: f.Binding}
				for _, rel := range f.Relations {
					g.Relations = append(g.Relations, inventory.FactRelation(rel))
				}
				seen.Facts = append(seen.Facts, g)
			}
			return o.Graph.Observe(ctx, seen)
		},
		Live: func(target string, samples []collector.Sample) {
			var points []live.Point
			for _, s := range samples {
				if Drawn(s.Labels) {
					points = append(points, live.Point{Labels: s.Labels, T: s.T, V: s.V})
				}
			}
			if err := o.Live.Append(target, points); err != nil {
				r.t.Error(err)
			}
		},
	}))
	err := c.Set([]collector.Target{
		{Name: "leaf1", Kind: "snmp", Address: "127.0.0.1:161", Interval: 2 * time.Second},
		{Name: "web-1", Kind: "linux", Address: "127.0.0.1:22", Interval: time.Second},
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return c
}

func (r *rig) people() {
	t, ctx := r.t, context.Background()
	token, _, err := r.Access.SetupToken()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Access.Setup(ctx, token, "ann", "correct horse battery"); err != nil {
		t.Fatal(err)
	}
	r.administrator = access.Actor{Name: "ann", Role: access.Administrator}
	if err := r.Access.AddPerson(ctx, r.administrator, "vic", access.Viewer, "stapled to the wall"); err != nil {
		t.Fatal(err)
	}
	r.admin = must[secret.Text](t)(r.Access.AddToken(ctx, r.administrator, "robot", access.Administrator, time.Time{})).Reveal()
	r.viewer = must[secret.Text](t)(r.Access.AddToken(ctx, r.administrator, "screen", access.Viewer, time.Time{})).Reveal()
}

func (r *rig) run() {
	ctx, cancel := context.WithCancel(context.Background())
	webCtx, stopWeb := context.WithCancel(ctx)
	r.stopWeb = stopWeb
	var wg sync.WaitGroup
	for _, run := range []func(context.Context) error{r.History.Run, r.Live.Run, r.Collector.Run, r.Alerts.Run, r.Jobs.Run} {
		wg.Go(func() {
			if err := run(ctx); err != nil && ctx.Err() == nil {
				r.t.Error(err)
			}
		})
	}
	wg.Go(func() {
		if err := r.Run(webCtx); err != nil {
			r.t.Error(err)
		}
	})
	wg.Go(func() {
		tick := time.NewTicker(200 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				r.Collector.Burst(r.Live.Watched())
			}
		}
	})
	r.http = httptest.NewServer(r.Handler())
	r.t.Cleanup(func() {
		cancel()
		r.http.Close()
		wg.Wait()
	})
}

// ready waits until both targets are in the inventory.
func (r *rig) ready() *rig {
	r.t.Helper()
	r.until("both targets are seen", func() bool {
		_, a := r.Graph.Item("device/leaf1")
		_, b := r.Graph.Item("host/web-1")
		return a && b
	})
	return r
}

// until waits for a condition that other goroutines bring about.
func (r *rig) until(what string, holds func() bool) {
	r.t.Helper()
	need.Until(r.t, what, holds)
}

// ask sends a request with a token and returns status and body.
func (r *rig) ask(token, method, path string, in any) (int, string) {
	r.t.Helper()
	var body io.Reader
	kind := "application/json"
	switch v := in.(type) {
	case nil:
	case string:
		body, kind = strings.NewReader(v), "application/yaml"
	default:
		b, err := json.Marshal(v)
		if err != nil {
			r.t.Fatal(err)
		}
		body = bytes.NewReader(b)
	}
	req := must[*http.Request](r.t)(http.NewRequestWithContext(context.Background(), method, r.http.URL+path, body))
	req.Header.Set("Content-Type", kind)
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	res := must[*http.Response](r.t)(http.DefaultClient.Do(req))
	defer res.Body.Close()
	return res.StatusCode, string(must[[]byte](r.t)(io.ReadAll(res.Body)))
}

// take asks and decodes an answer that has to be a success.
func take[T any](r *rig, method, path string, in any) T {
	r.t.Helper()
	status, text := r.ask(r.admin, method, apiRoot+path, in)
	if status/100 != 2 {
		r.t.Fatalf("%s %s: %d %s", method, path, status, text)
	}
	var out T
	if text == "" {
		return out
	}
	if err := json.Unmarshal([]byte(text), &out); err != nil {
		r.t.Fatalf("%s %s: %v in %s", method, path, err, text)
	}
	return out
}

// message is an event of a stream as a client reads it.
type message struct {
	name string
	data map[string]any
}

// listener is a client of the live stream.
type listener struct {
	r      *rig
	events chan message // closed at the end of the stream
	hang   context.CancelFunc
	retry  string
}

func (r *rig) listen(topics string, headers ...string) *listener {
	r.t.Helper()
	ctx, hang := context.WithCancel(context.Background())
	r.t.Cleanup(hang)
	req := must[*http.Request](r.t)(http.NewRequestWithContext(ctx, "GET", r.http.URL+"/live?topics="+topics, nil))
	if len(headers) == 0 {
		req.Header.Set("Authorization", "Bearer "+r.viewer)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	res := must[*http.Response](r.t)(http.DefaultClient.Do(req))
	if res.StatusCode != http.StatusOK || res.Header.Get("Content-Type") != "text/event-stream" {
		r.t.Fatalf("live: %s, %s", res.Status, res.Header.Get("Content-Type"))
	}
	l := &listener{r: r, events: make(chan message, 4096), hang: hang}
	go l.read(res.Body)
	return l
}

func (l *listener) read(body io.ReadCloser) {
	defer body.Close()
	defer close(l.events)
	in := bufio.NewScanner(body)
	in.Buffer(nil, 4<<20)
	var m message
	for in.Scan() {
		switch line := in.Text(); {
		case strings.HasPrefix(line, "retry: "):
			l.retry = line[7:]
		case strings.HasPrefix(line, "event: "):
			m.name = line[7:]
		case strings.HasPrefix(line, "data: "):
			if err := json.Unmarshal([]byte(line[6:]), &m.data); err != nil {
				l.r.t.Errorf("event %s: %v in %s", m.name, err, line)
			}
		case line == "" && m.name != "":
			l.events <- m
			m = message{}
		}
	}
}

// next returns the next event that fits.
func (l *listener) next(what string, fits func(message) bool) message {
	l.r.t.Helper()
	deadline := time.After(30 * time.Second)
	for {
		select {
		case m, open := <-l.events:
			if !open {
				l.r.t.Fatalf("the stream ended before %s", what)
			}
			if fits(m) {
				return m
			}
		case <-deadline:
			l.r.t.Fatalf("no %s within 30 s", what)
		}
	}
}

func (l *listener) named(name string) message {
	l.r.t.Helper()
	return l.next(name, func(m message) bool { return m.name == name })
}

// ended waits for the end of the stream.
func (l *listener) ended(within time.Duration) {
	l.r.t.Helper()
	deadline := time.After(within)
	for {
		select {
		case _, open := <-l.events:
			if !open {
				return
			}
		case <-deadline:
			l.r.t.Fatalf("the stream goes on after %s", within)
		}
	}
}
