package tsdb

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/VictoriaMetrics/metrics"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/tsdb/tombstones"
)

// blockCheckInterval is how often the blocks of an open store are looked
// through; the library loads new ones as often.
const blockCheckInterval = time.Minute

var metasRestored = metrics.GetOrCreateCounter(`nocturne_tsdb_block_metas_restored_total`)

// blockChecks sets damaged blocks aside. One that was checked is checked again
// when a file of it has changed; beyond that each pass reads one old block
// anew, so that what rots is found.
type blockChecks struct {
	dir string
	log *slog.Logger

	mu    sync.Mutex
	seen  map[string]string // block's name to what its files looked like
	stale []string          // blocks to read anew
}

// pass checks the blocks in the folder and returns the new names of what was
// damaged.
func (c *blockChecks) pass() ([]string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	entries, err := os.ReadDir(c.dir)
	if err != nil {
		return nil, err
	}
	if len(c.stale) == 0 {
		for name := range c.seen {
			c.stale = append(c.stale, name)
		}
	}
	again := ""
	if len(c.stale) > 0 {
		again, c.stale = c.stale[0], c.stale[1:]
	}
	var aside []string
	seen := map[string]string{}
	for _, e := range entries {
		if !e.IsDir() || !blockName.MatchString(e.Name()) {
			continue
		}
		dir := filepath.Join(c.dir, e.Name())
		if c.seen[e.Name()] == looks(dir) && e.Name() != again {
			seen[e.Name()] = c.seen[e.Name()]
			continue
		}
		restored, cause := checkBlock(dir, c.log)
		if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
			continue // deleted meanwhile
		}
		if restored {
			aside = append(aside, filepath.Join(e.Name(), metaName+damagedSuffix))
		}
		if cause == nil {
			seen[e.Name()] = looks(dir)
			continue
		}
		blocksAside.Inc()
		c.log.Error("damaged block set aside: its samples are not seen", "block", e.Name()+damagedSuffix, "err", cause)
		if err := setAside(c.dir, e.Name()); errors.Is(err, fs.ErrNotExist) {
			continue
		} else if err != nil {
			return aside, err
		}
		aside = append(aside, e.Name()+damagedSuffix)
	}
	c.seen = seen
	return aside, nil
}

// looks says what the files of a block look like from outside.
func looks(dir string) string {
	var s []byte
	for _, name := range []string{metaName, "index", "tombstones", "chunks", sumName} {
		if st, err := os.Stat(filepath.Join(dir, name)); err == nil {
			s = fmt.Appendf(s, "%d,%d ", st.Size(), st.ModTime().UnixNano())
		}
	}
	return string(s)
}

// checkBlock compares a block with its meta.sum, restores a damaged meta.json
// from it, and reads what the library reads at opening. A block without
// meta.sum gets one.
func checkBlock(dir string, log *slog.Logger) (restored bool, err error) {
	raw, err := os.ReadFile(filepath.Join(dir, metaName))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	sum, err := readSum(dir)
	known := err == nil
	if err != nil && !errors.Is(err, errNoSum) {
		return false, err
	}
	verdict := metaRenewed
	if known {
		if err := sum.checkFiles(dir, false); err != nil {
			return false, err
		}
		if verdict = sum.judgeMeta(raw); verdict == metaDamaged {
			log.Error("damaged meta.json restored from its copy", "block", filepath.Base(dir))
			if err := sum.restoreMeta(dir); err != nil {
				return false, fmt.Errorf("restore %s: %w", metaName, err)
			}
			metasRestored.Inc()
			restored, raw = true, []byte(sum.Meta)
		}
	}
	if err := checkMeta(dir, raw); err != nil {
		return restored, err
	}
	b, err := openBlock(dir, log)
	if err != nil {
		return restored, err
	}
	if err := b.Close(); err != nil {
		return restored, err
	}
	if verdict == metaRenewed {
		writeSum(dir, log)
	}
	return restored, nil
}

// openBlock opens a block for which the library may not be prepared.
func openBlock(dir string, log *slog.Logger) (b *tsdb.Block, err error) {
	if err := checkTombstones(filepath.Join(dir, tombstones.TombstonesFilename)); err != nil {
		return nil, err
	}
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the library panics over it: %v", p)
		}
	}()
	return tsdb.OpenBlock(log, dir, nil, nil)
}

// checkTombstones reads the frame of a tombstones file: magic number, version,
// intervals and their CRC-32C. The library panics over one cut short.
func checkTombstones(path string) error {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	const head, sum = 5, 4
	if len(data) < head+sum || binary.BigEndian.Uint32(data) != tombstones.MagicTombstone {
		return fmt.Errorf("tombstones: no header in %d bytes", len(data))
	}
	end := len(data) - sum
	if want, got := binary.BigEndian.Uint32(data[end:]), crc32.Checksum(data[head:end], castagnoli); got != want {
		return fmt.Errorf("tombstones: checksum %08x, expected %08x", got, want)
	}
	return nil
}

// checkMeta looks at what the library believes of meta.json, and whether the
// tombstones that it tells of are there.
func checkMeta(dir string, raw []byte) error {
	var meta tsdb.BlockMeta
	if err := json.Unmarshal(raw, &meta); err != nil {
		return fmt.Errorf("%s: %w", metaName, err)
	}
	if meta.ULID.String() != filepath.Base(dir) || meta.MinTime >= meta.MaxTime {
		return fmt.Errorf("%s: block %s from %d to %d", metaName, meta.ULID, meta.MinTime, meta.MaxTime)
	}
	if meta.Stats.NumTombstones == 0 {
		return nil
	}
	_, err := os.Stat(filepath.Join(dir, tombstones.TombstonesFilename))
	return err
}

// writeSum gives a block its meta.sum. Without one the block is only less
// well guarded, so that it cannot be written is no reason to do without it.
func writeSum(dir string, log *slog.Logger) {
	sum, err := sumBlock(dir)
	if err == nil {
		err = sum.write(dir)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		log.Warn("block has no checksum of its own", "block", filepath.Base(dir), "err", err)
	}
}
