package tsdb

import (
	"context"
	"os"
	"time"

	"github.com/prometheus/prometheus/tsdb"
)

// WatchSync calls f after each sync of a log file with what was in the file
// when the sync began.
func (db *DB) WatchSync(f func(path string, size int64)) {
	real := db.logs.fsync
	db.logs.fsync = func(file *os.File) error {
		st, err := file.Stat()
		if err != nil {
			return err
		}
		if err := real(file); err != nil {
			return err
		}
		f(file.Name(), st.Size())
		return nil
	}
}

// SettleBlocks does what the store does behind its callers' back.
func (db *DB) SettleBlocks(ctx context.Context) error {
	if err := db.inner.Compact(ctx); err != nil {
		return err
	}
	if db.remote != nil {
		return nil
	}
	if err := db.tiers.rollUp(ctx, 0); err != nil {
		return err
	}
	return db.Expire(ctx)
}

// Compact writes what is full as blocks and merges blocks.
func (db *DB) Compact(ctx context.Context) error { return db.inner.Compact(ctx) }

// CompactLate writes what came late as blocks.
func (db *DB) CompactLate(ctx context.Context) error { return db.inner.CompactOOOHead(ctx) }

// Expire deletes the blocks of raw samples that can go.
func (db *DB) Expire(context.Context) error {
	// An empty part of the head makes no block, but has the library look
	// which blocks can go.
	before := db.inner.Head().MinTime() - 1
	return db.inner.CompactHead(tsdb.NewRangeHead(db.inner.Head(), before, before))
}

// SmallSegments has logs rotate, and blocks be cut, often.
func SmallSegments(o Options) Options {
	o.segment, o.Interval = 2*pageBytes, 5*time.Second
	return o
}

// RollUp brings the tiers up to date, as Run does once there is enough to roll
// up.
func (db *DB) RollUp(ctx context.Context) error { return db.tiers.rollUp(ctx, 0) }
