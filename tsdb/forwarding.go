package tsdb

import (
	"math"
	"path/filepath"
	"time"

	"github.com/prometheus/prometheus/storage"
)

// LogDir is the folder of the write-ahead log. It holds every sample that was
// taken, late ones too, in the order of arrival; the log of late samples beside
// it repeats those for the replay. Who follows it reads segments only, and
// finds them removed once the samples are in blocks.
func (db *DB) LogDir() string { return filepath.Join(db.inner.Dir(), "wal") }

// Raw gives read access to samples as they were appended.
func (db *DB) Raw() storage.Queryable { return db.inner }

// Bounds are, in Unix milliseconds, a time that no sample held is older than
// and one that none is newer than, by which new samples are judged late: that
// of the newest one appended or, while all are in blocks, where those end; ok is
// false while there are none.
func (db *DB) Bounds() (oldest, newest int64, ok bool) {
	// A block's own end is that of its range, beyond its samples.
	if newest = db.inner.Head().MaxTime(); newest == math.MinInt64 {
		for _, b := range db.inner.Blocks() {
			newest = max(newest, b.MaxTime()-1)
		}
	}
	return db.tiers.rawFrom(), newest, newest != math.MinInt64
}

// End is, in Unix milliseconds, a time that no sample held is newer than;
// math.MinInt64 while there are none. A block of late samples may reach beyond
// the newest of the others, by which Bounds judges where the log is gone.
func (db *DB) End() int64 {
	end := max(db.inner.Head().MaxTime(), db.inner.Head().MaxOOOTime())
	for _, b := range db.inner.Blocks() {
		end = max(end, b.MaxTime()-1)
	}
	return end
}

// Repairs names the last repair of the log that may have lost part of it.
func (db *DB) Repairs() string { return lastRepair(db.options.Dir) }

// Lateness is how much older than the newest sample one may be that Append
// still takes: the out-of-order window or, where that is longer, half a block,
// which is what a series without samples may be late by.
func (db *DB) Lateness() time.Duration {
	return max(time.Duration(db.lateWindow.Load())*time.Millisecond, blockDuration(db.options.Interval)/2)
}
