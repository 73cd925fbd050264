package alerting

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"nocturne/internal/inventory"
)

// site puts a hall with one rack, two hosts, a switch with two interfaces and
// a device nobody polls into the inventory.
func (h *house) site() {
	h.t.Helper()
	yaml := `
sites:
- name: lab
  rooms:
  - name: hall
    racks:
    - name: r01
      contents:
      - {kind: host, name: web-1, u: 10}
      - {kind: device, name: leaf1, u: 40}
    - name: r02
      contents:
      - {kind: host, name: web-2, u: 10}
      - {kind: device, name: panel, u: 40}
    - name: r03
`
	if _, err := h.graph.ImportYAML(h.t.Context(), "site.yml", []byte(yaml), "person:ada"); err != nil {
		h.t.Fatal(err)
	}
	now := time.Now().Add(-24 * time.Hour)
	bound := func(kind, key string, kv ...string) inventory.Fact {
		b := map[string]string{}
		for i := 0; i < len(kv); i += 2 {
			b[kv[i]] = kv[i+1]
		}
		return inventory.Fact{Kind: kind, Key: key, Name: key, Binding: b}
	}
	port := bound("interface", "leaf1/Ethernet1", "job", "snmp", "instance", "leaf1", "ifName", "Ethernet1")
	port.Relations = []inventory.FactRelation{{Type: inventory.PartOf, Kind: "device", Key: "leaf1"}}
	for target, facts := range map[string][]inventory.Fact{
		"web-1": {bound("host", "web-1", "job", "linux", "instance", "web-1")},
		"web-2": {bound("host", "web-2", "job", "linux", "instance", "web-2")},
		"leaf1": {bound("device", "leaf1", "job", "snmp", "instance", "leaf1"), port},
	} {
		source := "linux"
		if target == "leaf1" {
			source = "snmp"
		}
		if err := h.graph.Observe(h.t.Context(), inventory.Observation{Source: source, Target: target, At: now, Facts: facts}); err != nil {
			h.t.Fatal(err)
		}
	}
}

const statusRules = `
groups:
- name: g
  rules:
  - alert: Down
    expr: ifOperStatus == 2
    labels: {severity: major}
    annotations: {summary: '{{ $labels.ifName }} is down'}
  - alert: Load
    expr: node_load1 > 8
`

func (h *house) wantState(id string, want State, reason string) Status {
	h.t.Helper()
	h.e.mu.Lock()
	h.e.statuses.outdated()
	h.e.mu.Unlock()
	s := h.e.Status(id)
	if s.State != want || reason != "" && !strings.Contains(strings.Join(s.Reasons, "; "), reason) {
		h.t.Errorf("%s is %s %q, want %s %q", id, s.State, s.Reasons, want, reason)
	}
	return s
}

func up(job, instance string) []string {
	return []string{"__name__", "up", "job", job, "instance", instance}
}

func TestStatus(t *testing.T) {
	h := newHouse(t, statusRules)
	h.site()
	for _, id := range []string{"host/web-1", "device/leaf1", "device/panel", "rack/r01", "rack/r03", "site/lab", "host/nobody"} {
		h.wantState(id, StateUnknown, "")
	}
	now := time.Now()
	poll := func(ago time.Duration, v float64, targets ...[]string) {
		for _, kv := range targets {
			h.put(now.Add(-ago), v, kv...)
		}
	}
	for i := range 6 {
		poll(time.Duration(5-i)*15*time.Second+time.Second, 1, up("linux", "web-1"), up("snmp", "leaf1"), up("linux", "web-2"))
	}
	h.wantState("host/web-1", StateOK, "")
	h.wantState("interface/leaf1/Ethernet1", StateOK, "")
	h.wantState("rack/r01", StateOK, "")
	h.wantState("rack/r02", StateUnknown, "panel: not monitored")
	h.wantState("rack/r03", StateUnknown, "not monitored")
	h.wantState("site/lab", StateUnknown, "")

	h.put(now.Add(-time.Second), 2, "__name__", "ifOperStatus", "job", "snmp", "instance", "leaf1", "ifName", "Ethernet1")
	h.put(now.Add(-time.Second), 9, "__name__", "node_load1", "job", "linux", "instance", "web-1")
	h.eval(now)
	h.wantState("interface/leaf1/Ethernet1", StateMajor, "Ethernet1 is down")
	h.wantState("device/leaf1", StateMajor, "Ethernet1 is down")
	h.wantState("host/web-1", StateWarning, "Load")
	s := h.wantState("rack/r01", StateMajor, "leaf1: Ethernet1 is down")
	if len(s.Alerts) != 2 || s.Since.IsZero() || s.LastSeen.IsZero() {
		t.Errorf("rack: %+v", s)
	}
	h.wantState("site/lab", StateMajor, "")
	if got := h.e.Tally([]string{"host/web-1", "host/web-2", "device/panel", "device/leaf1"}); fmt.Sprint(got) != "map[major:1 ok:1 unknown:1 warning:1]" {
		t.Errorf("tally %v", got)
	}

	// Maintenance of the rack covers what stands in it, not the rest.
	if err := h.e.Maintain(t.Context(), Maintenance{Item: "rack/r01", From: now.Add(-time.Minute), To: now.Add(time.Hour), By: "person:ada", Note: "new PDU"}); err != nil {
		t.Fatal(err)
	}
	h.wantState("rack/r01", StateMaintenance, "new PDU")
	h.wantState("interface/leaf1/Ethernet1", StateMaintenance, "person:ada")
	h.wantState("host/web-2", StateOK, "")
	if past := h.e.StatusAt("host/web-1", now.Add(-30*time.Second)); past.State != StateMaintenance {
		t.Errorf("then: %+v", past)
	}
	if past := h.e.StatusAt("host/web-2", now.Add(-30*time.Second)); past.State != StateOK {
		t.Errorf("then: %+v", past)
	}
	if past := h.e.StatusAt("host/web-2", now.Add(-2*time.Hour)); past.State != StateUnknown {
		t.Errorf("before anything was seen: %+v", past)
	}
}

func TestGreenNeverMeansUnknown(t *testing.T) {
	f := func(name string, want State, reason string, polls ...struct {
		ago time.Duration
		v   float64
	}) {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t, statusRules)
			h.site()
			now := time.Now()
			for _, p := range polls {
				h.put(now.Add(-p.ago), p.v, up("linux", "web-1")...)
			}
			h.wantState("host/web-1", want, reason)
		})
	}
	type poll = struct {
		ago time.Duration
		v   float64
	}
	s := time.Second
	f("just seen", StateOK, "", poll{31 * s, 1}, poll{16 * s, 1}, poll{s, 1})
	f("two intervals ago", StateOK, "", poll{62 * s, 1}, poll{47 * s, 1}, poll{32 * s, 1})
	f("four intervals ago", StateUnknown, "not seen since", poll{90 * s, 1}, poll{75 * s, 1}, poll{60 * s, 1})
	f("slow and in time", StateOK, "", poll{500 * s, 1}, poll{300 * s, 1}, poll{100 * s, 1})
	f("answered no more", StateUnknown, "not seen since", poll{31 * s, 1}, poll{16 * s, 1}, poll{s, 0})
	f("never answered", StateUnknown, "has not answered", poll{16 * s, 0}, poll{s, 0})
	f("removed", StateUnknown, "is not polled", poll{16 * s, 1}, poll{s, staleMarker})
	f("never polled", StateUnknown, "is not polled")
}

func TestStatusesAreOneSnapshot(t *testing.T) {
	h := newHouse(t, statusRules)
	h.site()
	first := h.e.current()
	h.e.Statuses([]string{"host/web-1", "rack/r01"})
	if h.e.current() != first {
		t.Error("a second question within the second was computed anew")
	}
}

// The clock was set back: a poll of the future says nothing of now.
func TestStatusAfterTheClockWentBack(t *testing.T) {
	now := time.Now()
	p := polled{up: true, lastOK: now.Add(time.Hour)}
	if p.fresh(15*time.Second, now) {
		t.Error("a target is green by a poll of the future")
	}
	p.lastOK = now.Add(time.Second)
	if !p.fresh(15*time.Second, now) {
		t.Error("a target is not seen though it was polled this second")
	}
}

// In a cycle each item has the state of the worst, whichever is asked first.
func TestStatusInACycle(t *testing.T) {
	now := time.Now()
	for _, order := range [][]string{{"a", "b", "c"}, {"b", "c", "a"}, {"c", "a", "b"}} {
		s := &snapshot{at: now, polls: polls{}, alerts: map[string][]Alert{"a": {{Labels: labels.FromStrings("severity", "critical")}}}, done: map[string]Status{}}
		s.tree = &tree{nodes: map[string]*node{}}
		s.fresh = map[target]bool{}
		for id, on := range map[string]string{"a": "b", "b": "c", "c": "a"} {
			tg := target{"linux", id}
			s.polls[tg], s.fresh[tg] = polled{up: true, lastOK: now}, true
			s.tree.nodes[id] = &node{item: inventory.Item{ID: id}, targets: []target{tg}, contents: []string{on}}
		}
		for _, id := range order {
			if st := s.status(id); st.State != StateCritical {
				t.Errorf("asked in the order %v: %s is %s", order, id, st.State)
			}
		}
	}
}

// TestSeenOnlyInPart: a target that is up and whose last poll did not see all
// that it asked for is not green, now and when it is looked back at; an alert
// on it counts as before.
func TestSeenOnlyInPart(t *testing.T) {
	h := newHouse(t, statusRules)
	h.site()
	now := time.Now()
	poll := func(ago time.Duration, partial float64) {
		t.Helper()
		at := now.Add(-ago)
		for _, kv := range [][]string{up("snmp", "leaf1"), up("linux", "web-1"), up("openstack", "cloud1")} {
			h.put(at, 1, kv...)
			part := append([]string{}, kv...)
			part[1] = "nocturne_poll_partial"
			h.put(at, partial, part...)
		}
	}
	cloud := inventory.Fact{Kind: "cloud", Key: "cloud1", Name: "cloud1", Binding: map[string]string{"job": "openstack", "instance": "cloud1"}}
	vm := inventory.Fact{Kind: "instance", Key: "vm-1", Name: "vm-1", Binding: map[string]string{"job": "openstack", "instance": "cloud1", "id": "vm-1"},
		Relations: []inventory.FactRelation{{Type: inventory.MemberOf, Kind: "cloud", Key: "cloud1"}}}
	lost := vm
	lost.Key, lost.Name, lost.Binding = "vm-2", "vm-2", map[string]string{"job": "openstack", "instance": "cloud1", "id": "vm-2"}
	see := func(ago time.Duration, facts ...inventory.Fact) {
		t.Helper()
		if err := h.graph.Observe(t.Context(), inventory.Observation{Source: "openstack", Target: "cloud1", At: now.Add(-ago), Partial: true, Facts: facts}); err != nil {
			t.Fatal(err)
		}
	}
	see(time.Hour, cloud, lost)
	see(time.Second, cloud, vm)
	poll(60*time.Second, 0)
	poll(45*time.Second, 0)
	poll(30*time.Second, 1)
	h.put(now.Add(-time.Second), 9, "__name__", "node_load1", "job", "linux", "instance", "web-1")
	h.eval(now)
	h.wantState("interface/leaf1/Ethernet1", StateUnknown, "leaf1 (snmp) is seen only in part")
	h.wantState("device/leaf1", StateUnknown, "only in part")
	h.wantState("host/web-1", StateWarning, "only in part")
	h.wantState("cloud/cloud1", StateUnknown, "only in part")
	h.wantState("instance/vm-1", StateOK, "")
	h.wantState("instance/vm-2", StateUnknown, "only in part") // not among what was seen
	// The next look reads only what is new and keeps what it knew.
	h.wantState("device/leaf1", StateUnknown, "only in part")
	for ago, want := range map[time.Duration]State{40 * time.Second: StateOK, 20 * time.Second: StateUnknown} {
		if past := h.e.StatusAt("device/leaf1", now.Add(-ago)); past.State != want {
			t.Errorf("%v ago: %s %q, want %s", ago, past.State, past.Reasons, want)
		}
	}
	poll(15*time.Second, 0)
	h.wantState("device/leaf1", StateOK, "")
	h.wantState("interface/leaf1/Ethernet1", StateOK, "")
	h.wantState("cloud/cloud1", StateOK, "")
}
