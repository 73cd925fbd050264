package archive

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/prometheus/prometheus/tsdb"

	"nocturne/tsdb/folder"
)

// StillFile is one file of a picture.
type StillFile struct {
	Name     string // in the history folder, slash-separated
	Path     string
	Size     int64
	Modified time.Time // UTC
	// Shared files never change under their name: a backup needs them once.
	Shared bool
}

// Files lists what the picture is made of.
func (s *Still) Files() ([]StillFile, error) { return stillFiles(s.dir) }

func stillFiles(dir string) ([]StillFile, error) {
	var files []StillFile
	err := filepath.WalkDir(dir, func(p string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		rel, err := filepath.Rel(dir, p)
		if err != nil || rel == heldName {
			return err
		}
		st, err := e.Info()
		if err != nil {
			return err
		}
		name := filepath.ToSlash(rel)
		files = append(files, StillFile{Name: name, Path: p, Size: st.Size(), Modified: st.ModTime().UTC(), Shared: sharedFile(name)})
		return nil
	})
	return files, err
}

// BlockCount says what a block holds.
type BlockCount struct {
	Name    string `json:"name"` // with its tier
	Series  uint64 `json:"series"`
	Samples uint64 `json:"samples"`
	Deleted bool   `json:"deleted,omitempty"` // some of it, so what is read is less
}

// Told returns what the blocks of a history folder say that they hold.
func Told(dir string) ([]BlockCount, error) {
	return eachBlock(dir, func(path string, c *BlockCount) error {
		m, err := folder.Meta(path)
		if err != nil {
			return err
		}
		c.Series, c.Samples, c.Deleted = m.Stats.NumSeries, m.Stats.NumSamples, m.Stats.NumTombstones > 0
		return nil
	})
}

// Counted reads every series and sample of the blocks of a folder, and with
// them every checksum.
func Counted(ctx context.Context, dir string) ([]BlockCount, error) {
	return eachBlock(dir, func(path string, c *BlockCount) error {
		b, err := tsdb.OpenBlock(slog.New(slog.DiscardHandler), path, nil, nil)
		if err != nil {
			return err
		}
		c.Deleted = b.Meta().Stats.NumTombstones > 0
		c.Series, c.Samples, err = countBlock(ctx, b)
		return errors.Join(err, b.Close())
	})
}

// eachBlock fills a count for each block of a folder and of its tiers.
func eachBlock(dir string, fill func(path string, c *BlockCount) error) ([]BlockCount, error) {
	tiers, err := tiersOf(dir)
	if err != nil {
		return nil, fmt.Errorf("list blocks: %w", err)
	}
	var all []BlockCount
	for _, tier := range tiers {
		names, err := folder.Blocks(filepath.Join(dir, tier))
		if err != nil {
			return nil, fmt.Errorf("list blocks: %w", err)
		}
		for _, n := range names {
			c := BlockCount{Name: filepath.ToSlash(filepath.Join(tier, n))}
			if err := fill(filepath.Join(dir, tier, n), &c); err != nil {
				return nil, fmt.Errorf("block %s: %w", c.Name, err)
			}
			all = append(all, c)
		}
	}
	return all, nil
}

// tiersOf returns the folders within a history that hold blocks, itself first.
func tiersOf(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	tiers := []string{"."}
	for _, e := range entries {
		if e.IsDir() && tierName.MatchString(e.Name()) {
			tiers = append(tiers, e.Name())
		}
	}
	return tiers, nil
}
