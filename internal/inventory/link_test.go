package inventory

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestPairing(t *testing.T) {
	f := func(name string, n Neighbour, want string) {
		t.Helper()
		g := newGraph(t)
		observe(t, g, "spine1", minute(0), false,
			device("spine1", "sysName", "spine1.dc.example", "chassisID", "00:1c:73:aa:00:01"),
			iface("spine1", "Ethernet1", "ifIndex", "1", "ifDescr", "port one", "ifAlias", "to leaf1", "physAddress", "00:1c:73:aa:01:01"),
			iface("spine1", "Ethernet2", "ifIndex", "2", "ifDescr", "port two", "ifAlias", "both", "physAddress", "00:1c:73:aa:01:02"),
			iface("spine1", "Ethernet3", "ifIndex", "3", "ifDescr", "port three", "ifAlias", "both", "physAddress", "00:1c:73:aa:01:03"))
		observe(t, g, "twin-a", minute(0), false, device("twin-a", "sysName", "twin", "chassisID", "02:00:00:00:00:0a"), iface("twin-a", "e1"))
		observe(t, g, "twin-b", minute(0), false, device("twin-b", "sysName", "twin", "chassisID", "02:00:00:00:00:0b"), iface("twin-b", "e1"))
		importYAML(t, g, "items:\n- id: host/web-1\n")
		observe(t, g, "leaf1", minute(1), false, device("leaf1"), hears(iface("leaf1", "Ethernet49"), n))
		got := ""
		if links := g.LinksOf("device/leaf1"); len(links) == 1 {
			got = links[0].ID
		}
		if want != "" {
			want = linkID("interface/leaf1/Ethernet49", want)
		}
		if got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
		if _, unpaired := g.Unpaired()["interface/leaf1/Ethernet49"]; unpaired != (want == "") {
			t.Errorf("%s: unpaired %v", name, unpaired)
		}
	}
	e1, e2 := "interface/spine1/Ethernet1", "interface/spine1/Ethernet2"
	f("ifName", Neighbour{SysName: "spine1.dc.example", PortID: "Ethernet1", PortIDSubtype: "5"}, e1)
	f("short name, other case", Neighbour{SysName: "SPINE1", PortID: "Ethernet1", PortIDSubtype: "5"}, e1)
	f("MAC", Neighbour{SysName: "spine1", PortID: "001c.73aa.0102", PortIDSubtype: "3"}, e2)
	f("MAC by word", Neighbour{SysName: "spine1", PortID: "00:1c:73:aa:01:02", PortIDSubtype: "macAddress"}, e2)
	f("alias by word", Neighbour{SysName: "spine1", PortID: "to leaf1", PortIDSubtype: "interfaceAlias"}, e1)
	f("local ifIndex", Neighbour{SysName: "spine1", PortID: "2", PortIDSubtype: "7"}, e2)
	f("local name", Neighbour{SysName: "spine1", PortID: "Ethernet2", PortIDSubtype: "7"}, e2)
	f("alias", Neighbour{SysName: "spine1", PortID: "to leaf1", PortIDSubtype: "1"}, e1)
	f("ambiguous alias", Neighbour{SysName: "spine1", PortID: "both", PortIDSubtype: "1"}, "")
	f("description", Neighbour{SysName: "spine1", PortID: "0x99", PortIDSubtype: "7", PortDescr: "port two"}, e2)
	f("chassis", Neighbour{ChassisID: "00-1C-73-AA-00-01", ChassisIDSubtype: "4", PortID: "Ethernet2", PortIDSubtype: "5"}, e2)
	f("a port's MAC as chassis", Neighbour{ChassisID: "001c73aa0103", ChassisIDSubtype: "4", PortID: "Ethernet2", PortIDSubtype: "5"}, e2)
	f("twins", Neighbour{SysName: "twin", PortID: "e1", PortIDSubtype: "5"}, "")
	f("twins with chassis", Neighbour{SysName: "twin", ChassisID: "02:00:00:00:00:0b", PortID: "e1", PortIDSubtype: "5"}, "interface/twin-b/e1")
	f("stranger", Neighbour{SysName: "nobody", PortID: "e1", PortIDSubtype: "5"}, "")
	f("unknown port", Neighbour{SysName: "spine1", PortID: "Ethernet77", PortIDSubtype: "5"}, "")
	f("host", Neighbour{SysName: "web-1", PortID: "02:00:00:00:00:99", PortIDSubtype: "3"}, "host/web-1")
	f("oneself", Neighbour{SysName: "leaf1", PortID: "Ethernet49", PortIDSubtype: "5"}, "")
}

func TestLinkLife(t *testing.T) {
	g := newGraph(t)
	a := func(at int, n *Neighbour) {
		f := iface("a", "e1")
		f.Neighbour = n
		observe(t, g, "a", minute(at), false, device("a"), f)
	}
	b := func(at int, n *Neighbour) {
		f := iface("b", "e1")
		f.Neighbour = n
		observe(t, g, "b", minute(at), false, device("b"), f)
	}
	toA, toB := &Neighbour{SysName: "a", PortID: "e1", PortIDSubtype: "5"}, &Neighbour{SysName: "b", PortID: "e1", PortIDSubtype: "5"}
	link := Link{ID: "link/interface/a/e1|interface/b/e1", A: "interface/a/e1", B: "interface/b/e1", DeviceA: "device/a", DeviceB: "device/b"}
	check := func(step, evidence string, seen int, missing bool) {
		t.Helper()
		want := link
		want.Evidence, want.LastSeen, want.Missing = evidence, minute(seen), missing
		if d := cmp.Diff([]Link{want}, g.Links()); d != "" {
			t.Errorf("%s: %s", step, d)
		}
	}
	a(0, toB)
	if n := len(g.Links()); n != 0 {
		t.Errorf("%d links before the other end is known", n)
	}
	b(1, nil)
	check("b is known", OneEnd, 1, false)
	b(2, toA)
	check("b hears a", BothEnds, 2, false)
	a(3, toB)
	check("a polled again", BothEnds, 3, false)
	a(4, nil)
	check("a no longer hears b", BothEnds, 3, false)
	b(5, nil)
	check("neither hears", BothEnds, 3, true)
	if l, ok := g.Link(link.ID); !ok || l != g.LinksOf("device/b")[0] || len(g.LinksOf("device/a")) != 1 {
		t.Errorf("by ID %+v, of b %+v", l, g.LinksOf("device/b"))
	}
	if it, ok := g.Item(link.ID); !ok || !it.Missing || it.Kind != "link" {
		t.Errorf("as an item: %+v", it)
	}
	a(6, toB)
	check("a hears b again", BothEnds, 6, false)
	observe(t, g, "c", minute(6), false, device("c"), iface("c", "e1"))
	b(7, &Neighbour{SysName: "c", PortID: "e1", PortIDSubtype: "5"})
	a(7, &Neighbour{SysName: "c", PortID: "e1", PortIDSubtype: "5"})
	for _, l := range g.Links() {
		if l.ID == link.ID {
			t.Error("a rewired link stays")
		}
	}
	if n := len(g.Links()); n != 2 {
		t.Errorf("%d links", n)
	}
	old := g.RelationsAt("interface/a/e1", minute(6))
	if len(old) == 0 || old[0].Type != ConnectedTo || old[0].To != "interface/b/e1" {
		t.Errorf("history: %+v", old)
	}
}
