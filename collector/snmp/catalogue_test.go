package snmp

import (
	"slices"
	"testing"
)

// TestEveryMetricIsDescribed holds the catalogue to the columns that are read,
// both ways.
func TestEveryMetricIsDescribed(t *testing.T) {
	written := []string{"sysUpTime"}
	for _, m := range metrics {
		written = append(written, m.name)
	}
	var described []string
	for _, m := range Metrics {
		described = append(described, m.Name)
	}
	slices.Sort(written)
	slices.Sort(described)
	if !slices.Equal(written, described) {
		t.Errorf("written %q\ndescribed %q", written, described)
	}
}
