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

	"github.com/prometheus/prometheus/tsdb/chunks"
)

const (
	mappedFolder = "chunks_head"
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

// checkMappedFile reads all chunks of a file, where the library believes
// lengths before it compares checksums. It returns the offset of the first
// damage.
func checkMappedFile(path string) (off, size int64, err error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return -1, 0, err
	}
	size = int64(len(data))
	if len(data) == 0 || len(data) < chunks.MagicChunksSize && allZero(data) {
		return 0, size, nil // made and not written to; the library removes it
	}
	if len(data) < chunks.HeadChunkFileHeaderSize || binary.BigEndian.Uint32(data) != chunks.MagicHeadChunks || data[chunks.MagicChunksSize] != 1 {
		return 0, size, errors.New("no header of a file of mapped chunks")
	}
	for i := chunks.HeadChunkFileHeaderSize; i < len(data); {
		n, err := checkMappedChunk(data[i:])
		if err != nil {
			return int64(i), size, err
		}
		if n == 0 {
			break
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

// dropDamagedMapped removes the mapped chunks when one of them is damaged or
// cut short: all of them are in the log too, and the library reads them from
// there when the folder is gone.
func dropDamagedMapped(dir string, known map[string]int64, log *slog.Logger) error {
	folder := filepath.Join(dir, mappedFolder)
	files, err := mappedFiles(folder)
	if err != nil {
		return err
	}
	for _, path := range files {
		off, size, err := checkMappedFile(path)
		if _, ok := errors.AsType[*fs.PathError](err); ok {
			return err
		}
		if want := known[relative(dir, path)]; err == nil && size < want {
			off, err = size, fmt.Errorf("%d bytes are missing at the end", want-size)
		}
		if err == nil {
			continue
		}
		mappedDropped.Inc()
		log.Warn("damaged mapped chunks dropped, they are read from the log", "file", relative(dir, path), "offset", off, "err", err)
		return errors.Join(os.RemoveAll(folder), syncFolder(dir))
	}
	return nil
}
