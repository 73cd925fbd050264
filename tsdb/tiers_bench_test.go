package tsdb

import (
	"cmp"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
)

// BenchmarkTier asks 1,000 series at a step of an hour, from raw samples and
// from tiers, and reports what each takes on disk. NOCTURNE_BENCH_DAYS is how
// long they are (2).
func BenchmarkTier(b *testing.B) {
	days, err := strconv.Atoi(cmp.Or(os.Getenv("NOCTURNE_BENCH_DAYS"), "2"))
	if err != nil {
		b.Fatal(err)
	}
	const series, step = 1000, 30 * time.Second
	db, err := Open(Options{Dir: b.TempDir(), Log: quiet, Interval: step, MaxSamples: math.MaxInt})
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	r := rand.New(rand.NewPCG(1, 2))
	names, values := make([]labels.Labels, series), make([]float64, series)
	for i := range names {
		names[i] = labels.FromStrings("__name__", []string{"gauge", "octets_total"}[i%2], "job", "snmp", "instance", fmt.Sprint("leaf", i%40), "ifName", fmt.Sprint("Ethernet", i))
	}
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	end := start.Add(time.Duration(days) * day)
	for at := start; at.Before(end); at = at.Add(step) {
		batch := make([]Sample, series)
		for i := range batch {
			if i%2 == 0 {
				values[i] = math.Round(r.NormFloat64()*100) / 10
			} else {
				values[i] += float64(r.IntN(1_000_000))
			}
			batch[i] = Sample{names[i], at.UnixMilli() + int64(i), values[i]}
		}
		if _, err := db.Append(b.Context(), batch); err != nil {
			b.Fatal(err)
		}
	}
	if err := db.inner.Compact(b.Context()); err != nil {
		b.Fatal(err)
	}
	began := time.Now()
	if err := db.tiers.rollUp(b.Context(), 0); err != nil {
		b.Fatal(err)
	}
	b.Logf("rolled up in %s", time.Since(began).Round(time.Millisecond))
	var raw int64
	for _, block := range db.inner.Blocks() {
		raw += block.Size()
	}
	b.Logf("raw: %d bytes", raw)
	for _, tier := range db.tiers.list {
		s := tier.Stats()
		b.Logf("%s: %d bytes, %.2f of raw, %d blocks, %.2f bytes a sample", s.Name, s.Bytes, float64(s.Bytes)/float64(raw), s.Blocks, float64(s.Bytes)/float64(s.Samples))
	}
	for _, expr := range []string{`{job="snmp"}`, "max_over_time(gauge[1h])", "avg_over_time(gauge[1h])", "sum by (instance) (rate(octets_total[1h]))"} {
		ask := func(b *testing.B, from string, query func() (promql.Query, error)) {
			b.Run(from+"/"+expr, func(b *testing.B) {
				for b.Loop() {
					q, err := query()
					if err != nil {
						b.Fatal(err)
					}
					if res := q.Exec(b.Context()); res.Err != nil {
						b.Fatal(res.Err)
					}
					if tiers := TiersOf(q); tiers != nil && tiers[0] == "raw" {
						b.Fatalf("read %v", tiers)
					}
					q.Close()
				}
			})
		}
		ask(b, "raw", func() (promql.Query, error) {
			return db.engine.NewRangeQuery(b.Context(), db.inner, nil, expr, start, end, time.Hour)
		})
		ask(b, "tier", func() (promql.Query, error) { return db.RangeQuery(b.Context(), nil, expr, start, end, time.Hour) })
	}
}
