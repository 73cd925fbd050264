package remotewrite

import (
	"fmt"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
)

// wireHistogram is a native histogram as either protocol writes it.
type wireHistogram interface {
	Unmarshal([]byte) error
	GetTimestamp() int64
	IsFloatHistogram() bool
	ToFloatHistogram() *histogram.FloatHistogram
	ToIntHistogram() *histogram.Histogram
}

// appendHistograms takes in the histograms of one series.
func (q *request) appendHistograms(build func() (labels.Labels, error), empty func() wireHistogram) error {
	if len(q.histograms) == 0 {
		return nil
	}
	ls, err := build()
	if err != nil {
		return err
	}
	for _, raw := range q.histograms {
		h := empty()
		if err := h.Unmarshal(raw); err != nil {
			return fmt.Errorf("histogram: %w", err)
		}
		if h.IsFloatHistogram() {
			q.batch.AppendHistogram(ls, h.GetTimestamp(), nil, h.ToFloatHistogram())
		} else {
			q.batch.AppendHistogram(ls, h.GetTimestamp(), h.ToIntHistogram(), nil)
		}
	}
	return nil
}
