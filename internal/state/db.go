package state

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"
)

// Options says where the records are kept.
type Options struct {
	Dir      string       // folder of the database, made when absent
	InMemory bool         // nothing on disk; Dir must be empty
	Log      *slog.Logger // nil: slog.Default()
	MinFree  int64        // bytes of the disk that are left free; see ErrReadOnly (32 MiB)
}

// DB is the open database. It is safe for concurrent use.
type DB struct {
	badger *badger.DB
	room   *room // nil: in memory
	log    *slog.Logger
	queue  chan *op
	done   chan struct{} // closed when the committer has ended
	stop   chan struct{} // closed when Close begins
	ended  chan struct{} // closed when the files are

	mu      sync.Mutex // guards below
	idle    sync.Cond  // signalled when active becomes 0
	active  int        // calls that use badger now
	closed  bool
	failed  error // why nothing is written any more
	logs    map[string]*tail
	watches map[string]map[*watch]struct{} // by kind
	raisers map[string]raiser              // by prefix of keys

	deletions deletions

	rev     uint64 // last revision given out; only the committer
	written uint64 // records written or deleted since the last Flatten; guarded by mu
}

// Sizes of a process that mostly idles: Badger's defaults preallocate 2.2 GB.
const (
	memTableSize     = 4 << 20
	valueThreshold   = 128 << 10 // larger values go to the value log
	valueLogFileSize = 64 << 20
	blockCacheSize   = 4 << 20
)

func badgerOptions(o Options, log *slog.Logger) badger.Options {
	bo := badger.DefaultOptions(o.Dir).
		WithInMemory(o.InMemory).
		WithSyncWrites(true).
		WithMemTableSize(memTableSize).
		WithNumMemtables(2).
		WithNumLevelZeroTables(2).
		WithNumLevelZeroTablesStall(6).
		WithNumCompactors(2).
		WithNumGoroutines(2).
		WithValueThreshold(valueThreshold).
		WithValueLogFileSize(valueLogFileSize).
		WithBlockCacheSize(blockCacheSize).
		WithMetricsEnabled(false).
		WithChecksumVerificationMode(options.OnBlockRead).
		WithVerifyValueChecksum(true).
		WithLogger(badgerLog{log})
	// One goroutine writes: there is no conflict to be found.
	bo.DetectConflicts = false
	return bo
}

// Open opens the database in o.Dir for this process alone.
func Open(o Options) (*DB, error) {
	if o.InMemory != (o.Dir == "") {
		return nil, errors.New("open state: either a folder or in memory")
	}
	log := o.Log
	if log == nil {
		log = slog.Default()
	}
	log = log.With("component", "state")
	var space *room
	if !o.InMemory {
		if err := os.MkdirAll(o.Dir, 0o700); err != nil {
			return nil, fmt.Errorf("open state: %w", err)
		}
		space = &room{dir: o.Dir, least: cmp.Or(o.MinFree, defaultMinFree), log: log}
		if err := space.makeReadyToOpen(); err != nil {
			return nil, fmt.Errorf("open state in %s: %w", o.Dir, err)
		}
		if err := salvage(o.Dir, log); err != nil {
			return nil, fmt.Errorf("open state in %s: %w", o.Dir, err)
		}
	}
	b, err := badger.Open(badgerOptions(o, log))
	if err != nil {
		return nil, openError(o.Dir, err)
	}
	db := &DB{
		badger: b, log: log, room: space,
		queue: make(chan *op, 1024), done: make(chan struct{}), stop: make(chan struct{}), ended: make(chan struct{}),
		logs: map[string]*tail{}, watches: map[string]map[*watch]struct{}{}, raisers: map[string]raiser{},
	}
	db.idle.L = &db.mu
	if db.rev, err = lastRevision(b); err != nil {
		return nil, errors.Join(fmt.Errorf("open state in %s: %w", o.Dir, err), b.Close())
	}
	db.noteNewestLog()
	txn := b.NewTransaction(false)
	db.deletions.floor = txn.ReadTs() // what was deleted before, nobody knows
	txn.Discard()
	go db.commitLoop()
	return db, nil
}

// openError names the folder, and the process that holds it where one does.
func openError(dir string, err error) error {
	if strings.Contains(err.Error(), "Cannot acquire directory lock") {
		owner := "another process"
		if pid, rerr := os.ReadFile(filepath.Join(dir, "LOCK")); rerr == nil {
			owner += ", pid " + strings.TrimSpace(string(pid))
		}
		return fmt.Errorf("open state: the folder %s is in use by %s", dir, owner)
	}
	return fmt.Errorf("open state in %s: %w", dir, err)
}

func lastRevision(b *badger.DB) (rev uint64, err error) {
	err = b.View(func(txn *badger.Txn) error {
		v, err := get(txn, []byte(revisionKey))
		if err != nil || v == nil {
			return err
		}
		if len(v) != 8 {
			return fmt.Errorf("last revision: %w", ErrDamaged)
		}
		rev = binary.BigEndian.Uint64(v)
		return nil
	})
	return rev, err
}

// Close waits for running calls, writes out what is in memory and closes the
// files. Watches end. Closing twice is no error; each call returns when the
// files are closed.
func (db *DB) Close() error {
	db.mu.Lock()
	if db.closed {
		db.mu.Unlock()
		<-db.ended
		return nil
	}
	db.closed = true
	defer close(db.ended)
	close(db.stop)
	for db.active > 0 {
		db.idle.Wait()
	}
	db.mu.Unlock()
	close(db.queue)
	<-db.done
	if db.room.check() != nil { // closing writes the memtable out
		if err := db.room.release(); err != nil {
			db.log.Error("close state", "err", err)
		}
	}
	if err := db.badger.Close(); err != nil {
		return fmt.Errorf("close state: %w", err)
	}
	db.noteNewestLog()
	if db.room != nil {
		db.room.reserve(toOpen / 4)
	}
	return nil
}

// enter keeps the files open until leave: Badger faults when it is read after
// its maps are gone.
func (db *DB) enter() error {
	db.mu.Lock()
	defer db.mu.Unlock()
	if db.closed {
		return ErrClosed
	}
	db.active++
	return nil
}

func (db *DB) leave() {
	db.mu.Lock()
	defer db.mu.Unlock()
	if db.active--; db.active == 0 {
		db.idle.Broadcast()
	}
}

// view runs f in a read transaction on one snapshot.
func (db *DB) view(f func(txn *badger.Txn) error) error {
	if err := db.enter(); err != nil {
		return err
	}
	defer db.leave()
	return db.badger.View(f)
}

const (
	maintainEvery = 15 * time.Minute
	// flattenAfter writes, the tombstones of queue-like use are worth merging.
	flattenAfter = 10_000
)

// Run keeps the files small until ctx ends: it merges away deleted records
// and rewrites value logs that are mostly garbage.
func (db *DB) Run(ctx context.Context) error {
	tick, space := time.NewTicker(maintainEvery), time.NewTicker(roomEvery)
	defer tick.Stop()
	defer space.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-db.stop:
			return nil
		case <-space.C:
			db.room.tend()
		case <-tick.C:
			if err := db.maintain(ctx); err != nil && !errors.Is(err, ErrClosed) {
				db.log.Error("state maintenance", "err", err)
			}
		}
	}
}

func (db *DB) maintain(ctx context.Context) error {
	if err := db.enter(); err != nil {
		return err
	}
	defer db.leave()
	if db.failure() != nil {
		return nil // said when it happened; and this writes too
	}
	if db.room.check() != nil {
		return nil // what merges writes first and frees afterwards
	}
	db.mu.Lock()
	flatten := db.written >= flattenAfter
	if flatten {
		db.written = 0
	}
	db.mu.Unlock()
	if flatten {
		if err := db.badger.Flatten(1); err != nil {
			return fmt.Errorf("flatten: %w", err)
		}
	}
	db.noteNewestLog()
	for ctx.Err() == nil {
		err := db.badger.RunValueLogGC(0.5)
		if errors.Is(err, badger.ErrNoRewrite) || errors.Is(err, badger.ErrGCInMemoryMode) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("collect value log: %w", err)
		}
	}
	return nil
}

// noteNewestLog goes on without, where the disk is full: the number of before
// stands.
func (db *DB) noteNewestLog() {
	if db.room == nil {
		return
	}
	if err := noteNewestLog(db.room.dir); err != nil {
		db.log.Warn("the number of the newest value log is not noted", "err", err)
	}
}

// Size returns the bytes on disk.
func (db *DB) Size() int64 {
	if db.enter() != nil {
		return 0
	}
	defer db.leave()
	lsm, vlog := db.badger.Size()
	return lsm + vlog
}

// badgerLog passes Badger's warnings and errors on; it says much otherwise.
type badgerLog struct{ log *slog.Logger }

func (l badgerLog) Errorf(f string, a ...any) {
	l.log.Error("badger", "err", strings.TrimSpace(fmt.Sprintf(f, a...)))
}

func (l badgerLog) Warningf(f string, a ...any) {
	l.log.Warn("badger", "err", strings.TrimSpace(fmt.Sprintf(f, a...)))
}

func (l badgerLog) Infof(string, ...any)  {}
func (l badgerLog) Debugf(string, ...any) {}
