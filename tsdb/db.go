package tsdb

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/tsdb/fileutil"
	"github.com/prometheus/prometheus/util/compression"
)

const (
	longestBlock = 31 * 24 * time.Hour
	segmentBytes = 16 << 20
	// samplesABlock of each series fill two chunks of the library's 120.
	samplesABlock  = 240
	shortestBlock  = 20 * time.Minute
	blockAtDefault = 2 * time.Hour
	// stripes of the head's series table; the library's 16384 cost an idle
	// product several MB and only buy less lock contention.
	stripes = 1024
	// chunkBuffer is what the head gathers before it writes mapped chunks.
	chunkBuffer = 256 << 10
)

// Options say where samples are kept and how much a query may take. The zero
// value of a field other than Dir means its default.
type Options struct {
	Dir           string        // data folder, made when absent
	Retention     time.Duration // how long samples are kept (15 days)
	Interval      time.Duration // between most series' samples (30 s); see blockDuration
	OutOfOrder    time.Duration // how late a sample may come (30 min)
	Log           *slog.Logger  // slog.Default()
	QueryTimeout  time.Duration // of one query, waiting included (30 s)
	MaxSamples    int           // in memory for one query (10 million)
	MaxConcurrent int           // queries running at once; more wait (16)
	Limits        Limits
	MaxAhead      time.Duration // how far ahead of the clock a sample may be (10 min); negative: no matter
	MaxAge        time.Duration // of the first sample in an empty head (5 years); negative: no matter

	owners *owners // hears of the library's series
}

// DB is a store of samples on disk.
type DB struct {
	log     *slog.Logger
	lock    fileutil.Releaser
	inner   *tsdb.DB
	engine  *promql.Engine
	timeout time.Duration // of one query
	logs    *logSync
	aside   []string

	options    Options
	limits     Limits
	lateWindow int64 // out-of-order window, in milliseconds
	owners     *owners
	own        *Source
	sourceMu   sync.Mutex // guards below
	sources    map[string]*Source
}

// Open opens the store in o.Dir and replays its log. A second process is
// refused. Damaged blocks are set aside; see Stats.
func Open(o Options) (*DB, error) {
	if o.Dir == "" {
		return nil, errors.New("open history: no folder given")
	}
	if o.Retention < 0 || o.Interval < 0 || o.OutOfOrder < 0 || o.QueryTimeout < 0 || o.MaxSamples < 0 || o.MaxConcurrent < 0 || o.Limits.negative() {
		return nil, fmt.Errorf("open history %s: negative option", o.Dir)
	}
	log := cmp.Or(o.Log, slog.Default()).With("component", "tsdb")
	lock, _, err := fileutil.Flock(filepath.Join(o.Dir, "lock"))
	if err != nil {
		return nil, fmt.Errorf("open history %s: in use by another process? %w", o.Dir, err)
	}
	db, err := openLocked(o, log)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open history %s: %w", o.Dir, err), lock.Release())
	}
	db.lock = lock
	return db, nil
}

func openLocked(o Options, log *slog.Logger) (*DB, error) {
	o.owners = newOwners()
	aside, err := setDamagedAside(o.Dir, log)
	if err != nil {
		return nil, err
	}
	inner, cut, err := openRepaired(o, log)
	if err != nil {
		return nil, err
	}
	db := &DB{
		log:     log,
		inner:   inner,
		engine:  newEngine(o, log),
		timeout: queryTimeout(o),
		logs:    newLogSync(o.Dir),
		aside:   append(aside, cut...),
		options: o, limits: o.Limits.withDefaults(), lateWindow: settings(o).OutOfOrderTimeWindow,
		owners: o.owners, sources: map[string]*Source{},
	}
	db.owners.arm(inner.Head().NumSeries())
	db.own = db.Source(ownSource)
	// The library's new segments and what a repair wrote are durable before
	// the first sample is.
	if err := db.logs.sync(); err != nil {
		return nil, errors.Join(err, inner.Close())
	}
	return db, nil
}

// openRepaired opens the library's store, again after each repair of a log:
// one that cut the log of samples in order has not read the log of late ones,
// and would drop it at the next compaction.
func openRepaired(o Options, log *slog.Logger) (*tsdb.DB, []string, error) {
	var aside []string
	for range 1 + len(logFolders) {
		kept, err := keepLogs(o.Dir, log)
		if err != nil {
			return nil, nil, err
		}
		inner, err := tsdb.Open(o.Dir, log, nil, settings(o), nil)
		if err != nil {
			return nil, nil, err // the links stay for the next opening to judge
		}
		cut, err := kept.settle(log.With("newest_sample_left", time.UnixMilli(inner.Head().MaxTime()).UTC()))
		if err == nil && len(cut) == 0 {
			return inner, aside, nil
		}
		aside = append(aside, cut...)
		if err := errors.Join(err, inner.Close()); err != nil {
			return nil, nil, err
		}
	}
	return nil, nil, fmt.Errorf("the log is damaged after each repair; see %v", aside)
}

// blockDuration lets a block hold two full chunks of each series. What the
// head holds is replayed at each start and counts as memory, so quick polls
// call for short blocks; shorter than that, chunks would be cut before they
// are full, and a sample would take more room.
func blockDuration(interval time.Duration) time.Duration {
	if interval == 0 {
		return blockAtDefault
	}
	minutes := (samplesABlock * interval).Truncate(time.Minute)
	return max(shortestBlock, min(blockAtDefault, minutes))
}

func settings(o Options) *tsdb.Options {
	retention := cmp.Or(o.Retention, 15*24*time.Hour)
	s := tsdb.DefaultOptions()
	s.NoLockfile = true // DB holds the lock from before the blocks are checked
	s.WALSegmentSize = segmentBytes
	s.WALCompression = compression.Snappy
	s.RetentionDuration = retention.Milliseconds()
	block := blockDuration(o.Interval)
	s.MinBlockDuration = block.Milliseconds()
	s.MaxBlockDuration = max(block, min(longestBlock, retention/10)).Milliseconds()
	s.StripeSize = stripes
	s.HeadChunksWriteBufferSize = chunkBuffer
	s.OutOfOrderTimeWindow = cmp.Or(o.OutOfOrder, 30*time.Minute).Milliseconds()
	if o.owners != nil {
		s.SeriesLifecycleCallback = o.owners
	}
	return s
}

// Close syncs the log and closes the store.
func (db *DB) Close() error {
	err := errors.Join(db.logs.sync(), db.engine.Close(), db.inner.Close(), db.lock.Release())
	if err != nil {
		return fmt.Errorf("close history: %w", err)
	}
	return nil
}

// Run syncs the log every 500 ms until ctx ends, so that a sample is on disk
// at most that long after Append. It returns early when a sync fails; Append
// and Synced answer with the same error from then on.
func (db *DB) Run(ctx context.Context) error {
	tick := time.NewTicker(syncInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			if err := db.logs.sync(); err != nil {
				return err
			}
		}
	}
}

// Synced returns once all that was appended before the call is on disk.
// Callers that come together share one sync.
func (db *DB) Synced(ctx context.Context) error {
	return db.logs.synced(ctx)
}

// Queryable gives read access to the samples, for PromQL engines of others.
func (db *DB) Queryable() storage.Queryable { return db.inner }

// Stats say what the store holds and how it fares.
type Stats struct {
	Series   uint64    // in the head
	Blocks   int       // on disk
	MinTime  time.Time // of the samples held; zero when there are none
	MaxTime  time.Time
	Appended AppendResult  // totals since Open
	Sources  []SourceStats // by name
	SetAside []string      // names in Dir of what was damaged at Open
	LastSync time.Time
	SyncErr  error // why nothing is acknowledged any more
}

// Stats returns the present figures.
func (db *DB) Stats() Stats {
	s := Stats{
		Series:   db.inner.Head().NumSeries(),
		Blocks:   len(db.inner.Blocks()),
		SetAside: db.aside,
	}
	s.Sources, s.Appended = db.sourceStats()
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

// syncFolder makes the names in a folder durable.
func syncFolder(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
