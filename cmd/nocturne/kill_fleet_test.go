package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"nocturne/automation"
	"nocturne/internal/sshconn/fleet"
)

// fleetBook is run on hosts of the fleet. A step's timeout is what a host that
// hangs costs.
const fleetBook = `name: fleet-work
parameters:
- {name: tag, required: true}
steps:
- {name: first, shell: 'echo first {{tag}}', timeout: 2s}
- {name: again, shell: 'echo again {{tag}}', timeout: 2s, idempotent: true}
- {name: last, shell: 'echo last {{tag}}', timeout: 2s}
`

const fleetPrefix = "127.40.0.0/16"

// Hosts of the fleet that are in each of its modes at a time, and those that are
// well beside.
const (
	hostsAMode = 2
	wellHosts  = 6
)

// worker has jobs run on the fleet, by the API. The fleet lives on in this
// process: its journal is the witness of what ran.
type worker struct {
	t     *testing.T
	r     *rand.Rand
	fleet *fleet.Fleet
	seen  *lockedBuffer // the fleet's journal
	port  uint16
	addrs []netip.Addr

	mu      sync.Mutex // guards below
	orders  []*order
	closing bool // nothing new is ordered
	modes   map[fleet.Mode]int
}

// order is a job that was asked for.
type order struct {
	tag   string // the request's key too
	hosts []string
	id    string  // "" until it was acknowledged
	told  jobTold // at the last look
}

// jobTold is what the API says of a job.
type jobTold struct {
	ID, Phase, Reason string
	Tasks             []struct {
		Host  string
		Steps []struct{ Name, Phase string }
	}
}

func newWorker(t *testing.T, seed uint64, r *rand.Rand) *worker {
	t.Helper()
	n := hostsAMode*len(fleet.Modes) + wellHosts
	addrs, err := fleet.ParseHosts(fmt.Sprintf("127.40.0.1+%d", n))
	if err != nil {
		t.Fatal(err)
	}
	// A port that is free on the first address: the others are nobody's.
	ln, err := net.Listen("tcp4", addrs[0].String()+":0")
	if err != nil {
		t.Fatal(err)
	}
	port := ln.Addr().(*net.TCPAddr).AddrPort().Port()
	if err := ln.Close(); err != nil {
		t.Fatal(err)
	}
	w := &worker{t: t, r: r, seen: &lockedBuffer{}, port: port, addrs: addrs, modes: map[fleet.Mode]int{}}
	w.fleet, err = fleet.Start(fleet.Config{
		Hosts: addrs, Port: int(port), Seed: fmt.Sprint(seed), Journal: w.seen, Faults: w.faults(),
		Latency: 30 * time.Millisecond, SlowEvery: 20 * time.Millisecond, HugeBytes: 256 << 10,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.fleet.Close)
	return w
}

// faults gives every mode to some hosts. Nothing ever listens on the first ones,
// which is decided at the fleet's start.
func (w *worker) faults() (rules []fleet.Rule) {
	modes := slices.Repeat([]fleet.Mode{fleet.OK}, wellHosts)
	for _, m := range fleet.Modes {
		if m != fleet.Refuse {
			modes = append(modes, slices.Repeat([]fleet.Mode{m}, hostsAMode)...)
		}
	}
	w.r.Shuffle(len(modes), func(i, j int) { modes[i], modes[j] = modes[j], modes[i] })
	for i, m := range slices.Concat(slices.Repeat([]fleet.Mode{fleet.Refuse}, hostsAMode), modes) {
		rules = append(rules, fleet.Rule{Mode: m, From: w.addrs[i], To: w.addrs[i]})
	}
	return rules
}

// name is a host of the fleet as the product knows it.
func (w *worker) name(i int) string { return fmt.Sprintf("fleet-%02d", i) }

// configure makes the fleet's hosts targets, which are polled rarely, in a
// region of their own, and gives the product the runbook.
func (w *worker) configure(cfg *Config) {
	w.t.Helper()
	for i, a := range w.addrs {
		cfg.Targets.Linux = append(cfg.Targets.Linux, TargetConfig{Name: w.name(i), Address: netip.AddrPortFrom(a, w.port).String(), Credential: "lab-hosts", Interval: time.Hour})
	}
	cfg.Automation.Regions = append(cfg.Automation.Regions, RegionConfig{Name: "fleet", Prefixes: []netip.Prefix{netip.MustParsePrefix(fleetPrefix)}, Slots: 16})
	known, err := os.OpenFile(cfg.SSH.KnownHosts, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		w.t.Fatal(err)
	}
	book := filepath.Join(filepath.Dir(cfg.SSH.KnownHosts), "fleet-work.yaml")
	if err := errors.Join(w.fleet.KnownHosts(known), known.Close(), os.WriteFile(book, []byte(fleetBook), 0o600)); err != nil {
		w.t.Fatal(err)
	}
	cfg.Automation.Runbooks = append(cfg.Automation.Runbooks, book)
}

// openOrders is how many orders are open at once.
const openOrders = 12

func (w *worker) work(p *process, over <-chan struct{}) {
	for p.rest(over, 100*time.Millisecond) {
		open := w.open()
		for _, o := range open {
			if !w.look(p, o) {
				return
			}
		}
		if len(open) < openOrders {
			w.order()
		}
	}
}

// open lists the orders that are not known to have ended.
func (w *worker) open() (out []*order) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, o := range w.orders {
		if !automation.JobEnded(o.told.Phase) {
			out = append(out, o)
		}
	}
	return out
}

// order notes a job on some hosts, to be asked for.
func (w *worker) order() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closing {
		return
	}
	o := &order{tag: fmt.Sprintf("order-%d", len(w.orders))}
	hosts := w.r.Perm(len(w.addrs))
	if n := len(w.orders); n < len(fleet.Modes) { // each mode is met, however short the campaign
		at := slices.IndexFunc(hosts, func(i int) bool { return w.fleet.ModeOf(w.addrs[i]) == fleet.Modes[n] })
		hosts[0], hosts[at] = hosts[at], hosts[0]
	}
	for _, i := range hosts[:1+w.r.IntN(3)] {
		o.hosts = append(o.hosts, w.name(i))
		w.modes[w.fleet.ModeOf(w.addrs[i])]++
	}
	w.orders = append(w.orders, o)
}

// look asks for a job that nobody acknowledged yet, again by the same key, or
// how one fares. It tells whether there was an answer.
func (w *worker) look(p *process, o *order) bool {
	var told jobTold
	if o.id != "" {
		if p.get(apiPath+"/jobs/"+o.id, &told) != nil {
			return false
		}
	} else {
		body, err := json.Marshal(map[string]any{"runbook": "fleet-work", "hosts": o.hosts, "parameters": map[string]string{"tag": o.tag}})
		if err != nil {
			w.t.Error(err)
		}
		header := maps.Clone(asJSON)
		header["Idempotency-Key"] = o.tag
		status, err := p.submit(apiPath+"/jobs", header, body, &told)
		if status == 0 {
			return false
		}
		if err != nil {
			w.t.Errorf("%s: %v", o.tag, err)
			return false
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	o.id, o.told = told.ID, told
	return true
}

// finish has nothing new ordered.
func (w *worker) finish() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closing = true
}

// holds wants every job that was acknowledged, and what had ended of it as it
// was told.
func (w *worker) holds(left remains) {
	t := w.t
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	of := map[string][]string{} // by tag
	for id, j := range left.jobs {
		if tag := j.Spec.Parameters["tag"]; tag != "" {
			of[tag] = append(of[tag], id)
		}
	}
	for _, o := range w.orders {
		if len(of[o.tag]) > 1 || o.id != "" && !slices.Equal(of[o.tag], []string{o.id}) {
			t.Errorf("%s was acknowledged as job %q; there are %v", o.tag, o.id, of[o.tag])
			continue
		}
		if o.id == "" {
			continue
		}
		j := left.jobs[o.id]
		if !slices.Equal(j.Spec.Hosts, o.hosts) || j.Spec.Runbook != "fleet-work" {
			t.Errorf("%s on %v is %+v", o.tag, o.hosts, j.Spec)
		}
		if automation.JobEnded(o.told.Phase) && (j.Phase != o.told.Phase || j.Reason != o.told.Reason) {
			t.Errorf("%s was %s (%s), is %s (%s)", o.tag, o.told.Phase, o.told.Reason, j.Phase, j.Reason)
		}
		o.keptSteps(t, left)
	}
}

// keptSteps wants each step that was told to have ended to be as it was.
func (o *order) keptSteps(t *testing.T, left remains) {
	t.Helper()
	for _, task := range o.told.Tasks {
		now := left.tasks[o.id+"/"+task.Host].Steps
		for i, s := range task.Steps {
			if automation.StepEnded(s.Phase) && (i >= len(now) || now[i].Phase != s.Phase) {
				t.Errorf("%s on %s: step %s was %s; the steps are %+v", o.tag, task.Host, s.Name, s.Phase, now)
			}
		}
	}
}

// verdict holds what the fleet really began against what the jobs say, at the
// end of everything.
func (w *worker) verdict(left remains) {
	t := w.t
	began := w.began()
	phases, steps := map[string]int{}, map[string]int{}
	for _, o := range w.orders {
		j, ok := left.jobs[o.id]
		if !ok || !automation.JobEnded(j.Phase) {
			t.Errorf("%s is job %q, %s", o.tag, o.id, j.Phase)
			continue
		}
		phases[j.Phase]++
		for _, host := range o.hosts {
			for _, s := range left.tasks[o.id+"/"+host].Steps {
				steps[s.Phase]++
				o.judge(t, host, j.Phase, s, began[fmt.Sprintf("%s echo %s '%s'", host, s.Name, o.tag)])
			}
		}
	}
	for _, m := range fleet.Modes {
		if w.modes[m] == 0 {
			t.Errorf("no job had a host in mode %s", m)
		}
	}
	t.Logf("%d jobs on the fleet: %v; their steps: %v; %d commands began; the hosts' modes when ordered: %v", len(w.orders), phases, steps, len(began), w.modes)
}

// judge is the one rule: a command that may not be repeated begins once at most,
// and what is said of it is so.
func (o *order) judge(t *testing.T, host, job string, s automation.StepState, began int) {
	once := s.Name != "again"
	wrong := ""
	switch {
	case once && began > 1, began > s.Attempts:
		wrong = "that is too often"
	case s.Phase == automation.StepOK && began == 0:
		wrong = "that is too few"
	case once && began > 0 && (s.Phase == automation.StepSkipped || s.Phase == automation.StepFailed && !strings.HasPrefix(s.Err, "exit status")):
		wrong = "it should not have"
	case s.Phase == automation.StepUnknown && job != automation.JobUnknown:
		wrong = "nobody knows, and the job says otherwise: " + job
	}
	if wrong != "" {
		t.Errorf("%s on %s: step %+v began %d times: %s", o.tag, host, s, began, wrong)
	}
}

// began counts, by host and command.
func (w *worker) began() map[string]int {
	names := map[string]string{}
	for i, a := range w.addrs {
		names[a.String()] = w.name(i)
	}
	out := map[string]int{}
	for line := range strings.Lines(w.seen.String()) {
		var e fleet.Event
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			w.t.Errorf("the fleet's journal: %v", err)
		}
		if e.Event == "start" && strings.HasPrefix(e.Cmd, "echo ") {
			out[names[e.Host]+" "+e.Cmd]++
		}
	}
	return out
}
