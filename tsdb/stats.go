package tsdb

import (
	"slices"
	"time"

	"nocturne/tsdb/rollup"
)

// Stats say what the store holds and how it fares.
type Stats struct {
	Series   uint64    // in the head
	Blocks   int       // on disk
	MinTime  time.Time // of the samples held; zero when there are none
	MaxTime  time.Time
	Appended AppendResult  // totals since Open
	Sources  []SourceStats // by name
	SetAside []string      // names in Dir of what was damaged, since Open
	Lost     []LostLog     // of the log, at Open
	Tiers    []rollup.Stats
	LastSync time.Time
	SyncErr  error // why nothing is acknowledged any more, or not until there is room
	ReadOnly error // why nothing is appended at present: ErrReadOnly
	// ReadOnlySince is when that began; zero while ReadOnly is nil.
	ReadOnlySince time.Time
	Bytes         int64 // of the blocks

	Remote *RemoteStats // nil unless samples are read from a remote store
}

// Stats returns the present figures.
func (db *DB) Stats() Stats {
	s := Stats{
		Series: db.inner.Head().NumSeries(),
		Blocks: len(db.inner.Blocks()),
	}
	s.ReadOnlySince, s.ReadOnly = db.ReadOnly()
	for _, tier := range db.tiers.list {
		s.Tiers = append(s.Tiers, tier.Stats())
	}
	s.Sources, s.Appended = db.sourceStats()
	db.mu.Lock()
	s.SetAside, s.Lost = append(db.checks.names(), db.aside...), slices.Clone(db.lost)
	db.mu.Unlock()
	if db.remote != nil {
		s.Remote = db.remote.load()
	}
	s.LastSync, s.SyncErr = db.logs.state()
	head := db.inner.Head()
	lo, hi, any := head.MinTime(), head.MaxTime(), head.MinTime() <= head.MaxTime()
	for _, b := range db.inner.Blocks() {
		m := b.Meta()
		s.Bytes += b.Size()
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
