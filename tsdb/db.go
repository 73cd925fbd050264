package tsdb

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
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
	// chunkBuffer is what the head gathers before it writes mapped chunks.
	chunkBuffer = 256 << 10
	// defaultMinFree is four segments of the log.
	defaultMinFree = 4 * segmentBytes
)

// Options say where samples are kept and how much a query may take. The zero
// value of a field other than Dir means its default.
type Options struct {
	Dir           string        // data folder, made when absent
	Retention     time.Duration // how long raw samples are kept (30 days)
	Interval      time.Duration // between most series' samples (30 s); see blockDuration
	OutOfOrder    time.Duration // how late a sample may come (30 min)
	Log           *slog.Logger  // slog.Default()
	QueryTimeout  time.Duration // of one query, waiting included (30 s)
	MaxSamples    int           // in memory for one query (10 million)
	MaxConcurrent int           // queries running at once; more wait (16)
	MaxRead       int64         // samples that one query may read in all (50 million)

	MinFree int64 // bytes of the disk that are left free; see ErrReadOnly (64 MiB)

	// Compacting, if set, is called before a block is written, and what it
	// returns afterwards.
	Compacting func() func()

	// Remote has the samples read elsewhere. Retention is then 2 h unless
	// given, and up to RetentionBehind (15 days) of what the store lacks.
	Remote          *Remote
	RetentionBehind time.Duration

	Limits   Limits
	MaxAhead time.Duration // how far ahead of the clock a sample may be (10 min); negative: no matter
	MaxAge   time.Duration // of the first sample in an empty head (5 years); negative: no matter

	RawBytes int64 // of raw samples on disk, oldest go first; 0 is no limit
	FiveMin  Keep  // rollups of 5 min (180 days)
	Hourly   Keep  // rollups of 1 h (3 years)

	// Set by Open, but for tests.
	segment   int     // bytes of a log segment
	owners    *owners // hears of the library's series
	deletable tsdb.BlocksToDeleteFunc
}

// DB is a store of samples on disk.
type DB struct {
	log     *slog.Logger
	options Options
	lock    fileutil.Releaser
	inner   *held
	engine  *promql.Engine
	timeout time.Duration // of one query
	tiers   *tiers
	parts

	readOnlyAt atomic.Int64 // Unix time in ms; see ReadOnly

	remote    *remoteStore  // nil: what is asked is read here
	retention time.Duration // of raw samples

	limits     atomic.Pointer[Limits]
	lateWindow atomic.Int64 // out-of-order window, in milliseconds; see followClock
	owners     *owners
	own        *Source

	sourceMu sync.Mutex // guards below
	sources  map[string]*Source

	mu    sync.Mutex // guards below
	aside []string
	lost  []LostLog
}

// Open opens the store in o.Dir and replays its log. A second process is
// refused. Damaged blocks are set aside; see Stats.
func Open(o Options) (*DB, error) {
	if o.Dir == "" {
		return nil, errors.New("open history: no folder given")
	}
	if o.Retention < 0 || o.Interval < 0 || o.OutOfOrder < 0 || o.QueryTimeout < 0 || o.MaxSamples < 0 || o.MaxConcurrent < 0 || o.MaxRead < 0 || o.MinFree < 0 ||
		o.Limits.negative() || o.negativeTiers() {
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
	o.MinFree, o.owners = cmp.Or(o.MinFree, defaultMinFree), newOwners()
	p := newParts(o, log)
	tiers, asideInTiers, err := openTiers(o, p.room, log)
	if err != nil {
		return nil, err
	}
	o.deletable = tiers.deletable
	if o.Remote != nil {
		o.deletable = o.blocksToDelete(tiers)
	}
	inner, found, err := openStore(o, p, log)
	if err != nil {
		return nil, errors.Join(err, tiers.Close())
	}
	db := &DB{
		log:     log,
		options: o,
		inner:   newHeld(inner, p.faults),
		tiers:   tiers,
		parts:   p,
		engine:  newEngine(o, log),
		timeout: queryTimeout(o),
		aside:   append(found.aside, asideInTiers...),
		lost:    found.lost,

		owners: o.owners, sources: map[string]*Source{},
	}
	tiers.raw.Store(db.inner)
	db.limits.Store(new(o.Limits.withDefaults()))
	db.followClock(time.Now())
	db.retention = o.retention()
	if db.remote, err = o.openRemote(db); err != nil {
		return nil, errors.Join(err, inner.Close(), tiers.Close())
	}
	db.owners.arm(inner.Head().NumSeries())
	db.own = db.Source(ownSource)
	// The library's new segments and what a repair wrote are durable before
	// the first sample is.
	if err := db.logs.sync(); err != nil && !diskFull(err) {
		return nil, errors.Join(err, inner.Close(), tiers.Close())
	}
	return db, nil
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

// compacting is Compacting, or nothing.
func (o Options) compacting() func() func() {
	if o.Compacting != nil {
		return o.Compacting
	}
	return func() func() { return func() {} }
}

func settings(o Options) *tsdb.Options {
	retention := o.retention()
	s := tsdb.DefaultOptions()
	s.NoLockfile = true // DB holds the lock from before the blocks are checked
	s.WALSegmentSize = cmp.Or(o.segment, segmentBytes)
	s.WALCompression = compression.Snappy
	s.RetentionDuration = retention.Milliseconds()
	s.BlocksToDelete = o.deletable
	block := blockDuration(o.Interval)
	s.MinBlockDuration = block.Milliseconds()
	s.MaxBlockDuration = max(block, min(longestBlock, retention/10)).Milliseconds()
	s.HeadChunksWriteBufferSize = chunkBuffer
	s.OutOfOrderTimeWindow = cmp.Or(o.OutOfOrder, 30*time.Minute).Milliseconds()
	if o.owners != nil {
		s.SeriesLifecycleCallback = o.owners
	}
	return s
}

// Close syncs the log and closes the store.
func (db *DB) Close() error {
	if db.remote != nil {
		db.remote.client.Close()
	}
	had := db.room.reserved()
	err := errors.Join(db.logs.sync(), db.engine.Close())
	if db.room.check() != nil { // closing writes a little
		err = errors.Join(err, db.room.release())
	}
	err = errors.Join(err, db.inner.Close(), db.tiers.Close(), db.logs.close())
	db.room.reserve(had)
	if err = errors.Join(err, db.lock.Release()); err != nil {
		return fmt.Errorf("close history: %w", err)
	}
	return nil
}

// Run syncs the log every 500 ms until ctx ends, so that a sample is on disk
// at most that long after Append, looks through the blocks once a minute, rolls
// up and expires what is old, and watches the room on the disk. It does not end when a sync fails: Append,
// Synced and Stats tell, and queries go on.
func (db *DB) Run(ctx context.Context) error {
	if db.remote != nil {
		var probes sync.WaitGroup
		defer probes.Wait()
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		probes.Go(func() { db.remote.run(ctx) })
	}
	var parts sync.WaitGroup
	defer parts.Wait()
	parts.Go(func() { db.watchRoom(ctx) })
	parts.Go(func() { db.checkBlocks(ctx) })
	if db.remote == nil { // else rolling up is the remote store's business
		parts.Go(func() { db.tiers.run(ctx) })
	}
	tick := time.NewTicker(syncInterval)
	defer tick.Stop()
	var told error
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		db.followClock(time.Now())
		err := db.logs.sync()
		if err != nil && told == nil {
			db.log.Error("no sample is acknowledged any more", "err", err)
		}
		told = err
	}
}

func (db *DB) checkBlocks(ctx context.Context) {
	tick := time.NewTicker(blockCheckInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if err := db.CheckBlocks(); err != nil {
				db.log.Error("check blocks", "err", err)
			}
		}
	}
}

// CheckBlocks looks through the blocks now, as Run does once a minute. A
// damaged one is set aside; where it was answered from, that ends within a
// minute.
func (db *DB) CheckBlocks() error {
	return db.checks.periodic()
}

// Synced returns once all that was appended before the call is on disk.
// Callers that come together share one sync.
func (db *DB) Synced(ctx context.Context) error {
	return db.logs.synced(ctx)
}

// Queryable gives read access to the samples, for PromQL engines of others. It
// reads here in any case: with a Remote, what this machine wrote of late.
func (db *DB) Queryable() storage.Queryable { return db.inner }
