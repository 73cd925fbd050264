package tsdb

import (
	"slices"
	"sync/atomic"
	"time"
)

// Stats say what the store holds and how it fares.
type Stats struct {
	Series   uint64    // in the head
	Blocks   int       // on disk
	MinTime  time.Time // of the samples held; zero when there are none
	MaxTime  time.Time
	Appended AppendResult // totals since Open
	SetAside []string     // names in Dir of what was damaged, since Open
	Lost     []LostLog    // of the log, at Open
	LastSync time.Time
	SyncErr  error // why nothing is acknowledged any more, or not until there is room
	ReadOnly error // why nothing is appended at present: ErrReadOnly
}

// Stats returns the present figures.
func (db *DB) Stats() Stats {
	s := Stats{
		Series:   db.inner.Head().NumSeries(),
		Blocks:   len(db.inner.Blocks()),
		Appended: db.results.load(),
		ReadOnly: db.readOnly(),
	}
	db.mu.Lock()
	s.SetAside, s.Lost = slices.Clone(db.aside), slices.Clone(db.lost)
	db.mu.Unlock()
	s.LastSync, s.SyncErr = db.logs.state()
	head := db.inner.Head()
	lo, hi, any := head.MinTime(), head.MaxTime(), head.MinTime() <= head.MaxTime()
	for _, b := range db.inner.Blocks() {
		m := b.Meta()
		if !any {
			lo, hi, any = m.MinTime, m.MaxTime-1, true
			continue
		}
		lo, hi = min(lo, m.MinTime), max(hi, m.MaxTime-1)
	}
	if any {
		s.MinTime, s.MaxTime = time.UnixMilli(lo).UTC(), time.UnixMilli(hi).UTC()
	}
	return s
}

// appendTotals are AppendResults summed up, kept apart for each DB.
type appendTotals struct{ appended, duplicate, outOfOrder, invalid atomic.Int64 }

func (t *appendTotals) add(r AppendResult) {
	t.appended.Add(int64(r.Appended))
	t.duplicate.Add(int64(r.Duplicate))
	t.outOfOrder.Add(int64(r.OutOfOrder))
	t.invalid.Add(int64(r.Invalid))
}

func (t *appendTotals) load() AppendResult {
	return AppendResult{
		Appended:   int(t.appended.Load()),
		Duplicate:  int(t.duplicate.Load()),
		OutOfOrder: int(t.outOfOrder.Load()),
		Invalid:    int(t.invalid.Load()),
	}
}
