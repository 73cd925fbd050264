package rollup

import (
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
)

// buckets walks the buckets of raw samples.
type buckets struct {
	agg aggregator
	raw chunkenc.Iterator
	at  bucket
	end bool
}

func (b *buckets) next() bool {
	for !b.end {
		switch b.raw.Next() {
		case chunkenc.ValFloat:
			if done, closed := b.agg.add(b.raw.At()); closed {
				b.at = done
				return true
			}
		case chunkenc.ValNone:
			b.end = true
			if b.raw.Err() != nil {
				return false // the rest of this bucket is not known
			}
			done, closed := b.agg.finish()
			b.at = done
			return closed
		}
	}
	return false
}

func (b *buckets) err() error { return b.raw.Err() }

// renamed is a series under other labels.
type renamed struct {
	storage.Series
	labels labels.Labels
}

func (s renamed) Labels() labels.Labels { return s.labels }

// pointSeries makes an iterator of points.
type pointSeries struct {
	labels labels.Labels
	points func() points
}

// points yields points in order of time; err says why it stopped.
type points interface {
	next() (point, bool)
	err() error
}

func (s pointSeries) Labels() labels.Labels { return s.labels }

func (s pointSeries) Iterator(chunkenc.Iterator) chunkenc.Iterator {
	return &pointIterator{points: s.points()}
}

// pointIterator is points as the library reads samples.
type pointIterator struct {
	points  points
	at      point
	started bool
	ended   bool
}

func (it *pointIterator) Next() chunkenc.ValueType {
	if it.ended {
		return chunkenc.ValNone
	}
	p, ok := it.points.next()
	if !ok {
		it.ended = true
		return chunkenc.ValNone
	}
	it.at, it.started = p, true
	return chunkenc.ValFloat
}

// millis keeps vet from taking Seek for io.Seeker's.
type millis = int64

func (it *pointIterator) Seek(t millis) chunkenc.ValueType {
	if it.ended {
		return chunkenc.ValNone
	}
	if it.started && it.at.t >= t {
		return chunkenc.ValFloat
	}
	for it.Next() != chunkenc.ValNone {
		if it.at.t >= t {
			return chunkenc.ValFloat
		}
	}
	return chunkenc.ValNone
}

func (it *pointIterator) At() (int64, float64) { return it.at.t, it.at.v }

func (it *pointIterator) AtHistogram(*histogram.Histogram) (int64, *histogram.Histogram) {
	return it.at.t, nil
}

func (it *pointIterator) AtFloatHistogram(*histogram.FloatHistogram) (int64, *histogram.FloatHistogram) {
	return it.at.t, nil
}

func (it *pointIterator) AtT() int64  { return it.at.t }
func (it *pointIterator) AtST() int64 { return 0 }
func (it *pointIterator) Err() error  { return it.points.err() }

// fresh are the points of a kind made from raw samples, for buckets that end
// within a range.
type fresh struct {
	kind    Kind
	of      Range
	buckets buckets
	made    []point
}

func (f *fresh) next() (point, bool) {
	for len(f.made) == 0 {
		if !f.buckets.next() {
			return point{}, false
		}
		if end := f.buckets.at.end; end > f.of.From && end <= f.of.To {
			f.made = f.buckets.at.points(f.kind, f.made)
		}
	}
	p := f.made[0]
	f.made = f.made[1:]
	return p, true
}

func (f *fresh) err() error { return f.buckets.err() }

// counter adds up the points of Total to a counter that never resets.
type counter struct {
	width int64
	kind  Kind // Whole or Ends
	total chunkenc.Iterator
	sum   float64 // up to ahead
	ahead tally   // read, but not made points of
	made  []point
	taken int // of made
	begun bool
	ended bool
	gap   bool // before ahead
}

// tally is one bucket's total, and what a gap before it added.
type tally struct {
	end         int64
	jump, total float64
}

func (c *counter) next() (point, bool) {
	if !c.begun {
		c.begun, c.ended = true, !c.read()
		c.make(true)
	}
	if c.taken == len(c.made) && !c.ended {
		c.make(c.gap)
	}
	if c.taken == len(c.made) {
		return point{}, false
	}
	c.taken++
	return c.made[c.taken-1], true
}

func (c *counter) err() error { return c.total.Err() }

// read takes the next bucket's points.
func (c *counter) read() bool {
	c.ahead = tally{}
	for c.total.Next() == chunkenc.ValFloat {
		t, v := c.total.At()
		if floor(t, c.width) == t {
			c.ahead.end, c.ahead.total = t, v
			return true
		}
		c.ahead.jump = v
	}
	return false
}

// betweenPoints is into how many parts a bucket beside a gap is cut.
const betweenPoints = 8

// make turns the bucket ahead into points and reads the next.
func (c *counter) make(gapBefore bool) {
	if c.ended {
		return
	}
	b := c.ahead
	c.ended = !c.read()
	gapAfter := c.ended || c.ahead.end != b.end+c.width
	c.gap = gapAfter
	c.made, c.taken = c.made[:0], 0
	c.sum += b.jump
	if c.kind == Whole {
		start := b.end - c.width
		c.made = append(c.made, point{start + 1, c.sum})
		// The engine goes on beyond the first and last samples of a window by up
		// to their mean distance, which raw samples have close together.
		for i := int64(1); i < betweenPoints && (gapBefore || gapAfter); i++ {
			part := float64(i) / betweenPoints
			c.made = append(c.made, point{start + i*c.width/betweenPoints, c.sum + part*b.total})
		}
	}
	c.sum += b.total
	c.made = append(c.made, point{b.end, c.sum})
}
