package rollup

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
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
)

const (
	creationSuffix = ".tmp-for-creation" // the library's
	deletionSuffix = ".tmp-for-deletion"
	sourcesPrefix  = "sources"
)

var blockName = regexp.MustCompile(`^[0-9A-HJKMNP-TV-Z]{26}$`)

// Options say where a tier is kept.
type Options struct {
	Dir   string        // made when absent
	Width time.Duration // of a bucket
	Log   *slog.Logger
	// Check, if set, sets damaged blocks in a folder aside before they are
	// opened.
	Check func(dir string) error
}

// Tier is a folder of blocks of buckets of one width. All methods are safe for
// concurrent use; those that write wait for each other.
type Tier struct {
	dir   string
	name  string
	width int64
	log   *slog.Logger

	writing sync.Mutex // one writer of the folder at a time

	mu     sync.RWMutex // guards below
	blocks []*tsdb.Block
}

// Open opens the tier in o.Dir. It removes what a writer that was killed left.
func Open(o Options) (*Tier, error) {
	name := Name(o.Width)
	t := &Tier{dir: o.Dir, name: name, width: o.Width.Milliseconds(), log: cmp.Or(o.Log, slog.Default()).With("tier", name)}
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
		if !e.IsDir() || !blockName.MatchString(e.Name()) {
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

// Pieces cuts r so that no piece straddles what Merge will join.
func (t *Tier) Pieces(r Range) []Range {
	var pieces []Range
	span := mergeBuckets[0] * t.width
	for r.From < r.To {
		to := min(r.To, floor(r.From, span)+span)
		pieces = append(pieces, Range{r.From, to})
		r.From = to
	}
	return pieces
}

// Floor is the last bucket's end that is not after ms.
func (t *Tier) Floor(ms int64) int64 { return floor(ms, t.width) }

// Written widens r to the blocks that hold any of it: what must be written at
// once to write r again.
func (t *Tier) Written(r Range) Range {
	for _, b := range t.list() { // in order of time, without overlaps
		if have := rangeOf(b.Meta()); have.To > r.From && have.From < r.To {
			r = Range{min(r.From, have.From), max(r.To, have.To)}
		}
	}
	return r
}

// Write rolls the raw blocks up for r, whose ends must be buckets' ends. What
// the tier held of r is replaced: a block that reaches beyond r is an error.
// The raw blocks must hold all samples of r that there are; their folders may
// go away meanwhile.
func (t *Tier) Write(ctx context.Context, r Range, raw []*tsdb.Block) error {
	t.writing.Lock()
	defer t.writing.Unlock()
	if err := t.write(ctx, r, raw); err != nil {
		t.counter("failures").Inc()
		return fmt.Errorf("roll up %s from %s to %s: %w", t.name, at(r.From), at(r.To), err)
	}
	return nil
}

func at(ms int64) string { return time.UnixMilli(ms).UTC().Format(time.RFC3339) }

func (t *Tier) write(ctx context.Context, r Range, raw []*tsdb.Block) error {
	if floor(r.From, t.width) != r.From || floor(r.To, t.width) != r.To || r.From >= r.To {
		return errors.New("no whole buckets")
	}
	p := &populator{width: t.width, of: r, lead: t.lead()}
	for _, b := range t.list() {
		have := rangeOf(b.Meta())
		if have.To <= r.From || have.From >= r.To {
			continue
		}
		if have.From < r.From || have.To > r.To {
			return fmt.Errorf("block %s holds %s to %s", b.Meta().ULID, at(have.From), at(have.To))
		}
		p.replaces = append(p.replaces, describe(b))
	}
	// The compactor marks its sources as failed or empty in their meta.json, so
	// it gets links of them.
	links, err := os.MkdirTemp(t.dir, sourcesPrefix)
	if err != nil {
		return err
	}
	defer os.RemoveAll(links)
	var dirs []string
	for _, b := range raw {
		if !b.OverlapsClosedInterval(r.From+1-p.lead, r.To) {
			continue
		}
		if err := b.Snapshot(links); err != nil {
			return fmt.Errorf("link raw block %s: %w", b.Meta().ULID, err)
		}
		dirs = append(dirs, filepath.Join(links, b.Meta().ULID.String()))
	}
	if len(dirs) == 0 {
		return nil
	}
	return t.compact(ctx, dirs, p)
}

// lead is how far before a range its first samples' predecessors are looked
// for.
func (t *Tier) lead() int64 { return max(2*t.width, time.Hour.Milliseconds()) }

func describe(b *tsdb.Block) tsdb.BlockDesc {
	return tsdb.BlockDesc{ULID: b.Meta().ULID, MinTime: b.MinTime(), MaxTime: b.MaxTime()}
}

// compact makes one block from those in dirs.
func (t *Tier) compact(ctx context.Context, dirs []string, p *populator) error {
	start := time.Now()
	c, err := t.compactor(ctx)
	if err != nil {
		return err
	}
	made, err := c.CompactWithBlockPopulator(t.dir, dirs, nil, p)
	if err != nil {
		return err
	}
	gone := map[ulid.ULID]bool{}
	if len(made) == 0 { // an empty block is not written, so nothing names what it stands for
		for _, d := range p.replaces {
			gone[d.ULID] = true
		}
	}
	t.counter("blocks_written").Add(len(made))
	metrics.GetOrCreateHistogram(fmt.Sprintf(`nocturne_tsdb_rollup_duration_seconds{tier=%q}`, t.name)).UpdateDuration(start)
	return t.reload(gone)
}

func (t *Tier) compactor(ctx context.Context) (*tsdb.LeveledCompactor, error) {
	return tsdb.NewLeveledCompactorWithOptions(ctx, nil, t.log, []int64{t.width}, nil, tsdb.LeveledCompactorOptions{EnableOverlappingCompaction: true})
}

// mergeBuckets are how many buckets the merged blocks span, small to large:
// a day and ten days of 5 min, 12 days and 4 months of 1 h.
var mergeBuckets = [...]int64{288, 2880}

// Merge joins blocks of spans that the tier has passed, one span a call, and
// says whether it found any.
func (t *Tier) Merge(ctx context.Context) (bool, error) {
	t.writing.Lock()
	defer t.writing.Unlock()
	blocks := t.list()
	for _, n := range mergeBuckets {
		if group := mergeable(blocks, n*t.width); group != nil {
			if err := t.merge(ctx, group); err != nil {
				return false, fmt.Errorf("merge %d blocks of tier %s: %w", len(group), t.name, err)
			}
			return true, nil
		}
	}
	return false, nil
}

// mergeable returns the first two or more blocks in one span that is over.
func mergeable(blocks []*tsdb.Block, span int64) []*tsdb.Block {
	if len(blocks) == 0 {
		return nil
	}
	passed := rangeOf(blocks[len(blocks)-1].Meta()).To
	for i := 0; i < len(blocks); {
		start := floor(rangeOf(blocks[i].Meta()).From, span)
		j := i
		for j < len(blocks) && rangeOf(blocks[j].Meta()).To <= start+span {
			j++
		}
		if j-i > 1 && start+span <= passed && contiguous(blocks[i:j]) {
			return blocks[i:j]
		}
		i = max(j, i+1)
	}
	return nil
}

// contiguous says that blocks leave no time out: a merged block says it holds
// all between its ends.
func contiguous(blocks []*tsdb.Block) bool { return len(covered(blocks)) == 1 }

func (t *Tier) merge(ctx context.Context, group []*tsdb.Block) error {
	p := &populator{width: t.width, merge: true, of: Range{rangeOf(group[0].Meta()).From, rangeOf(group[0].Meta()).To}}
	var dirs []string
	for _, b := range group {
		r := rangeOf(b.Meta())
		p.of = Range{min(p.of.From, r.From), max(p.of.To, r.To)}
		p.replaces = append(p.replaces, describe(b))
		dirs = append(dirs, b.Dir())
	}
	return t.compact(ctx, dirs, p)
}

// Retain deletes the blocks that end before the time oldest and, oldest first,
// those beyond maxBytes; no limit if that is 0. It returns how many.
func (t *Tier) Retain(oldest time.Time, maxBytes int64) (int, error) {
	t.writing.Lock()
	defer t.writing.Unlock()
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
	t.writing.Lock()
	defer t.writing.Unlock()
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
	t.writing.Lock()
	defer t.writing.Unlock()
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
