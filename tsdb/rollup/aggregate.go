package rollup

import (
	"math"

	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/util/kahansum"
)

// point is one stored sample.
type point struct {
	t int64
	v float64
}

// bucket is what is known of the samples in (end-width, end].
type bucket struct {
	end   int64
	count int

	min, max, last float64
	lastT          int64
	stale          bool // the last sample is a staleness marker
	sum, lost      float64

	total, jump      float64
	totalled, jumped bool
}

// aggregator turns the samples of one series, in order of time, into buckets.
type aggregator struct {
	width int64
	cur   bucket
	open  bool // cur has seen a sample

	// The last finite sample, and how long after its predecessor it came.
	prev    point
	prevGap int64
	hasPrev bool
	// prior, if set, is asked once for the sample before the first one after
	// priorAt, when that has none.
	prior   func() (point, bool)
	priorAt int64
}

// add takes the next sample. It returns a bucket when that sample begins
// another.
func (a *aggregator) add(t int64, v float64) (done bucket, closed bool) {
	if end := endOf(t, a.width); !a.open || end != a.cur.end {
		done, closed = a.cur, a.open
		a.cur, a.open = bucket{end: end}, true
	}
	b := &a.cur
	if value.IsStaleNaN(v) {
		b.stale = true
		return done, closed
	}
	b.stale = false
	if b.count == 0 {
		b.min, b.max = v, v
	}
	b.count++
	b.last, b.lastT = v, t
	// As the engine's functions compare: NaN gives way to any number.
	if v > b.max || math.IsNaN(b.max) {
		b.max = v
	}
	if v < b.min || math.IsNaN(b.min) {
		b.min = v
	}
	b.sum, b.lost = kahansum.Inc(v, b.sum, b.lost)
	if !math.IsNaN(v) && !math.IsInf(v, 0) {
		a.increase(t, v)
	}
	return done, closed
}

// finish returns the last bucket, if any.
func (a *aggregator) finish() (bucket, bool) {
	done, closed := a.cur, a.open
	a.open = false
	return done, closed
}

func (a *aggregator) increase(t int64, v float64) {
	b := &a.cur
	b.totalled = true
	if !a.hasPrev && a.prior != nil && t > a.priorAt {
		a.prev, a.hasPrev = a.prior()
	}
	if !a.hasPrev {
		a.prev, a.hasPrev = point{t, v}, true
		return
	}
	inc, gap := v-a.prev.v, t-a.prev.t
	if v < a.prev.v {
		inc = v
	}
	// A gap like the one before, or two lost polls, is how the series is polled.
	near := gap <= 3*a.prevGap || a.prevGap == 0 && gap <= a.width
	if near || a.prev.t > b.end-a.width {
		b.total += inc
	} else {
		b.jump, b.jumped = inc, true
	}
	a.prev, a.prevGap = point{t, v}, gap
}

// points appends what is stored of a bucket under a kind.
func (b *bucket) points(k Kind, to []point) []point {
	if k == Total {
		if b.jumped {
			to = append(to, point{b.end - 1, b.jump})
		}
		if b.totalled {
			to = append(to, point{b.end, b.total})
		}
		return to
	}
	if b.count == 0 {
		return to
	}
	switch k {
	case Count:
		return append(to, point{b.end, float64(b.count)})
	case Max:
		return append(to, point{b.end, b.max})
	case Min:
		return append(to, point{b.end, b.min})
	case Sum:
		return append(to, point{b.end, b.sum + b.lost})
	}
	if !b.stale && b.lastT > b.end-Lookback.Milliseconds() {
		return append(to, point{b.end, b.last})
	}
	return append(to, point{b.end - 1, b.last}, point{b.end, math.Float64frombits(value.StaleNaN)})
}
