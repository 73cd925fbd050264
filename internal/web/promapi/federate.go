package promapi

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/timestamp"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"

	"github.com/klauspost/compress/gzip"
)

// lookback is how old the last sample of a series may be to stand for now.
const lookback = 5 * time.Minute

// federated are the formats of Prometheus' own /federate, the preferred first.
var federated = []expfmt.Format{
	expfmt.NewFormat(expfmt.TypeProtoDelim), expfmt.NewFormat(expfmt.TypeProtoText),
	expfmt.NewFormat(expfmt.TypeProtoCompact), expfmt.NewFormat(expfmt.TypeTextPlain),
}

// federate answers with the last sample of every series that any match[]
// selects, in the exposition format that the client takes. Series that have
// gone are left out.
func (a *api) federate(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil {
		http.Error(w, fmt.Sprintf("error parsing form values: %v", err), http.StatusBadRequest)
		return
	}
	sets, err := a.parser.ParseMetricSelectors(r.Form["match[]"])
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	now := time.Now()
	last, err := a.lastSamples(r.Context(), sets, timestamp.FromTime(now.Add(-lookback)), timestamp.FromTime(now))
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	slices.SortStableFunc(last, func(x, y promql.Sample) int {
		return strings.Compare(x.Metric.Get(model.MetricNameLabel), y.Metric.Get(model.MetricNameLabel))
	})
	format := expfmt.NegotiateAccept(r.Header, federated...)
	h := w.Header()
	h.Set("Content-Type", string(format))
	h.Add("Vary", "Accept-Encoding")
	var out io.Writer = w
	if takesGzip(r.Header.Get("Accept-Encoding")) {
		h.Set("Content-Encoding", "gzip")
		c := compressors.Get().(*gzip.Writer)
		c.Reset(w)
		defer func() {
			if err := c.Close(); err != nil {
				slog.Debug("answer not taken", "component", "promapi", "path", r.URL.Path, "err", err)
			}
			compressors.Put(c)
		}()
		out = c
	}
	if err := writeFamilies(expfmt.NewEncoder(out, format), families(last, format)); err != nil {
		slog.Debug("answer not taken", "component", "promapi", "path", r.URL.Path, "err", err)
	}
}

func writeFamilies(enc expfmt.Encoder, all []*dto.MetricFamily) error {
	for _, f := range all {
		if err := enc.Encode(f); err != nil {
			return fmt.Errorf("encode %s: %w", f.GetName(), err)
		}
	}
	return nil
}

// lastSamples reads the newest sample of each series in [mint, maxt].
func (a *api) lastSamples(ctx context.Context, sets [][]*labels.Matcher, mint, maxt int64) ([]promql.Sample, error) {
	q, err := a.DB.Queryable().Querier(mint, maxt)
	if err != nil {
		return nil, fmt.Errorf("read last samples: %w", err)
	}
	defer q.Close()
	var found []storage.SeriesSet
	for _, set := range sets {
		found = append(found, q.Select(ctx, true, &storage.SelectHints{Start: mint, End: maxt}, set...))
	}
	var out []promql.Sample
	var it chunkenc.Iterator
	set := storage.NewMergeSeriesSet(found, 0, storage.ChainedSeriesMerge)
	for set.Next() {
		series := set.At()
		it = series.Iterator(it)
		if s, ok := lastOf(it); ok {
			s.Metric = series.Labels()
			out = append(out, s)
		}
		if err := it.Err(); err != nil {
			return nil, err
		}
	}
	return out, set.Err()
}

// lastOf walks to the end of a series; it is false for one that has ended.
func lastOf(it chunkenc.Iterator) (s promql.Sample, ok bool) {
	for v := it.Next(); v != chunkenc.ValNone; v = it.Next() {
		switch v {
		case chunkenc.ValFloat:
			s.T, s.F = it.At()
			s.H, ok = nil, !value.IsStaleNaN(s.F)
		case chunkenc.ValHistogram, chunkenc.ValFloatHistogram:
			s.T, s.H = it.AtFloatHistogram(nil)
			s.F, ok = 0, !value.IsStaleNaN(s.H.Sum)
		}
	}
	return s, ok
}

// families groups samples, sorted by name, into what an encoder takes.
func families(samples []promql.Sample, format expfmt.Format) []*dto.MetricFamily {
	var out []*dto.MetricFamily
	for _, s := range samples {
		name := s.Metric.Get(model.MetricNameLabel)
		kind := dto.MetricType_UNTYPED
		if s.H != nil {
			if format.FormatType() == expfmt.TypeTextPlain && !s.H.UsesCustomBuckets() {
				continue // the text format has no native histograms
			}
			kind = dto.MetricType_HISTOGRAM
			if s.H.CounterResetHint == histogram.GaugeType {
				kind = dto.MetricType_GAUGE_HISTOGRAM
			}
		}
		if name == "" {
			continue
		}
		if n := len(out); n == 0 || out[n-1].GetName() != name || out[n-1].GetType() != kind {
			out = append(out, &dto.MetricFamily{Name: &name, Type: &kind})
		}
		f := out[len(out)-1]
		f.Metric = append(f.Metric, metricOf(s))
	}
	return out
}

// metricOf gives a series without an instance an empty one: otherwise the
// scraper would add its own.
func metricOf(s promql.Sample) *dto.Metric {
	m := &dto.Metric{TimestampMs: &s.T}
	instance := false
	s.Metric.Range(func(l labels.Label) {
		if l.Name != model.MetricNameLabel && l.Value != "" {
			instance = instance || l.Name == model.InstanceLabel
			m.Label = append(m.Label, &dto.LabelPair{Name: new(l.Name), Value: new(l.Value)})
		}
	})
	if !instance {
		m.Label = append(m.Label, &dto.LabelPair{Name: new(model.InstanceLabel), Value: new("")})
	}
	switch {
	case s.H == nil:
		m.Untyped = &dto.Untyped{Value: &s.F}
	case s.H.UsesCustomBuckets():
		m.Histogram = classicHistogram(s.H)
	default:
		m.Histogram = nativeHistogram(s.H)
	}
	return m
}

func nativeHistogram(h *histogram.FloatHistogram) *dto.Histogram {
	return &dto.Histogram{
		SampleCountFloat: &h.Count, SampleSum: &h.Sum, Schema: &h.Schema, ZeroThreshold: &h.ZeroThreshold, ZeroCountFloat: &h.ZeroCount,
		NegativeSpan: spans(h.NegativeSpans), NegativeCount: h.NegativeBuckets, PositiveSpan: spans(h.PositiveSpans), PositiveCount: h.PositiveBuckets,
	}
}

func spans(of []histogram.Span) []*dto.BucketSpan {
	var out []*dto.BucketSpan
	for _, s := range of {
		out = append(out, &dto.BucketSpan{Offset: &s.Offset, Length: &s.Length})
	}
	return out
}

// classicHistogram writes custom buckets as cumulative ones; the encoders add
// the last, +Inf.
func classicHistogram(h *histogram.FloatHistogram) *dto.Histogram {
	out := &dto.Histogram{SampleCountFloat: &h.Count, SampleSum: &h.Sum}
	counts := map[int]float64{}
	for it := h.PositiveBucketIterator(); it.Next(); {
		counts[int(it.At().Index)] = it.At().Count
	}
	sum := 0.0
	for i, upper := range h.CustomValues {
		sum += counts[i]
		out.Bucket = append(out.Bucket, &dto.Bucket{UpperBound: new(upper), CumulativeCountFloat: new(sum)})
	}
	return out
}
