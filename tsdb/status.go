package tsdb

import (
	"cmp"
	"time"

	"github.com/prometheus/prometheus/tsdb"
)

// Limits are the bounds that hold for every query.
type Limits struct {
	Timeout       time.Duration // waiting included
	MaxSamples    int           // in memory at one time
	MaxRead       int64         // read from the store in all
	MaxConcurrent int
	Retention     time.Duration // what is older is not there
}

func limitsOf(o Options) Limits {
	return Limits{
		Timeout:       queryTimeout(o),
		MaxSamples:    cmp.Or(o.MaxSamples, 10_000_000),
		MaxRead:       cmp.Or(o.MaxRead, 50_000_000),
		MaxConcurrent: cmp.Or(o.MaxConcurrent, 16),
		Retention:     cmp.Or(o.Retention, 15*24*time.Hour),
	}
}

// Limits returns the bounds of queries, defaults filled in.
func (db *DB) Limits() Limits { return db.limits }

// headChunks is the library's own gauge of the chunks that the head holds.
const headChunks = "prometheus_tsdb_head_chunks"

// HeadStats says what the series of the head are made of: the limit largest
// of each kind, and how many chunks there are in all.
func (db *DB) HeadStats(limit int) (stats *tsdb.Stats, chunks int64, err error) {
	families, err := db.own.Gather()
	if err != nil {
		return nil, 0, err
	}
	for _, f := range families {
		if f.GetName() == headChunks {
			chunks = int64(f.GetMetric()[0].GetGauge().GetValue())
		}
	}
	return db.inner.Head().Stats("__name__", limit), chunks, nil
}
