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
	"sync"
	"time"

	"github.com/VictoriaMetrics/metrics"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/tsdb/index"
	"github.com/prometheus/prometheus/tsdb/tombstones"

	"nocturne/tsdb/folder"
)

// blockCheckInterval is how often the blocks of an open store are looked
// through; the library loads new ones as often.
const blockCheckInterval = time.Minute

var metasRestored = metrics.GetOrCreateCounter(`nocturne_tsdb_block_metas_restored_total`)

// blockChecks sets damaged blocks aside: before the store opens, before the
// library loads a block that it did not hold, and once a minute. One that was
// checked is checked again when a file of it has changed; beyond that each
// minute one old block is read anew, so that what rots is found.
type blockChecks struct {
	dir string
	log *slog.Logger

	mu    sync.Mutex        // guards below
	seen  map[string]string // block's name to what its files looked like
	stale []string          // blocks to read anew
	aside []string          // names in dir of what was damaged
}

// names lists what was set aside so far.
func (c *blockChecks) names() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.aside)
}

// now is a pass over what is new or has changed.
func (c *blockChecks) now() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.pass()
}

// periodic is a pass that reads one block anew.
func (c *blockChecks) periodic() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.stale) == 0 {
		c.stale = slices.Collect(maps.Keys(c.seen))
	}
	if len(c.stale) > 0 {
		delete(c.seen, c.stale[0])
		c.stale = c.stale[1:]
	}
	return c.pass()
}

// decoder is a tsdb.PostingsDecoderFactory: the one call that the library
// makes while it opens a block. A damaged one is gone from its place when that
// returns, and the library fails to open it, this once.
func (c *blockChecks) decoder(meta *tsdb.BlockMeta) index.PostingsDecoder {
	c.mu.Lock()
	defer c.mu.Unlock()
	name := meta.ULID.String()
	if is := looks(filepath.Join(c.dir, name)); is == "" || is != c.seen[name] {
		if err := c.pass(); err != nil {
			c.log.Error("check blocks", "err", err)
		}
	}
	return index.DecodePostingsRaw
}

// pass checks the blocks in the folder that were not seen as they are. It
// needs mu.
func (c *blockChecks) pass() error {
	entries, err := os.ReadDir(c.dir)
	if err != nil {
		return err
	}
	was := c.seen
	c.seen = make(map[string]string, len(was))
	for _, e := range entries {
		if !e.IsDir() || !folder.IsBlock(e.Name()) {
			continue
		}
		is := looks(filepath.Join(c.dir, e.Name()))
		if was[e.Name()] != is {
			if is, err = c.check(e.Name()); err != nil {
				return err
			}
		}
		if is != "" {
			c.seen[e.Name()] = is
		}
	}
	return nil
}

// check checks one block and returns what it looks like when it is there to
// stay.
func (c *blockChecks) check(name string) (string, error) {
	dir := filepath.Join(c.dir, name)
	restored, cause := checkBlock(dir, c.log)
	if restored {
		c.aside = append(c.aside, filepath.Join(name, folder.MetaName+damagedSuffix))
	}
	if cause == nil {
		return looks(dir), nil
	}
	err := setAside(c.dir, name)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil // deleted meanwhile
	}
	if err != nil {
		return "", err
	}
	blocksAside.Inc()
	c.log.Error("damaged block set aside: its samples are not seen", "block", name+damagedSuffix, "err", cause)
	c.aside = append(c.aside, name+damagedSuffix)
	return "", nil
}

// looks says what the files of a block look like from outside.
func looks(dir string) string {
	var s []byte
	for _, name := range []string{folder.MetaName, "index", "tombstones", "chunks", sumName} {
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
	raw, err := os.ReadFile(filepath.Join(dir, folder.MetaName))
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
				return false, fmt.Errorf("restore %s: %w", folder.MetaName, err)
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
	meta, err := folder.ParseMeta(dir, raw)
	if err != nil {
		return err
	}
	return checkTombstonesThere(dir, meta)
}

func checkTombstonesThere(dir string, meta *tsdb.BlockMeta) error {
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
