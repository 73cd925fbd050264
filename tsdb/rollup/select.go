package rollup

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/util/annotations"
)

// Queryable reads raw samples, or the buckets of the tier and kind that a
// matcher of Label asks for; see reading. Buckets that the tier does not hold,
// such as the newest, are made from the raw samples as they are read.
type Queryable struct {
	Raw   storage.Queryable
	Tiers []*Tier // fine to coarse
	// RawFrom is the time in Unix milliseconds of the oldest raw sample. Lists
	// of series and labels look for older ones in the coarsest tier.
	RawFrom int64
}

// reading is the value of Label by which a selector reads kind k of a tier.
func reading(tier string, k Kind) string { return tier + "/" + string(k) }

// Reads says whether a selector reads buckets.
func Reads(ms []*labels.Matcher) bool { return readsAt(ms) >= 0 }

func readsAt(ms []*labels.Matcher) int {
	return slices.IndexFunc(ms, func(m *labels.Matcher) bool { return m.Name == Label })
}

// Querier implements storage.Queryable.
func (q Queryable) Querier(mint, maxt int64) (storage.Querier, error) {
	raw, err := q.Raw.Querier(mint, maxt)
	if err != nil {
		return nil, err
	}
	return &querier{Querier: raw, of: q, mint: mint, maxt: maxt}, nil
}

// querier is the raw querier, but for Select and Close.
type querier struct {
	storage.Querier
	of         Queryable
	mint, maxt int64

	mu   sync.Mutex // guards below
	open []storage.Querier
}

func (q *querier) Close() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	errs := []error{q.Querier.Close()}
	for _, o := range q.open {
		errs = append(errs, o.Close())
	}
	q.open = nil
	return errors.Join(errs...)
}

func (q *querier) keep(o storage.Querier) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.open = append(q.open, o)
}

// Select implements storage.Querier.
func (q *querier) Select(ctx context.Context, sorted bool, hints *storage.SelectHints, ms ...*labels.Matcher) storage.SeriesSet {
	i := readsAt(ms)
	switch {
	case i < 0 && hints != nil && hints.Func == "series": // wants labels alone
		return q.selectLabels(ctx, sorted, hints, ms)
	case i < 0:
		return q.Querier.Select(ctx, sorted, hints, ms...)
	}
	name, k, ok := strings.Cut(ms[i].Value, "/")
	kind, buckets, err := parseKind(k)
	t := slices.IndexFunc(q.of.Tiers, func(t *Tier) bool { return t.name == name })
	if !ok || t < 0 || err != nil {
		return storage.ErrSeriesSet(fmt.Errorf("no rollup is called %q", ms[i].Value))
	}
	s := selection{querier: q, tier: q.of.Tiers[t], kind: kind, matchers: slices.Delete(slices.Clone(ms), i, i+1)}
	s.of = Range{q.mint - 1, q.maxt}
	if hints != nil {
		s.of = Range{hints.Start - 1, hints.End}
	}
	read := s.series
	if kind == Mean {
		s.of.From -= (buckets - 1) * s.tier.width
		read = func(ctx context.Context) ([]storage.Series, annotations.Annotations, error) {
			return s.means(ctx, buckets)
		}
	}
	found, warnings, err := read(ctx)
	if err != nil {
		return storage.ErrSeriesSet(err)
	}
	return listOf(found, sorted, warnings)
}

func listOf(found []storage.Series, sorted bool, warnings annotations.Annotations) *seriesList {
	if sorted {
		slices.SortFunc(found, func(a, b storage.Series) int { return labels.Compare(a.Labels(), b.Labels()) })
	}
	return &seriesList{series: found, at: -1, warnings: warnings}
}

// selection is one Select of a kind.
type selection struct {
	querier  *querier
	tier     *Tier
	kind     Kind
	matchers []*labels.Matcher
	of       Range // the ends of the buckets wanted
}

func (s *selection) series(ctx context.Context) ([]storage.Series, annotations.Annotations, error) {
	var warnings annotations.Annotations
	parts := gathered{index: map[uint64][]int{}}
	held, stored, err := s.tier.querier(s.of)
	if err != nil {
		return nil, nil, err
	}
	if stored != nil {
		s.querier.keep(stored)
		w, err := parts.addStored(ctx, stored, s.kind.source(), s.matchers)
		warnings.Merge(w)
		if err != nil {
			return nil, warnings, fmt.Errorf("read tier %s: %w", s.tier.name, err)
		}
	}
	width := s.tier.width
	wanted := Range{floor(s.of.From, width), floor(s.of.To, width)}
	for _, gap := range wanted.Without(held) {
		w, err := s.fresh(ctx, gap, &parts)
		warnings.Merge(w)
		if err != nil {
			return nil, warnings, fmt.Errorf("make buckets from %s to %s: %w", at(gap.From), at(gap.To), err)
		}
	}
	return s.finish(&parts), warnings, nil
}

// fresh adds the series of buckets that are made from raw samples.
func (s *selection) fresh(ctx context.Context, gap Range, parts *gathered) (annotations.Annotations, error) {
	from := gap.From + 1
	if s.kind.source() == Total {
		from -= s.tier.lead()
	}
	raw, err := s.querier.of.Raw.Querier(from, gap.To)
	if err != nil {
		return nil, err
	}
	s.querier.keep(raw)
	set := raw.Select(ctx, false, &storage.SelectHints{Start: from, End: gap.To}, s.matchers...)
	for set.Next() {
		source := set.At()
		parts.add(pointSeries{source.Labels(), func() points {
			f := &fresh{kind: s.kind.source(), of: gap}
			f.buckets = buckets{agg: aggregator{width: s.tier.width}, raw: source.Iterator(nil)}
			return f
		}})
	}
	return set.Warnings(), set.Err()
}

// finish joins the parts of each series and makes counters of totals.
func (s *selection) finish(parts *gathered) []storage.Series {
	found := make([]storage.Series, len(parts.series))
	for i, p := range parts.series {
		found[i] = p[0]
		if len(p) > 1 {
			found[i] = storage.ChainedSeriesMerge(p...)
		}
		if s.kind != s.kind.source() {
			totals := found[i]
			found[i] = pointSeries{totals.Labels(), func() points {
				return &counter{width: s.tier.width, kind: s.kind, total: totals.Iterator(nil)}
			}}
		}
	}
	return found
}

// querier reads the tier's blocks, if any hold something of r, and says what
// they hold.
func (t *Tier) querier(r Range) ([]Range, storage.Querier, error) {
	t.mu.RLock()
	defer t.mu.RUnlock() // so that no block closes before it has a reader
	held := covered(t.blocks)
	var within []*tsdb.Block
	for _, b := range t.blocks {
		if b.OverlapsClosedInterval(r.From+1, r.To) {
			within = append(within, b)
		}
	}
	if len(within) == 0 {
		return held, nil, nil
	}
	q, err := blocksQuerier(within, r.From+1, r.To)
	return held, q, err
}

// gathered are series by labels, each in parts.
type gathered struct {
	index  map[uint64][]int // by hash
	series [][]storage.Series
}

func (g *gathered) add(s storage.Series) {
	h := s.Labels().Hash()
	for _, i := range g.index[h] {
		if labels.Equal(g.series[i][0].Labels(), s.Labels()) {
			g.series[i] = append(g.series[i], s)
			return
		}
	}
	g.index[h] = append(g.index[h], len(g.series))
	g.series = append(g.series, []storage.Series{s})
}

// addStored adds what a tier's querier has of a kind.
func (g *gathered) addStored(ctx context.Context, q storage.Querier, k Kind, ms []*labels.Matcher) (annotations.Annotations, error) {
	set := q.Select(ctx, false, nil, append(slices.Clone(ms), labels.MustNewMatcher(labels.MatchEqual, Label, string(k)))...)
	b := labels.NewBuilder(labels.EmptyLabels())
	for set.Next() {
		b.Reset(set.At().Labels())
		g.add(renamed{set.At(), b.Del(Label).Labels()})
	}
	return set.Warnings(), set.Err()
}

// seriesList is a storage.SeriesSet of what was gathered.
type seriesList struct {
	series   []storage.Series
	at       int
	warnings annotations.Annotations
}

func (l *seriesList) Next() bool                        { l.at++; return l.at < len(l.series) }
func (l *seriesList) At() storage.Series                { return l.series[l.at] }
func (l *seriesList) Err() error                        { return nil }
func (l *seriesList) Warnings() annotations.Annotations { return l.warnings }
