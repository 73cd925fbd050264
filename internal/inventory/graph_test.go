package inventory

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/prometheus/model/labels"

	"nocturne/internal/state"
)

var t0 = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func minute(n int) time.Time { return t0.Add(time.Duration(n) * time.Minute) }

func openDB(t testing.TB, dir string) *state.DB {
	t.Helper()
	db, err := state.Open(state.Options{Dir: dir, InMemory: dir == ""})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func newGraph(t testing.TB) *Graph {
	t.Helper()
	g, err := Open(openDB(t, ""))
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func observe(t testing.TB, g *Graph, target string, at time.Time, partial bool, facts ...Fact) {
	t.Helper()
	if err := g.Observe(t.Context(), Observation{Source: "snmp", Target: target, At: at, Facts: facts, Partial: partial}); err != nil {
		t.Fatal(err)
	}
}

func importYAML(t testing.TB, g *Graph, text string) ImportReport {
	t.Helper()
	rep, err := g.ImportYAML(t.Context(), "inv.yaml", []byte(text), "person:ada")
	if err != nil {
		t.Fatal(err)
	}
	return rep
}

func device(name string, fields ...string) Fact {
	return Fact{Kind: "device", Key: name, Name: name, Fields: pairs(append(fields, "sysName", name)), Binding: pairs([]string{"job", "snmp", "instance", name})}
}

func iface(dev, name string, fields ...string) Fact {
	return Fact{
		Kind: "interface", Key: dev + "/" + name, Name: name, Fields: pairs(fields),
		Relations: []FactRelation{{PartOf, "device", dev}},
		Binding:   map[string]string{"job": "snmp", "instance": dev, "ifName": name},
	}
}

func hears(f Fact, n Neighbour) Fact { f.Neighbour = &n; return f }

func pairs(kv []string) map[string]string {
	m := map[string]string{}
	for i := 0; i+1 < len(kv); i += 2 {
		m[kv[i]] = kv[i+1]
	}
	return m
}

func mustItem(t testing.TB, g *Graph, id string) Item {
	t.Helper()
	it, ok := g.Item(id)
	if !ok {
		t.Fatalf("no item %s", id)
	}
	return it
}

func TestObserveKeepsIdentityByName(t *testing.T) {
	g := newGraph(t)
	observe(t, g, "leaf1", minute(0), false, device("leaf1"), iface("leaf1", "Eth1", "ifIndex", "1"))
	rev := g.Rev()
	observe(t, g, "leaf1", minute(1), false, device("leaf1"), iface("leaf1", "Eth1", "ifIndex", "1"))
	if g.Rev() != rev {
		t.Error("an unchanged poll changed the graph")
	}
	if got := mustItem(t, g, "device/leaf1"); got.LastSeen != minute(1) || got.FirstSeen != minute(0) {
		t.Errorf("seen %v to %v", got.FirstSeen, got.LastSeen)
	}
	observe(t, g, "leaf1", minute(2), false, device("leaf1"), iface("leaf1", "Eth1", "ifIndex", "7"))
	got := mustItem(t, g, "interface/leaf1/Eth1")
	want := Field{Value: "7", Source: "snmp", At: minute(2)}
	if got.Fields["ifIndex"] != want || got.FirstSeen != minute(0) {
		t.Errorf("got %+v", got)
	}
	if n := len(g.Items("interface")); n != 1 {
		t.Errorf("%d interfaces", n)
	}
}

func TestMissingOnlyByCompleteObservation(t *testing.T) {
	g := newGraph(t)
	observe(t, g, "leaf1", minute(0), false, device("leaf1"), iface("leaf1", "Eth1"), iface("leaf1", "Eth2"))
	observe(t, g, "leaf1", minute(1), true, device("leaf1"), iface("leaf1", "Eth1"))
	if mustItem(t, g, "interface/leaf1/Eth2").Missing {
		t.Error("missing by a partial observation")
	}
	observe(t, g, "leaf1", minute(2), false, device("leaf1"), iface("leaf1", "Eth1"))
	if it := mustItem(t, g, "interface/leaf1/Eth2"); !it.Missing || it.LastSeen != minute(0) {
		t.Errorf("got missing=%v, last seen %v", it.Missing, it.LastSeen)
	}
	observe(t, g, "leaf2", minute(3), false, device("leaf2"))
	if mustItem(t, g, "interface/leaf1/Eth1").Missing {
		t.Error("missing by another target's observation")
	}
	observe(t, g, "leaf1", minute(4), false, device("leaf1"), iface("leaf1", "Eth1"), iface("leaf1", "Eth2"))
	if mustItem(t, g, "interface/leaf1/Eth2").Missing {
		t.Error("still missing after it came back")
	}
	want := []Binding{
		{Item: "interface/leaf1/Eth2", Labels: iface("leaf1", "Eth2").Binding, Since: minute(0), Until: minute(2)},
		{Item: "interface/leaf1/Eth2", Labels: iface("leaf1", "Eth2").Binding, Since: minute(4)},
	}
	if d := cmp.Diff(want, g.Bindings("interface/leaf1/Eth2")); d != "" {
		t.Error(d)
	}
}

func TestPeopleBeatDiscovery(t *testing.T) {
	g := newGraph(t)
	importYAML(t, g, "items:\n- {id: device/leaf1, name: The leaf, fields: {role: leaf, sysLocation: hall}}\n")
	if it := mustItem(t, g, "device/leaf1"); cmp.Diff([]string{"import"}, it.Sources) != "" || !it.LastSeen.IsZero() || it.Missing {
		t.Errorf("a planned device: %+v", it)
	}
	observe(t, g, "leaf1", minute(0), false, device("leaf1", "sysLocation", "unknown", "role", "leaf"))
	it := mustItem(t, g, "device/leaf1")
	if it.Name != "The leaf" || it.Value("sysLocation") != "hall" || it.Fields["role"].By != "person:ada" {
		t.Errorf("got %+v", it)
	}
	if d := cmp.Diff([]string{"import", "snmp"}, it.Sources); d != "" {
		t.Error(d)
	}
	// What discovery says is kept beneath.
	var out bytes.Buffer
	if err := g.ExportYAML(&out); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), "sysLocation: unknown") || !strings.Contains(out.String(), "sysLocation: hall") {
		t.Error(out.String())
	}
}

func TestResolve(t *testing.T) {
	g := newGraph(t)
	observe(t, g, "leaf1", minute(0), false, device("leaf1"), iface("leaf1", "Eth1"))
	renamed := iface("leaf1", "Eth9")
	observe(t, g, "leaf1", minute(10), false, device("leaf1"), renamed)
	importYAML(t, g, "items:\n- id: host/dead\n")
	f := func(want string, at time.Time, ls ...string) {
		t.Helper()
		got, _ := g.Resolve(labels.FromStrings(ls...), at)
		if got != want {
			t.Errorf("%v at %v: got %q, want %q", ls, at, got, want)
		}
	}
	eth1 := []string{"__name__", "ifHCInOctets", "job", "snmp", "instance", "leaf1", "ifName", "Eth1", "ifIndex", "1"}
	f("interface/leaf1/Eth1", minute(0), eth1...)
	f("interface/leaf1/Eth1", minute(9), eth1...)
	f("device/leaf1", minute(10), eth1...)
	f("interface/leaf1/Eth9", minute(10), "job", "snmp", "instance", "leaf1", "ifName", "Eth9")
	f("device/leaf1", minute(9), "job", "snmp", "instance", "leaf1", "ifName", "Eth9")
	f("device/leaf1", minute(1), "__name__", "up", "job", "snmp", "instance", "leaf1")
	f("host/dead", minute(1), "__name__", "up", "job", "linux", "instance", "dead")
	f("", minute(1), "__name__", "up", "job", "linux", "instance", "nobody")
	f("", minute(1), "job", "snmp")
}

func TestReopen(t *testing.T) {
	dir := t.TempDir()
	db := openDB(t, dir)
	g, err := Open(db)
	if err != nil {
		t.Fatal(err)
	}
	importYAML(t, g, hall)
	observe(t, g, "leaf1", minute(0), false, device("leaf1"), iface("leaf1", "Eth1"), hears(iface("leaf1", "Eth2"), Neighbour{SysName: "web-1"}))
	observe(t, g, "leaf1", minute(1), false, device("leaf1"), iface("leaf1", "Eth1"), hears(iface("leaf1", "Eth2"), Neighbour{SysName: "web-1"}))
	if err := g.checkpoint(); err != nil {
		t.Fatal(err)
	}
	items, links, racks := g.Items(""), g.Links(), g.Racks()
	if len(links) != 1 || links[0].LastSeen != minute(1) {
		t.Fatalf("links %+v", links)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	g, err = Open(openDB(t, dir))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(items, g.Items("")); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff(links, g.Links()); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff(racks, g.Racks()); d != "" {
		t.Error(d)
	}
	if id, _ := g.Resolve(labels.FromMap(iface("leaf1", "Eth1").Binding), minute(0)); id != "interface/leaf1/Eth1" {
		t.Errorf("resolved %q", id)
	}
	observe(t, g, "leaf1", minute(5), false, device("leaf1"))
	if !mustItem(t, g, "interface/leaf1/Eth1").Missing {
		t.Error("who saw it was forgotten")
	}
}

func TestBadFactsAreNamed(t *testing.T) {
	g := newGraph(t)
	observe(t, g, "leaf1", minute(0), false, device("leaf1"), iface("leaf1", "Eth1"))
	err := g.Observe(t.Context(), Observation{Source: "snmp", Target: "leaf1", At: minute(1), Facts: []Fact{{Kind: "interface"}, device("leaf1")}})
	if err == nil || !strings.Contains(err.Error(), `snmp/leaf1: fact of "interface/"`) {
		t.Errorf("got %v", err)
	}
	if it := mustItem(t, g, "device/leaf1"); it.LastSeen != minute(1) {
		t.Error("the good fact was not taken")
	}
	if mustItem(t, g, "interface/leaf1/Eth1").Missing {
		t.Error("missing by an observation with a fault")
	}
	if err := g.Observe(t.Context(), Observation{Source: "import", Target: "x"}); err == nil {
		t.Error("a poll passed itself off as an import")
	}
}

func TestChanged(t *testing.T) {
	g := newGraph(t)
	ch := g.Changed()
	observe(t, g, "leaf1", minute(0), false, device("leaf1"))
	select {
	case <-ch:
	default:
		t.Error("a change gave no signal")
	}
	ch = g.Changed()
	observe(t, g, "leaf1", minute(1), false, device("leaf1"))
	select {
	case <-ch:
		t.Error("an unchanged poll gave a signal")
	default:
	}
}
