package tsdb

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/tsdb/fileutil"

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
	mappedHead = chunks.SeriesRefSize + 2*chunks.MintMaxtSize + chunks.ChunkEncodingSize
)

// mappedFiles lists the files of mapped chunks, oldest first.
func mappedFiles(dir string) ([]string, error) {
	names, err := filepath.Glob(filepath.Join(dir, "[0-9][0-9][0-9][0-9][0-9][0-9]*"))
	slices.Sort(names)
	return names, err
}

// mappedLate are the places of the mapped chunks of late samples.
type mappedLate map[chunks.ChunkDiskMapperRef]bool

// checkMappedFile reads all chunks of a file, where the library believes
// lengths before it compares checksums. It returns the offset of the first
// damage, and adds to late.
func checkMappedFile(path string, late mappedLate) (off, size int64, err error) {
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
		if data[i+mappedHead-chunks.ChunkEncodingSize]&chunks.OutOfOrderMask != 0 {
			late[chunks.ChunkDiskMapperRef(seq<<32|uint64(i))] = true
		}
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
// cut short: all of them are in the log too, and the library reads them from
// there when the folder is gone. It returns those of late samples that are
// there.
func dropDamagedMapped(dir string, known map[string]int64, log *slog.Logger) (mappedLate, error) {
	mapped := filepath.Join(dir, mappedFolder)
	files, err := mappedFiles(mapped)
	if err != nil {
		return nil, err
	}
	late := mappedLate{}
	for _, path := range files {
		off, size, err := checkMappedFile(path, late)
		if _, ok := errors.AsType[*fs.PathError](err); ok {
			return nil, err
		}
		if want := known[relative(dir, path)]; err == nil && size < want {
			off, err = size, fmt.Errorf("%d bytes are missing at the end", want-size)
		}
		if err == nil {
			continue
		}
		mappedDropped.Inc()
		log.Warn("damaged mapped chunks dropped, they are read from the log", "file", relative(dir, path), "offset", off, "err", err)
		return mappedLate{}, errors.Join(os.RemoveAll(mapped), folder.Sync(dir))
	}
	return late, nil
}
