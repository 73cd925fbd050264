package forward

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
)

const (
	// window is how much time is read from the blocks at once: short enough
	// for a receiver that takes nothing late to take one series after another.
	window = 15 * time.Minute
	// pageBytes bounds what of a window is in memory.
	pageBytes = 8 << 20
	// sampleBytes is what a sample takes there.
	sampleBytes = 16
)

// everything matches every series.
var everything = labels.MustNewMatcher(labels.MatchEqual, "", "")

// catchUp sends what the position owes from the blocks.
func (r *receiver) catchUp(ctx context.Context) error {
	if !r.pos.behind() {
		return nil
	}
	r.clip()
	if r.pos.behind() {
		r.log.Info("reading from the blocks what the log no longer holds", "from", instant(r.pos.From), "to", instant(r.pos.To))
	}
	for r.pos.behind() {
		end := min(r.pos.From+window.Milliseconds()-1, r.pos.To)
		if err := r.sendWindow(ctx, r.pos.From, end); err != nil {
			return err
		}
		r.pos.From, r.dirty = end+1, true
		r.figures.moved(r.pos)
		r.keep(false)
	}
	return r.save(true)
}

// clip holds the range owed to what there is.
func (r *receiver) clip() {
	oldest, _, ok := r.source.Bounds()
	if !ok {
		r.pos.From, r.pos.To = 1, 0
		return
	}
	if p := r.pos; p.Newest > beginning().Newest && oldest-p.Newest > slack.Milliseconds() {
		r.log.Warn("samples were deleted before the receiver could get them", "from", instant(p.Newest), "to", instant(oldest))
	}
	r.pos.From, r.pos.To = max(r.pos.From, oldest), min(r.pos.To, r.source.End())
	r.figures.moved(r.pos)
}

// sendWindow sends the samples of a time range, page by page. The store is
// not read while a page is being sent: it could not truncate meanwhile.
func (r *receiver) sendWindow(ctx context.Context, from, to int64) error {
	after := labels.EmptyLabels()
	for {
		p, err := r.read(ctx, from, to, after)
		if err != nil {
			return fmt.Errorf("read blocks from %s to %s: %w", instant(from), instant(to), err)
		}
		if err := r.deliver(ctx, p.runs, p.samples); err != nil {
			return err
		}
		if p.seen.any() {
			r.pos.Newest = max(r.pos.Newest, p.seen.newest)
		}
		switch {
		case !p.more:
			return nil
		case r.over(ctx):
			return errStopped
		}
		after = p.last
	}
}

// page is a part of a window: whole series, in the order of their labels.
type page struct {
	runs    []run
	samples int
	seen    times
	last    labels.Labels
	more    bool
}

// read reads the series after one, as many as a page holds.
func (r *receiver) read(ctx context.Context, from, to int64, after labels.Labels) (_ page, err error) {
	p := page{seen: noTimes()}
	q, err := r.source.Raw().Querier(from, to)
	if err != nil {
		return p, err
	}
	defer func() { err = errors.Join(err, q.Close()) }()
	set := q.Select(ctx, true, &storage.SelectHints{Start: from, End: to}, everything)
	var it chunkenc.Iterator
	for bytes := 0; set.Next(); {
		s := set.At()
		if !after.IsEmpty() && labels.Compare(s.Labels(), after) <= 0 {
			continue
		}
		if bytes > pageBytes {
			p.more = true
			return p, nil
		}
		var list []sample
		it = s.Iterator(it)
		for t := it.Next(); t != chunkenc.ValNone; t = it.Next() {
			if t != chunkenc.ValFloat {
				r.figures.strange.Add(1)
				continue
			}
			at, v := it.At()
			list = append(list, sample{at, v})
			p.seen.add(at)
		}
		// The labels may live in a block's memory, which ends with q.
		p.last = s.Labels().Copy()
		if err := it.Err(); err != nil {
			if list, err = r.around(ctx, p.last, from, to, err); err != nil {
				return p, err
			}
			for _, x := range list {
				p.seen.add(x.t)
			}
		}
		if len(list) > 0 {
			p.runs = append(p.runs, run{p.last, list})
			p.samples += len(list)
		}
		bytes += len(list)*sampleBytes + int(p.last.ByteSize())
	}
	return p, set.Err()
}

// leastPiece is the shortest time that is tried around what cannot be read.
const leastPiece = 30 * time.Second

// around reads a series of which a chunk cannot be read, and leaves out what
// stands in it: it will not be read tomorrow either, and all that is newer waits.
func (r *receiver) around(ctx context.Context, ls labels.Labels, from, to int64, cause error) ([]sample, error) {
	lost := noTimes()
	list, err := r.pieces(ctx, ls, from, to, &lost)
	if err != nil || !lost.any() {
		return list, err
	}
	r.figures.unread(cause)
	r.log.Error("samples that cannot be read are not sent",
		"series", ls.String(), "from", instant(lost.oldest), "to", instant(lost.newest), "err", cause)
	return list, nil
}

// pieces reads a range of a series at once or, where that fails, in halves.
func (r *receiver) pieces(ctx context.Context, ls labels.Labels, from, to int64, lost *times) ([]sample, error) {
	list, err := r.readSeries(ctx, ls, from, to)
	switch {
	case err == nil:
		return list, nil
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case to-from < leastPiece.Milliseconds():
		lost.add(from)
		lost.add(to)
		return nil, nil
	}
	mid := from + (to-from)/2
	older, err := r.pieces(ctx, ls, from, mid, lost)
	if err != nil {
		return nil, err
	}
	newer, err := r.pieces(ctx, ls, mid+1, to, lost)
	return append(older, newer...), err
}

func (r *receiver) readSeries(ctx context.Context, ls labels.Labels, from, to int64) (list []sample, err error) {
	q, err := r.source.Raw().Querier(from, to)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, q.Close()) }()
	var ms []*labels.Matcher
	ls.Range(func(l labels.Label) { ms = append(ms, labels.MustNewMatcher(labels.MatchEqual, l.Name, l.Value)) })
	set := q.Select(ctx, false, &storage.SelectHints{Start: from, End: to}, ms...)
	for set.Next() {
		if !labels.Equal(set.At().Labels(), ls) {
			continue // has more labels
		}
		it := set.At().Iterator(nil)
		for t := it.Next(); t != chunkenc.ValNone; t = it.Next() {
			if t == chunkenc.ValFloat {
				at, v := it.At()
				list = append(list, sample{at, v})
			}
		}
		if err := it.Err(); err != nil {
			return nil, err
		}
	}
	return list, set.Err()
}

func instant(ms int64) string { return time.UnixMilli(ms).UTC().Format(time.RFC3339) }
