// Package folder knows what lies in a folder of history: which folders are
// blocks, what their meta.json says, and how names are made durable.
package folder

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"regexp"

	"github.com/prometheus/prometheus/tsdb"
)

// MetaName is the file that says what a block holds.
const MetaName = "meta.json"

var blockName = regexp.MustCompile(`^[0-9A-HJKMNP-TV-Z]{26}$`)

// IsBlock tells a block's folder by its name, which is a ULID.
func IsBlock(name string) bool { return blockName.MatchString(name) }

// Blocks returns the names of the block folders in dir, the first made first.
func Blocks(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() && IsBlock(e.Name()) {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// Meta reads what a block's folder says of itself. One that is of another
// block, or of no time, is an error.
func Meta(block string) (*tsdb.BlockMeta, error) {
	raw, err := os.ReadFile(filepath.Join(block, MetaName))
	if err != nil {
		return nil, err
	}
	return ParseMeta(block, raw)
}

// ParseMeta is Meta of content that was read already.
func ParseMeta(block string, raw []byte) (*tsdb.BlockMeta, error) {
	var m tsdb.BlockMeta
	if err := json.Unmarshal(raw, &m); err != nil {
		return nil, fmt.Errorf("%s: %w", MetaName, err)
	}
	if m.ULID.String() != filepath.Base(block) || m.MinTime >= m.MaxTime {
		return nil, fmt.Errorf("%s: block %s from %d to %d", MetaName, m.ULID, m.MinTime, m.MaxTime)
	}
	return &m, nil
}

// Written is the time in ms up to which the head is in the blocks of dir, as
// the library reckons it: at its next opening it drops what is older from its
// log. Blocks of late samples do not count, nor those that cannot be read, as
// the store will not load them. MinInt64 when there is none.
func Written(dir string) (int64, error) {
	names, err := Blocks(dir)
	if err != nil {
		return 0, err
	}
	written := int64(math.MinInt64)
	for _, n := range names {
		if m, err := Meta(filepath.Join(dir, n)); err == nil && !m.Compaction.FromOutOfOrder() {
			written = max(written, m.MaxTime)
		}
	}
	return written, nil
}

// Sync makes the names in a folder durable.
func Sync(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
