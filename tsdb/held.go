package tsdb

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
)

// reopenWait bounds how long a reopening waits for those who read or append.
const reopenWait = 40 * time.Second

// errReopening answers queries while the store is reopened.
var errReopening = errors.New("history is being reopened after its disk was full")

// held is the library's store, which is closed and opened again, under those
// who use it, when what it holds in memory is more than what its log holds: a
// write of the log failed, and the library goes on as if it had not.
type held struct {
	faults *logFaults

	mu      sync.Mutex
	free    sync.Cond // users is 0, or closing has ended
	cur     *tsdb.DB
	epoch   uint64 // how often it was opened anew; the head's references are good for one
	users   int
	closing bool
}

func newHeld(cur *tsdb.DB, faults *logFaults) *held {
	h := &held{cur: cur, faults: faults}
	h.free.L = &h.mu
	return h
}

// use returns the store for as long as the caller does not call done.
func (h *held) use() (*tsdb.DB, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closing {
		return nil, errReopening
	}
	h.users++
	return h.cur, nil
}

func (h *held) done() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.users--; h.users == 0 {
		h.free.Broadcast()
	}
}

// drain waits until nobody uses the store and keeps everybody out of it from
// then on, until resume. It gives up, and lets all in again, when that takes
// too long.
func (h *held) drain() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	late := false
	t := time.AfterFunc(reopenWait, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		late = true
		h.free.Broadcast()
	})
	defer t.Stop()
	h.closing = true
	for h.users > 0 && !late {
		h.free.Wait()
	}
	h.closing = h.users == 0
	return h.closing
}

// resume lets everybody in to the store that was opened.
func (h *held) resume(cur *tsdb.DB) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.cur, h.closing, h.epoch = cur, false, h.epoch+1
}

func (h *held) now() *tsdb.DB {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.cur
}

// closeStore survives the library's panic over mapped chunks that do not fit
// on the disk. They are in the log too.
func closeStore(db *tsdb.DB) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("map chunks: %v", p)
		}
	}()
	return db.Close()
}

// What follows is the library's store to all who use it.

func (h *held) Head() *tsdb.Head          { return h.now().Head() }
func (h *held) Blocks() []*tsdb.Block     { return h.now().Blocks() }
func (h *held) Dir() string               { return h.now().Dir() }
func (h *held) Close() error              { return closeStore(h.now()) }
func (h *held) String() string            { return h.now().String() }
func (h *held) DisableCompactions()       { h.now().DisableCompactions() }
func (h *held) EnableCompactions()        { h.now().EnableCompactions() }
func (h *held) StartTime() (int64, error) { return h.now().StartTime() }

func (h *held) with(f func(*tsdb.DB) error) error {
	cur, err := h.use()
	if err != nil {
		return err
	}
	defer h.done()
	return f(cur)
}

func (h *held) Compact(ctx context.Context) error {
	return h.with(func(db *tsdb.DB) error { return db.Compact(ctx) })
}

func (h *held) CompactHead(head *tsdb.RangeHead) error {
	return h.with(func(db *tsdb.DB) error { return db.CompactHead(head) })
}

func (h *held) CompactOOOHead(ctx context.Context) error {
	return h.with(func(db *tsdb.DB) error { return db.CompactOOOHead(ctx) })
}

// Delete writes a record of the log, whose failure is what that of a commit is.
func (h *held) Delete(ctx context.Context, mint, maxt int64, ms ...*labels.Matcher) error {
	return h.with(func(db *tsdb.DB) error { return h.faults.judge(db.Delete(ctx, mint, maxt, ms...)) })
}

func (h *held) CleanTombstones() error {
	return h.with((*tsdb.DB).CleanTombstones)
}

func (h *held) Snapshot(dir string, withHead bool) error {
	return h.with(func(db *tsdb.DB) error { return db.Snapshot(dir, withHead) })
}

func (h *held) ForceHeadMMap() error {
	return h.with(func(db *tsdb.DB) (err error) {
		defer func() {
			if p := recover(); p != nil {
				err = fmt.Errorf("map chunks: %v", p)
			}
		}()
		db.ForceHeadMMap()
		return nil
	})
}

func (h *held) Querier(mint, maxt int64) (storage.Querier, error) {
	cur, err := h.use()
	if err != nil {
		return nil, err
	}
	q, err := cur.Querier(mint, maxt)
	if err != nil {
		h.done()
		return nil, err
	}
	return &heldQuerier{Querier: q, done: h.done}, nil
}

func (h *held) ChunkQuerier(mint, maxt int64) (storage.ChunkQuerier, error) {
	cur, err := h.use()
	if err != nil {
		return nil, err
	}
	q, err := cur.ChunkQuerier(mint, maxt)
	if err != nil {
		h.done()
		return nil, err
	}
	return &heldChunkQuerier{ChunkQuerier: q, done: h.done}, nil
}

type heldQuerier struct {
	storage.Querier
	once sync.Once
	done func()
}

func (q *heldQuerier) Close() error {
	defer q.once.Do(q.done)
	return q.Querier.Close()
}

type heldChunkQuerier struct {
	storage.ChunkQuerier
	once sync.Once
	done func()
}

func (q *heldChunkQuerier) Close() error {
	defer q.once.Do(q.done)
	return q.ChunkQuerier.Close()
}

// Appender returns an appender whose Commit succeeds only when the log holds
// all that was ever committed.
func (h *held) Appender(ctx context.Context) storage.Appender {
	cur, err := h.use()
	if err != nil {
		return refused{err: fmt.Errorf("%w: %w", ErrReadOnly, err)}
	}
	return &heldAppender{Appender: cur.Appender(ctx), h: h}
}

// era is the epoch of the store. While an appender is open it does not change.
func (h *held) era() uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.epoch
}

type heldAppender struct {
	storage.Appender
	h    *held
	once sync.Once
}

func (a *heldAppender) GetRef(ls labels.Labels, hash uint64) (storage.SeriesRef, labels.Labels) {
	if g, ok := a.Appender.(storage.GetRef); ok {
		return g.GetRef(ls, hash)
	}
	return 0, labels.EmptyLabels()
}

func (a *heldAppender) Commit() error {
	defer a.once.Do(a.h.done)
	return a.h.faults.judge(a.Appender.Commit())
}

func (a *heldAppender) Rollback() error {
	defer a.once.Do(a.h.done)
	return a.h.faults.judge(a.Appender.Rollback())
}

// refused is an appender that takes nothing.
type refused struct {
	storage.Appender
	err error
}

func (r refused) Append(storage.SeriesRef, labels.Labels, int64, float64) (storage.SeriesRef, error) {
	return 0, r.err
}
func (r refused) AppendHistogram(storage.SeriesRef, labels.Labels, int64, *histogram.Histogram, *histogram.FloatHistogram) (storage.SeriesRef, error) {
	return 0, r.err
}
func (r refused) SetOptions(*storage.AppendOptions) {}
func (r refused) Commit() error                     { return r.err }
func (r refused) Rollback() error                   { return nil }
