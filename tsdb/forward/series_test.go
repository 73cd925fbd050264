package forward_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"nocturne/tsdb"
	"nocturne/tsdb/forward"
)

// TestSeriesAreForgotten lets series come and go: the labels of those that left
// the log do not stay in memory.
func TestSeriesAreForgotten(t *testing.T) {
	t.Parallel()
	r := newFake(t)
	h := openHouse(t, t.TempDir(), forward.Receiver{Name: "one", URL: r.URL})
	const a = 100 // series each 20 minutes
	var all []tsdb.Sample
	for hour := 8.0; hour > 0; hour -= 1.0 / 3 {
		at := hoursAgo(hour)
		for i := range a {
			ls := labels.FromStrings("__name__", "short", "pod", fmt.Sprint(at.Unix(), "-", i))
			all = append(all, tsdb.Sample{Labels: ls, T: at.UnixMilli(), V: 1}, tsdb.Sample{Labels: ls, T: at.UnixMilli() + 1000, V: 2})
		}
	}
	h.append(t, all)
	r.lacks(t, all, 60*time.Second)
	before := h.f.Series()
	if err := h.f.Trim(); err != nil {
		t.Fatal(err)
	}
	if after := h.f.Series(); before < len(all)/4 || after > before/2 || after < a {
		t.Errorf("%d series are known after %d were stored, %d before trimming", after, len(all)/2, before)
	}
}

// TestUnknownSeries loses the labels of series whose samples are still to
// come: they are read from the blocks.
func TestUnknownSeries(t *testing.T) {
	t.Parallel()
	r := newFake(t)
	h := openHouse(t, t.TempDir(), forward.Receiver{Name: "one", URL: r.URL})
	first := polls(20, hoursAgo(0.2), hoursAgo(0.1))
	h.append(t, first)
	r.lacks(t, first, 10*time.Second)
	h.f.Forget()
	second := polls(25, hoursAgo(0.1), hoursAgo(0))
	h.append(t, second)
	r.lacks(t, second, 10*time.Second)
}
