package linux

import (
	"slices"
	"strings"
	"testing"

	"nocturne/collector"
)

// TestEveryMetricIsDescribed reads a host; memory's metrics beyond those that
// people ask for may be without a text.
func TestEveryMetricIsDescribed(t *testing.T) {
	res := read(collector.Target{Name: "db-1"}, split(sample(t)))
	if len(res.Samples) < 50 {
		t.Fatalf("only %d samples", len(res.Samples))
	}
	for _, s := range res.Samples {
		name := s.Labels.Get("__name__")
		known := slices.ContainsFunc(Metrics, func(m collector.Metric) bool { return m.Name == name && m.Help != "" })
		if !known && !strings.HasPrefix(name, "node_memory_") {
			t.Errorf("%s is not in the catalogue", name)
		}
	}
}
