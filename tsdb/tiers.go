package tsdb

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"math"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
	"golang.org/x/sync/semaphore"

	"nocturne/tsdb/rollup"
)

const (
	day = 24 * time.Hour
	// rollUpEvery is how often the tiers are brought up to date, rollUpLeast how
	// much time there must be to roll up: newer buckets are made in reading.
	rollUpEvery = time.Minute
	rollUpLeast = 2 * time.Hour
	cleanEvery  = time.Hour
	// After readableTries that failed, what can be read of a range is rolled
	// up; after rollUpTries raw blocks may go for their age without it.
	readableTries = 3
	rollUpTries   = 10
	// sealSlack is for batches that take long: a sample is judged late by what
	// was newest when its batch began.
	sealSlack = 10 * time.Minute
)

// Keep bounds a tier of rollups.
type Keep struct {
	Age   time.Duration // 0 is the tier's default
	Bytes int64         // 0 is no limit
}

func (o Options) negativeTiers() bool {
	return o.RawBytes < 0 || o.FiveMin.Age < 0 || o.FiveMin.Bytes < 0 || o.Hourly.Age < 0 || o.Hourly.Bytes < 0
}

// tiers are the rollups beside the raw samples, and the retention of both.
type tiers struct {
	log      *slog.Logger
	list     []*rollup.Tier // fine to coarse
	keep     []Keep
	rawAge   time.Duration
	rawBytes int64
	late     time.Duration        // how late a sample may come
	raw      atomic.Pointer[held] // nil while the store opens
	room     *room

	// writing holds back a rollup while samples are deleted: it must not write
	// what it read before. Who waits for it heeds a context.
	writing *semaphore.Weighted

	mu    sync.Mutex       // guards below
	empty [][]rollup.Range // of each tier: looked at since Open, without samples
	// failed is how often each tier could not roll up a range since Open.
	failed []map[rollup.Range]int
}

// openTiers opens the tiers and returns what was damaged and set aside.
func openTiers(o Options, room *room, log *slog.Logger) (*tiers, []string, error) {
	t := &tiers{log: log, room: room, rawAge: o.retention(), rawBytes: o.RawBytes, late: cmp.Or(o.OutOfOrder, 30*time.Minute), writing: semaphore.NewWeighted(1)}
	var aside []string
	for _, tier := range []struct {
		width time.Duration
		keep  Keep
		age   time.Duration
	}{{5 * time.Minute, o.FiveMin, 180 * day}, {time.Hour, o.Hourly, 3 * 365 * day}} {
		name := "rollup-" + rollup.Name(tier.width)
		opened, err := rollup.Open(rollup.Options{Dir: filepath.Join(o.Dir, name), Width: tier.width, Log: log, Compacting: o.Compacting, Check: func(dir string) error {
			checks := &blockChecks{dir: dir, log: log}
			err := checks.now()
			for _, d := range checks.names() {
				aside = append(aside, filepath.Join(name, d))
			}
			return err
		}})
		if err != nil {
			return nil, nil, errors.Join(err, t.Close())
		}
		t.list = append(t.list, opened)
		t.keep = append(t.keep, Keep{Age: cmp.Or(tier.keep.Age, tier.age), Bytes: tier.keep.Bytes})
		t.empty, t.failed = append(t.empty, nil), append(t.failed, map[rollup.Range]int{})
	}
	return t, aside, nil
}

// Close closes the tiers' files.
func (t *tiers) Close() error {
	var errs []error
	for _, tier := range t.list {
		errs = append(errs, tier.Close())
	}
	return errors.Join(errs...)
}

// over reads raw samples and, for rewritten selectors, buckets.
func (t *tiers) over(raw storage.Queryable) storage.Queryable {
	return rollup.Queryable{Raw: raw, Tiers: t.list, RawFrom: t.rawFrom()}
}

// rawFrom is the time of the oldest raw sample; MaxInt64 when there is none.
func (t *tiers) rawFrom() int64 {
	raw := t.raw.Load()
	from := min(raw.Head().MinTime(), raw.Head().MinOOOTime())
	for _, b := range raw.Blocks() {
		from = min(from, b.MinTime())
	}
	return from
}

func (t *tiers) holdings() rollup.Holdings {
	h := rollup.Holdings{RawFrom: t.rawFrom()}
	for _, tier := range t.list {
		h.Tiers = append(h.Tiers, rollup.Holding{Name: tier.Name(), Width: tier.Width().Milliseconds(), Covered: tier.Covered()})
	}
	return h
}

// prepared makes a query read tiers where that is right.
func (t *tiers) prepared(q promql.Query, err error) (promql.Query, error) {
	if err != nil {
		return nil, err
	}
	s, ok := q.Statement().(*parser.EvalStmt)
	if !ok {
		return q, nil
	}
	return &tieredQuery{Query: q, answer: rollup.Rewrite(s, t.holdings())}, nil
}

// tieredQuery adds what was read to a query's annotations.
type tieredQuery struct {
	promql.Query
	answer rollup.Answer
}

// Exec implements promql.Query.
func (q *tieredQuery) Exec(ctx context.Context) *promql.Result {
	r := q.Query.Exec(ctx)
	r.Warnings.Merge(q.answer.Notes)
	return r
}

// TiersOf names what a query of InstantQuery or RangeQuery reads: "raw", "5m",
// "1h"; none for one without selectors.
func TiersOf(q promql.Query) []string {
	if q, ok := q.(*tieredQuery); ok {
		return q.answer.Tiers
	}
	return nil
}

// newest is the time that age is counted from: that of the newest sample in
// blocks or the store, but never in the future; 0 when there is none.
func (t *tiers) newest(blocks []*tsdb.Block) int64 {
	newest := int64(0)
	if raw := t.raw.Load(); raw != nil {
		newest = raw.Head().MaxTime()
		blocks = slices.Concat(blocks, raw.Blocks())
	}
	for _, b := range blocks {
		newest = max(newest, b.MaxTime()-1)
	}
	return max(0, min(newest, time.Now().UnixMilli()))
}

// deletable is the library's question which raw blocks to delete: those that
// were replaced, and those past their age once all tiers have them, or beyond
// the size.
func (t *tiers) deletable(blocks []*tsdb.Block) map[ulid.ULID]struct{} {
	gone := map[ulid.ULID]struct{}{}
	newest := t.newest(blocks)
	over := t.overSize(blocks, 0)
	for _, b := range blocks {
		m := b.Meta()
		switch {
		case m.Compaction.Deletable:
		case over[m.ULID]:
			if !t.rolledUp(m, newest) {
				t.log.Warn("raw block deleted for its size before it was rolled up", "block", m.ULID)
			}
		case b.MaxTime() <= newest-t.rawAge.Milliseconds() && t.rolledUp(m, newest):
		default:
			continue
		}
		gone[m.ULID] = struct{}{}
	}
	return gone
}

// overSize names the oldest blocks beyond the size that raw samples may take,
// and those that must go for so many bytes to be free. The newest that came in
// order stays: what it holds would come back from the log.
func (t *tiers) overSize(blocks []*tsdb.Block, short int64) map[ulid.ULID]bool {
	over, size, written := map[ulid.ULID]bool{}, int64(0), int64(math.MinInt64)
	if raw := t.raw.Load(); raw != nil {
		size = raw.Head().Size()
	}
	for _, b := range blocks {
		if m := b.Meta(); !m.Compaction.FromOutOfOrder() {
			written = max(written, m.MaxTime)
		}
		size += b.Size()
	}
	excess := short
	if t.rawBytes > 0 {
		excess = max(short, size-t.rawBytes)
	}
	byTime := slices.SortedFunc(slices.Values(blocks), func(a, b *tsdb.Block) int { return cmp.Compare(a.MaxTime(), b.MaxTime()) })
	for _, b := range byTime {
		if m := b.Meta(); excess > 0 && (m.MaxTime != written || m.Compaction.FromOutOfOrder()) {
			over[m.ULID] = true
			excess -= b.Size()
		}
	}
	return over
}

// rolledUp says that every tier has a raw block's samples, is past keeping
// them, or has given up on them.
func (t *tiers) rolledUp(m tsdb.BlockMeta, newest int64) bool {
	for i, keep := range t.keep {
		r := rollup.Range{From: max(m.MinTime-1, newest-keep.Age.Milliseconds()), To: m.MaxTime - 1}
		if len(r.Without(t.settled(i))) > 0 {
			return false
		}
	}
	return true
}

// settled lists, in order, what tier i has done and what cannot be done.
func (t *tiers) settled(i int) []rollup.Range {
	all := t.done(i)
	t.mu.Lock()
	defer t.mu.Unlock()
	for r, times := range t.failed[i] {
		if times >= rollUpTries {
			all = append(all, r)
		}
	}
	slices.SortFunc(all, func(a, b rollup.Range) int { return cmp.Compare(a.From, b.From) })
	return all
}

// oldest is from when on tier i keeps buckets.
func (t *tiers) oldest(i int) int64 { return t.newest(nil) - t.keep[i].Age.Milliseconds() }

// done lists, in order, what tier i has rolled up or found empty.
func (t *tiers) done(i int) []rollup.Range {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := slices.Concat(t.list[i].Covered(), t.empty[i])
	slices.SortFunc(all, func(a, b rollup.Range) int { return cmp.Compare(a.From, b.From) })
	return all
}
