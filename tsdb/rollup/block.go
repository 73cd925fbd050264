package rollup

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/oklog/ulid/v2"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/tsdb/index"
)

// chunkSamples is how many buckets share a chunk.
const chunkSamples = 240

// populator fills a block with the buckets of raw blocks, or with the merged
// series of tier blocks. It is the library's tsdb.BlockPopulator.
type populator struct {
	width    int64
	of       Range            // the bucket's ends that the block shall hold
	lead     int64            // how far before, to know the samples before
	replaces []tsdb.BlockDesc // blocks of the tier that this one stands for
	merge    bool             // the blocks are the tier's own
	prior    storage.Querier  // of the tier itself, for values from before the lead
	lose     loss             // nil: what cannot be read fails the block
}

// loss is told what of a raw series was left out.
type loss func(ls labels.Labels, from, to int64, err error)

// PopulateBlock implements tsdb.BlockPopulator.
func (p *populator) PopulateBlock(ctx context.Context, _ *tsdb.CompactorMetrics, _ *slog.Logger, _ chunkenc.Pool, _ storage.VerticalChunkSeriesMergeFunc, blocks []tsdb.BlockReader, meta *tsdb.BlockMeta, indexw tsdb.IndexWriter, chunkw tsdb.ChunkWriter, _ tsdb.IndexReaderPostingsFunc) error {
	meta.MinTime, meta.MaxTime = p.of.From+1, p.of.To+1
	meta.Compaction = tsdb.BlockMetaCompaction{Level: meta.Compaction.Level, Sources: []ulid.ULID{meta.ULID}, Parents: p.replaces}
	if err := p.addSymbols(blocks, indexw); err != nil {
		return err
	}
	from := p.of.From + 1
	if !p.merge {
		from -= p.lead
	}
	q, err := blocksQuerier(blocks, from, p.of.To)
	if err != nil {
		return err
	}
	defer q.Close()
	w := &blockWriter{meta: meta, index: indexw, chunks: chunkw}
	if p.merge {
		err = p.copySeries(ctx, q, w)
	} else {
		err = p.rollUp(ctx, q, w, blocks)
	}
	return err
}

func (p *populator) addSymbols(blocks []tsdb.BlockReader, indexw tsdb.IndexWriter) error {
	own := []string{}
	for _, k := range stored {
		own = append(own, string(k))
	}
	var symbols index.StringIter = index.NewStringListIter(append(own, Label))
	for _, b := range blocks {
		r, err := b.Index()
		if err != nil {
			return fmt.Errorf("open index of block %s: %w", b.Meta().ULID, err)
		}
		defer r.Close()
		symbols = tsdb.NewMergedStringIter(symbols, r.Symbols())
	}
	for symbols.Next() {
		if err := indexw.AddSymbol(symbols.At()); err != nil {
			return fmt.Errorf("add symbol: %w", err)
		}
	}
	return symbols.Err()
}

// blocksQuerier reads blocks from mint to maxt, both included.
func blocksQuerier[B tsdb.BlockReader](blocks []B, mint, maxt int64) (storage.Querier, error) {
	queriers := make([]storage.Querier, 0, len(blocks))
	for _, b := range blocks {
		q, err := tsdb.NewBlockQuerier(b, mint, maxt)
		if err != nil {
			for _, open := range queriers {
				err = errors.Join(err, open.Close())
			}
			return nil, fmt.Errorf("read block %s: %w", b.Meta().ULID, err)
		}
		queriers = append(queriers, q)
	}
	return storage.NewMergeQuerier(queriers, nil, storage.ChainedSeriesMerge), nil
}

// copySeries writes the series as they are, in chunks of full length.
func (p *populator) copySeries(ctx context.Context, q storage.Querier, w *blockWriter) error {
	set := q.Select(ctx, true, nil, all)
	var it chunkenc.Iterator
	for set.Next() {
		if err := ctx.Err(); err != nil {
			return err
		}
		var s series
		it = set.At().Iterator(it)
		for it.Next() == chunkenc.ValFloat {
			t, v := it.At()
			if err := s.add(point{t, v}); err != nil {
				return err
			}
		}
		if err := it.Err(); err != nil {
			return fmt.Errorf("read series %s: %w", set.At().Labels(), err)
		}
		if err := w.add(set.At().Labels(), s.chunks); err != nil {
			return err
		}
	}
	return set.Err()
}

// rollUp writes the buckets of raw series.
func (p *populator) rollUp(ctx context.Context, q storage.Querier, w *blockWriter, blocks []tsdb.BlockReader) error {
	set := q.Select(ctx, true, nil, all)
	var it chunkenc.Iterator
	var waiting []rolled
	for set.Next() {
		if err := ctx.Err(); err != nil {
			return err
		}
		s := set.At()
		if Reserved(s.Labels()) {
			continue // a block from elsewhere: what it has else is worth more
		}
		it = s.Iterator(it)
		r, err := p.rollUpSeries(ctx, s.Labels(), it)
		if err != nil && p.lose != nil {
			r, err = p.rollUpReadable(ctx, s.Labels(), blocks)
		}
		if err != nil {
			return fmt.Errorf("roll up series %s: %w", s.Labels(), err)
		}
		if waiting, err = w.settle(waiting, r.labels); err != nil {
			return err
		}
		waiting = append(waiting, r)
	}
	if err := set.Err(); err != nil {
		return err
	}
	_, err := w.settle(waiting, labels.EmptyLabels())
	return err
}

// rolled are the buckets of one raw series.
type rolled struct {
	labels labels.Labels
	kinds  [len(stored)]series
}

func (p *populator) rollUpSeries(ctx context.Context, ls labels.Labels, it chunkenc.Iterator) (rolled, error) {
	r := rolled{labels: ls}
	b := buckets{raw: it, agg: aggregator{width: p.width, priorAt: p.of.From}}
	b.agg.prior = func() (point, bool) { return p.before(ctx, ls) }
	for b.next() {
		if b.at.end <= p.of.From || b.at.end > p.of.To {
			continue
		}
		if err := r.put(&b.at); err != nil {
			return r, err
		}
	}
	return r, b.err()
}

// put adds a bucket.
func (r *rolled) put(b *bucket) error {
	var buf []point
	for i, k := range stored {
		buf = b.points(k, buf[:0])
		for _, pt := range buf {
			if err := r.kinds[i].add(pt); err != nil {
				return err
			}
		}
	}
	return nil
}

// series is one stored series: full chunks and the one being filled.
type series struct {
	chunks []chunks.Meta
	app    chunkenc.Appender
	n      int
}

func (s *series) add(p point) error {
	if s.n%chunkSamples == 0 {
		c := chunkenc.NewXORChunk()
		app, err := c.Appender()
		if err != nil {
			return err
		}
		s.app = app
		s.chunks = append(s.chunks, chunks.Meta{MinTime: p.t, Chunk: c})
	}
	s.app.Append(0, p.t, p.v)
	s.chunks[len(s.chunks)-1].MaxTime = p.t
	s.n++
	return nil
}

// blockWriter writes series to a block, which must come in order.
type blockWriter struct {
	meta   *tsdb.BlockMeta
	index  tsdb.IndexWriter
	chunks tsdb.ChunkWriter
	ref    storage.SeriesRef
}

func (w *blockWriter) add(ls labels.Labels, chks []chunks.Meta) error {
	if len(chks) == 0 {
		return nil
	}
	if err := w.chunks.WriteChunks(chks...); err != nil {
		return fmt.Errorf("write chunks: %w", err)
	}
	if err := w.index.AddSeries(w.ref, ls, chks...); err != nil {
		return fmt.Errorf("add series: %w", err)
	}
	w.ref++
	w.meta.Stats.NumSeries++
	w.meta.Stats.NumChunks += uint64(len(chks))
	for _, c := range chks {
		w.meta.Stats.NumSamples += uint64(c.Chunk.NumSamples())
		w.meta.Stats.NumFloatSamples += uint64(c.Chunk.NumSamples())
	}
	return nil
}

// settle writes those of the waiting series that come before what the raw
// series next will make, and returns the rest. Raw series come in order, but
// with Label behind their labels, {a} comes after {a, b}: a series waits for
// those that have all its labels and more.
func (w *blockWriter) settle(waiting []rolled, next labels.Labels) ([]rolled, error) {
	for len(waiting) > 0 {
		r := waiting[len(waiting)-1]
		if begins(next, r.labels) {
			break
		}
		b := labels.NewBuilder(r.labels)
		for i, k := range stored {
			if err := w.add(b.Set(Label, string(k)).Labels(), r.kinds[i].chunks); err != nil {
				return nil, err
			}
		}
		waiting = waiting[:len(waiting)-1]
	}
	return waiting, nil
}

// begins says whether ls has more labels than head and begins with those.
func begins(ls, head labels.Labels) bool {
	if ls.Len() <= head.Len() {
		return false
	}
	var of []labels.Label
	head.Range(func(l labels.Label) { of = append(of, l) })
	i, same := 0, true
	ls.Range(func(l labels.Label) {
		if i < len(of) && l != of[i] {
			same = false
		}
		i++
	})
	return same
}

// all is the library's matcher for every series.
var all = labels.MustNewMatcher(labels.MatchEqual, "", "")
