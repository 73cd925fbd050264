package tsdb

import (
	"cmp"
	"fmt"
	"math"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"

	"nocturne/tsdb/rollup"
)

// Limits bound what appending may make the store hold. The zero value of a
// field means its default. They are looked at when a series is new: one that
// the head has already goes on.
type Limits struct {
	Series           int // in the head, of all sources together (2,000,000)
	SeriesPerSource  int // in the head, created by one source (500,000)
	Labels           int // of one series, its name included (64)
	LabelNameLength  int // bytes (1024)
	LabelValueLength int // bytes (4096)
}

func (l Limits) withDefaults() Limits {
	l.Series = cmp.Or(l.Series, 2_000_000)
	l.SeriesPerSource = cmp.Or(l.SeriesPerSource, 500_000)
	l.Labels = cmp.Or(l.Labels, 64)
	l.LabelNameLength = cmp.Or(l.LabelNameLength, 1024)
	l.LabelValueLength = cmp.Or(l.LabelValueLength, 4096)
	return l
}

func (l Limits) negative() bool {
	return min(l.Series, l.SeriesPerSource, l.Labels, l.LabelNameLength, l.LabelValueLength) < 0
}

const (
	// defaultMaxAhead is what Prometheus allows a remote writer.
	defaultMaxAhead = 10 * time.Minute
	// defaultMaxAge keeps a sender without a clock from setting the head to
	// 1970, whence the next sample would take it half a century on.
	defaultMaxAge = 5 * 365 * 24 * time.Hour
)

// Reason says why a sample was rejected; it is the value of a metric's label.
type Reason uint8

// The reasons.
const (
	Duplicate   Reason = iota // the series has another value at that time
	OutOfOrder                // before the newest sample, and late ones are not taken
	TooOld                    // later than the out-of-order window, or before the head
	Future                    // too far ahead of the clock
	Invalid                   // labels without a name, twice or not UTF-8; a broken histogram
	LabelLimit                // too many labels, or too long
	SourceLimit               // the source has as many series as it may
	SeriesLimit               // the head has as many series as it may
	reasons
)

var reasonNames = [reasons]string{"duplicate", "out_of_order", "too_old", "future", "invalid", "label_limit", "source_limit", "series_limit"}

func (r Reason) String() string { return reasonNames[r] }

// Rejection says which sample was left out and why.
type Rejection struct {
	Reason Reason
	Series string // its labels, cut when they are long
	T      int64  // Unix time in milliseconds
	Cause  string
}

func (r *Rejection) Error() string {
	return fmt.Sprintf("%s for series %s at %d", r.Cause, r.Series, r.T)
}

// shown is how much of a series' labels an error repeats, in bytes.
const shown = 400

func show(ls labels.Labels) string {
	s := ls.String()
	if len(s) > shown {
		return s[:shown] + fmt.Sprintf("... (%d labels, %d bytes)", ls.Len(), len(s))
	}
	return s
}

// checkLabels says why a series of these labels may not be, if so.
func (l Limits) checkLabels(ls labels.Labels) (Reason, string) {
	if n := ls.Len(); n > l.Labels {
		return LabelLimit, fmt.Sprintf("%d labels, at most %d are taken", n, l.Labels)
	}
	var cause string
	err := ls.Validate(func(x labels.Label) error {
		if len(x.Name) > l.LabelNameLength {
			cause = fmt.Sprintf("label name of %d bytes, at most %d are taken", len(x.Name), l.LabelNameLength)
		} else if len(x.Value) > l.LabelValueLength {
			cause = fmt.Sprintf("label value of %d bytes, at most %d are taken", len(x.Value), l.LabelValueLength)
		}
		if cause != "" {
			return errLabels
		}
		return nil
	})
	if err != nil {
		return LabelLimit, cause
	}
	if ls.Get(model.MetricNameLabel) == "" {
		return Invalid, "no metric name"
	}
	if !ls.IsValid(model.UTF8Validation) {
		return Invalid, "invalid metric name or labels"
	}
	if name, twice := ls.HasDuplicateLabelNames(); twice {
		return Invalid, fmt.Sprintf("duplicate label %q", name)
	}
	if rollup.Reserved(ls) {
		return Invalid, "a label name is kept for rollups"
	}
	return reasons, ""
}

// times are the bounds that a batch holds samples to, besides the library's.
type times struct {
	newest int64 // later ones are from the future
	oldest int64 // of the first sample in an empty head, which would take any
}

func (o Options) times(now time.Time) times {
	t := times{newest: math.MaxInt64, oldest: math.MinInt64}
	if o.MaxAhead >= 0 {
		t.newest = now.Add(cmp.Or(o.MaxAhead, defaultMaxAhead)).UnixMilli()
	}
	if o.MaxAge >= 0 {
		t.oldest = now.Add(-cmp.Or(o.MaxAge, defaultMaxAge)).UnixMilli()
	}
	return t
}
