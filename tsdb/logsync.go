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

	"nocturne/tsdb/folder"
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
	dir     string
	folders []*logFolder
	writes  atomic.Uint64 // appends that the library has written
	failed  atomic.Pointer[error]
	lack    atomic.Pointer[error] // a sync failed for want of room; see startOver

	mu    sync.Mutex // one pass at a time; guards below and the folders
	done  uint64     // value of writes that is on disk
	last  time.Time
	sizes map[string]int64 // on disk, by path in dir; see logSizesName
	noted time.Time        // when sizes were last written
	notes *os.File
	// mappedAt is when a file of mapped chunks last came or went.
	mappedAt time.Time
	// fsync is (*os.File).Sync; a test makes it fail.
	fsync func(*os.File) error
}

type logFolder struct {
	path    string
	segment int   // the newest segment that is on disk
	size    int64 // and how much of it
	// file is that segment. It stays open since the kernel tells an error of
	// writing to each file that was open at the time, and else to one: the
	// library, which syncs a segment that is full, only logs it.
	file *os.File
}

func newLogSync(dir string) *logSync {
	l := &logSync{dir: dir, sizes: map[string]int64{}, fsync: (*os.File).Sync}
	for _, name := range logFolders {
		l.folders = append(l.folders, &logFolder{path: filepath.Join(dir, name), segment: -1})
	}
	return l
}

// close makes the last writes durable and closes the files.
func (l *logSync) close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	err := l.pass()
	if err == nil {
		l.note(true)
	}
	for _, f := range l.folders {
		if f.file != nil {
			err = errors.Join(err, f.file.Close())
			f.file = nil
		}
	}
	if l.notes != nil {
		err = errors.Join(err, l.notes.Close())
		l.notes = nil
	}
	return err
}

// full returns why the last sync failed, if it was for want of room.
func (l *logSync) full() error {
	if err := l.lack.Load(); err != nil {
		return *err
	}
	return nil
}

// broken returns why nothing is acknowledged, without waiting for a sync.
func (l *logSync) broken() error {
	if err := l.failed.Load(); err != nil {
		return *err
	}
	return l.full()
}

// wrote notes an append whose records are in the files.
func (l *logSync) wrote() { l.writes.Add(1) }

// state returns when the last sync ended and, once one has failed, why.
func (l *logSync) state() (time.Time, error) {
	if err := l.broken(); err != nil {
		return time.Time{}, err
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
	if l.done >= want && l.broken() == nil {
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
	if err := l.broken(); err != nil {
		return err
	}
	start, writes := time.Now(), l.writes.Load()
	turned := false
	for _, f := range l.folders {
		was := f.segment
		if err := f.sync(l.fsync); err != nil {
			return l.fail(err)
		}
		turned = turned || f.segment != was
		if f.segment >= 0 {
			l.sizes[relative(l.dir, segmentPath(f.path, f.segment))] = f.size
		}
	}
	l.done, l.last = writes, time.Now()
	syncSeconds.UpdateDuration(start)
	if turned = l.remapped() || turned; turned {
		l.sizes = l.finishedSizes()
	}
	l.note(turned)
	return nil
}

func (l *logSync) fail(err error) error {
	syncFailures.Inc()
	if diskFull(err) {
		err = fmt.Errorf("sync log, nothing more is acknowledged until there is room: %w", errors.Join(ErrReadOnly, err))
		l.lack.Store(&err)
		return err
	}
	err = fmt.Errorf("sync log, nothing more is acknowledged until a restart: %w", errors.Join(ErrReadOnly, err))
	l.failed.Store(&err)
	return err
}

// note writes the sizes down, often enough when now is false. That it fails is
// no fault: what was noted before stays true.
func (l *logSync) note(now bool) {
	if !now && time.Since(l.noted) < syncInterval/2 {
		return
	}
	var err error
	if l.notes == nil {
		if l.notes, err = os.OpenFile(filepath.Join(l.dir, logSizesName), os.O_CREATE|os.O_WRONLY, 0o666); err != nil {
			return
		}
	}
	if err = writeLogSizes(l.notes, l.sizes); err == nil {
		l.noted = time.Now()
	}
}

func (f *logFolder) sync(fsync func(*os.File) error) error {
	segments, err := segmentsFrom(f.path, f.segment)
	if err != nil {
		return err
	}
	was := f.segment
	for _, n := range segments {
		if err := f.turn(n); errors.Is(err, fs.ErrNotExist) {
			continue // truncated meanwhile: its samples are in a block or a checkpoint
		} else if err != nil {
			return err
		}
		st, err := f.file.Stat()
		if err != nil {
			return err
		}
		if st.Size() == f.size {
			continue
		}
		if err := fsync(f.file); err != nil {
			return err
		}
		f.size = st.Size()
	}
	if f.segment != was {
		return folder.Sync(f.path)
	}
	return nil
}

// turn opens segment n, of which nothing is known to be on disk, and closes
// the one before, of which all is.
func (f *logFolder) turn(n int) error {
	if n == f.segment && f.file != nil {
		return nil
	}
	file, err := os.Open(segmentPath(f.path, n))
	if err != nil {
		return err
	}
	if f.file != nil {
		err = f.file.Close()
	}
	f.segment, f.size, f.file = n, -1, file
	return err
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
