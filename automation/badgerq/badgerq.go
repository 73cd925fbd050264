// Package badgerq is automation's Queue on the embedded database.
//
// An entry is a record "HOUR/REGION/SEQ" of kind "queue": HOUR is the UTC hour
// of its enqueueing, so that old entries share a key prefix, and SEQ counts from
// 1 and keeps the order within a region. What is claimed is known only in
// memory: after a restart every entry that was not acknowledged is delivered
// again.
package badgerq

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"nocturne/automation"
	"nocturne/internal/state"
)

// Queue holds entries by region, oldest first.
type Queue struct {
	table *state.Table[automation.Entry]

	mu      sync.Mutex // guards below
	seq     uint64
	waiting map[string][]automation.Delivery
}

// New reads the entries that nobody acknowledged.
func New(db *state.DB) (*Queue, error) {
	q := &Queue{table: state.NewTable[automation.Entry](db, "queue", 1), waiting: map[string][]automation.Delivery{}}
	for rec, err := range q.table.All("") {
		if err != nil {
			return nil, fmt.Errorf("open queue: %w", err)
		}
		var seq uint64
		if _, err := fmt.Sscanf(rec.ID[strings.LastIndexByte(rec.ID, '/')+1:], "%d", &seq); err != nil {
			return nil, fmt.Errorf("open queue: entry %q: %w", rec.ID, err)
		}
		q.seq = max(q.seq, seq)
		r := rec.Value.Region
		q.waiting[r] = append(q.waiting[r], automation.Delivery{Entry: rec.Value, Receipt: rec.ID})
	}
	return q, nil
}

// Enqueue writes the entries; they are durable on return.
func (q *Queue) Enqueue(_ context.Context, entries ...automation.Entry) error {
	hour := time.Now().UTC().Format("2006010215")
	recs := make([]state.Record[automation.Entry], len(entries))
	q.mu.Lock()
	for i, e := range entries {
		q.seq++
		recs[i] = state.Record[automation.Entry]{ID: fmt.Sprintf("%s/%s/%016d", hour, e.Region, q.seq), Value: e}
	}
	q.mu.Unlock()
	if err := q.table.PutMany(recs); err != nil {
		return fmt.Errorf("enqueue %d entries: %w", len(entries), err)
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, r := range recs {
		q.waiting[r.Value.Region] = append(q.waiting[r.Value.Region], automation.Delivery{Entry: r.Value, Receipt: r.ID})
	}
	return nil
}

// Claim hands out up to limit entries of a region that were not handed out since
// the queue was opened.
func (q *Queue) Claim(_ context.Context, region string, limit int) ([]automation.Delivery, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	w := q.waiting[region]
	n := min(limit, len(w))
	out := slices.Clone(w[:n])
	if q.waiting[region] = w[n:]; n == len(w) {
		delete(q.waiting, region)
	}
	return out, nil
}

// Ack removes entries for good.
func (q *Queue) Ack(_ context.Context, receipts ...string) error {
	var errs []error
	for _, r := range receipts {
		if err := q.table.Delete(r, 0); err != nil && !errors.Is(err, state.ErrNotFound) {
			errs = append(errs, fmt.Errorf("acknowledge %s: %w", r, err))
		}
	}
	return errors.Join(errs...)
}
