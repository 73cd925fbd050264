package tsdb

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/VictoriaMetrics/metrics"
)

const syncInterval = 500 * time.Millisecond

// logFolders hold the library's write-ahead logs: of samples in order, and of
// samples that came late.
var logFolders = []string{"wal", "wbl"}

var (
	syncSeconds  = metrics.GetOrCreateHistogram(`nocturne_tsdb_log_sync_duration_seconds`)
	syncFailures = metrics.GetOrCreateCounter(`nocturne_tsdb_log_sync_failures_total`)
)

// logSync makes the library's logs durable: every segment that grew since the
// last pass, and its folder when there is a new one. Syncing through a file
// of our own works since the kernel syncs the inode, whoever wrote it.
type logSync struct {
	folders []*logFolder
	writes  atomic.Uint64 // appends that the library has written
	failed  atomic.Pointer[error]

	mu   sync.Mutex // one pass at a time; guards below and the folders
	done uint64     // value of writes that is on disk
	last time.Time
	// fsync is (*os.File).Sync; a test makes it fail.
	fsync func(*os.File) error
}

type logFolder struct {
	path    string
	segment int   // the newest segment that is on disk
	size    int64 // and how much of it
}

func newLogSync(dir string) *logSync {
	l := &logSync{fsync: (*os.File).Sync}
	for _, name := range logFolders {
		l.folders = append(l.folders, &logFolder{path: filepath.Join(dir, name), segment: -1})
	}
	return l
}

// wrote notes an append whose records are in the files.
func (l *logSync) wrote() { l.writes.Add(1) }

// state returns when the last sync ended and, once one has failed, why.
func (l *logSync) state() (time.Time, error) {
	if err := l.failed.Load(); err != nil {
		return time.Time{}, *err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.last, nil
}

// synced returns once all writes noted before the call are on disk.
func (l *logSync) synced(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	want := l.writes.Load()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.done >= want && l.failed.Load() == nil {
		return nil
	}
	return l.pass()
}

// sync makes all writes noted so far durable.
func (l *logSync) sync() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.pass()
}

// pass needs mu. After an error no later pass may succeed: the kernel reports
// a lost page once and then calls the file clean.
func (l *logSync) pass() error {
	if err := l.failed.Load(); err != nil {
		return *err
	}
	start, writes := time.Now(), l.writes.Load()
	for _, f := range l.folders {
		if err := f.sync(l.fsync); err != nil {
			err = fmt.Errorf("sync log, nothing more is acknowledged until a restart: %w", err)
			l.failed.Store(&err)
			syncFailures.Inc()
			return err
		}
	}
	l.done, l.last = writes, time.Now()
	syncSeconds.UpdateDuration(start)
	return nil
}

func (f *logFolder) sync(fsync func(*os.File) error) error {
	segments, err := segmentsFrom(f.path, f.segment)
	if err != nil {
		return err
	}
	newest, size := f.segment, f.size
	for _, n := range segments {
		got, err := syncSegment(filepath.Join(f.path, fmt.Sprintf("%08d", n)), n == f.segment, f.size, fsync)
		if errors.Is(err, fs.ErrNotExist) {
			continue // truncated meanwhile: its samples are in a block or a checkpoint
		}
		if err != nil {
			return err
		}
		newest, size = n, got
	}
	if newest != f.segment {
		if err := syncFolder(f.path); err != nil {
			return err
		}
	}
	f.segment, f.size = newest, size
	return nil
}

// syncSegment syncs a segment and returns the size of what is durable. A
// segment known to be durable at its present size is left alone.
func syncSegment(path string, known bool, size int64, fsync func(*os.File) error) (int64, error) {
	file, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer file.Close()
	st, err := file.Stat()
	if err != nil {
		return 0, err
	}
	if known && st.Size() == size {
		return size, nil
	}
	return st.Size(), fsync(file)
}

// segmentsFrom lists a log's segments from number first on, oldest first.
func segmentsFrom(dir string, first int) ([]int, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var found []int
	for _, e := range entries {
		if n, err := strconv.Atoi(e.Name()); err == nil && !e.IsDir() && n >= first {
			found = append(found, n)
		}
	}
	slices.SortFunc(found, cmp.Compare[int])
	return found, nil
}

func segmentPath(dir string, n int) string { return filepath.Join(dir, fmt.Sprintf("%08d", n)) }
