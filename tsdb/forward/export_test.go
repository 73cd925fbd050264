package forward

import (
	"maps"
	"path/filepath"

	"github.com/prometheus/prometheus/tsdb/chunks"
)

// PositionFiles are where a receiver's position is kept.
func PositionFiles(dir, name string) [2]string {
	return [2]string{filepath.Join(dir, name+".0"), filepath.Join(dir, name+".1")}
}

// Series is how many series the forwarder keeps labels of.
func (f *Forwarder) Series() int {
	f.catalogue.mu.RLock()
	defer f.catalogue.mu.RUnlock()
	return len(f.catalogue.series)
}

// Trim is what Run does now and then.
func (f *Forwarder) Trim() error { return f.catalogue.trim() }

// Forget loses the labels of all series.
func (f *Forwarder) Forget() {
	f.catalogue.mu.Lock()
	defer f.catalogue.mu.Unlock()
	maps.DeleteFunc(f.catalogue.series, func(chunks.HeadSeriesRef, entry) bool { return true })
}
