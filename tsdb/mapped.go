package tsdb

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/tsdb/fileutil"

	"nocturne/internal/glob"
	"nocturne/tsdb/folder"
)

const (
	mappedFolder = "chunks_head"
	// mappedMark is a file beside the folder while that may hold late samples
	// that were deleted: the library maps late chunks again at each start, also
	// those that are in a block by now, and would write them as a block anew.
	mappedMark = "chunks_head.deleted"
	// mappedHead is a mapped chunk's series, first and last time and encoding,
	// which its length follows.
	mappedHead     = mappedEncoding + chunks.ChunkEncodingSize
	mappedEncoding = chunks.SeriesRefSize + 2*chunks.MintMaxtSize
)

// mappedFiles lists the files of mapped chunks, oldest first.
func mappedFiles(dir string) ([]string, error) {
	names, err := glob.In(dir, "[0-9][0-9][0-9][0-9][0-9][0-9]*")
	slices.Sort(names)
	return names, err
}

// mappedChunk is a chunk in a file of mapped chunks.
type mappedChunk struct {
	ref    chunks.ChunkDiskMapperRef // the number of the file, and where in it
	series chunks.HeadSeriesRef
	maxT   int64
	late   bool
	hidden bool // see hide
}

// checkMappedFile reads all chunks of a file, where the library believes
// lengths before it compares checksums. It returns the offset of the first
// damage.
func checkMappedFile(path string, each func(mappedChunk)) (off, size int64, err error) {
	st, err := os.Stat(path)
	if err != nil || st.Size() == 0 {
		return -1, 0, err // made and not written to; the library removes it
	}
	size = st.Size()
	file, err := fileutil.OpenMmapFile(path) // they can be large
	if err != nil {
		return -1, 0, err
	}
	defer file.Close()
	data := file.Bytes()
	if len(data) < chunks.MagicChunksSize && allZero(data) {
		return -1, size, nil // as above
	}
	if len(data) < chunks.HeadChunkFileHeaderSize || binary.BigEndian.Uint32(data) != chunks.MagicHeadChunks || data[chunks.MagicChunksSize] != 1 {
		return 0, size, errors.New("no header of a file of mapped chunks")
	}
	seq, err := strconv.ParseUint(filepath.Base(path), 10, 32)
	if err != nil {
		return -1, size, err
	}
	for i := chunks.HeadChunkFileHeaderSize; i < len(data); {
		n, err := checkMappedChunk(data[i:])
		if err != nil {
			return int64(i), size, err
		}
		if n == 0 {
			break
		}
		encoding := data[i+mappedEncoding]
		each(mappedChunk{
			ref:    chunks.ChunkDiskMapperRef(seq<<32 | uint64(i)),
			series: chunks.HeadSeriesRef(binary.BigEndian.Uint64(data[i:])),
			maxT:   int64(binary.BigEndian.Uint64(data[i+chunks.SeriesRefSize+chunks.MintMaxtSize:])),
			late:   encoding&chunks.OutOfOrderMask != 0, hidden: encoding == hiddenEncoding,
		})
		i += n
	}
	return -1, size, nil
}

// checkMappedChunk returns the size of the chunk at the beginning of b, 0
// where there is none any more.
func checkMappedChunk(b []byte) (int, error) {
	if allZero(b[:min(len(b), mappedHead)]) {
		if !allZero(b) {
			return 0, errors.New("data after the end")
		}
		return 0, nil
	}
	if len(b) < chunks.MaxHeadChunkMetaSize {
		return 0, errors.New("chunk cut short")
	}
	length, n := binary.Uvarint(b[mappedHead : mappedHead+chunks.MaxChunkLengthFieldSize])
	end := mappedHead + n + int(length)
	if n <= 0 || length > chunks.MaxHeadChunkFileSize || end+chunks.CRCSize > len(b) {
		return 0, fmt.Errorf("chunk of %d bytes in %d", length, len(b))
	}
	if want, got := binary.BigEndian.Uint32(b[end:]), crc32.Checksum(b[:end], castagnoli); want != got {
		return 0, fmt.Errorf("checksum %08x, expected %08x", got, want)
	}
	return end + chunks.CRCSize, nil
}

func allZero(b []byte) bool {
	return !slices.ContainsFunc(b, func(c byte) bool { return c != 0 })
}

// markMapped has the next opening read from the log what is mapped.
func markMapped(dir string) error {
	f, err := os.Create(filepath.Join(dir, mappedMark))
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close(), folder.Sync(dir))
}

// dropMarkedMapped removes the mapped chunks, and then the mark, if there is
// one.
func dropMarkedMapped(dir string) error {
	mark := filepath.Join(dir, mappedMark)
	if _, err := os.Stat(mark); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err := errors.Join(os.RemoveAll(filepath.Join(dir, mappedFolder)), folder.Sync(dir)); err != nil {
		return err
	}
	return errors.Join(os.Remove(mark), folder.Sync(dir))
}

// dropDamagedMapped removes the mapped chunks when one of them is damaged or
// cut short, or a file of them is missing: all of them are in the log too, and
// the library reads them from there when the folder is gone. Without a file
// between others it would not open, and without the first it would pass over
// what the log holds of that time. It returns what is there.
func dropDamagedMapped(dir string, known map[string]int64, log *slog.Logger) (*mappedChunks, error) {
	folderOf := filepath.Join(dir, mappedFolder)
	files, err := mappedFiles(folderOf)
	if err != nil {
		return nil, err
	}
	m := &mappedChunks{dir: folderOf, files: files, late: map[chunks.ChunkDiskMapperRef]bool{}}
	if _, err := os.Stat(filepath.Join(dir, mappedOnly)); err == nil {
		known = nil // what it knows may have been truncated a moment later
	}
	file, off, cause := missingMapped(dir, files, known), int64(0), error(nil)
	if file != "" {
		cause = errors.New("the file is missing")
	}
	for i := 0; i < len(files) && cause == nil; i++ {
		var size int64
		file = relative(dir, files[i])
		off, size, cause = checkMappedFile(files[i], m.add)
		if _, ok := errors.AsType[*fs.PathError](cause); ok {
			return nil, cause
		}
		if want := known[file]; cause == nil && size < want {
			off, cause = size, fmt.Errorf("%d bytes are missing at the end", want-size)
		}
	}
	if cause == nil {
		return m, nil
	}
	mappedDropped.Inc()
	log.Warn("damaged mapped chunks dropped, they are read from the log", "file", file, "offset", off, "err", cause)
	return &mappedChunks{}, errors.Join(os.RemoveAll(folderOf), folder.Sync(dir))
}

// missingMapped names a file of mapped chunks that was there and is not, "" if
// there is none.
func missingMapped(dir string, files []string, known map[string]int64) string {
	for i, path := range files {
		if i > 0 && filepath.Base(path) != fmt.Sprintf("%06d", numberOf(files[i-1])+1) {
			return relative(dir, files[i-1]) + " and following"
		}
	}
	for _, name := range slices.Sorted(maps.Keys(known)) {
		if filepath.Dir(name) == mappedFolder && !slices.Contains(files, filepath.Join(dir, name)) {
			return name
		}
	}
	return ""
}

// numberOf is the number by which a file of mapped chunks, or a segment of a
// log, is named; -1 for what is neither.
func numberOf(path string) int {
	n, err := strconv.Atoi(filepath.Base(path))
	if err != nil {
		return -1
	}
	return n
}
