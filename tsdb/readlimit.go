package tsdb

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/VictoriaMetrics/metrics"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
)

var readTooMuch = metrics.GetOrCreateCounter(`nocturne_tsdb_queries_over_read_limit_total`)

// ReadLimitError ends a query that reads more samples than one query may.
// The engine's own limit holds for what is in memory at one time; a sum over
// years of many series stays below that and yet keeps a core busy.
type ReadLimitError struct{ Limit int64 }

func (e ReadLimitError) Error() string {
	return fmt.Sprintf("query would read more than %d samples from storage: ask for a shorter time range or fewer series", e.Limit)
}

const (
	// readBatch is how many samples an iterator counts by itself before it
	// tells the query's count.
	readBatch = 256
	// densest is the interval at which samples are guessed to stand. Counting
	// costs a tenth of a query's time; one that stays below its limit even if
	// its samples are that dense is not counted.
	densest = 5 * time.Second
	// densestBuckets is that of a tier: of 5 min, with some points a bucket.
	densestBuckets = time.Minute
)

// readCount is what one query has read so far.
type readCount struct {
	limit   int64
	n       atomic.Int64 // counted
	guessed atomic.Int64 // not counted
	told    atomic.Bool  // the limit was passed
}

// mustCount takes a series of that many samples into the guess, as long as that
// is below the limit.
func (c *readCount) mustCount(samples int64) bool {
	if c.guessed.Load() > c.limit {
		return true
	}
	return c.guessed.Add(samples) > c.limit
}

// bounded returns q with a limit on the samples that all of its queriers read
// together: one for each query.
func bounded(q storage.Queryable, limit int64) storage.Queryable {
	count := &readCount{limit: limit}
	return count.bound(q, func([]*labels.Matcher) time.Duration { return densest })
}

// bound has what q reads counted. The interval is at which samples are guessed
// to stand, of what a selector reads; 0 has it not counted.
func (c *readCount) bound(q storage.Queryable, interval func([]*labels.Matcher) time.Duration) storage.Queryable {
	return storage.QueryableFunc(func(mint, maxt int64) (storage.Querier, error) {
		inner, err := q.Querier(mint, maxt)
		if err != nil {
			return nil, err
		}
		return countedQuerier{inner, c, maxt - mint, interval}, nil
	})
}

type countedQuerier struct {
	storage.Querier
	count    *readCount
	ms       int64
	interval func([]*labels.Matcher) time.Duration
}

func (q countedQuerier) Select(ctx context.Context, sorted bool, h *storage.SelectHints, ms ...*labels.Matcher) storage.SeriesSet {
	set := q.Querier.Select(ctx, sorted, h, ms...)
	interval := q.interval(ms).Milliseconds()
	if interval == 0 {
		return set
	}
	length := q.ms
	if h != nil {
		length = min(length, h.End-h.Start)
	}
	return countedSet{set, q.count, length/interval + 1}
}

type countedSet struct {
	storage.SeriesSet
	count *readCount
	guess int64 // samples a series
}

func (s countedSet) At() storage.Series { return countedSeries{s.SeriesSet.At(), s.count, s.guess} }

type countedSeries struct {
	storage.Series
	count *readCount
	guess int64
}

func (s countedSeries) Iterator(reuse chunkenc.Iterator) chunkenc.Iterator {
	it, ok := reuse.(*countedIterator)
	if ok {
		it.settle() // the engine leaves a series before its end
		reuse = it.Iterator
	}
	inner := s.Series.Iterator(reuse)
	if !s.count.mustCount(s.guess) {
		return inner
	}
	if !ok {
		it = new(countedIterator)
	}
	*it = countedIterator{Iterator: inner, count: s.count}
	it.over()
	return it
}

// countedIterator counts the samples that it walks over. Those it seeks to are
// few: one a step of the query.
type countedIterator struct {
	chunkenc.Iterator
	count *readCount
	n     int64 // not yet told to count
	err   error
}

func (it *countedIterator) Next() chunkenc.ValueType {
	if it.n++; it.err != nil || it.n >= readBatch && it.over() {
		return chunkenc.ValNone
	}
	return it.ended(it.Iterator.Next())
}

// ended tells what is left once the series is at its end.
func (it *countedIterator) ended(v chunkenc.ValueType) chunkenc.ValueType {
	if v == chunkenc.ValNone {
		it.over()
	}
	return v
}

func (it *countedIterator) settle() int64 {
	n := it.count.n.Add(it.n)
	it.n = 0
	return n
}

func (it *countedIterator) over() bool {
	if it.settle() <= it.count.limit {
		return false
	}
	if it.count.told.CompareAndSwap(false, true) {
		readTooMuch.Inc()
	}
	it.err = ReadLimitError{it.count.limit}
	return true
}

func (it *countedIterator) Err() error {
	if it.err != nil {
		return it.err
	}
	return it.Iterator.Err()
}
