package tsdb

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
)

// ErrReadOnly is what appends answer while the store takes nothing: its disk
// is full, or a write of its log has failed. Queries go on. See Stats.ReadOnly
// for the reason. Unless the disk itself has failed it passes by itself once
// there is room.
var ErrReadOnly = errors.New("history is read-only")

const (
	reserveName = "reserve"
	// roomChecked is for how long a look at the free space is believed.
	roomChecked = 20 * time.Millisecond
)

var readOnlyGauge = metrics.GetOrCreateGauge(`nocturne_tsdb_read_only`, nil)

// room watches the free space of the file system that dir is on. Below least
// bytes nothing is appended any more, since the library takes a failed write
// of its log badly and one of mapped chunks worse: it panics. For the same
// reason a file of least bytes is kept in reserve, which is given up when the
// store opens on a full disk or has chunks left to map.
type room struct {
	dir   string
	least int64
	log   *slog.Logger

	checked atomic.Int64 // Unix time in ns
	lack    atomic.Pointer[error]

	mu   sync.Mutex // guards below
	held bool       // the reserve has its full size
	none bool       // the file system cannot reserve
}

func newRoom(dir string, least int64, log *slog.Logger) *room {
	return &room{dir: dir, least: least, log: log}
}

// free is how many bytes an ordinary user may still write.
func (r *room) free() (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(r.dir, &st); err != nil {
		return 0, fmt.Errorf("free space of %s: %w", r.dir, err)
	}
	return int64(st.Bavail) * st.Bsize, nil
}

// check returns an error while there is too little room. To end a lack takes
// a quarter more than to begin it.
func (r *room) check() error {
	now := time.Now().UnixNano()
	// A clock that was set back must not have an old look believed for hours.
	if at := r.checked.Load(); (now-at >= int64(roomChecked) || now < at) && r.checked.CompareAndSwap(at, now) {
		r.look()
	}
	if err := r.lack.Load(); err != nil {
		return *err
	}
	return nil
}

// look renews what check answers.
func (r *room) look() {
	free, err := r.free()
	if err != nil {
		return // an append will tell what is wrong
	}
	was := r.lack.Load()
	least := r.least
	if was != nil {
		least += least / 4
	}
	if free >= least {
		if was != nil && r.lack.CompareAndSwap(was, nil) {
			r.log.Info("there is room again", "free_bytes", free)
		}
		return
	}
	lack := fmt.Errorf("%w: %s has %d MB free, %d MB are needed", ErrReadOnly, r.dir, free>>20, least>>20)
	if r.lack.CompareAndSwap(was, &lack) && was == nil {
		r.log.Error("the disk is full: no samples are taken until there is room", "free_bytes", free, "needed_bytes", least)
	}
}

// has says whether n bytes more can be written without a lack.
func (r *room) has(n int64) bool {
	free, err := r.free()
	return err != nil || free-n >= r.least
}

// short is by how much less is free than twice what must be: what a store that
// can do without its oldest blocks frees before it refuses samples.
func (r *room) short() int64 {
	free, err := r.free()
	if err != nil {
		return 0
	}
	return max(0, 2*r.least-free)
}

// release gives the reserve to whoever writes next.
func (r *room) release() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.held = false
	if err := os.Remove(filepath.Join(r.dir, reserveName)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// reserve takes up to n bytes of what is free, n being at most least.
func (r *room) reserve(n int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	free, err := r.free()
	if n = min(n, r.least, free-1<<20); err != nil || n <= 0 || r.held || r.none {
		return
	}
	f, err := os.OpenFile(filepath.Join(r.dir, reserveName), os.O_CREATE|os.O_WRONLY, 0o600)
	if err == nil {
		err = errors.Join(unix.Fallocate(int(f.Fd()), 0, 0, n), f.Close())
	}
	r.held = err == nil && n == r.least
	if r.none = errors.Is(err, unix.EOPNOTSUPP); r.none {
		r.log.Info("the file system cannot reserve space for a full disk", "err", err)
	}
}

// reserved is the size of the reserve.
func (r *room) reserved() int64 {
	st, err := os.Stat(filepath.Join(r.dir, reserveName))
	if err != nil {
		return 0
	}
	return st.Size()
}
