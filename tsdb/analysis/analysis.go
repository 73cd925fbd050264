// Package analysis says what costs the series of a history: by metric, label,
// source and churn. It reads blocks; the samples of the head have to be
// written as blocks first.
package analysis

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/tsdb/index"
)

// Report is what some blocks hold. A sample or series that is in several
// blocks is stored several times: its samples and bytes count each time, the
// series once. Bytes are those of the encoded chunks. The lists hold the
// costliest, with the most series first.
type Report struct {
	Blocks  int       `json:"blocks"`
	From    time.Time `json:"from"`
	To      time.Time `json:"to"`
	Series  int       `json:"series"`
	Samples int64     `json:"samples"`
	Bytes   int64     `json:"bytes"`

	Metrics []Cost   `json:"metrics"`
	Labels  []Label  `json:"labels"`
	Pairs   []Cost   `json:"label_pairs"`
	Sources []Cost   `json:"sources"` // by job and instance
	Churn   []Window `json:"churn"`   // all windows, oldest first
	// Restless are the metrics by the series that appeared after the first
	// window; see Cost.Appeared.
	Restless []Cost `json:"restless_metrics"`
}

// Cost is what the series with one property in common take.
type Cost struct {
	Name     string `json:"name"`
	Series   int    `json:"series"`
	Samples  int64  `json:"samples"`
	Bytes    int64  `json:"bytes"`
	Appeared int    `json:"appeared,omitempty"` // summed over the windows after the first
}

// Label is what a label name takes.
type Label struct {
	Name   string `json:"name"`
	Values int    `json:"values"` // different ones
	Series int    `json:"series"`
	Bytes  int64  `json:"bytes"` // of the values, once for each series
}

// Window is a time that one block holds, or several that overlap.
type Window struct {
	From     time.Time `json:"from"`
	To       time.Time `json:"to"`
	Series   int       `json:"series"`
	Appeared int       `json:"appeared"` // were not in the window before
	Gone     int       `json:"gone"`     // were in the window before, but are not in this
}

// Analyze reads all of the blocks and lists the top costs of each kind.
// Progress is told the blocks done and those in all; it may be nil. Memory
// grows with the number of series and of label pairs.
func Analyze(ctx context.Context, blocks []tsdb.BlockReader, top int, progress func(done, total int64)) (Report, error) {
	blocks = slices.Clone(blocks)
	slices.SortFunc(blocks, func(a, b tsdb.BlockReader) int { return cmp.Compare(a.Meta().MinTime, b.Meta().MinTime) })
	t := &tally{
		seen: map[uint64]int{}, metrics: map[string]*Cost{}, pairs: map[string]*Cost{},
		sources: map[string]*Cost{}, labels: map[string]*Label{},
	}
	for i, b := range blocks {
		t.window(b.Meta())
		if err := t.block(ctx, b); err != nil {
			return Report{}, fmt.Errorf("analyze block %s: %w", b.Meta().ULID, err)
		}
		if progress != nil {
			progress(int64(i+1), int64(len(blocks)))
		}
	}
	t.report.Blocks = len(blocks)
	return t.finish(top), nil
}

type tally struct {
	report  Report
	metrics map[string]*Cost
	pairs   map[string]*Cost
	sources map[string]*Cost
	labels  map[string]*Label
	seen    map[uint64]int // series, by hash: the last window that had it
}

// window goes on to the next window unless the block overlaps the present one.
func (t *tally) window(m tsdb.BlockMeta) {
	from, to := time.UnixMilli(m.MinTime).UTC(), time.UnixMilli(m.MaxTime).UTC()
	n := len(t.report.Churn)
	if n > 0 && from.Before(t.report.Churn[n-1].To) {
		last := &t.report.Churn[n-1]
		if to.After(last.To) {
			last.To = to
		}
		return
	}
	t.report.Churn = append(t.report.Churn, Window{From: from, To: to})
}

func (t *tally) block(ctx context.Context, b tsdb.BlockReader) (err error) {
	ir, err := b.Index()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, ir.Close()) }()
	cr, err := b.Chunks()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, cr.Close()) }()
	name, value := index.AllPostingsKey()
	all, err := ir.Postings(ctx, name, value)
	if err != nil {
		return err
	}
	var builder labels.ScratchBuilder
	var metas []chunks.Meta
	for n := 0; all.Next(); n++ {
		if n%1000 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		if err := ir.Series(all.At(), &builder, &metas); err != nil {
			if errors.Is(err, storage.ErrNotFound) {
				continue
			}
			return err
		}
		ls := builder.Labels()
		samples, bytes := int64(0), int64(0)
		for _, m := range metas {
			c, _, err := cr.ChunkOrIterable(m)
			if err != nil {
				return fmt.Errorf("series %s: %w", ls, err)
			}
			samples += int64(c.NumSamples())
			bytes += int64(len(c.Bytes()))
		}
		t.add(ls, samples, bytes)
	}
	return all.Err()
}

func (t *tally) add(ls labels.Labels, samples, bytes int64) {
	hash, now := ls.Hash(), len(t.report.Churn)-1
	last, known := t.seen[hash]
	first := 0
	if !known {
		first = 1
		t.report.Series++
	}
	appeared := 0
	if !known || last != now {
		t.report.Churn[now].Series++
		if now > 0 && (!known || last != now-1) {
			appeared = 1
			t.report.Churn[now].Appeared++
		}
	}
	t.seen[hash] = now
	t.report.Samples += samples
	t.report.Bytes += bytes
	count := func(m map[string]*Cost, name string) {
		c := m[name]
		if c == nil {
			c = &Cost{Name: strings.Clone(name)}
			m[c.Name] = c
		}
		c.Series += first
		c.Samples += samples
		c.Bytes += bytes
		c.Appeared += appeared
	}
	count(t.metrics, ls.Get(model.MetricNameLabel))
	count(t.sources, fmt.Sprintf("job=%q instance=%q", ls.Get(model.JobLabel), ls.Get(model.InstanceLabel)))
	ls.Range(func(l labels.Label) {
		before := len(t.pairs)
		count(t.pairs, fmt.Sprintf("%s=%q", l.Name, l.Value))
		c := t.labels[l.Name]
		if c == nil {
			c = &Label{Name: strings.Clone(l.Name)}
			t.labels[c.Name] = c
		}
		c.Values += len(t.pairs) - before
		c.Series += first
		c.Bytes += int64(first * len(l.Value))
	})
}

func (t *tally) finish(top int) Report {
	r := t.report
	for i := range r.Churn {
		w := &r.Churn[i]
		if i == 0 {
			r.From = w.From
		}
		if w.To.After(r.To) {
			r.To = w.To
		}
		if i > 0 {
			w.Gone = r.Churn[i-1].Series - (w.Series - w.Appeared)
		}
	}
	bySeries := func(a, b *Cost) int {
		return cmp.Or(cmp.Compare(b.Series, a.Series), cmp.Compare(b.Samples, a.Samples), cmp.Compare(a.Name, b.Name))
	}
	r.Metrics = costliest(t.metrics, top, bySeries)
	r.Pairs = costliest(t.pairs, top, bySeries)
	r.Sources = costliest(t.sources, top, bySeries)
	r.Restless = costliest(t.metrics, top, func(a, b *Cost) int {
		return cmp.Or(cmp.Compare(b.Appeared, a.Appeared), cmp.Compare(a.Name, b.Name))
	})
	r.Restless = slices.DeleteFunc(r.Restless, func(c Cost) bool { return c.Appeared == 0 })
	r.Labels = costliest(t.labels, top, func(a, b *Label) int {
		return cmp.Or(cmp.Compare(b.Values, a.Values), cmp.Compare(b.Bytes, a.Bytes), cmp.Compare(a.Name, b.Name))
	})
	return r
}

func costliest[T any](m map[string]*T, top int, order func(a, b *T) int) []T {
	all := make([]*T, 0, len(m))
	for _, c := range m {
		all = append(all, c)
	}
	slices.SortFunc(all, order)
	out := make([]T, 0, min(top, len(all)))
	for _, c := range all[:min(top, len(all))] {
		out = append(out, *c)
	}
	return out
}
