package alerting

import (
	"fmt"
	"io"
	"log/slog"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"nocturne/internal/inventory"
	"nocturne/internal/ledger"
	"nocturne/internal/state"
	"nocturne/tsdb"
)

// BenchmarkStates computes the states of a wall: 500 devices with 20
// interfaces each, polled for five minutes.
func BenchmarkStates(b *testing.B) {
	quiet := slog.New(slog.NewTextHandler(io.Discard, nil))
	db, err := tsdb.Open(tsdb.Options{Dir: b.TempDir(), Retention: time.Hour, OutOfOrder: time.Hour, Log: quiet})
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	st, err := state.Open(state.Options{InMemory: true, Log: quiet})
	if err != nil {
		b.Fatal(err)
	}
	defer st.Close()
	graph, err := inventory.Open(st)
	if err != nil {
		b.Fatal(err)
	}
	chain, err := ledger.Open(st)
	if err != nil {
		b.Fatal(err)
	}
	now := time.Now()
	for d := range 500 {
		name := fmt.Sprintf("leaf%d", d)
		facts := []inventory.Fact{{Kind: "device", Key: name, Binding: map[string]string{"job": "snmp", "instance": name}}}
		for i := range 20 {
			port := fmt.Sprintf("Ethernet%d", i)
			facts = append(facts, inventory.Fact{Kind: "interface", Key: name + "/" + port,
				Binding:   map[string]string{"job": "snmp", "instance": name, "ifName": port},
				Relations: []inventory.FactRelation{{Type: inventory.PartOf, Kind: "device", Key: name}}})
		}
		if err := graph.Observe(b.Context(), inventory.Observation{Source: "snmp", Target: name, At: now, Facts: facts}); err != nil {
			b.Fatal(err)
		}
		var samples []tsdb.Sample
		for i := range 20 {
			samples = append(samples, tsdb.Sample{Labels: labels.FromStrings("__name__", "up", "job", "snmp", "instance", name),
				T: now.Add(time.Duration(i-20) * 15 * time.Second).UnixMilli(), V: 1})
		}
		if _, err := db.Append(b.Context(), samples); err != nil {
			b.Fatal(err)
		}
	}
	e, err := New(Options{DB: db, State: st, Ledger: chain, Graph: graph, Log: quiet})
	if err != nil {
		b.Fatal(err)
	}
	last := e.snapshotNow(now, nil)
	last.states()
	for b.Loop() {
		next := e.snapshotNow(now, last)
		if next.states()["device/leaf7"] != StateOK {
			b.Fatal(next.status("device/leaf7"))
		}
		last = next
	}
}
