package tsdb

import (
	"bytes"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
)

// logSizesName is the file that remembers how long each log file was when it
// was last on disk: a log cut short between two records reads like a log into
// which less was written. Its format is that of meta.sum. It is written in
// place and never synced, since it may lag behind what it speaks of.
const logSizesName = "log-sizes"

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

// relative is path as seen from dir, for people and as a key.
func relative(dir, path string) string {
	rel, err := filepath.Rel(dir, path)
	if err != nil {
		return path
	}
	return rel
}
