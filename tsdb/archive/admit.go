package archive

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/tsdb/chunkenc"

	"nocturne/tsdb/folder"
)

// AdmitOptions say which blocks of a Prometheus go into a history.
type AdmitOptions struct {
	From []string // block folders, and data folders that hold some
	Into string   // the history's folder; a server may be using it
	// Block is the duration of the history's smallest blocks; see Cut.
	Block time.Duration
	// Latest is the newest time that is taken. A block far ahead would make
	// retention, which counts from the newest block, delete all the rest.
	Latest time.Time
	// Progress is told the blocks done and those in all. It may be nil.
	Progress func(done, total int64)
}

// Admitted says what became of the blocks.
type Admitted struct {
	Blocks  int   `json:"blocks"` // found good and taken
	Present int   `json:"present"`
	Cut     int   `json:"cut"` // of those taken, written anew in blocks of the history's own times
	Samples int64 `json:"samples"`
	// Refused names the damaged ones with the reason; the rest is taken.
	Refused []string `json:"refused"`
}

// AdmitBlocks verifies blocks by reading all of each, links or copies the good
// ones and moves them in at the end. Blocks that reach beyond the newest that
// the history itself has written are cut at its block times and marked as made
// of late samples, since the history replays of its log only what is newer
// than its newest block not so marked.
func AdmitBlocks(ctx context.Context, o AdmitOptions) (a Admitted, err error) {
	found, err := findBlocks(o.From)
	if err != nil {
		return a, fmt.Errorf("find blocks: %w", err)
	}
	stage, err := NewStage(o.Into)
	if err != nil {
		return a, err
	}
	defer func() { err = errors.Join(err, stage.Close()) }()
	own, err := folder.Written(o.Into)
	if err != nil {
		return a, fmt.Errorf("admit blocks into %s: %w", o.Into, err)
	}
	for i, path := range found {
		if err := ctx.Err(); err != nil {
			return a, err
		}
		if _, err := os.Stat(filepath.Join(o.Into, filepath.Base(path))); err == nil {
			a.Present++
		} else if err := a.take(ctx, path, stage, own, o); err != nil {
			a.Refused = append(a.Refused, fmt.Sprintf("block %s: %v", path, err))
		}
		if o.Progress != nil {
			o.Progress(int64(i+1), int64(len(found)))
		}
	}
	_, err = stage.Admit()
	return a, err
}

func findBlocks(from []string) ([]string, error) {
	var found []string
	for _, p := range from {
		p = filepath.Clean(p)
		if folder.IsBlock(filepath.Base(p)) {
			found = append(found, p)
			continue
		}
		names, err := folder.Blocks(p)
		if err != nil {
			return nil, err
		}
		if len(names) == 0 {
			return nil, fmt.Errorf("%s holds no blocks", p)
		}
		for _, n := range names {
			found = append(found, filepath.Join(p, n))
		}
	}
	return found, nil
}

// take brings one block onto the stage, or says why not.
func (a *Admitted) take(ctx context.Context, path string, stage *Stage, own int64, o AdmitOptions) (err error) {
	m, err := folder.Meta(path)
	if err != nil {
		return err
	}
	if !o.Latest.IsZero() && m.MaxTime-1 > o.Latest.UnixMilli() {
		return fmt.Errorf("it reaches into the future, to %s", time.UnixMilli(m.MaxTime).UTC().Format(time.RFC3339))
	}
	copied := filepath.Join(stage.dir, m.ULID.String()+".tmp", m.ULID.String())
	defer func() { err = errors.Join(err, os.RemoveAll(filepath.Dir(copied))) }()
	if err := placeTree(path, copied, linkOrCopy); err != nil {
		return err
	}
	b, err := tsdb.OpenBlock(slog.New(slog.DiscardHandler), copied, nil, nil)
	if err != nil {
		return err
	}
	samples, err := readWhole(ctx, b)
	if err == nil {
		err = readPostings(ctx, b)
	}
	if err == nil && m.MaxTime > own {
		err = cut(ctx, b, stage.dir, o.Block.Milliseconds())
	}
	if err = errors.Join(err, b.Close()); err != nil {
		return err
	}
	if m.MaxTime > own {
		a.Cut++
	} else if err := os.Rename(copied, filepath.Join(stage.dir, m.ULID.String())); err != nil {
		return err
	}
	a.Blocks++
	a.Samples += samples
	return nil
}

// linkOrCopy links a file where the file system is the same.
func linkOrCopy(from, to string) error {
	if os.Link(from, to) == nil {
		return nil
	}
	return copyFile(from, to)
}

// readWhole reads every series and every sample of a block, and with them
// every checksum.
func readWhole(ctx context.Context, b *tsdb.Block) (int64, error) {
	_, samples, err := countBlock(ctx, b)
	if err != nil {
		return 0, err
	}
	if want := b.Meta().Stats; want.NumTombstones == 0 && want.NumSamples > 0 && samples != want.NumSamples {
		return 0, fmt.Errorf("%d samples, but meta.json tells of %d", samples, want.NumSamples)
	}
	return int64(samples), nil
}

func countBlock(ctx context.Context, b *tsdb.Block) (series, samples uint64, err error) {
	q, err := tsdb.NewBlockChunkQuerier(b, math.MinInt64, math.MaxInt64)
	if err != nil {
		return 0, 0, err
	}
	defer q.Close()
	set := q.Select(ctx, false, nil, labels.MustNewMatcher(labels.MatchRegexp, "", ".*"))
	for set.Next() {
		n, err := readSeries(set.At())
		if err != nil {
			return 0, 0, fmt.Errorf("series %s: %w", set.At().Labels(), err)
		}
		series++
		samples += uint64(n)
	}
	return series, samples, set.Err()
}

// readPostings reads the lists of series of every label pair.
func readPostings(ctx context.Context, b *tsdb.Block) (err error) {
	r, err := b.Index()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	names, err := r.LabelNames(ctx)
	if err != nil {
		return fmt.Errorf("index: %w", err)
	}
	for _, name := range names {
		values, err := r.LabelValues(ctx, name, nil)
		if err != nil {
			return fmt.Errorf("index: values of %s: %w", name, err)
		}
		for _, value := range values {
			p, err := r.Postings(ctx, name, value)
			if err != nil {
				return fmt.Errorf("index: series with %s=%q: %w", name, value, err)
			}
			for p.Next() {
			}
			if p.Err() != nil {
				return fmt.Errorf("index: series with %s=%q: %w", name, value, p.Err())
			}
		}
	}
	return nil
}

func readSeries(s storage.ChunkSeries) (n int64, err error) {
	var it chunkenc.Iterator
	chunks := s.Iterator(nil)
	for chunks.Next() {
		it = chunks.At().Chunk.Iterator(it)
		for it.Next() != chunkenc.ValNone {
			n++
		}
		if it.Err() != nil {
			return n, it.Err()
		}
	}
	return n, chunks.Err()
}

// cut writes a block anew as blocks that each lie within a multiple of width
// ms, without a head, so in little memory.
func cut(ctx context.Context, b *tsdb.Block, into string, width int64) error {
	if width <= 0 {
		return errors.New("no block duration is given to cut it by")
	}
	c, err := tsdb.NewLeveledCompactor(ctx, nil, slog.New(slog.DiscardHandler), []int64{width}, chunkenc.NewPool(), nil)
	if err != nil {
		return err
	}
	late := &tsdb.BlockMeta{}
	late.Compaction.SetOutOfOrder()
	m := b.Meta()
	for t := m.MinTime - ((m.MinTime%width)+width)%width; t < m.MaxTime; t += width {
		if _, err := c.Write(into, b, t, t+width, late); err != nil {
			return fmt.Errorf("cut it at %d: %w", t, err)
		}
	}
	return nil
}
