package tsdb

import (
	"cmp"
	"time"

	"github.com/prometheus/prometheus/tsdb"
)

// QueryLimits are the bounds that hold for every query.
type QueryLimits struct {
	Timeout       time.Duration // waiting included
	MaxSamples    int           // in memory at one time
	MaxRead       int64         // read from the store in all
	MaxConcurrent int
	Retention     time.Duration // what is older is not there
}

func queryLimits(o Options) QueryLimits {
	return QueryLimits{
		Timeout:       queryTimeout(o),
		MaxSamples:    cmp.Or(o.MaxSamples, 10_000_000),
		MaxRead:       cmp.Or(o.MaxRead, 50_000_000),
		MaxConcurrent: cmp.Or(o.MaxConcurrent, 16),
		Retention:     o.retention(),
	}
}

// QueryLimits returns the bounds of queries, defaults filled in.
func (db *DB) QueryLimits() QueryLimits { return queryLimits(db.options) }

// HeadStats says what the series of the head are made of: the limit largest
// of each kind, and how many chunks there are in all.
func (db *DB) HeadStats(limit int) (stats *tsdb.Stats, chunks int64) {
	return db.inner.Head().Stats("__name__", limit), db.inner.faults.headChunks()
}
