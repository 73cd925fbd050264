package rollup

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"time"

	"github.com/VictoriaMetrics/metrics"
	"github.com/oklog/ulid/v2"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
)

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
	return t.writeAlone(ctx, r, raw, nil)
}

// WriteReadable is Write around what cannot be read of the raw series: those
// buckets are missing, which is logged and counted.
func (t *Tier) WriteReadable(ctx context.Context, r Range, raw []*tsdb.Block) error {
	return t.writeAlone(ctx, r, raw, func(ls labels.Labels, from, to int64, err error) {
		t.counter("series_unreadable").Inc()
		t.log.Error("part of a raw series cannot be read: it has no buckets there", "series", ls, "from", at(from), "to", at(to), "err", err)
	})
}

func (t *Tier) writeAlone(ctx context.Context, r Range, raw []*tsdb.Block, lose loss) error {
	if err := t.writing.Acquire(ctx, 1); err != nil {
		return fmt.Errorf("roll up %s: wait for its writer: %w", t.name, err)
	}
	defer t.writing.Release(1)
	if err := t.write(ctx, r, raw, lose); err != nil {
		t.counter("failures").Inc()
		return fmt.Errorf("roll up %s from %s to %s: %w", t.name, at(r.From), at(r.To), err)
	}
	return nil
}

func at(ms int64) string { return time.UnixMilli(ms).UTC().Format(time.RFC3339) }

func (t *Tier) write(ctx context.Context, r Range, raw []*tsdb.Block, lose loss) error {
	if floor(r.From, t.width) != r.From || floor(r.To, t.width) != r.To || r.From >= r.To {
		return errors.New("no whole buckets")
	}
	p := &populator{width: t.width, of: r, lead: t.lead(), lose: lose}
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
	if p.prior, err = blocksQuerier(t.list(), r.From-priorFor.Milliseconds(), r.From); err != nil {
		return err
	}
	return t.compact(ctx, dirs, p)
}

// lead is how far before a range its first samples' predecessors are looked
// for.
func (t *Tier) lead() int64 { return max(2*t.width, time.Hour.Milliseconds()) }

// priorFor is how long a gap may be for a total to account for what a counter
// grew meanwhile.
const priorFor = 7 * 24 * time.Hour

// before returns the last value of a series that the tier holds, for a series
// without samples in the lead. A block that cannot be read is found out by who
// reads the series: here it only means that no value is known.
func (p *populator) before(ctx context.Context, ls labels.Labels) (point, bool) {
	ms := []*labels.Matcher{labels.MustNewMatcher(labels.MatchEqual, Label, string(Last))}
	ls.Range(func(l labels.Label) {
		ms = append(ms, labels.MustNewMatcher(labels.MatchEqual, l.Name, l.Value))
	})
	var last point
	found := false
	set := p.prior.Select(ctx, false, nil, ms...)
	for set.Next() {
		if set.At().Labels().Len() != len(ms) {
			continue // has more labels
		}
		it := set.At().Iterator(nil)
		for it.Next() == chunkenc.ValFloat {
			if t, v := it.At(); !math.IsNaN(v) && !math.IsInf(v, 0) {
				last, found = point{t, v}, true
			}
		}
	}
	return last, found
}

func describe(b *tsdb.Block) tsdb.BlockDesc {
	return tsdb.BlockDesc{ULID: b.Meta().ULID, MinTime: b.MinTime(), MaxTime: b.MaxTime()}
}

// compact makes one block from those in dirs, and closes what p reads besides:
// a block that is replaced goes only when it has no readers.
func (t *Tier) compact(ctx context.Context, dirs []string, p *populator) error {
	start := time.Now()
	defer t.begin()()
	c, err := t.compactor(ctx)
	if err != nil {
		return err
	}
	made, err := c.CompactWithBlockPopulator(t.dir, dirs, nil, p)
	if p.prior != nil {
		err = errors.Join(err, p.prior.Close())
	}
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
	if err := t.writing.Acquire(ctx, 1); err != nil {
		return false, fmt.Errorf("merge blocks of tier %s: wait for its writer: %w", t.name, err)
	}
	defer t.writing.Release(1)
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

// mergeable returns the first two or more blocks in one span that is over. They
// leave no time out: a merged block says that it holds all between its ends.
func mergeable(blocks []*tsdb.Block, span int64) []*tsdb.Block {
	if len(blocks) == 0 {
		return nil
	}
	passed := rangeOf(blocks[len(blocks)-1].Meta()).To
	for i := 0; i < len(blocks); {
		start := floor(rangeOf(blocks[i].Meta()).From, span)
		j := i
		for j < len(blocks) && rangeOf(blocks[j].Meta()).To <= start+span && (j == i || blocks[j].MinTime() <= blocks[j-1].MaxTime()) {
			j++
		}
		if j-i > 1 && start+span <= passed {
			return blocks[i:j]
		}
		i = max(j, i+1)
	}
	return nil
}

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
