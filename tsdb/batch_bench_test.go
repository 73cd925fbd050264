package tsdb

import (
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
)

// tenLabels makes n series of ten labels.
func tenLabels(n int) []labels.Labels {
	out := make([]labels.Labels, n)
	for i := range out {
		out[i] = labels.FromStrings("__name__", "node_cpu_seconds_total", "job", "linux", "instance", fmt.Sprint("host-", i/100), "cpu", fmt.Sprint(i%100),
			"mode", "system", "site", "berlin", "rack", fmt.Sprint("r", i/400), "team", "infrastructure", "env", "production", "os", "debian")
	}
	return out
}

// BenchmarkAppend compares DB with the library it stands on: batches of 1,000
// samples of 20,000 series, in order, 30 s apart. The figure is samples per
// second of one core, the library's background work included.
func BenchmarkAppend(b *testing.B) {
	const series, batch = 20_000, 1000
	names := tenLabels(series)
	start := time.Now().Add(-4 * time.Hour).UnixMilli()
	at := func(n int) int64 { return start + int64(n/series)*30_000 }
	b.Run("library", func(b *testing.B) {
		db, err := tsdb.Open(b.TempDir(), slog.New(slog.DiscardHandler), nil, settings(Options{}), nil)
		if err != nil {
			b.Fatal(err)
		}
		defer db.Close()
		refs := make([]storage.SeriesRef, series)
		n := 0
		for b.Loop() {
			app := db.Appender(b.Context())
			for range batch {
				i := n % series
				if refs[i], err = app.Append(refs[i], names[i], at(n), float64(n)); err != nil {
					b.Fatal(err)
				}
				n++
			}
			if err := app.Commit(); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "samples/s")
	})
	open := func(b *testing.B) *DB {
		db, err := Open(Options{Dir: b.TempDir(), Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			b.Fatal(err)
		}
		return db
	}
	b.Run("references", func(b *testing.B) {
		db := open(b)
		defer db.Close()
		src := db.Source("bench")
		refs := make([]uint64, series)
		n := 0
		for b.Loop() {
			x, err := src.Begin(b.Context())
			if err != nil {
				b.Fatal(err)
			}
			for range batch {
				i := n % series
				if refs[i] == 0 || !x.AppendRef(refs[i], at(n), float64(n)) {
					refs[i] = x.Append(names[i], at(n), float64(n))
				}
				n++
			}
			if r, err := x.Commit(); err != nil || r.Appended != batch {
				b.Fatal(r, err)
			}
		}
		b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "samples/s")
	})
	b.Run("labels", func(b *testing.B) {
		db := open(b)
		defer db.Close()
		samples := make([]Sample, batch)
		n := 0
		for b.Loop() {
			for i := range samples {
				samples[i] = Sample{names[n%series], at(n), float64(n)}
				n++
			}
			if r, err := db.Append(b.Context(), samples); err != nil || r.Appended != batch {
				b.Fatal(r, err)
			}
		}
		b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "samples/s")
	})
}
