package web

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"nocturne/internal/inventory"
	"nocturne/tsdb"
)

// largeEstate has 50 racks of 40 things each, switches with 24 interfaces and
// their links, all just polled.
func largeEstate(t testing.TB) *estate {
	const racks, perRack, ports = 50, 40, 24
	var b strings.Builder
	b.WriteString("sites:\n- name: lab\n  rooms:\n  - name: hall\n    racks:\n")
	for r := range racks {
		fmt.Fprintf(&b, "    - name: r%02d\n      contents:\n", r)
		for u := range perRack {
			kind, name := "host", fmt.Sprintf("h%02d-%02d", r, u)
			if u >= perRack-2 {
				kind, name = "device", fmt.Sprintf("leaf%02d-%d", r, u-perRack+2)
			}
			fmt.Fprintf(&b, "      - {kind: %s, name: %s, u: %d}\n", kind, name, u+1)
		}
	}
	e := openEstate(t, plan{people: true, inventory: b.String(), rules: estateRules, runbook: estateRunbook})
	now := time.Now()
	var samples []tsdb.Sample
	up := func(job, instance string) {
		for ago := 3; ago >= 0; ago-- {
			samples = append(samples, tsdb.Sample{Labels: labels.FromStrings("__name__", "up", "job", job, "instance", instance), T: now.Add(-time.Duration(ago) * 10 * time.Second).UnixMilli(), V: 1})
		}
	}
	for r := range racks {
		for u := range perRack - 2 {
			name := fmt.Sprintf("h%02d-%02d", r, u)
			up("linux", name)
			e.observe(inventory.Observation{Source: "linux", Target: name, Facts: []inventory.Fact{{Kind: "host", Key: name, Name: name, Binding: map[string]string{"job": "linux", "instance": name}}}})
		}
		for n := range 2 {
			name := fmt.Sprintf("leaf%02d-%d", r, n)
			up("snmp", name)
			e.observe(switchOf(name, fmt.Sprintf("leaf%02d-%d", (r+1)%racks, n), ports))
			for port := range ports {
				for ago := 180; ago >= 0; ago-- {
					at := now.Add(-time.Duration(ago) * 20 * time.Second)
					samples = append(samples, tsdb.Sample{Labels: labels.FromStrings("__name__", "ifHCInOctets", "job", "snmp", "instance", name, "ifName", fmt.Sprint("Ethernet", port+1)), T: at.UnixMilli(), V: float64(at.Unix())})
				}
			}
		}
	}
	if _, err := e.History.Append(t.Context(), samples); err != nil {
		t.Fatal(err)
	}
	return e
}

func (e *estate) observe(o inventory.Observation) {
	e.t.Helper()
	o.At = time.Now()
	if err := e.Graph.Observe(e.t.Context(), o); err != nil {
		e.t.Fatal(err)
	}
}

// switchOf is a switch whose first ports lead to the next one and come from
// the one before.
func switchOf(name, next string, ports int) inventory.Observation {
	bound := func(kv ...string) map[string]string {
		out := map[string]string{"job": "snmp", "instance": name}
		for i := 0; i < len(kv); i += 2 {
			out[kv[i]] = kv[i+1]
		}
		return out
	}
	o := inventory.Observation{Source: "snmp", Target: name, Facts: []inventory.Fact{{Kind: "device", Key: name, Name: name, Binding: bound(), Fields: map[string]string{"chassisID": name}}}}
	for p := range ports {
		port := fmt.Sprint("Ethernet", p+1)
		f := inventory.Fact{Kind: "interface", Key: name + "/" + port, Name: port, Binding: bound("ifName", port), Relations: []inventory.FactRelation{{Type: inventory.PartOf, Kind: "device", Key: name}}}
		if p == 0 {
			f.Neighbour = &inventory.Neighbour{ChassisID: next, ChassisIDSubtype: "local", PortID: "Ethernet2", PortIDSubtype: "interfaceName", SysName: next}
		}
		o.Facts = append(o.Facts, f)
	}
	return o
}

// TestLargePages prints how long the pages of 2,000 items take: no timing is
// asserted, but that all of them are there.
func TestLargePages(t *testing.T) {
	if testing.Short() {
		t.Skip("2,000 items take a while to be written")
	}
	e := largeEstate(t)
	if n := len(e.Graph.Items("host")) + len(e.Graph.Items("device")); n != 2000 {
		t.Fatalf("%d items", n)
	}
	for _, path := range []string{"/", "/racks", "/topology", "/devices", "/inventory", "/alerts", "/rack/rack/r01", "/device/device/leaf01-0", "/admin/targets"} {
		var took []time.Duration
		size := 0
		for range 4 {
			start := time.Now()
			res := e.get("vic", path)
			took = append(took, time.Since(start).Round(100*time.Microsecond))
			if size = res.Body.Len(); res.Code != http.StatusOK {
				t.Fatalf("%s: %d", path, res.Code)
			}
		}
		t.Logf("%-26s %7d bytes, first %v, then %v", path, size, took[0], took[1:])
	}
	if page := e.get("vic", "/racks").Body.String(); strings.Count(page, `data-target="`) != 2000 || strings.Count(page, `data-state="ok"`) < 2000 {
		t.Errorf("the wall shows %d targets, %d states ok", strings.Count(page, `data-target="`), strings.Count(page, `data-state="ok"`))
	}
	if page := e.get("vic", "/topology").Body.String(); strings.Count(page, `data-item="link/`) != 100 {
		t.Errorf("the map shows %d links", strings.Count(page, `data-item="link/`))
	}
}
