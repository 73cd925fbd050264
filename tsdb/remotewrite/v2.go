package remotewrite

import (
	"encoding/binary"
	"fmt"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"
)

// v2 decodes an io.prometheus.write.v2.Request: symbols 4, timeseries 5, in
// any order.
func (q *request) v2(b []byte) error {
	q.symbols, q.hashes, q.series = q.symbols[:0], q.hashes[:0], q.series[:0]
	for n := 0; len(b) > 0; n++ {
		f, rest, err := next(b)
		if err == nil && (f.number == 4 || f.number == 5) {
			err = f.want(wireBytes, "symbol or timeseries")
		}
		if err != nil {
			return fmt.Errorf("field %d of the request: %w", n, err)
		}
		switch f.number {
		case 4:
			q.symbols = append(q.symbols, f.sub)
			q.hashes = append(q.hashes, q.seeds.of(f.sub))
		case 5:
			q.series = append(q.series, f.sub)
		}
		b = rest
	}
	for n, s := range q.series {
		if err := q.seriesV2(s); err != nil {
			return fmt.Errorf("series %d of the request: %w", n, err)
		}
	}
	return nil
}

// meta is a Metadata message of version 2.0, as references to symbols.
type meta struct {
	kind       uint64
	help, unit uint32
}

// seriesV2 decodes a TimeSeries: label references 1, samples 2, histograms 3,
// exemplars 4, metadata 5.
func (q *request) seriesV2(b []byte) error {
	q.points, q.histograms, q.refs = q.points[:0], q.histograms[:0], q.refs[:0]
	var m meta
	exemplars := 0
	for len(b) > 0 {
		f, rest, err := next(b)
		if err != nil {
			return err
		}
		b = rest
		if f.number >= 2 && f.number <= 5 && f.wire != wireBytes {
			return f.want(wireBytes, "field of a series")
		}
		switch f.number {
		case 1:
			err = q.labelRefs(f)
		case 2:
			var p point
			p, err = decodePoint(f.sub)
			q.points = append(q.points, p)
		case 3:
			q.histograms = append(q.histograms, f.sub)
		case 4:
			exemplars++
		case 5:
			m, err = decodeMeta(f.sub)
		}
		if err != nil {
			return fmt.Errorf("field %d: %w", f.number, err)
		}
	}
	q.exemplars += exemplars
	n := len(q.points) + len(q.histograms)
	if cause := q.refsFault(m); cause != "" {
		q.batch.Refuse(cause, n)
		if n == 0 {
			q.fault("%s", cause)
		}
		return nil
	}
	k := q.keyV2(m)
	build := func() (labels.Labels, error) { return q.labelsV2(m), nil }
	if n == 0 {
		q.fault("TimeSeries must contain at least one sample or histogram for series %.400s", q.labelsV2(meta{}).String())
		return nil
	}
	if err := q.appendPoints(k, build); err != nil {
		return err
	}
	return q.appendHistograms(build, func() wireHistogram { return new(writev2.Histogram) })
}

// labelRefs reads references, packed or one by one.
func (q *request) labelRefs(f field) error {
	switch f.wire {
	case wireVarint:
		q.refs = append(q.refs, uint32(f.n))
		return nil
	case wireBytes:
		for b := f.sub; len(b) > 0; {
			n, k := varint(b)
			if k <= 0 {
				return cutOr(k)
			}
			q.refs = append(q.refs, uint32(n))
			b = b[k:]
		}
		return nil
	}
	return f.want(wireBytes, "label references")
}

func decodeMeta(b []byte) (m meta, err error) {
	for len(b) > 0 {
		var f field
		if f, b, err = next(b); err != nil {
			return m, err
		}
		if (f.number == 1 || f.number == 3 || f.number == 4) && f.wire != wireVarint {
			return m, f.want(wireVarint, "metadata")
		}
		switch f.number {
		case 1:
			m.kind = f.n
		case 3:
			m.help = uint32(f.n)
		case 4:
			m.unit = uint32(f.n)
		}
	}
	return m, nil
}

// refsFault says what is wrong with the references of a series.
func (q *request) refsFault(m meta) string {
	if len(q.refs)%2 != 0 {
		return fmt.Sprintf("parsing labels for series: %d references, which is odd", len(q.refs))
	}
	size := 0
	for _, r := range q.refs {
		if int(r) >= len(q.symbols) {
			return fmt.Sprintf("parsing labels for series: reference %d is outside of the symbols table (size %d)", r, len(q.symbols))
		}
		size += len(q.symbols[r])
	}
	if size > maxLabelBytes {
		return fmt.Sprintf("labels of %d bytes, at most %d are taken", size, maxLabelBytes)
	}
	for _, r := range []uint32{m.help, m.unit} {
		if int(r) >= len(q.symbols) {
			return fmt.Sprintf("parsing metadata for series: reference %d is outside of the symbols table (size %d)", r, len(q.symbols))
		}
	}
	return ""
}

// keyV2 is the hash of the symbols' hashes. What is said of the metric belongs
// to it, so that news of that comes through where it is read.
func (q *request) keyV2(m meta) key {
	q.scratch = q.scratch[:0]
	if m != (meta{}) {
		q.scratch = append(q.scratch, byte(m.kind))
		q.refs = append(q.refs, m.help, m.unit)
		defer func() { q.refs = q.refs[:len(q.refs)-2] }()
	}
	for _, r := range q.refs {
		h := q.hashes[r]
		q.scratch = binary.NativeEndian.AppendUint64(q.scratch, h[0])
		q.scratch = binary.NativeEndian.AppendUint64(q.scratch, h[1])
	}
	return q.seeds.of(q.scratch)
}

// kinds are the metric types of version 2.0 by number.
var kinds = []model.MetricType{
	model.MetricTypeUnknown, model.MetricTypeCounter, model.MetricTypeGauge, model.MetricTypeHistogram,
	model.MetricTypeGaugeHistogram, model.MetricTypeSummary, model.MetricTypeInfo, model.MetricTypeStateset,
}

// labelsV2 builds the labels and, since that is seldom, hands the metadata on.
func (q *request) labelsV2(m meta) labels.Labels {
	q.builder.Reset()
	metric := ""
	for i := 0; i < len(q.refs); i += 2 {
		name, value := string(q.symbols[q.refs[i]]), string(q.symbols[q.refs[i+1]])
		if name == model.MetricNameLabel {
			metric = value
		}
		q.builder.Add(name, value)
	}
	q.builder.Sort()
	if q.metadata != nil && metric != "" && m != (meta{}) {
		kind := model.MetricTypeUnknown
		if m.kind < uint64(len(kinds)) {
			kind = kinds[m.kind]
		}
		q.metadata(metric, kind, string(q.symbols[m.help]), string(q.symbols[m.unit]))
	}
	return q.builder.Labels()
}
