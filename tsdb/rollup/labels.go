package rollup

import (
	"context"
	"fmt"
	"slices"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/util/annotations"
)

// older reads the coarsest tier for the time before the oldest raw sample; nil
// when that is not asked for.
func (q *querier) older() (storage.Querier, error) {
	to := min(q.maxt, q.of.RawFrom-1)
	if len(q.of.Tiers) == 0 || q.mint > to {
		return nil, nil
	}
	_, stored, err := q.of.Tiers[len(q.of.Tiers)-1].querier(Range{q.mint - 1, to})
	if err != nil || stored == nil {
		return nil, err
	}
	q.keep(stored)
	return stored, nil
}

// selectLabels selects series of which only the labels are wanted.
func (q *querier) selectLabels(ctx context.Context, sorted bool, hints *storage.SelectHints, ms []*labels.Matcher) storage.SeriesSet {
	raw := q.Querier.Select(ctx, sorted, hints, ms...)
	stored, err := q.older()
	if err != nil {
		return storage.ErrSeriesSet(err)
	}
	if stored == nil {
		return raw
	}
	parts := gathered{index: map[uint64][]int{}}
	for raw.Next() {
		parts.add(raw.At())
	}
	warnings := raw.Warnings()
	if raw.Err() != nil {
		return storage.ErrSeriesSet(raw.Err())
	}
	w, err := parts.addStored(ctx, stored, Count, ms)
	if err != nil {
		return storage.ErrSeriesSet(fmt.Errorf("read series of tier: %w", err))
	}
	found := make([]storage.Series, len(parts.series))
	for i, p := range parts.series {
		found[i] = p[0]
	}
	return listOf(found, sorted, warnings.Merge(w))
}

// LabelNames implements storage.LabelQuerier.
func (q *querier) LabelNames(ctx context.Context, hints *storage.LabelHints, ms ...*labels.Matcher) ([]string, annotations.Annotations, error) {
	return q.union(hints, func(of storage.Querier, h *storage.LabelHints) ([]string, annotations.Annotations, error) {
		return of.LabelNames(ctx, h, ms...)
	})
}

// LabelValues implements storage.LabelQuerier.
func (q *querier) LabelValues(ctx context.Context, name string, hints *storage.LabelHints, ms ...*labels.Matcher) ([]string, annotations.Annotations, error) {
	return q.union(hints, func(of storage.Querier, h *storage.LabelHints) ([]string, annotations.Annotations, error) {
		return of.LabelValues(ctx, name, h, ms...)
	})
}

type stringsOf func(storage.Querier, *storage.LabelHints) ([]string, annotations.Annotations, error)

func (q *querier) union(hints *storage.LabelHints, of stringsOf) ([]string, annotations.Annotations, error) {
	found, warnings, err := of(q.Querier, hints)
	if err != nil {
		return nil, warnings, err
	}
	stored, err := q.older()
	if err != nil || stored == nil {
		return found, warnings, err
	}
	more := &storage.LabelHints{}
	if hints != nil && hints.Limit > 0 {
		more.Limit = hints.Limit + 1 // Label itself is among them
	}
	old, w, err := of(stored, more)
	if err != nil {
		return nil, warnings, fmt.Errorf("read labels of tier: %w", err)
	}
	all := slices.Concat(found, slices.DeleteFunc(slices.Clone(old), func(s string) bool { return s == Label }))
	slices.Sort(all)
	all = slices.Compact(all)
	if hints != nil && hints.Limit > 0 && len(all) > hints.Limit {
		all = all[:hints.Limit]
	}
	return all, warnings.Merge(w), nil
}
