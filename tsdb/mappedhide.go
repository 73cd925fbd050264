package tsdb

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"

	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/tsdb/chunks"
)

// hiddenEncoding is of no chunk that the library knows: it passes over those.
const hiddenEncoding = 0

// mappedChunks are the mapped chunks that an opening finds, as far as it looks
// into them.
type mappedChunks struct {
	dir     string
	files   []string
	late    map[chunks.ChunkDiskMapperRef]bool // those of late samples
	newest  mappedChunk                        // in order, the one that ends last
	end     int64                              // of the last of all
	highest chunks.HeadSeriesRef
}

func (m *mappedChunks) add(c mappedChunk) {
	switch {
	case c.hidden:
		return
	case c.late:
		m.late[c.ref] = true
	case m.newest.ref == 0 || c.maxT > m.newest.maxT:
		m.newest = c
	}
	m.highest, m.end = max(m.highest, c.series), max(m.end, c.maxT)
}

// hideNameless hides the chunks of series that the log does not name, whose
// numbers are above all that it names: the library gives those to the next new
// series and, at the opening after that, these chunks with them.
func (m *mappedChunks) hideNameless(named chunks.HeadSeriesRef) error {
	if m.highest <= named {
		return nil
	}
	for _, path := range m.files {
		var found []chunks.ChunkDiskMapperRef
		if _, _, err := checkMappedFile(path, func(c mappedChunk) {
			if !c.hidden && c.series > named {
				found = append(found, c.ref)
				delete(m.late, c.ref)
			}
		}); err != nil {
			return fmt.Errorf("read mapped chunks %s: %w", path, err)
		}
		if err := hide(path, found, true); err != nil {
			return err
		}
	}
	if m.newest.series > named {
		m.newest = mappedChunk{}
	}
	return nil
}

// hideOne hides what the replay maps again from a whole log, so that the
// library begins a file before it truncates any; see firstFile. The newest
// chunk in order is that: what came after it is in the log, and a chunk is
// mapped when the next begins. Where there is none that the library would read,
// having written all before the time written, all late ones are hidden: the
// library reads those at each start, also what is in a block by now, and what
// it maps after it has written them would get lower numbers and be lost.
func (m *mappedChunks) hideOne(written int64) error {
	if m.newest.ref != 0 && m.newest.maxT >= written {
		return hide(m.fileOf(m.newest.ref), []chunks.ChunkDiskMapperRef{m.newest.ref}, false)
	}
	byFile := map[string][]chunks.ChunkDiskMapperRef{}
	for ref := range m.late {
		byFile[m.fileOf(ref)] = append(byFile[m.fileOf(ref)], ref)
	}
	for path, refs := range byFile {
		if err := hide(path, refs, false); err != nil {
			return err
		}
	}
	clear(m.late)
	return nil
}

func (m *mappedChunks) fileOf(ref chunks.ChunkDiskMapperRef) string {
	n, _ := ref.Unpack()
	return filepath.Join(m.dir, fmt.Sprintf("%06d", n))
}

// hide hides chunks of a file. A power cut between two writes leaves one whose
// checksum is wrong, for which the next opening drops all of them.
func hide(path string, refs []chunks.ChunkDiskMapperRef, durably bool) error {
	if len(refs) == 0 {
		return nil
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	for _, ref := range refs {
		_, off := ref.Unpack()
		err = errors.Join(err, hideAt(f, int64(off)))
	}
	if durably {
		err = errors.Join(err, f.Sync())
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("hide mapped chunks in %s: %w", path, err)
	}
	return nil
}

func hideAt(f *os.File, off int64) error {
	var head [mappedHead + chunks.MaxChunkLengthFieldSize]byte
	if _, err := f.ReadAt(head[:], off); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	length, n := binary.Uvarint(head[mappedHead:])
	b := make([]byte, mappedHead+n+int(length)+chunks.CRCSize)
	if _, err := f.ReadAt(b, off); err != nil {
		return err
	}
	b[mappedEncoding] = hiddenEncoding
	end := len(b) - chunks.CRCSize
	binary.BigEndian.PutUint32(b[end:], crc32.Checksum(b[:end], castagnoli))
	_, err := f.WriteAt(b, off)
	return err
}

// mappedOnly is a file beside the folder that says up to which time, in Unix
// milliseconds, a mapped chunk may hold what no log holds any more, since a
// damaged one was repaired. Until blocks have that time, none may be hidden.
const mappedOnly = "chunks_head.only"

// noteOnly has the mapped chunks kept that there are.
func (m *mappedChunks) noteOnly(dir string) error {
	if len(m.files) == 0 {
		return nil
	}
	return writeDurably(filepath.Join(dir, mappedOnly), strconv.AppendInt(nil, m.end, 10))
}

// onlyMapped says whether mapped chunks may hold what no log holds. It takes a
// file that cannot be read for one that was just written.
func (m *mappedChunks) onlyMapped(dir string, written int64) (bool, error) {
	path := filepath.Join(dir, mappedOnly)
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	until, err := strconv.ParseInt(string(raw), 10, 64)
	switch {
	case err != nil:
		return true, m.noteOnly(dir)
	case until >= written:
		return true, nil
	}
	return false, os.Remove(path)
}

// errNothingMapped has a block of late samples wait until a chunk is mapped. One
// of the head does not wait: its truncation may meet a late sample that has the
// first chunk mapped, within microseconds.
var errNothingMapped = errors.New("no chunk was mapped since the store was opened")

// firstFile knows whether the library has begun a file of mapped chunks since
// it opened. Until then it must not truncate them: it compares how many files
// it found with how many of them it removed, takes all for none that is left,
// also none of none, and sets the number of the next file back. A chunk that is
// mapped meanwhile ends the process (expected newly cut file to have
// sequence:offset), or cannot be read; and chunks of late samples that are
// mapped afterwards have numbers below those that were collected, and are
// neither seen nor written.
type firstFile struct {
	dir    string // of the store
	before int    // the number of the newest file before the opening
	begun  atomic.Bool
	db     atomic.Pointer[tsdb.DB] // nil while it opens
}

// opening comes before the library opens.
func (f *firstFile) opening() error {
	f.db.Store(nil)
	f.begun.Store(false)
	newest, err := f.newest()
	f.before = newest
	return err
}

// ready maps what there is to map and says whether the library has begun a
// file. That file was there before the library knows of it, for less than
// writing a block takes: so the library truncates with one that it knows.
func (f *firstFile) ready() error {
	if f.begun.Load() {
		return nil
	}
	if db := f.db.Load(); db != nil {
		db.ForceHeadMMap()
	}
	newest, err := f.newest()
	if err != nil {
		return err
	}
	if newest <= f.before {
		return errNothingMapped
	}
	f.begun.Store(true)
	return nil
}

// truncates says whether the library truncates once it has written a part of
// its head that ends at maxt.
func (f *firstFile) truncates(maxt int64) bool {
	db := f.db.Load()
	return db == nil || db.Head().MinTime() < maxt
}

func (f *firstFile) newest() (int, error) {
	files, err := mappedFiles(filepath.Join(f.dir, mappedFolder))
	if err != nil || len(files) == 0 {
		return 0, err
	}
	return numberOf(files[len(files)-1]), nil
}
