package tsdb

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"sync"
	"time"

	"github.com/VictoriaMetrics/metrics"
	"github.com/oklog/ulid/v2"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/util/annotations"
	"github.com/prometheus/prometheus/util/stats"

	"nocturne/tsdb/remotequery"
)

const (
	bufferRetention = 2 * time.Hour
	// behindTolerated is how far the remote store may lack our newest samples
	// and still be asked for a judgement: less than the lookback by which an
	// answer of some minutes ago counts as one of now.
	behindTolerated = time.Minute
	probeInterval   = 15 * time.Second
)

var (
	// ErrRemote is in the chain of every error of a remote store that did not
	// answer, or not what its API promises.
	ErrRemote = errors.New("the remote store of history does not answer")
	// ErrBehind says that the remote store lacks samples of ours that a
	// judgement needs.
	ErrBehind = errors.New("the remote store of history lacks our newest samples")
)

var (
	answeredHere  = metrics.GetOrCreateCounter(`nocturne_tsdb_queries_total{from="buffer"}`)
	droppedUnsent = metrics.GetOrCreateCounter(`nocturne_tsdb_blocks_dropped_unsent_total`)
	answeredThere = metrics.GetOrCreateCounter(`nocturne_tsdb_queries_total{from="remote"}`)
)

// Remote has the samples read from a store that speaks Prometheus' query API.
// This one is then a short buffer: it is written as ever, and something else
// ships what it holds. See docs/decisions/0003-reading-from-a-remote-store.md.
type Remote struct {
	URL     string                      // before /api/v1/, without a user
	Header  func() (http.Header, error) // lets us in; nil sends none
	Timeout time.Duration               // of one request (the query timeout)
	// Behind tells how old the oldest sample is that the store has not yet got
	// from this machine; 0 when it has all. Blocks that it lacks are kept, see
	// Options.RetentionBehind. Nil is always 0. It is not asked while the store
	// opens, which deletes nothing.
	Behind func() time.Duration
}

// RemoteStats say how the remote store fares.
type RemoteStats struct {
	URL        string
	LastAnswer time.Time // zero before the first
	Err        error     // why the last request has no answer; nil when it has one
	ErrSince   time.Time // when requests began to have no answer
	Behind     time.Duration
}

// remoteStore is what a DB in remote mode asks.
type remoteStore struct {
	client *remotequery.Client
	db     *DB
	behind func() time.Duration
	slots  slots // of queries that wait for an answer
	opened time.Time

	mu    sync.Mutex // guards stats
	stats RemoteStats
}

func (o Options) openRemote(db *DB) (*remoteStore, error) {
	if o.Remote == nil {
		return nil, nil
	}
	client, err := remotequery.New(remotequery.Options{
		URL: o.Remote.URL, Header: o.Remote.Header, Timeout: cmp.Or(o.Remote.Timeout, queryTimeout(o)), MaxSamples: o.MaxSamples,
	})
	if err != nil {
		return nil, err
	}
	return &remoteStore{
		client: client, db: db, behind: o.Remote.lag, opened: time.Now(),
		slots: make(slots, cmp.Or(o.MaxConcurrent, 16)), stats: RemoteStats{URL: client.URL()},
	}, nil
}

func (r *Remote) lag() time.Duration {
	if r.Behind == nil {
		return 0
	}
	return r.Behind()
}

// retention is how long the local store keeps samples.
func (o Options) retention() time.Duration {
	if o.Remote != nil {
		return cmp.Or(o.Retention, bufferRetention)
	}
	return cmp.Or(o.Retention, 30*day)
}

// blocksToDelete is the library's rule, by age, except that blocks which the
// remote store lacks stay until the buffer is as old as RetentionBehind. While
// the store opens nobody knows what that store lacks, and all stay. RawBytes
// holds in any case, as does the room on the disk: old samples go unsent rather
// than that new ones are refused.
func (o Options) blocksToDelete(t *tiers) tsdb.BlocksToDeleteFunc {
	return func(blocks []*tsdb.Block) map[ulid.ULID]struct{} {
		keep, most := o.retention(), cmp.Or(o.RetentionBehind, 15*24*time.Hour)
		opened, unsent := t.raw.Load() != nil, int64(math.MaxInt64)
		var over map[ulid.ULID]bool
		if !opened {
			keep = math.MaxInt64
		} else {
			lag := o.Remote.lag()
			if behind := min(lag, most); behind > 0 {
				keep = max(keep, min(keep+behind, most))
				unsent = time.Now().Add(-lag).UnixMilli()
			}
			over = t.overSize(blocks, t.room.short())
		}
		var newest int64
		for _, b := range blocks {
			newest = max(newest, b.Meta().MaxTime)
		}
		gone := map[ulid.ULID]struct{}{}
		for _, b := range blocks {
			m := b.Meta()
			expired := m.Compaction.Deletable || newest-m.MaxTime >= keep.Milliseconds()
			if !expired && over[m.ULID] && m.MaxTime > unsent {
				droppedUnsent.Inc()
				t.log.Warn("block deleted for its size that the remote store lacks", "block", m.ULID,
					"from", time.UnixMilli(m.MinTime).UTC(), "to", time.UnixMilli(m.MaxTime).UTC())
			}
			if expired || over[m.ULID] {
				gone[m.ULID] = struct{}{}
			}
		}
		return gone
	}
}

// run asks the store for nothing now and then, so that Stats know how it fares
// while nobody asks for more.
func (r *remoteStore) run(ctx context.Context) {
	tick := time.NewTicker(probeInterval)
	defer tick.Stop()
	for {
		_, _, err := r.client.Query(ctx, "1", time.Now(), 0)
		if ctx.Err() == nil {
			_ = r.note(err) // kept for Stats
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (r *remoteStore) load() *RemoteStats {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.stats
	s.Behind = r.behind()
	return &s
}

// note keeps for Stats what became of a request, and puts its error in the
// terms of the engine's, which callers know.
func (r *remoteStore) note(err error) error {
	own, ok := errors.AsType[*remotequery.Error](err)
	r.mu.Lock()
	switch {
	case ok && own.Kind == remotequery.Canceled:
	case err == nil, ok && own.Answered():
		r.stats.LastAnswer, r.stats.Err, r.stats.ErrSince = time.Now(), nil, time.Time{}
	default:
		if r.stats.Err == nil {
			r.stats.ErrSince = time.Now()
		}
		r.stats.Err = err
	}
	r.mu.Unlock()
	switch {
	case err == nil:
		return nil
	case ok && own.Kind == remotequery.Canceled:
		return promql.ErrQueryCanceled("remote store")
	case ok && own.Kind == remotequery.Timeout:
		return fmt.Errorf("%w: %w: %w", ErrRemote, promql.ErrQueryTimeout("remote store"), err)
	case ok && own.Answered():
		return err
	}
	return fmt.Errorf("%w: %w", ErrRemote, promql.ErrStorage{Err: err})
}

// prepare wraps a query that the engine has parsed: what is no PromQL is
// refused here, whatever dialect the store speaks.
func (r *remoteStore) prepare(q promql.Query, err error) (promql.Query, error) {
	if err != nil {
		return nil, err
	}
	return &remoteQuery{Query: q, store: r, stmt: q.Statement().(*parser.EvalStmt)}, nil
}

// holds tells whether the buffer has all that this machine wrote of the time
// that a statement reads. What was set aside as damaged may be of any time.
func (r *remoteStore) holds(stmt *parser.EvalStmt) bool {
	from, to := promql.FindMinMaxTime(stmt)
	if from == 0 && to == 0 {
		return true // it selects nothing
	}
	s := r.db.Stats()
	if s.MinTime.IsZero() {
		return false
	}
	since := max(s.MinTime.UnixMilli(), time.Now().Add(-r.db.retention).UnixMilli())
	if len(s.SetAside) > 0 {
		since = max(since, r.opened.UnixMilli())
	}
	return from >= since
}

// remoteQuery is a query that the remote store answers.
type remoteQuery struct {
	promql.Query // parsed; it runs only where the buffer answers
	store        *remoteStore
	stmt         *parser.EvalStmt
	// judges marks a question whose answer decides something now.
	judges bool
	cancel context.CancelFunc
	local  bool
}

// Exec asks the store, or the buffer where a judgement needs no more.
func (q *remoteQuery) Exec(ctx context.Context) *promql.Result {
	if q.judges && q.store.holds(q.stmt) {
		answeredHere.Inc()
		q.local = true
		return q.Query.Exec(ctx)
	}
	answeredThere.Inc()
	ctx, q.cancel = context.WithTimeout(ctx, q.store.db.timeout)
	defer q.cancel()
	if _, err := q.store.slots.Insert(ctx, ""); err != nil {
		return &promql.Result{Err: err}
	}
	defer q.store.slots.Delete(0)
	behind := q.lacking()
	if q.judges && behind > 0 {
		return &promql.Result{Err: fmt.Errorf("%w: it is %s behind", ErrBehind, behind.Round(time.Second))}
	}
	v, notes, err := q.ask(ctx)
	if err = q.store.note(err); err != nil {
		return &promql.Result{Err: err, Warnings: notes}
	}
	if behind > 0 {
		notes.Add(fmt.Errorf("%w: %w: it is %s behind", annotations.PromQLWarning, ErrBehind, behind.Round(time.Second)))
	}
	return &promql.Result{Value: v, Warnings: notes}
}

// lacking tells by how much the store lacks samples of the time that the
// statement reads; what is tolerated is 0.
func (q *remoteQuery) lacking() time.Duration {
	behind := q.store.behind()
	_, to := promql.FindMinMaxTime(q.stmt)
	if behind <= behindTolerated || to < time.Now().Add(-behind).UnixMilli() {
		return 0
	}
	return behind
}

func (q *remoteQuery) ask(ctx context.Context) (parser.Value, annotations.Annotations, error) {
	s, c := q.stmt, q.store.client
	if s.Interval > 0 {
		return c.QueryRange(ctx, q.String(), s.Start, s.End, s.Interval, s.LookbackDelta)
	}
	v, notes, err := c.Query(ctx, q.String(), s.Start, s.LookbackDelta)
	if err != nil {
		return nil, notes, err
	}
	v, err = asked(s.Expr.Type(), v)
	return v, notes, err
}

// asked holds an answer to the type of its expression. VictoriaMetrics answers
// a scalar as a vector of one sample without labels.
func asked(want parser.ValueType, v parser.Value) (parser.Value, error) {
	if vec, ok := v.(promql.Vector); ok && want == parser.ValueTypeScalar && len(vec) == 1 && vec[0].Metric.IsEmpty() {
		return promql.Scalar{T: vec[0].T, V: vec[0].F}, nil
	}
	if v.Type() != want {
		return nil, &remotequery.Error{Kind: remotequery.Garbled, Message: fmt.Sprintf("a %s was answered where the expression is a %s", v.Type(), want)}
	}
	return v, nil
}

// Cancel ends a running Exec.
func (q *remoteQuery) Cancel() {
	if q.cancel != nil {
		q.cancel()
	}
	q.Query.Cancel()
}

// Stats are those of the engine; of the remote store's work nothing is known.
func (q *remoteQuery) Stats() *stats.Statistics {
	if q.local {
		return q.Query.Stats()
	}
	return &stats.Statistics{Timers: stats.NewQueryTimers(), Samples: stats.NewQuerySamples(false)}
}

func (r *remoteStore) series(ctx context.Context, matchers [][]*labels.Matcher, from, to time.Time, limit int) ([]labels.Labels, annotations.Annotations, error) {
	if len(matchers) == 0 {
		return []labels.Labels{}, nil, nil
	}
	found, notes, err := r.client.Series(ctx, matchers, from, to, hintLimit(limit))
	return cut(found, notes, r.note(err), limit)
}

func (r *remoteStore) labelNames(ctx context.Context, matchers [][]*labels.Matcher, from, to time.Time, limit int) ([]string, annotations.Annotations, error) {
	found, notes, err := r.client.LabelNames(ctx, matchers, from, to, hintLimit(limit))
	return cut(found, notes, r.note(err), limit)
}

func (r *remoteStore) labelValues(ctx context.Context, name string, matchers [][]*labels.Matcher, from, to time.Time, limit int) ([]string, annotations.Annotations, error) {
	found, notes, err := r.client.LabelValues(ctx, name, matchers, from, to, hintLimit(limit))
	return cut(found, notes, r.note(err), limit)
}

// cut holds an answer to the limit, also of a store that knows none.
func cut[T any](found []T, notes annotations.Annotations, err error, limit int) ([]T, annotations.Annotations, error) {
	if err != nil {
		return nil, notes, err
	}
	if limit > 0 && len(found) > limit {
		return found[:limit], notes.Add(ErrTruncated), nil
	}
	return found, notes, nil
}
