package tsdb

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"time"

	"github.com/VictoriaMetrics/metrics"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/timestamp"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/util/annotations"
)

// ErrTruncated is the annotation of an answer cut at its limit.
var ErrTruncated = errors.New("results truncated due to limit")

var (
	querySeconds  = metrics.GetOrCreateHistogram(`nocturne_tsdb_query_duration_seconds`)
	queryFailures = metrics.GetOrCreateCounter(`nocturne_tsdb_query_failures_total`)
)

// contextCheck is how many series are read between looks at the context.
const contextCheck = 128

// slots bounds how many queries run at once; the engine waits in Insert, for
// preparing a query as for running it.
type slots chan struct{}

func (s slots) GetMaxConcurrent() int { return cap(s) }

func (s slots) Insert(ctx context.Context, _ string) (int, error) {
	select {
	case s <- struct{}{}: // free: the engine itself says when ctx has ended
		return 0, nil
	default:
	}
	select {
	case s <- struct{}{}:
		return 0, nil
	case <-ctx.Done():
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return 0, promql.ErrQueryTimeout("query queue")
		}
		return 0, promql.ErrQueryCanceled("query queue")
	}
}

func (s slots) Delete(int) { <-s }

func (s slots) Close() error { return nil }

func newEngine(o Options, log *slog.Logger) *promql.Engine {
	return promql.NewEngine(promql.EngineOpts{
		Logger:                   log,
		MaxSamples:               queryLimits(o).MaxSamples,
		Timeout:                  queryTimeout(o),
		ActiveQueryTracker:       make(slots, queryLimits(o).MaxConcurrent),
		NoStepSubqueryIntervalFn: func(int64) int64 { return time.Minute.Milliseconds() },
		EnableAtModifier:         true,
		EnableNegativeOffset:     true,
	})
}

func queryTimeout(o Options) time.Duration { return cmp.Or(o.QueryTimeout, 30*time.Second) }

// Query evaluates a PromQL expression at one time. It is the question of who
// decides something by the answer: with a Remote it is answered here where this
// machine holds all that it wrote of the time asked for, and fails where the
// remote store lacks samples that it needs.
func (db *DB) Query(ctx context.Context, expr string, t time.Time) (*promql.Result, error) {
	q, err := db.InstantQuery(ctx, nil, expr, t)
	if err != nil {
		return nil, fmt.Errorf("query %q: %w", expr, err)
	}
	if r, ok := q.(*remoteQuery); ok {
		r.judges = true
	}
	return exec(ctx, q)
}

// QueryRange evaluates a PromQL expression at from, from+step, ... up to to.
func (db *DB) QueryRange(ctx context.Context, expr string, from, to time.Time, step time.Duration) (*promql.Result, error) {
	if step <= 0 {
		return nil, fmt.Errorf("query %q: step %s is not positive", expr, step)
	}
	q, err := db.RangeQuery(ctx, nil, expr, from, to, step)
	if err != nil {
		return nil, fmt.Errorf("query %q: %w", expr, err)
	}
	return exec(ctx, q)
}

// exec does not close q: its result would go back to the engine's pool while
// the caller reads it.
func exec(ctx context.Context, q promql.Query) (*promql.Result, error) {
	start := time.Now()
	r := q.Exec(ctx)
	querySeconds.UpdateDuration(start)
	if r.Err != nil {
		queryFailures.Inc()
		return r, fmt.Errorf("query %q: %w", q.String(), r.Err)
	}
	return r, nil
}

// InstantQuery prepares a query for callers that want its options and
// statistics. They Close it when they are done with the result.
func (db *DB) InstantQuery(ctx context.Context, o promql.QueryOpts, expr string, t time.Time) (promql.Query, error) {
	ctx, cancel := db.preparing(ctx)
	defer cancel()
	if db.remote != nil {
		return db.remote.prepare(db.engine.NewInstantQuery(ctx, db.readable(), o, expr, t))
	}
	return db.tiers.prepared(db.engine.NewInstantQuery(ctx, db.tiers.over(db.readable()), o, expr, t))
}

// preparing bounds the wait for a slot before the query exists, which the
// engine's own timeout does not cover.
func (db *DB) preparing(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, db.timeout)
}

// readable is what one query reads, within its limit.
func (db *DB) readable() storage.Queryable { return bounded(db.inner, db.QueryLimits().MaxRead) }

// RangeQuery is InstantQuery over a range.
func (db *DB) RangeQuery(ctx context.Context, o promql.QueryOpts, expr string, from, to time.Time, step time.Duration) (promql.Query, error) {
	ctx, cancel := db.preparing(ctx)
	defer cancel()
	if db.remote != nil {
		return db.remote.prepare(db.engine.NewRangeQuery(ctx, db.readable(), o, expr, from, to, step))
	}
	return db.tiers.prepared(db.engine.NewRangeQuery(ctx, db.tiers.over(db.readable()), o, expr, from, to, step))
}

// Series lists the label sets that match any of the matcher sets and may have
// samples between from and to. A limit of 0 is none; beyond it the answer
// carries ErrTruncated among its annotations.
func (db *DB) Series(ctx context.Context, matchers [][]*labels.Matcher, from, to time.Time, limit int) ([]labels.Labels, annotations.Annotations, error) {
	if db.remote != nil {
		return db.remote.series(ctx, matchers, from, to, limit)
	}
	mint, maxt := timestamp.FromTime(from), timestamp.FromTime(to)
	q, err := db.tiers.over(db.inner).Querier(mint, maxt)
	if err != nil {
		return nil, nil, fmt.Errorf("read series: %w", err)
	}
	defer q.Close()
	// "series" is the library's token for lookups that need no samples.
	hints := &storage.SelectHints{Start: mint, End: maxt, Func: "series", Limit: hintLimit(limit)}
	sets := make([]storage.SeriesSet, 0, len(matchers))
	for _, ms := range matchers {
		sets = append(sets, q.Select(ctx, len(matchers) > 1, hints, ms...))
	}
	set := storage.EmptySeriesSet()
	switch len(sets) {
	case 0:
	case 1:
		set = sets[0]
	default:
		set = storage.NewMergeSeriesSet(sets, 0, storage.ChainedSeriesMerge)
	}
	return collect(ctx, set, limit)
}

func collect(ctx context.Context, set storage.SeriesSet, limit int) ([]labels.Labels, annotations.Annotations, error) {
	warnings := set.Warnings()
	found := []labels.Labels{}
	for set.Next() {
		if len(found)%contextCheck == 0 {
			if err := ctx.Err(); err != nil {
				return nil, warnings, err
			}
		}
		if limit > 0 && len(found) == limit {
			return found, warnings.Add(ErrTruncated), nil
		}
		found = append(found, set.At().Labels())
	}
	return found, warnings, set.Err()
}

// LabelNames lists, in order, the label names of the series that match any of
// the matcher sets (all series without one). See Series for the limit.
func (db *DB) LabelNames(ctx context.Context, matchers [][]*labels.Matcher, from, to time.Time, limit int) ([]string, annotations.Annotations, error) {
	if db.remote != nil {
		return db.remote.labelNames(ctx, matchers, from, to, limit)
	}
	return db.strings(matchers, from, to, limit, func(q storage.Querier, h *storage.LabelHints, ms []*labels.Matcher) ([]string, annotations.Annotations, error) {
		return q.LabelNames(ctx, h, ms...)
	})
}

// LabelValues lists, in order, the values that a label has in the series that
// match any of the matcher sets. See Series for the limit.
func (db *DB) LabelValues(ctx context.Context, name string, matchers [][]*labels.Matcher, from, to time.Time, limit int) ([]string, annotations.Annotations, error) {
	if db.remote != nil {
		return db.remote.labelValues(ctx, name, matchers, from, to, limit)
	}
	return db.strings(matchers, from, to, limit, func(q storage.Querier, h *storage.LabelHints, ms []*labels.Matcher) ([]string, annotations.Annotations, error) {
		return q.LabelValues(ctx, name, h, ms...)
	})
}

type stringsOf func(storage.Querier, *storage.LabelHints, []*labels.Matcher) ([]string, annotations.Annotations, error)

func (db *DB) strings(matchers [][]*labels.Matcher, from, to time.Time, limit int, of stringsOf) ([]string, annotations.Annotations, error) {
	q, err := db.tiers.over(db.inner).Querier(timestamp.FromTime(from), timestamp.FromTime(to))
	if err != nil {
		return nil, nil, fmt.Errorf("read labels: %w", err)
	}
	defer q.Close()
	if len(matchers) == 0 {
		matchers = [][]*labels.Matcher{nil}
	}
	found, warnings := []string{}, annotations.Annotations(nil)
	for _, ms := range matchers {
		some, w, err := of(q, &storage.LabelHints{Limit: hintLimit(limit)}, ms)
		warnings.Merge(w)
		if err != nil {
			return nil, warnings, err
		}
		found = append(found, some...)
	}
	slices.Sort(found)
	found = slices.Compact(found)
	if limit > 0 && len(found) > limit {
		return found[:limit], warnings.Add(ErrTruncated), nil
	}
	return found, warnings, nil
}

// hintLimit asks for one more than the limit, to see that there is more.
func hintLimit(limit int) int {
	if limit > 0 && limit < math.MaxInt {
		return limit + 1
	}
	return limit
}
