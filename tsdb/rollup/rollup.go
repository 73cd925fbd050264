package rollup

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/prometheus/model/labels"
)

// Label marks a stored series as one of the kinds of a bucket. It is the
// greatest code point, so it sorts behind every other label of a series; what
// is read back does not carry it.
const Label = "\U0010FFFF"

// Reserved says whether a series has a label of that name, or one behind it,
// and so cannot be in a tier.
func Reserved(ls labels.Labels) bool {
	found := false
	ls.Range(func(l labels.Label) { found = found || l.Name >= Label })
	return found
}

// Kind is what a stored series holds of each bucket.
type Kind string

// The kinds that are stored.
const (
	Count Kind = "count" // samples
	Last  Kind = "last"  // see the package comment on the bucket's end
	Max   Kind = "max"
	Min   Kind = "min"
	Sum   Kind = "sum"
	Total Kind = "total" // increase since the sample before, resets accounted for
)

// The kinds that are made from Total in reading: counters that never reset.
const (
	// Whole has a sample at the start of each bucket (1 ms into it) and one at
	// its end, for windows that begin and end with buckets.
	Whole Kind = "whole"
	// Ends has the samples at the ends alone, for other windows.
	Ends Kind = "ends"
)

// Mean is made in reading: sum by count, over a window that ends with each
// bucket. The selector says of how many buckets, "mean:24".
const Mean Kind = "mean"

// stored are the stored kinds in the order of their names.
var stored = [...]Kind{Count, Last, Max, Min, Sum, Total}

// Lookback is how far an instant selector looks back for a sample. Last is
// stored so that a selector at a bucket's end sees what it would see in raw.
const Lookback = 5 * time.Minute

// parseKind reads a kind, and of how many buckets it is.
func parseKind(s string) (Kind, int64, error) {
	switch k := Kind(s); k {
	case Count, Last, Max, Min, Sum, Total, Whole, Ends:
		return k, 1, nil
	}
	if text, ok := strings.CutPrefix(s, string(Mean)+":"); ok {
		if n, err := strconv.ParseInt(text, 10, 64); err == nil && n > 0 {
			return Mean, n, nil
		}
	}
	return "", 0, fmt.Errorf("rollups hold no %q", s)
}

func meanOf(buckets int64) Kind { return Kind(fmt.Sprintf("%s:%d", Mean, buckets)) }

// source is the stored kind that k is read from.
func (k Kind) source() Kind {
	if k == Whole || k == Ends {
		return Total
	}
	return k
}

// endOf is the end of the bucket of width that time t falls into: buckets do
// not hold their start.
func endOf(t, width int64) int64 { return floor(t-1, width) + width }

// floor is the last multiple of width that is not after t.
func floor(t, width int64) int64 {
	q := t / width
	if t%width < 0 {
		q--
	}
	return q * width
}

// Range is the time (From, To], in Unix milliseconds.
type Range struct{ From, To int64 }

// Everything is a range without ends.
var Everything = Range{math.MinInt64, math.MaxInt64}

// Without returns what is left of r when sorted ranges that do not overlap are
// taken out.
func (r Range) Without(taken []Range) []Range {
	var left []Range
	for _, t := range taken {
		if t.To <= r.From || t.From >= r.To {
			continue
		}
		if t.From > r.From {
			left = append(left, Range{r.From, t.From})
		}
		r.From = t.To
	}
	if r.From < r.To {
		left = append(left, r)
	}
	return left
}
