package rollup

import (
	"context"
	"slices"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/util/annotations"
	"github.com/prometheus/prometheus/util/kahansum"
)

// means reads the means over windows of so many buckets. Dividing here costs a
// fraction of what it costs the engine to match two series at every step.
func (s selection) means(ctx context.Context, buckets int64) ([]storage.Series, annotations.Annotations, error) {
	ofSums, ofCounts := s, s // each is read later, by its own kind
	ofSums.kind, ofCounts.kind = Sum, Count
	sums, warnings, err := ofSums.series(ctx)
	if err != nil {
		return nil, warnings, err
	}
	counts, w, err := ofCounts.series(ctx)
	warnings.Merge(w)
	if err != nil {
		return nil, warnings, err
	}
	byLabels := make(map[uint64][]storage.Series, len(counts))
	for _, c := range counts {
		h := c.Labels().Hash()
		byLabels[h] = append(byLabels[h], c)
	}
	var found []storage.Series
	for _, sum := range sums {
		same := byLabels[sum.Labels().Hash()]
		i := slices.IndexFunc(same, func(c storage.Series) bool { return labels.Equal(c.Labels(), sum.Labels()) })
		if i < 0 {
			continue // its buckets lie outside of what was asked for
		}
		found = append(found, pointSeries{sum.Labels(), func() points {
			return &meanWindows{width: s.tier.width, span: buckets * s.tier.width, sums: sum.Iterator(nil), counts: same[i].Iterator(nil)}
		}})
	}
	return found, warnings, nil
}

// meanWindows has a point at the end of each bucket with whose end a window ends
// that holds samples.
type meanWindows struct {
	width, span  int64 // of a bucket, of a window
	sums, counts chunkenc.Iterator
	window       []share // in order
	at           int64   // the end of the last window
	ahead        share   // read, but in no window yet
	begun, ended bool    // ahead was ever read; there is none any more
}

// share is what one bucket adds to a mean.
type share struct {
	end        int64
	sum, count float64
}

func (m *meanWindows) next() (point, bool) {
	if !m.begun {
		m.begun = true
		m.read()
	}
	m.at += m.width
	for len(m.window) > 0 && m.window[0].end <= m.at-m.span {
		m.window = m.window[1:]
	}
	if len(m.window) == 0 {
		if m.ended {
			return point{}, false
		}
		m.at = m.ahead.end
	}
	if !m.ended && m.ahead.end == m.at {
		m.window = append(m.window, m.ahead)
		m.read()
	}
	var sum, lost, count float64
	for _, b := range m.window {
		sum, lost = kahansum.Inc(b.sum, sum, lost)
		count += b.count
	}
	return point{m.at, (sum + lost) / count}, true
}

func (m *meanWindows) err() error {
	if err := m.sums.Err(); err != nil {
		return err
	}
	return m.counts.Err()
}

// read takes the next bucket that both series have.
func (m *meanWindows) read() {
	sum, count := m.sums.Next(), m.counts.Next()
	for sum == chunkenc.ValFloat && count == chunkenc.ValFloat {
		end, s := m.sums.At()
		counted, c := m.counts.At()
		switch {
		case end == counted:
			m.ahead = share{end, s, c}
			return
		case end < counted:
			sum = m.sums.Next()
		default:
			count = m.counts.Next()
		}
	}
	m.ended = true
}
