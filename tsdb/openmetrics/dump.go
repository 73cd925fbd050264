package openmetrics

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math"
	"strconv"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
)

// staleMark follows the timestamp of a staleness marker.
const staleMark = ` # {stale="true"} 1`

// Dumped counts what Dump wrote, and what it could not.
type Dumped struct {
	Series     int64 `json:"series"`
	Samples    int64 `json:"samples"`
	Histograms int64 `json:"histograms_left_out"`
}

// Dump writes the series that the matchers select, in q's time range. Progress
// is told the metrics done and those in all; it may be nil. Only one series at
// a time is held in memory.
func Dump(ctx context.Context, w io.Writer, q storage.Querier, matchers []*labels.Matcher, progress func(done, total int64)) (Dumped, error) {
	// One metric after the other: a metric's lines have to stand together, and
	// series are sorted by the first of their labels, which may not be the name.
	names, _, err := q.LabelValues(ctx, model.MetricNameLabel, nil, matchers...)
	if err != nil {
		return Dumped{}, fmt.Errorf("list metrics: %w", err)
	}
	d := &dumper{out: bufio.NewWriterSize(w, 64<<10)}
	for i, name := range names {
		if err := d.metric(ctx, q, name, matchers); err != nil {
			return d.done, fmt.Errorf("dump metric %s: %w", name, err)
		}
		if progress != nil {
			progress(int64(i+1), int64(len(names)))
		}
	}
	d.out.WriteString("# EOF\n")
	if err := d.out.Flush(); err != nil {
		return d.done, fmt.Errorf("write the dump: %w", err)
	}
	return d.done, nil
}

type dumper struct {
	out  *bufio.Writer
	line []byte
	done Dumped
}

func (d *dumper) metric(ctx context.Context, q storage.Querier, name string, matchers []*labels.Matcher) error {
	all := append([]*labels.Matcher{labels.MustNewMatcher(labels.MatchEqual, model.MetricNameLabel, name)}, matchers...)
	set := q.Select(ctx, true, nil, all...)
	var it chunkenc.Iterator
	for set.Next() {
		s := set.At()
		it = s.Iterator(it)
		if err := d.series(s.Labels(), it); err != nil {
			return fmt.Errorf("%s: %w", s.Labels(), err)
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	return set.Err()
}

func (d *dumper) series(ls labels.Labels, it chunkenc.Iterator) error {
	d.line = appendSeries(d.line[:0], ls)
	d.line = append(d.line, ' ')
	head := len(d.line)
	samples := d.done.Samples
	for kind := it.Next(); kind != chunkenc.ValNone; kind = it.Next() {
		if kind != chunkenc.ValFloat {
			d.done.Histograms++
			continue
		}
		t, v := it.At()
		d.line = appendPoint(d.line[:head], t, v)
		if _, err := d.out.Write(d.line); err != nil {
			return err
		}
		d.done.Samples++
	}
	if d.done.Samples > samples {
		d.done.Series++
	}
	return it.Err()
}

func appendSeries(b []byte, ls labels.Labels) []byte {
	name := ls.Get(model.MetricNameLabel)
	bare := model.LegacyValidation.IsValidMetricName(name)
	if bare {
		b = append(b, name...)
	}
	if bare && ls.Len() == 1 {
		return b
	}
	b = append(b, '{')
	first := true
	if !bare {
		b, first = appendQuoted(b, name), false
	}
	ls.Range(func(l labels.Label) {
		if l.Name == model.MetricNameLabel {
			return
		}
		if !first {
			b = append(b, ',')
		}
		first = false
		if model.LegacyValidation.IsValidLabelName(l.Name) {
			b = append(b, l.Name...)
		} else {
			b = appendQuoted(b, l.Name)
		}
		b = append(b, '=')
		b = appendQuoted(b, l.Value)
	})
	return append(b, '}')
}

// appendQuoted escapes backslash, quote and line feed, as the format wants it.
func appendQuoted(b []byte, s string) []byte {
	b = append(b, '"')
	for i := range len(s) {
		switch c := s[i]; c {
		case '\\', '"':
			b = append(b, '\\', c)
		case '\n':
			b = append(b, '\\', 'n')
		default:
			b = append(b, c)
		}
	}
	return append(b, '"')
}

func appendPoint(b []byte, t int64, v float64) []byte {
	switch {
	case math.IsNaN(v):
		b = append(b, "NaN"...)
	case math.IsInf(v, 1):
		b = append(b, "+Inf"...)
	default:
		b = strconv.AppendFloat(b, v, 'g', -1, 64)
	}
	b = append(b, ' ')
	b = appendTime(b, t)
	if value.IsStaleNaN(v) {
		b = append(b, staleMark...)
	}
	return append(b, '\n')
}

// appendTime writes milliseconds as seconds, exactly.
func appendTime(b []byte, t int64) []byte {
	if t < 0 {
		b, t = append(b, '-'), -t
	}
	b = strconv.AppendInt(b, t/1000, 10)
	if ms := t % 1000; ms > 0 {
		b = append(b, '.', byte('0'+ms/100), byte('0'+ms/10%10), byte('0'+ms%10))
	}
	return b
}
