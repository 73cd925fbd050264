package remotewrite

import (
	"fmt"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
)

// maxLabelBytes bounds one series' labels as they are encoded, before they are
// built: the store's own limits are on what is built.
const maxLabelBytes = 1 << 20

// Batch is where the samples of a request go. Rejected samples are the
// batch's to count; only Commit fails.
type Batch interface {
	// Append adds a sample and returns a reference to its series, or 0.
	Append(ls labels.Labels, t int64, v float64) uint64
	// AppendRef answers false when there is no series of that reference.
	AppendRef(ref uint64, t int64, v float64) bool
	AppendHistogram(ls labels.Labels, t int64, h *histogram.Histogram, fh *histogram.FloatHistogram) uint64
	// Refuse counts samples that did not come as far as Append.
	Refuse(cause string, samples int)
	Commit() (Outcome, error)
	Rollback() error
}

// Outcome is what became of a batch.
type Outcome struct {
	Samples    int // floats, stored
	Histograms int // native histograms, stored
	Rejected   int
	Faults     []error // the first of the rejected
}

// request decodes one body. It is reused.
type request struct {
	seeds    seeds
	cache    *cache
	metadata func(metric string, kind model.MetricType, help, unit string)
	batch    Batch

	builder    labels.ScratchBuilder
	points     []point
	histograms [][]byte // of the series at hand, encoded
	scratch    []byte

	// Of version 2.0:
	symbols [][]byte
	hashes  []key
	series  [][]byte
	refs    []uint32

	faults    []string // that no sample goes with
	exemplars int
}

func (q *request) reset(b Batch) {
	q.batch = b
	q.faults, q.exemplars = nil, 0
}

// forget drops what refers to the body.
func (q *request) forget() {
	clear(q.histograms)
	clear(q.symbols)
	clear(q.series)
	q.batch = nil
}

func (q *request) fault(format string, args ...any) {
	if len(q.faults) < 10 {
		q.faults = append(q.faults, fmt.Sprintf(format, args...))
	}
}

// appendPoints adds the samples at hand to the series that k stands for.
// build makes its labels, and is called when the cache does not help.
func (q *request) appendPoints(k key, build func() (labels.Labels, error)) error {
	ref := q.cache.get(k)
	var ls labels.Labels
	for _, p := range q.points {
		if ref != 0 && q.batch.AppendRef(ref, p.t, p.v) {
			continue
		}
		if ls.IsEmpty() {
			var err error
			if ls, err = build(); err != nil {
				return err
			}
		}
		if ref = q.batch.Append(ls, p.t, p.v); ref != 0 {
			q.cache.set(k, ref)
		}
	}
	return nil
}
