package remotewrite

import (
	"fmt"
	"strings"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/prompb"
)

// v1 decodes a prometheus.WriteRequest: timeseries 1, metadata 3.
func (q *request) v1(b []byte) error {
	for n := 0; len(b) > 0; n++ {
		f, rest, err := next(b)
		if err != nil {
			return fmt.Errorf("field %d of the request: %w", n, err)
		}
		b = rest
		switch f.number {
		case 1:
			if err = f.want(wireBytes, "timeseries"); err == nil {
				err = q.seriesV1(f.sub)
			}
		case 3:
			if err = f.want(wireBytes, "metadata"); err == nil {
				err = q.metadataV1(f.sub)
			}
		}
		if err != nil {
			return fmt.Errorf("field %d of the request: %w", n, err)
		}
	}
	return nil
}

// seriesV1 decodes a TimeSeries: labels 1, samples 2, exemplars 3, histograms
// 4. The labels' key is taken over their bytes, which encoders write in one
// piece; where they do not, the pieces are put together.
func (q *request) seriesV1(b []byte) error {
	q.points, q.histograms, q.scratch = q.points[:0], q.histograms[:0], q.scratch[:0]
	var names []byte // the labels' fields
	whole := b
	from, to := 0, 0 // their place, while it is one
	for len(b) > 0 {
		f, rest, err := next(b)
		if err != nil {
			return err
		}
		if f.number >= 1 && f.number <= 4 && f.wire != wireBytes {
			return f.want(wireBytes, "field of a series")
		}
		switch f.number {
		case 1:
			at, end := len(whole)-len(b), len(whole)-len(rest)
			switch {
			case to == 0:
				from, to = at, end
			case to == at:
				to = end
			default:
				if len(q.scratch) == 0 {
					q.scratch = append(q.scratch, whole[from:to]...)
				}
				q.scratch = append(q.scratch, b[:len(b)-len(rest)]...)
			}
		case 2:
			p, err := decodePoint(f.sub)
			if err != nil {
				return fmt.Errorf("sample: %w", err)
			}
			q.points = append(q.points, p)
		case 3:
			q.exemplars++
		case 4:
			q.histograms = append(q.histograms, f.sub)
		}
		b = rest
	}
	if names = whole[from:to]; len(q.scratch) > 0 {
		names = q.scratch
	}
	if len(names) > maxLabelBytes {
		q.batch.Refuse(fmt.Sprintf("labels of %d bytes, at most %d are taken", len(names), maxLabelBytes), len(q.points)+len(q.histograms))
		return nil
	}
	build := func() (labels.Labels, error) { return q.labelsV1(names) }
	if len(q.points)+len(q.histograms) == 0 {
		_, err := build()
		return err
	}
	if err := q.appendPoints(q.seeds.of(names), build); err != nil {
		return err
	}
	return q.appendHistograms(build, func() wireHistogram { return new(prompb.Histogram) })
}

func (q *request) labelsV1(b []byte) (labels.Labels, error) {
	q.builder.Reset()
	for len(b) > 0 {
		f, rest, err := next(b)
		if err != nil {
			return labels.EmptyLabels(), err
		}
		b = rest
		var name, value []byte
		for sub := f.sub; len(sub) > 0; {
			var x field
			if x, sub, err = next(sub); err != nil {
				return labels.EmptyLabels(), fmt.Errorf("label: %w", err)
			}
			if x.number <= 2 && x.wire != wireBytes {
				return labels.EmptyLabels(), x.want(wireBytes, "label")
			}
			switch x.number {
			case 1:
				name = x.sub
			case 2:
				value = x.sub
			}
		}
		q.builder.Add(string(name), string(value))
	}
	q.builder.Sort()
	return q.builder.Labels(), nil
}

func (q *request) metadataV1(b []byte) error {
	var m prompb.MetricMetadata
	if err := m.Unmarshal(b); err != nil {
		return fmt.Errorf("metadata: %w", err)
	}
	if q.metadata != nil && m.MetricFamilyName != "" {
		q.metadata(m.MetricFamilyName, model.MetricType(strings.ToLower(m.Type.String())), m.Help, m.Unit)
	}
	return nil
}
