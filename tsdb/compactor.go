package tsdb

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/oklog/ulid/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/tsdb/chunkenc"

	"nocturne/tsdb/folder"
)

// compactor is the library's compactor. It gives each block that it makes its
// meta.sum, and makes none that would fill the disk.
type compactor struct {
	tsdb.Compactor
	parts
	begin func() func() // around each block that is written
	log   *slog.Logger
}

func compactorFunc(p parts, begin func() func(), log *slog.Logger) tsdb.NewCompactorFunc {
	return func(ctx context.Context, r prometheus.Registerer, l *slog.Logger, ranges []int64, pool chunkenc.Pool, o *tsdb.Options) (tsdb.Compactor, error) {
		c, err := tsdb.NewLeveledCompactorWithOptions(ctx, r, l, ranges, pool, tsdb.LeveledCompactorOptions{
			MaxBlockChunkSegmentSize: o.MaxBlockChunkSegmentSize, EnableOverlappingCompaction: o.EnableOverlappingCompaction,
			PD: o.PostingsDecoderFactory, UseUncachedIO: o.UseUncachedIO, BlockExcludeFilter: o.BlockCompactionExcludeFunc,
			FloatChunkEncoding: func() chunkenc.Encoding { return o.FloatChunkEncoding },
		})
		return compactor{c, p, begin, log}, err
	}
}

// errKeepsCutoff has the newest block of what came in order stay as it is.
var errKeepsCutoff = errors.New("all of the newest block is deleted: it goes once a newer one is written")

// Plan implements tsdb.Compactor. Without room for the outcome it plans
// nothing.
func (c compactor) Plan(dir string) ([]string, error) {
	plan, err := c.Compactor.Plan(dir)
	if err != nil || len(plan) == 0 {
		return plan, err
	}
	if need := sizeOf(plan); !c.room.has(need) {
		c.log.Warn("blocks are not merged for want of room", "blocks", len(plan), "bytes", need)
		return nil, nil
	}
	moves, err := movesCutoff(dir, plan)
	if err != nil || moves {
		return nil, err
	}
	return plan, nil
}

// movesCutoff says whether merging the planned blocks would lose samples at the
// next opening, or bring deleted ones back. The library then drops from its log what is older than the
// newest block that is not all of late samples; a block of late samples that
// lies in the time of the head, merged with others, would become that block
// while the samples in order of its time are in the log alone. Once the head
// has been written that far the same merge is fine. And of the newest block
// that is not of late samples nothing is left when all of it is deleted: an
// older one would take its place, and samples that are in the log and deleted
// in the block alone would be replayed.
func movesCutoff(dir string, plan []string) (bool, error) {
	written, err := folder.Written(dir)
	if err != nil {
		return false, err
	}
	inOrder, beyond := false, false
	for _, block := range plan {
		m, err := folder.Meta(block)
		if err != nil {
			return false, err
		}
		late := m.Compaction.FromOutOfOrder()
		if !late && m.MaxTime == written && m.Stats.NumTombstones > 0 {
			return true, nil
		}
		inOrder = inOrder || !late
		beyond = beyond || late && m.MaxTime > written
	}
	return inOrder && beyond, nil
}

// Write implements tsdb.Compactor.
func (c compactor) Write(dest string, b tsdb.BlockReader, mint, maxt int64, base *tsdb.BlockMeta) ([]ulid.ULID, error) {
	if !c.room.has(b.Size()) {
		return nil, fmt.Errorf("%w: no room for a block of up to %d MB", ErrReadOnly, b.Size()>>20)
	}
	if dest == c.first.dir { // else it is a copy, after which nothing is truncated
		if err := c.beforeTruncation(b); err != nil {
			return nil, err
		}
	}
	defer c.begin()()
	made, err := c.Compactor.Write(dest, b, mint, maxt, base)
	if old, ok := b.(*tsdb.Block); ok && err == nil && len(made) == 0 {
		written, err := folder.Written(dest)
		if m := old.Meta(); err != nil || m.MaxTime == written && !m.Compaction.FromOutOfOrder() {
			return nil, errors.Join(errKeepsCutoff, err)
		}
	}
	c.sum(dest, made)
	return made, err
}

// beforeTruncation makes right what the library does to its mapped chunks and
// logs once a part of its head is written.
func (c compactor) beforeTruncation(b tsdb.BlockReader) error {
	switch b := b.(type) {
	case *tsdb.RangeHead:
		if !c.first.truncates(b.BlockMaxTime()) {
			return nil
		}
		// A head of short series alone has nothing to map, and must not wait: it
		// would grow for ever.
		if err := c.first.ready(); !errors.Is(err, errNothingMapped) {
			return err
		}
	case *tsdb.OOOCompactionHead:
		return errors.Join(c.first.ready(), c.logs.truncatesLate())
	}
	return nil
}

// Compact implements tsdb.Compactor.
func (c compactor) Compact(dest string, dirs []string, open []*tsdb.Block) ([]ulid.ULID, error) {
	defer c.begin()()
	made, err := c.Compactor.Compact(dest, dirs, open)
	c.sum(dest, made)
	return made, err
}

// sum gives blocks their meta.sum.
func (c compactor) sum(dest string, made []ulid.ULID) {
	for _, id := range made {
		writeSum(filepath.Join(dest, id.String()), c.log)
	}
}

func sizeOf(dirs []string) (n int64) {
	for _, dir := range dirs {
		_ = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
			if st, statErr := os.Stat(path); err == nil && statErr == nil && !e.IsDir() {
				n += st.Size()
			}
			return nil
		})
	}
	return n
}
