package archive

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/prometheus/tsdb/fileutil"
	"github.com/prometheus/prometheus/tsdb/wlog"

	"nocturne/internal/glob"
	"nocturne/tsdb/folder"
)

const (
	stillPrefix = "still-"
	// heldName is locked while somebody uses the folder; "lock" would keep it
	// from being opened as a store.
	heldName = "held"
	lockName = "lock" // of a backup
	// attempts at a listing that did not change while its files were linked. A
	// server changes its files once in minutes.
	attempts = 100
)

var (
	segmentName = regexp.MustCompile(`^[0-9]{8,}$`)
	pointName   = regexp.MustCompile(`^checkpoint\.[0-9]+$`)
	tierName    = regexp.MustCompile(`^rollup-[0-9]+[smhd]$`)
)

// errMoved says that a file went away between being listed and being linked.
var errMoved = errors.New("the folder kept changing while its files were linked")

// Still is a picture of a history folder that no longer changes: links to its
// blocks and logs, with the newest segment of each log copied up to its last
// whole record. It may be opened as a store and written to; the history does
// not see it.
type Still struct {
	dir  string
	lock fileutil.Releaser
}

// Dir returns the folder of the picture, which lies within the history's.
func (s *Still) Dir() string { return s.dir }

// Close removes the picture.
func (s *Still) Close() error {
	err := errors.Join(s.lock.Release(), os.RemoveAll(s.dir))
	if err != nil {
		return fmt.Errorf("remove the picture %s: %w", s.dir, err)
	}
	return nil
}

// Hold takes a picture of the history in dir. It holds every sample that was
// in the folder's files when Hold was called. A server may be writing to dir:
// the logs are linked first and the blocks after, so what the server moves
// from log to block meanwhile is in both, never in none. Pictures left by
// processes that were killed are removed.
func Hold(dir string) (*Still, error) {
	if err := sweep(dir, stillPrefix); err != nil {
		return nil, fmt.Errorf("remove old pictures in %s: %w", dir, err)
	}
	to, err := os.MkdirTemp(dir, stillPrefix)
	if err != nil {
		return nil, fmt.Errorf("take a picture of %s: %w", dir, err)
	}
	lock, _, err := fileutil.Flock(filepath.Join(to, heldName))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("take a picture of %s: %w", dir, err), os.RemoveAll(to))
	}
	s := &Still{dir: to, lock: lock}
	if err := hold(dir, to); err != nil {
		return nil, errors.Join(fmt.Errorf("take a picture of %s: %w", dir, err), s.Close())
	}
	return s, nil
}

// sweep removes the folders of a prefix whose lock nobody holds.
func sweep(dir, prefix string) error {
	old, err := glob.In(dir, prefix+"*")
	if err != nil {
		return err
	}
	for _, p := range old {
		lock, _, err := fileutil.Flock(filepath.Join(p, heldName))
		if err != nil {
			continue // held, or just being made
		}
		if err := errors.Join(lock.Release(), os.RemoveAll(p)); err != nil {
			return err
		}
	}
	return nil
}

func hold(dir, to string) error {
	// Late samples name series that the log of samples in order defines, so
	// that one is cut later.
	for _, log := range []string{"wbl", "wal"} {
		if err := settled(func() error { return holdLog(dir, to, log) }); err != nil {
			return fmt.Errorf("%s: %w", log, err)
		}
	}
	if err := dropMarkers(filepath.Join(to, "wbl")); err != nil {
		return fmt.Errorf("wbl: %w", err)
	}
	tiers, err := tiersOf(dir)
	if err != nil {
		return err
	}
	for _, tier := range tiers {
		if err := settled(func() error { return holdBlocks(filepath.Join(dir, tier), filepath.Join(to, tier)) }); err != nil {
			return fmt.Errorf("blocks in %s: %w", filepath.Join(dir, tier), err)
		}
	}
	return nil
}

// settled repeats take until it saw a folder at rest.
func settled(take func() error) error {
	for n := range attempts {
		err := take()
		if !errors.Is(err, errMoved) && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		time.Sleep(time.Duration(n) * time.Millisecond)
	}
	return errMoved
}

// holdLog links a log's checkpoints and segments. All but the newest segment
// are complete; that one is copied.
func holdLog(dir, to, log string) error {
	from, into := filepath.Join(dir, log), filepath.Join(to, log)
	if _, err := os.Stat(from); errors.Is(err, fs.ErrNotExist) {
		return nil // there are no late samples
	}
	points, segments, err := logNames(from)
	if err != nil {
		return err
	}
	if err := errors.Join(os.RemoveAll(into), os.MkdirAll(into, 0o777)); err != nil {
		return err
	}
	for _, p := range points {
		if err := placeTree(filepath.Join(from, p), filepath.Join(into, p), os.Link); err != nil {
			return err
		}
	}
	for i, s := range segments {
		if i < len(segments)-1 {
			err = os.Link(filepath.Join(from, s), filepath.Join(into, s))
		} else {
			err = copyWholeRecords(from, into, s)
		}
		if err != nil {
			return err
		}
	}
	pointsAfter, segmentsAfter, err := logNames(from)
	if err != nil {
		return err
	}
	if !slices.Equal(points, pointsAfter) || len(segmentsAfter) < len(segments) || !slices.Equal(segments, segmentsAfter[:len(segments)]) {
		return errMoved
	}
	return nil
}

func logNames(dir string) (points, segments []string, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, nil, err
	}
	for _, e := range entries {
		switch {
		case e.IsDir() && pointName.MatchString(e.Name()):
			points = append(points, e.Name())
		case !e.IsDir() && segmentName.MatchString(e.Name()):
			segments = append(segments, e.Name())
		}
	}
	return points, segments, nil
}

// copyWholeRecords copies a segment that is being written and cuts what was
// half written at that moment, so that no replay takes it for damage. Damage
// before the end is copied as it is.
func copyWholeRecords(from, into, name string) error {
	path := filepath.Join(into, name)
	if err := copyFile(filepath.Join(from, name), path); err != nil {
		return err
	}
	whole, err := wholeRecords(path)
	if err != nil || whole < 0 {
		return err
	}
	return os.Truncate(path, whole)
}

// wholeRecords returns where the last whole record of a segment ends, or -1
// when the segment is whole or damaged elsewhere than at its end.
func wholeRecords(path string) (int64, error) {
	seg, err := wlog.OpenReadSegment(path)
	if err != nil {
		return 0, err
	}
	buf := wlog.NewSegmentBufReader(seg)
	defer buf.Close()
	r := wlog.NewReader(buf)
	st, err := os.Stat(path)
	if err != nil {
		return 0, err
	}
	// The reader takes zeros for what is missing of the last page, so a torn
	// record is one that ends beyond the file.
	end := int64(0)
	for r.Next() && r.Offset() <= st.Size() {
		end = r.Offset()
	}
	if r.Offset() < st.Size() || r.Err() == nil && r.Offset() == end {
		return -1, nil
	}
	return end, nil
}

// holdBlocks links the blocks of one tier. What the server keeps beside them
// speaks of its own log and disk, not of the picture's.
func holdBlocks(from, into string) error {
	names, err := folder.Blocks(from)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(into, 0o777); err != nil {
		return err
	}
	held, err := folder.Blocks(into)
	if err != nil {
		return err
	}
	for _, name := range held { // by an attempt before
		if slices.Contains(names, name) {
			continue
		}
		if err := os.RemoveAll(filepath.Join(into, name)); err != nil {
			return err
		}
	}
	for _, name := range names {
		if slices.Contains(held, name) {
			continue
		}
		if err := linkBlock(filepath.Join(from, name), filepath.Join(into, name)); err != nil {
			return err
		}
	}
	after, err := folder.Blocks(from)
	if err != nil {
		return err
	}
	if !slices.Equal(names, after) {
		return errMoved
	}
	return nil
}

// linkBlock links a block, which appears under its name only as a whole. The
// block has to be there still when all is linked: deleting one starts with
// giving it another name.
func linkBlock(from, into string) error {
	if err := errors.Join(os.RemoveAll(into+".tmp"), placeTree(from, into+".tmp", os.Link)); err != nil {
		return err
	}
	if _, err := os.Stat(from); err != nil {
		return errors.Join(err, os.RemoveAll(into+".tmp"))
	}
	return os.Rename(into+".tmp", into)
}

// placeTree places each file of a folder, but for what is half written, under
// the same name in another.
func placeTree(from, into string, place func(from, to string) error) error {
	return filepath.WalkDir(from, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		to := filepath.Join(into, rel)
		if e.IsDir() {
			return os.MkdirAll(to, 0o777)
		}
		if strings.HasSuffix(path, ".tmp") {
			return nil
		}
		return place(path, to)
	})
}

// copyFile copies a file's present content.
func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}
