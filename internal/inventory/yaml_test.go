package inventory

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"nocturne/internal/need"
)

const hall = `
sites:
- name: lab
  title: The lab
  rooms:
  - name: hall
    racks:
    - name: r01
      units: 42
      row: A
      contents:
      - {kind: device, name: leaf1, u: 40}
      - {kind: host, name: web-1, u: 1, height: 2, face: front}
      - {kind: host, name: web-2, u: 2.5, height: 1, face: front}
      - {kind: device, name: patch, u: 1, face: rear}
      - {kind: device, name: pdu1, face: rear}
applications:
- {name: shop, title: Shop, depends_on: [host/web-1]}
relations:
- {from: host/web-1, type: powered-by, to: device/pdu1, fields: {feed: A}}
`

func TestImport(t *testing.T) {
	g := newGraph(t)
	rep := importYAML(t, g, hall)
	want := ImportReport{Created: []string{"application/shop", "device/leaf1", "device/patch", "device/pdu1", "host/web-1", "host/web-2", "rack/r01", "room/lab/hall", "site/lab"}}
	if d := cmp.Diff(want, rep); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff(ImportReport{Unchanged: 9}, importYAML(t, g, hall)); d != "" {
		t.Error("again:", d)
	}
	rep = importYAML(t, g, strings.Replace(hall, "name: leaf1, u: 40", "name: leaf1, u: 41", 1))
	if d := cmp.Diff(ImportReport{Changed: []string{"device/leaf1"}, Unchanged: 8}, rep); d != "" {
		t.Error("moved:", d)
	}
	rack, ok := g.Rack("rack/r01")
	if !ok {
		t.Fatal("no rack")
	}
	wantRack := RackView{ID: "rack/r01", Name: "r01", Row: "A", Room: "room/lab/hall", Site: "site/lab", Units: 42, Contents: []Placement{
		{Item: "device/leaf1", Kind: "device", Name: "leaf1", U: 41, Height: 1, Face: "front"},
		{Item: "host/web-2", Kind: "host", Name: "web-2", U: 2.5, Height: 1, Face: "front", Conflict: "overlaps host/web-1"},
		{Item: "host/web-1", Kind: "host", Name: "web-1", U: 1, Height: 2, Face: "front", Conflict: "overlaps host/web-2"},
		{Item: "device/patch", Kind: "device", Name: "patch", U: 1, Height: 1, Face: "rear"},
		{Item: "device/pdu1", Kind: "device", Name: "pdu1", Face: "rear"},
	}}
	if d := cmp.Diff(wantRack, rack); d != "" {
		t.Error(d)
	}
	observe(t, g, "leaf1", minute(0), false, device("leaf1"), iface("leaf1", "Eth1"))
	if d := cmp.Diff([]string{"device/leaf1", "rack/r01", "room/lab/hall", "site/lab"}, g.Parents("interface/leaf1/Eth1")); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]string{"host/web-1", "application/shop"}, g.Dependents("device/pdu1")); d != "" {
		t.Error(d)
	}
}

func TestImportFaultsChangeNothing(t *testing.T) {
	g := newGraph(t)
	importYAML(t, g, hall)
	rev := g.Rev()
	f := func(in string, want ...string) {
		t.Helper()
		_, err := g.ImportYAML(t.Context(), "inv.yaml", []byte(in), "person:ada")
		if err == nil {
			t.Errorf("%q was taken", in)
			return
		}
		for _, w := range want {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%q:\ngot  %v\nwant %s", in, err, w)
			}
		}
		if g.Rev() != rev {
			t.Fatalf("%q changed the graph", in)
		}
	}
	f("sites:\n- name: new\n  roms: []\n", "inv.yaml:3: sites[0].roms: unknown field")
	f("items:\n- id: host/new\n- id: nonsense\n", `inv.yaml:3: items[1].id: wants kind/key, not "nonsense"`)
	f("items:\n- id: host/a\n- id: host/a\n", "inv.yaml:3: items[1].id: host/a stands in line 2 already")
	f("applications:\n- name: x\n  depends_on: [host/nobody]\n", "inv.yaml:3: applications[0].depends_on[0]: there is no host/nobody")
	f("relations:\n- {from: host/web-1, type: eats, to: host/web-2}\n", "inv.yaml:2: relations[0].type: wants one of connected-to")
	rack := "sites:\n- name: s\n  rooms:\n  - name: h\n    racks:\n    - name: k\n      units: 10\n      contents:\n"
	f(rack+"      - {kind: host, name: a, u: 10, height: 2}\n", "inv.yaml:9: sites[0].rooms[0].racks[0].contents[0].u: 10 and 2 high does not fit a rack of 10 units")
	f(rack+"      - {kind: host, name: a, u: 1.3}\n", "contents[0].u: wants a unit from 1 in half steps, not 1.3")
	f(rack+"      - {kind: host, name: a, u: one}\n", "inv.yaml:9: sites[0].rooms[0].racks[0].contents[0].u: cannot")
	f(rack+"      - {kind: host, name: a, u: 1, face: top}\n", `contents[0].face: wants front or rear, not "top"`)
	f(rack+"      - {kind: host, name: a, u: 1}\n      - {kind: host, name: a, u: 2}\n", "inv.yaml:10: sites[0].rooms[0].racks[0].contents[1].name: host/a has a place already in line 9")
	f("sites:\n- name: a\n- name: a\n", "inv.yaml:3: sites[1].name: site/a stands in line 2 already")
	f("sites: [{title: x}]\n", "sites[0].name: is missing")
	f("items:\n- id: host/a\n  seen: {import: {a: b}}\n", "items[0].seen.import: wants the name of a source that discovers")
}

// TestRoundTrip: what one graph exports, an empty one imports and exports the
// same.
func TestRoundTrip(t *testing.T) {
	_, r := need.Seed(t)
	for range 30 {
		a, b := newGraph(t), newGraph(t)
		randomGraph(t, a, r)
		var first, second bytes.Buffer
		if err := a.ExportYAML(&first); err != nil {
			t.Fatal(err)
		}
		if _, err := b.ImportYAML(t.Context(), "export.yaml", first.Bytes(), "person:ada"); err != nil {
			t.Fatalf("%v\n%s", err, first.String())
		}
		if err := b.ExportYAML(&second); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(first.String(), second.String()); d != "" {
			t.Fatalf("%s\n%s", d, first.String())
		}
		compareStatements(t, a, b)
	}
}

// compareStatements compares what readers see, times and seers aside.
func compareStatements(t *testing.T, a, b *Graph) {
	t.Helper()
	for _, it := range a.Items("") {
		got := mustItem(t, b, it.ID)
		if it.Name != got.Name || len(it.Fields) != len(got.Fields) {
			t.Errorf("%s: %+v became %+v", it.ID, it, got)
		}
		for name, f := range it.Fields {
			// Two discoveries may differ on who spoke last.
			if rank(f.Source) > 0 && (got.Fields[name].Value != f.Value || got.Fields[name].Source != f.Source) {
				t.Errorf("%s %s: %+v became %+v", it.ID, name, f, got.Fields[name])
			}
		}
	}
	if d := cmp.Diff(a.Racks(), b.Racks(), cmp.FilterPath(func(p cmp.Path) bool { return p.Last().String() == ".Missing" }, cmp.Ignore())); d != "" {
		t.Error(d)
	}
}

func randomGraph(t *testing.T, g *Graph, r *rand.Rand) {
	var y strings.Builder
	names := []string{"a", "b c", "d: e", "#f", "ünï", "yes", "1", "o/p"}
	y.WriteString("sites:\n")
	for s := range r.IntN(3) + 1 {
		fmt.Fprintf(&y, "- name: s%d\n  title: %q\n  rooms:\n", s, names[r.IntN(len(names))])
		for h := range r.IntN(3) {
			fmt.Fprintf(&y, "  - name: h%d\n    racks:\n", h)
			for k := range r.IntN(4) {
				fmt.Fprintf(&y, "    - name: r%d-%d-%d\n      units: %d\n      row: %q\n      contents:\n", s, h, k, 20+r.IntN(30), names[r.IntN(len(names))])
				for c := range r.IntN(5) {
					fmt.Fprintf(&y, "      - {kind: device, name: \"d%d-%d-%d-%d\", u: %v, height: %v, face: %s}\n", s, h, k, c, 1+float64(r.IntN(20))/2, 0.5+float64(r.IntN(3))/2, []string{"front", "rear"}[r.IntN(2)])
				}
				fmt.Fprintf(&y, "      - {kind: device, name: pdu%d-%d-%d}\n", s, h, k)
			}
		}
	}
	y.WriteString("items:\n")
	for i := range 10 {
		fmt.Fprintf(&y, "- {id: host/%d, name: %q, fields: {%q: %q, kind: x}}\n", i, names[r.IntN(len(names))], names[r.IntN(len(names))], names[r.IntN(len(names))])
	}
	y.WriteString("applications:\n")
	for i := range 3 {
		fmt.Fprintf(&y, "- {name: app%d, depends_on: [host/%d]}\n", i, r.IntN(10))
	}
	y.WriteString("relations:\n- {from: site/s0, type: member-of, to: host/1, fields: {a: b}}\n")
	fmt.Fprintf(&y, "- {from: host/%d, type: placed-in, to: site/s0, fields: {u: '3'}}\n", r.IntN(10))
	importYAML(t, g, y.String())
	for i := range 6 {
		n := fmt.Sprint(i)
		nb := Neighbour{SysName: fmt.Sprint(r.IntN(6)), PortID: "e1", PortIDSubtype: "5"}
		facts := []Fact{device(n, "sysDescr", names[r.IntN(len(names))]), hears(iface(n, "e0", "ifIndex", n), nb), iface(n, "e1")}
		observe(t, g, n, minute(i), false, facts...)
		facts[0].Kind = "host"
		if err := g.Observe(t.Context(), Observation{Source: "linux", Target: n, At: minute(i), Facts: facts[:1]}); err != nil {
			t.Fatal(err)
		}
	}
}
