package rollup

import (
	"context"
	"fmt"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
)

// around rolls a raw series up around what of it cannot be read.
type around struct {
	*populator
	blocks []tsdb.BlockReader
	agg    aggregator
	r      rolled

	lost  Range // from the first to the last that could not be read
	cause error // of the first
}

func (p *populator) rollUpReadable(ctx context.Context, ls labels.Labels, blocks []tsdb.BlockReader) (rolled, error) {
	a := &around{populator: p, blocks: blocks, r: rolled{labels: ls}, agg: aggregator{width: p.width, priorAt: p.of.From}}
	a.agg.prior = func() (point, bool) { return p.before(ctx, ls) }
	if lead, err := a.samples(ctx, Range{p.of.From - p.lead, p.of.From}); err == nil {
		for _, s := range lead {
			a.agg.add(s.t, s.v)
		}
		a.agg.finish()
	}
	if err := a.rollUp(ctx, p.of); err != nil {
		return a.r, err
	}
	if a.cause != nil {
		p.lose(ls, a.lost.From, a.lost.To, a.cause)
	}
	return a.r, nil
}

// rollUp reads a range at once or, where that fails, in halves, down to an hour
// or a bucket: a chunk is seldom shorter.
func (a *around) rollUp(ctx context.Context, of Range) error {
	all, err := a.samples(ctx, of)
	if err == nil {
		return a.add(all)
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	least := max(1, time.Hour.Milliseconds()/a.width) * a.width
	if of.To-of.From <= least {
		if a.cause == nil {
			a.cause, a.lost.From = err, of.From
		}
		a.lost.To = of.To
		return nil
	}
	mid := floor(of.From+(of.To-of.From)/2, least)
	if mid <= of.From {
		mid += least
	}
	if err := a.rollUp(ctx, Range{of.From, mid}); err != nil {
		return err
	}
	return a.rollUp(ctx, Range{mid, of.To})
}

func (a *around) add(all []point) error {
	for _, s := range all {
		if done, closed := a.agg.add(s.t, s.v); closed {
			if err := a.r.put(&done); err != nil {
				return err
			}
		}
	}
	if done, closed := a.agg.finish(); closed {
		return a.r.put(&done)
	}
	return nil
}

// samples reads the raw samples of a range.
func (a *around) samples(ctx context.Context, of Range) (all []point, err error) {
	q, err := blocksQuerier(a.blocks, of.From+1, of.To)
	if err != nil {
		return nil, err
	}
	defer q.Close()
	var ms []*labels.Matcher
	a.r.labels.Range(func(l labels.Label) { ms = append(ms, labels.MustNewMatcher(labels.MatchEqual, l.Name, l.Value)) })
	set := q.Select(ctx, true, nil, ms...)
	for set.Next() {
		if !labels.Equal(set.At().Labels(), a.r.labels) {
			continue // has more labels
		}
		it := set.At().Iterator(nil)
		for v := it.Next(); v != chunkenc.ValNone; v = it.Next() {
			if v == chunkenc.ValFloat {
				t, v := it.At()
				all = append(all, point{t, v})
			}
		}
		if err := it.Err(); err != nil {
			return nil, fmt.Errorf("read %s to %s: %w", at(of.From), at(of.To), err)
		}
	}
	return all, set.Err()
}
