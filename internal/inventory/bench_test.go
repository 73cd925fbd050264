package inventory

import (
	"fmt"
	"testing"

	"github.com/prometheus/prometheus/model/labels"
)

// bigGraph is 1,000 devices with 100 interfaces each.
func bigGraph(b *testing.B) (*Graph, []Fact) {
	g := newGraph(b)
	var last []Fact
	for d := range 1000 {
		name := fmt.Sprintf("leaf%d", d)
		facts := []Fact{device(name, "sysDescr", "a switch", "chassisID", fmt.Sprintf("02:00:00:00:%02x:%02x", d>>8, d&255))}
		for i := range 100 {
			f := iface(name, fmt.Sprintf("Ethernet%d", i), "ifIndex", fmt.Sprint(i), "ifDescr", "x", "ifAlias", "to somewhere", "ifType", "6", "physAddress", fmt.Sprintf("02:01:%02x:%02x:00:%02x", d>>8, d&255, i))
			if i < 4 {
				f = hears(f, Neighbour{SysName: fmt.Sprintf("leaf%d", (d+i+1)%1000), PortID: fmt.Sprintf("Ethernet%d", i+4), PortIDSubtype: "interfaceName"})
			}
			facts = append(facts, f)
		}
		observe(b, g, name, minute(0), false, facts...)
		last = facts
	}
	return g, last
}

func BenchmarkBigGraph(b *testing.B) {
	g, facts := bigGraph(b)
	b.Run("Resolve", func(b *testing.B) {
		series := make([]labels.Labels, 1000)
		for i := range series {
			series[i] = labels.FromStrings("__name__", "ifHCInOctets", "job", "snmp", "instance", fmt.Sprintf("leaf%d", i),
				"ifName", fmt.Sprintf("Ethernet%d", i%100), "ifIndex", "7", "ifAlias", "to somewhere", "ifDescr", "x")
		}
		b.ReportAllocs()
		i := 0
		for b.Loop() {
			if id, ok := g.Resolve(series[i%len(series)], minute(1)); !ok {
				b.Fatal(id)
			}
			i++
		}
	})
	b.Run("ObserveUnchanged", func(b *testing.B) {
		n := 1
		for b.Loop() {
			observe(b, g, "leaf999", minute(n), false, facts...)
			n++
		}
	})
	b.Run("Links", func(b *testing.B) {
		b.ReportMetric(float64(len(g.Links())), "links")
		for b.Loop() {
			g.Links()
		}
	})
}
