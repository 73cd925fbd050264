package tsdb

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
)

// BenchmarkHour appends an hour of 5,000 series at 15 s, and reports what the
// store then holds in memory and how long it takes to open again.
func BenchmarkHour(b *testing.B) {
	const series, step = 5000, 15 * time.Second
	names := make([]labels.Labels, series)
	for i := range names {
		names[i] = labels.FromStrings("__name__", "ifHCInOctets", "job", "snmp", "instance", fmt.Sprint("leaf", i%40), "ifName", fmt.Sprint("Ethernet", i))
	}
	for b.Loop() {
		dir := b.TempDir()
		db, err := Open(Options{Dir: dir})
		if err != nil {
			b.Fatal(err)
		}
		start := time.Now().Add(-time.Hour)
		for at := start; at.Before(start.Add(time.Hour)); at = at.Add(step) {
			batch := make([]Sample, series)
			for i := range batch {
				batch[i] = Sample{names[i], at.UnixMilli(), float64(i) + float64(at.Unix())}
			}
			if _, err := db.Append(b.Context(), batch); err != nil {
				b.Fatal(err)
			}
		}
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		b.ReportMetric(float64(m.HeapAlloc)/1e6, "MB-heap")
		if err := db.Close(); err != nil {
			b.Fatal(err)
		}
		opening := time.Now()
		if db, err = Open(Options{Dir: dir}); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(time.Since(opening).Milliseconds()), "ms-open")
		if err := db.Close(); err != nil {
			b.Fatal(err)
		}
	}
}
