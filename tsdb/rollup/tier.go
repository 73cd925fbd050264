package rollup

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/VictoriaMetrics/metrics"
	"github.com/oklog/ulid/v2"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/tsdb/fileutil"
	"golang.org/x/sync/semaphore"

	"nocturne/tsdb/folder"
)

const (
	creationSuffix = ".tmp-for-creation" // the library's
	deletionSuffix = ".tmp-for-deletion"
	sourcesPrefix  = "sources"
)

// Options say where a tier is kept.
type Options struct {
	Dir   string        // made when absent
	Width time.Duration // of a bucket
	Log   *slog.Logger
	// Check, if set, sets damaged blocks in a folder aside before they are
	// opened.
	Check func(dir string) error
	// Compacting, if set, is called before a block is written, and what it
	// returns afterwards.
	Compacting func() func()
}

// Tier is a folder of blocks of buckets of one width. All methods are safe for
// concurrent use; those that write wait for each other, or for their context's
// end.
type Tier struct {
	dir   string
	name  string
	width int64
	log   *slog.Logger
	begin func() func() // Options.Compacting, or nothing

	writing *semaphore.Weighted // one writer of the folder at a time

	mu     sync.RWMutex // guards below
	blocks []*tsdb.Block
}

// Open opens the tier in o.Dir. It removes what a writer that was killed left.
func Open(o Options) (*Tier, error) {
	name := Name(o.Width)
	t := &Tier{dir: o.Dir, name: name, width: o.Width.Milliseconds(), log: cmp.Or(o.Log, slog.Default()).With("tier", name), begin: o.Compacting,
		writing: semaphore.NewWeighted(1)}
	if t.begin == nil {
		t.begin = func() func() { return func() {} }
	}
	if o.Width < time.Second {
		return nil, fmt.Errorf("open tier %s: buckets of %s", o.Dir, o.Width)
	}
	if err := t.open(o.Check); err != nil {
		return nil, fmt.Errorf("open tier %s: %w", o.Dir, errors.Join(err, t.Close()))
	}
	return t, nil
}

func (t *Tier) open(check func(dir string) error) error {
	if err := os.MkdirAll(t.dir, 0o777); err != nil {
		return err
	}
	entries, err := os.ReadDir(t.dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if n := e.Name(); strings.HasSuffix(n, creationSuffix) || strings.HasSuffix(n, deletionSuffix) || strings.HasPrefix(n, sourcesPrefix) {
			if err := os.RemoveAll(filepath.Join(t.dir, n)); err != nil {
				return err
			}
		}
	}
	if check != nil {
		if err := check(t.dir); err != nil {
			return err
		}
	}
	return t.reload(nil)
}

// Name is what a tier with buckets of a width is called: "5m", "1h".
func Name(width time.Duration) string { return model.Duration(width).String() }

// Name returns the tier's name.
func (t *Tier) Name() string { return t.name }

// Width returns how long a bucket is.
func (t *Tier) Width() time.Duration { return time.Duration(t.width) * time.Millisecond }

// Close closes the blocks; it waits for queries that read them.
func (t *Tier) Close() error {
	t.mu.Lock()
	blocks := t.blocks
	t.blocks = nil
	t.mu.Unlock()
	var errs []error
	for _, b := range blocks {
		errs = append(errs, b.Close())
	}
	return errors.Join(errs...)
}

// reload opens the folder's new blocks and deletes those that gone names and
// those that a loaded block stands for.
func (t *Tier) reload(gone map[ulid.ULID]bool) error {
	entries, err := os.ReadDir(t.dir)
	if err != nil {
		return err
	}
	t.mu.RLock()
	opened := map[string]*tsdb.Block{}
	for _, b := range t.blocks {
		opened[b.Meta().ULID.String()] = b
	}
	t.mu.RUnlock()
	var all []*tsdb.Block
	for _, e := range entries {
		if !e.IsDir() || !folder.IsBlock(e.Name()) {
			continue
		}
		b := opened[e.Name()]
		if b == nil {
			if b, err = tsdb.OpenBlock(t.log, filepath.Join(t.dir, e.Name()), nil, nil); err != nil {
				return fmt.Errorf("open block %s: %w", e.Name(), err)
			}
		}
		all = append(all, b)
	}
	replaced := map[ulid.ULID]bool{}
	for _, b := range all {
		for _, p := range b.Meta().Compaction.Parents {
			replaced[p.ULID] = true
		}
	}
	var keep, drop []*tsdb.Block
	for _, b := range all {
		if id := b.Meta().ULID; gone[id] || replaced[id] {
			drop = append(drop, b)
		} else {
			keep = append(keep, b)
		}
	}
	slices.SortFunc(keep, func(a, b *tsdb.Block) int { return cmp.Compare(a.MinTime(), b.MinTime()) })
	t.mu.Lock()
	t.blocks = keep
	t.mu.Unlock()
	for _, b := range drop {
		if err := t.remove(b); err != nil {
			return err
		}
	}
	return nil
}

// remove closes a block once nobody reads it and deletes it.
func (t *Tier) remove(b *tsdb.Block) error {
	if err := b.Close(); err != nil {
		t.log.Warn("block not closed before it is deleted", "block", b.Meta().ULID, "err", err)
	}
	doomed := b.Dir() + deletionSuffix
	if err := fileutil.Replace(b.Dir(), doomed); err != nil {
		return fmt.Errorf("delete block %s: %w", b.Meta().ULID, err)
	}
	return os.RemoveAll(doomed)
}

// list returns the blocks in order of time.
func (t *Tier) list() []*tsdb.Block {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.blocks
}

// rangeOf is the time whose samples a block of a tier has rolled up.
func rangeOf(m tsdb.BlockMeta) Range { return Range{m.MinTime - 1, m.MaxTime - 1} }

// Covered lists, in order, the times that the tier holds buckets of.
func (t *Tier) Covered() []Range { return covered(t.list()) }

func covered(blocks []*tsdb.Block) []Range {
	var out []Range
	for _, b := range blocks {
		r := rangeOf(b.Meta())
		if n := len(out); n > 0 && r.From <= out[n-1].To {
			out[n-1].To = max(out[n-1].To, r.To)
			continue
		}
		out = append(out, r)
	}
	return out
}

// Stats say what a tier holds.
type Stats struct {
	Name    string
	Blocks  int
	Bytes   int64
	Samples uint64
	Covered []Range
}

// Stats returns the present figures.
func (t *Tier) Stats() Stats {
	blocks := t.list()
	s := Stats{Name: t.name, Blocks: len(blocks), Covered: covered(blocks)}
	for _, b := range blocks {
		s.Bytes += b.Size()
		s.Samples += b.Meta().Stats.NumSamples
	}
	return s
}

func (t *Tier) counter(what string) *metrics.Counter {
	return metrics.GetOrCreateCounter(fmt.Sprintf(`nocturne_tsdb_rollup_%s_total{tier=%q}`, what, t.name))
}

// Retain deletes the blocks that end before the time oldest and, oldest first,
// those beyond maxBytes; no limit if that is 0. It returns how many.
func (t *Tier) Retain(ctx context.Context, oldest time.Time, maxBytes int64) (int, error) {
	if err := t.writing.Acquire(ctx, 1); err != nil {
		return 0, fmt.Errorf("delete old blocks of tier %s: wait for its writer: %w", t.name, err)
	}
	defer t.writing.Release(1)
	gone := map[ulid.ULID]bool{}
	var size int64
	for _, b := range slices.Backward(t.list()) {
		size += b.Size()
		if rangeOf(b.Meta()).To <= oldest.UnixMilli() || maxBytes > 0 && size > maxBytes {
			gone[b.Meta().ULID] = true
		}
	}
	if len(gone) == 0 {
		return 0, nil
	}
	if err := t.reload(gone); err != nil {
		return 0, fmt.Errorf("delete old blocks of tier %s: %w", t.name, err)
	}
	t.counter("blocks_expired").Add(len(gone))
	return len(gone), nil
}

// Delete deletes the buckets of the series that match and that have any time
// between mint and maxt, both included, in Unix milliseconds.
func (t *Tier) Delete(ctx context.Context, mint, maxt int64, ms ...*labels.Matcher) error {
	if err := t.writing.Acquire(ctx, 1); err != nil {
		return fmt.Errorf("delete from tier %s: wait for its writer: %w", t.name, err)
	}
	defer t.writing.Release(1)
	first, last := endOf(mint, t.width)-1, endOf(maxt, t.width)
	for _, b := range t.list() {
		if !b.OverlapsClosedInterval(first, last) {
			continue
		}
		if err := b.Delete(ctx, first, last, ms...); err != nil {
			return fmt.Errorf("delete from block %s of tier %s: %w", b.Meta().ULID, t.name, err)
		}
	}
	return nil
}

// CleanTombstones writes the blocks that something was deleted from anew.
func (t *Tier) CleanTombstones(ctx context.Context) error {
	if err := t.writing.Acquire(ctx, 1); err != nil {
		return fmt.Errorf("clean tier %s: wait for its writer: %w", t.name, err)
	}
	defer t.writing.Release(1)
	for _, b := range t.list() {
		if b.Meta().Stats.NumTombstones == 0 {
			continue
		}
		if err := t.merge(ctx, []*tsdb.Block{b}); err != nil {
			return fmt.Errorf("clean block %s of tier %s: %w", b.Meta().ULID, t.name, err)
		}
	}
	return nil
}
