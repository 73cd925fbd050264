package openstack

import (
	"slices"
	"testing"

	"nocturne/collector"
)

// TestEveryMetricIsDescribed holds the catalogue to what a poll brings, both
// ways.
func TestEveryMetricIsDescribed(t *testing.T) {
	var written []string
	for _, s := range poll(t, newReplay(t, "")).Samples {
		written = append(written, s.Labels.Get("__name__"))
	}
	slices.Sort(written)
	written = slices.Compact(written)
	var described []string
	for _, m := range Metrics {
		described = append(described, m.Name)
	}
	slices.Sort(described)
	if !slices.Equal(written, described) || slices.ContainsFunc(Metrics, func(m collector.Metric) bool { return m.Help == "" }) {
		t.Errorf("written %q\ndescribed %q", written, described)
	}
}
