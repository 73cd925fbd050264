package tsdb

import (
	"bytes"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"

	"nocturne/internal/glob"
)

// logSizesName is the file that remembers how long each log file was when it
// was last on disk: a log cut short between two records reads like a log into
// which less was written. Its format is that of meta.sum. It is written in
// place and never synced, since it may lag behind what it speaks of.
const logSizesName = "log-sizes"

// lateFirst stands in it for the number of the first segment of late samples
// that is sure to be needed: the log of those is truncated without leaving a
// checkpoint that tells.
const lateFirst = "wbl"

// readLogSizes returns the sizes by path in dir, none when there is no file or
// it is damaged.
func readLogSizes(dir string) map[string]int64 {
	raw, err := os.ReadFile(filepath.Join(dir, logSizesName))
	if err != nil {
		return nil
	}
	head, rest, _ := bytes.Cut(raw, []byte("\n"))
	body, _, _ := bytes.Cut(rest, []byte("\n"))
	if string(head) != fmt.Sprintf("%08x", crc32.Checksum(body, castagnoli)) {
		return nil
	}
	var sizes map[string]int64
	if json.Unmarshal(body, &sizes) != nil {
		return nil
	}
	return sizes
}

func writeLogSizes(f *os.File, sizes map[string]int64) error {
	body, err := json.Marshal(sizes)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(fmt.Appendf(nil, "%08x\n%s\n", crc32.Checksum(body, castagnoli), body), 0)
	return err
}

// finishedSizes adds what is not written to any more and is on disk, and drops
// what is gone.
func (l *logSync) finishedSizes() map[string]int64 {
	found := map[string]int64{}
	note := func(path string) {
		if st, err := os.Stat(path); err == nil {
			found[relative(l.dir, path)] = st.Size()
		}
	}
	for _, f := range l.folders {
		segments, err := segmentsFrom(f.path, 0)
		if err != nil {
			return l.sizes
		}
		for _, n := range segments {
			if n < f.segment {
				note(segmentPath(f.path, n))
			}
		}
		if f.segment >= 0 {
			found[relative(l.dir, segmentPath(f.path, f.segment))] = f.size
		}
	}
	points, err := glob.In(l.dir, "wal", checkpointPrefix+"*[0-9]", "[0-9]*[0-9]")
	if err != nil {
		return l.sizes
	}
	for _, path := range points {
		note(path)
	}
	if files, err := mappedFiles(filepath.Join(l.dir, mappedFolder)); err == nil && len(files) > 0 {
		last := len(files) - 1
		for _, path := range files[:last] {
			note(path)
		}
		found[relative(l.dir, files[last])] = 0 // it is there, and grows
	}
	if n, ok := l.sizes[lateFirst]; ok {
		found[lateFirst] = n
	}
	return found
}

// remapped says whether a file of mapped chunks came or went since the last
// call.
func (l *logSync) remapped() bool {
	st, err := os.Stat(filepath.Join(l.dir, mappedFolder))
	if err != nil || st.ModTime().Equal(l.mappedAt) {
		return false
	}
	l.mappedAt = st.ModTime()
	return true
}

// truncatesLate notes, durably, that all segments of the log of late samples
// but the newest may go from now on: their samples are being written as blocks.
func (l *logSync) truncatesLate() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	segments, err := segmentsFrom(filepath.Join(l.dir, logFolders[1]), 0)
	if err != nil || len(segments) == 0 {
		return err
	}
	first := int64(segments[len(segments)-1])
	if l.sizes[lateFirst] == first {
		return nil
	}
	l.sizes[lateFirst] = first
	l.note(true)
	if l.notes == nil {
		return nil
	}
	return l.notes.Sync()
}

// relative is path as seen from dir, for people and as a key.
func relative(dir, path string) string {
	rel, err := filepath.Rel(dir, path)
	if err != nil {
		return path
	}
	return rel
}
