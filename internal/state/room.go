package state

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/VictoriaMetrics/metrics"
	"golang.org/x/sys/unix"

	"nocturne/internal/glob"
)

// ErrReadOnly is what writes answer while the disk has no room for them.
// Reading goes on. It passes by itself once there is room.
var ErrReadOnly = errors.New("state is read-only")

const (
	reserveName    = "reserve"
	defaultMinFree = 32 << 20
	// toOpen is what Badger writes while it opens, besides the tables that it
	// makes of the logs that a crash left.
	toOpen = 1 << 20
	// roomChecked is for how long a look at the free space is believed.
	roomChecked = 20 * time.Millisecond
	roomEvery   = time.Second
)

var (
	readOnlyGauge = metrics.GetOrCreateGauge(`nocturne_state_read_only`, nil)
	freeGauge     = metrics.GetOrCreateGauge(`nocturne_state_free_bytes`, nil)
)

// room watches the free space of the file system that dir is on. Badger writes
// into mapped files that have no blocks yet: on a full disk such a write is no
// error but a bus error, which ends the process. So below least bytes nothing
// is committed, and what flushing and compacting still write fits. A file of
// least bytes is held in reserve, to be given up when the database opens or
// closes on a full disk.
type room struct {
	dir   string
	least int64
	log   *slog.Logger

	checked atomic.Int64 // Unix time in ns
	lack    atomic.Pointer[lack]

	mu   sync.Mutex // guards below
	none bool       // the file system cannot reserve
}

// lack is why nothing is written, and since when.
type lack struct {
	since time.Time
	err   error
}

// free is how many bytes an ordinary user may still write.
func (r *room) free() (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(r.dir, &st); err != nil {
		return 0, fmt.Errorf("free space of %s: %w", r.dir, err)
	}
	return int64(st.Bavail) * st.Bsize, nil
}

// check returns why nothing may be written now. To end a lack takes a quarter
// more than to begin it.
func (r *room) check() *lack {
	if r == nil { // in memory
		return nil
	}
	now := time.Now().UnixNano()
	if at := r.checked.Load(); now-at >= int64(roomChecked) || now < at {
		if r.checked.CompareAndSwap(at, now) {
			r.look()
		}
	}
	return r.lack.Load()
}

// look renews what check answers.
func (r *room) look() {
	free, err := r.free()
	if err != nil {
		return // a write will tell what is wrong
	}
	freeGauge.Set(float64(free))
	was, least := r.lack.Load(), r.least
	if was != nil {
		least += least / 4
	}
	if free >= least {
		if was != nil && r.lack.CompareAndSwap(was, nil) {
			readOnlyGauge.Set(0)
			r.log.Warn("there is room again: records are written", "free_bytes", free)
		}
		return
	}
	r.note(was, free, least)
}

// note makes a lack, or renews the one that was.
func (r *room) note(was *lack, free, least int64) {
	now := &lack{since: time.Now(), err: fmt.Errorf("%w: %s has %d MB free, %d MB are needed", ErrReadOnly, r.dir, free>>20, least>>20)}
	if was != nil {
		now.since = was.since
	}
	if r.lack.CompareAndSwap(was, now) && was == nil {
		readOnlyGauge.Set(1)
		r.log.Error("the disk is full: no record is written until there is room", "free_bytes", free, "needed_bytes", least)
	}
}

// makeReadyToOpen gives the reserve up where there is no room otherwise, and
// refuses where there is none even so.
func (r *room) makeReadyToOpen() error {
	free, err := r.free()
	if err != nil || free >= r.least {
		return err
	}
	// What the reserve gives is not for records.
	r.note(nil, free, r.least)
	if err := r.release(); err != nil {
		return err
	}
	if free, err = r.free(); err != nil {
		return err
	}
	need, err := r.logged()
	if err != nil {
		return err
	}
	if need += toOpen; free < need {
		return fmt.Errorf("%w: %s has %d MB free, %d MB are needed to open it", ErrReadOnly, r.dir, free>>20, need>>20)
	}
	return nil
}

// logged is how much the logs of memtables hold: what opening writes out.
func (r *room) logged() (bytes int64, err error) {
	names, err := glob.In(r.dir, "*.mem")
	for _, name := range names {
		var st unix.Stat_t
		if err := unix.Stat(name, &st); err != nil {
			return 0, fmt.Errorf("size of %s: %w", name, err)
		}
		bytes += st.Blocks * 512
	}
	return bytes, err
}

// release gives the reserve to whoever writes next.
func (r *room) release() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := os.Remove(filepath.Join(r.dir, reserveName)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("give up the reserve: %w", err)
	}
	return nil
}

// reserve takes the reserve, or as much of it as leaves the rest free.
func (r *room) reserve(rest int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	name := filepath.Join(r.dir, reserveName)
	if st, err := os.Stat(name); r.none || err == nil && st.Size() == r.least {
		return
	}
	free, err := r.free()
	n := min(r.least, free-rest)
	if err != nil || n <= 0 {
		return
	}
	f, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY, 0o600)
	if err == nil {
		err = errors.Join(unix.Fallocate(int(f.Fd()), 0, 0, n), f.Close())
	}
	if r.none = errors.Is(err, unix.EOPNOTSUPP); err != nil {
		r.log.Warn("no space is held in reserve for a full disk", "err", err)
	}
}

// tend renews the look and the reserve.
func (r *room) tend() {
	if r == nil {
		return
	}
	if r.check() == nil {
		r.reserve(2 * r.least) // or what is taken here would be a lack
	}
}

// ReadOnly says since when and why writes are refused with ErrReadOnly; nil
// while they are not.
func (db *DB) ReadOnly() (since time.Time, err error) {
	if l := db.room.check(); l != nil {
		return l.since, l.err
	}
	return time.Time{}, nil
}
