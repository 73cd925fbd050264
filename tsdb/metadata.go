package tsdb

import (
	"maps"
	"slices"
	"sync"

	"github.com/prometheus/prometheus/model/metadata"
)

const (
	maxMetrics      = 20_000 // that have metadata
	maxOfOneMetric  = 8      // sources seldom disagree
	maxMetadataText = 4 << 10
)

// Metadata holds what senders say of their metrics: type, help and unit. It
// is kept in memory, since senders repeat it, and bounded: what comes after
// the bound is not kept. The zero value is ready; it is safe for concurrent
// use.
type Metadata struct {
	mu sync.RWMutex
	of map[string][]metadata.Metadata // by metric family
}

// Set notes what a sender says of a metric family and reports whether it is
// held.
func (m *Metadata) Set(metric string, md metadata.Metadata) bool {
	if metric == "" || len(metric)+len(md.Help)+len(md.Unit) > maxMetadataText {
		return false
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	held, known := m.of[metric]
	switch {
	case slices.Contains(held, md):
		return true
	case len(held) >= maxOfOneMetric, !known && len(m.of) >= maxMetrics:
		return false
	case m.of == nil:
		m.of = map[string][]metadata.Metadata{}
	}
	m.of[metric] = append(slices.Clip(held), md)
	return true
}

// All returns what is known of every metric family, in the order in which it
// was first said.
func (m *Metadata) All() map[string][]metadata.Metadata {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return maps.Clone(m.of)
}

// Of returns what is known of one metric family.
func (m *Metadata) Of(metric string) []metadata.Metadata {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.of[metric]
}
