package remotewrite

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/prompb"
	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"

	"nocturne/internal/need"
)

// heap is a Batch that keeps what it is given, in words. It hands out
// references, and forgets a third of them, as a store drops series.
type heap struct {
	got  []string
	refs map[uint64]string
	r    *rand.Rand
}

func newHeap(r *rand.Rand) *heap { return &heap{refs: map[uint64]string{}, r: r} }

func word(ls string, t int64, v float64) string {
	return fmt.Sprintf("%s %d %x", ls, t, math.Float64bits(v))
}

func (h *heap) Append(ls labels.Labels, t int64, v float64) uint64 {
	h.got = append(h.got, word(ls.String(), t, v))
	if h.r.IntN(4) == 0 {
		return 0
	}
	ref := h.r.Uint64()
	h.refs[ref] = ls.String()
	return ref
}

func (h *heap) AppendRef(ref uint64, t int64, v float64) bool {
	ls, ok := h.refs[ref]
	if !ok {
		panic("a reference that was not handed out")
	}
	if h.r.IntN(3) == 0 {
		return false
	}
	h.got = append(h.got, word(ls, t, v))
	return true
}

func (h *heap) AppendHistogram(ls labels.Labels, t int64, i *histogram.Histogram, f *histogram.FloatHistogram) uint64 {
	if i != nil {
		h.got = append(h.got, fmt.Sprint(ls, t, i))
	} else {
		h.got = append(h.got, fmt.Sprint(ls, t, f))
	}
	return 0
}

func (h *heap) Refuse(cause string, samples int) {
	h.got = append(h.got, fmt.Sprint("refused ", samples))
}
func (h *heap) Commit() (Outcome, error) { return Outcome{}, nil }
func (h *heap) Rollback() error          { return nil }

// viaLibraryV1 is what Prometheus' own decoder makes of a body.
func viaLibraryV1(body []byte) ([]string, error) {
	var q prompb.WriteRequest
	if err := q.Unmarshal(body); err != nil {
		return nil, err
	}
	var out []string
	b := labels.NewScratchBuilder(0)
	for _, ts := range q.Timeseries {
		ls := ts.ToLabels(&b, nil)
		for _, s := range ts.Samples {
			out = append(out, word(ls.String(), s.Timestamp, s.Value))
		}
		for _, h := range ts.Histograms {
			if h.IsFloatHistogram() {
				out = append(out, fmt.Sprint(ls, h.Timestamp, h.ToFloatHistogram()))
			} else {
				out = append(out, fmt.Sprint(ls, h.Timestamp, h.ToIntHistogram()))
			}
		}
	}
	return out, nil
}

func viaLibraryV2(body []byte) ([]string, error) {
	var q writev2.Request
	if err := q.Unmarshal(body); err != nil {
		return nil, err
	}
	var out []string
	b := labels.NewScratchBuilder(0)
	for _, ts := range q.Timeseries {
		ls, err := ts.ToLabels(&b, q.Symbols)
		if err == nil {
			_, err = ts.ToMetadata(q.Symbols)
		}
		if err != nil {
			out = append(out, fmt.Sprint("refused ", len(ts.Samples)+len(ts.Histograms)))
			continue
		}
		for _, s := range ts.Samples {
			out = append(out, word(ls.String(), s.Timestamp, s.Value))
		}
		for _, h := range ts.Histograms {
			if h.IsFloatHistogram() {
				out = append(out, fmt.Sprint(ls, h.Timestamp, h.ToFloatHistogram()))
			} else {
				out = append(out, fmt.Sprint(ls, h.Timestamp, h.ToIntHistogram()))
			}
		}
	}
	return out, nil
}

// decoders are both versions, each with the library's.
var decoders = []struct {
	name    string
	ours    func(*request, []byte) error
	library func([]byte) ([]string, error)
	// canonical says whether the library would encode it so.
	canonical func([]byte) bool
}{
	{"1.0", (*request).v1, viaLibraryV1, func(b []byte) bool { return again(b, new(prompb.WriteRequest)) }},
	{"2.0", (*request).v2, viaLibraryV2, func(b []byte) bool { return again(b, new(writev2.Request)) }},
}

func again(b []byte, m interface {
	Unmarshal([]byte) error
	Marshal() ([]byte, error)
}) bool {
	if m.Unmarshal(b) != nil {
		return false
	}
	out, err := m.Marshal()
	return err == nil && bytes.Equal(out, b)
}

func randomBody(t *testing.T, r *rand.Rand, version int) []byte {
	pick := func(n int) string { return fmt.Sprint("s", r.IntN(n)) }
	hist := prompb.FromIntHistogram(5, &histogram.Histogram{Schema: 1, Count: 3, Sum: 4, PositiveSpans: []histogram.Span{{Offset: 1, Length: 2}}, PositiveBuckets: []int64{1, 1}})
	table := writev2.NewSymbolTable()
	one, two := &prompb.WriteRequest{}, &writev2.Request{}
	for range r.IntN(6) {
		var a prompb.TimeSeries
		var b writev2.TimeSeries
		for range r.IntN(5) {
			name, value := pick(4), pick(3)
			a.Labels = append(a.Labels, prompb.Label{Name: name, Value: value})
			b.LabelsRefs = append(b.LabelsRefs, table.Symbolize(name), table.Symbolize(value))
		}
		for range r.IntN(4) {
			t, v := r.Int64()-r.Int64(), math.Float64frombits(r.Uint64())
			a.Samples = append(a.Samples, prompb.Sample{Timestamp: t, Value: v})
			b.Samples = append(b.Samples, writev2.Sample{Timestamp: t, Value: v, StartTimestamp: int64(r.IntN(2))})
		}
		if r.IntN(3) == 0 {
			a.Histograms = append(a.Histograms, hist)
			b.Histograms = append(b.Histograms, writev2.FromIntHistogram(7, 0, hist.ToIntHistogram()))
			a.Exemplars = append(a.Exemplars, prompb.Exemplar{Value: 1, Labels: a.Labels})
			b.Exemplars = append(b.Exemplars, writev2.Exemplar{Value: 1, LabelsRefs: b.LabelsRefs})
		}
		if r.IntN(3) == 0 {
			one.Metadata = append(one.Metadata, prompb.MetricMetadata{MetricFamilyName: pick(3), Help: pick(9), Type: prompb.MetricMetadata_GAUGE})
			b.Metadata = writev2.Metadata{Type: writev2.Metadata_METRIC_TYPE_GAUGE, HelpRef: table.Symbolize(pick(9))}
		}
		one.Timeseries, two.Timeseries = append(one.Timeseries, a), append(two.Timeseries, b)
	}
	two.Symbols = table.Symbols()
	var body []byte
	var err error
	if version == 0 {
		body, err = one.Marshal()
	} else {
		body, err = two.Marshal()
	}
	if err != nil {
		t.Fatal(err)
	}
	return body
}

// TestDecodesAsTheLibrary decodes random requests one after another, so that
// what was seen before is in the cache, and holds the outcome against what
// Prometheus' generated decoder makes of them.
func TestDecodesAsTheLibrary(t *testing.T) {
	_, r := need.Seed(t)
	for version, d := range decoders {
		h := newHeap(r)
		q := &request{seeds: newSeeds(), cache: newCache(20)}
		for range 3000 {
			body := randomBody(t, r, version)
			want, err := d.library(body)
			if err != nil {
				t.Fatal(err)
			}
			h.got = nil
			q.reset(h)
			if err := d.ours(q, body); err != nil {
				t.Fatalf("%s: %v: %x", d.name, err, body)
			}
			if diff := cmp.Diff(want, h.got); diff != "" {
				t.Fatalf("%s: %x (-library +ours):\n%s", d.name, body, diff)
			}
			if r.IntN(50) == 0 {
				q.cache.turn()
			}
		}
	}
}

// TestScatteredLabels has fields in an order that no encoder writes.
func TestScatteredLabels(t *testing.T) {
	_, r := need.Seed(t)
	label := func(n, v string) []byte {
		b, err := (&prompb.TimeSeries{Labels: []prompb.Label{{Name: n, Value: v}}}).Marshal()
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	point, err := (&prompb.TimeSeries{Samples: []prompb.Sample{{Timestamp: 3, Value: 4}}}).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	for range 200 {
		parts := [][]byte{label("__name__", "up"), label("a", "1"), label("b", "2"), point, point, {0x7a, 1, 0}}
		r.Shuffle(len(parts), func(i, j int) { parts[i], parts[j] = parts[j], parts[i] })
		var inner []byte
		for _, p := range parts {
			inner = append(inner, p...)
		}
		body := append([]byte{0x0a, byte(len(inner))}, inner...)
		want, err := viaLibraryV1(body)
		if err != nil {
			t.Fatal(err)
		}
		h := newHeap(r)
		q := &request{seeds: newSeeds(), cache: newCache(20)}
		q.reset(h)
		if err := q.v1(body); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, h.got); diff != "" {
			t.Fatal(diff)
		}
	}
}

// fuzz holds a decoder against the library: what it takes the library takes
// for the same, and it takes all that the library would write.
func fuzz(f *testing.F, version int) {
	d := decoders[version]
	r := rand.New(rand.NewPCG(1, 2))
	for range 20 {
		f.Add(randomBody(&testing.T{}, r, version))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		h := newHeap(rand.New(rand.NewPCG(uint64(len(body)), 0)))
		q := &request{seeds: newSeeds(), cache: newCache(20)}
		q.reset(h)
		if err := d.ours(q, body); err != nil {
			if d.canonical(body) {
				t.Errorf("%x: %v, though an encoder writes it", body, err)
			}
			return
		}
		want, err := d.library(body)
		if err != nil {
			return // it looks into exemplars, which are left as they are here
		}
		if diff := cmp.Diff(want, h.got); diff != "" {
			t.Errorf("%x (-library +ours):\n%s", body, diff)
		}
	})
}

func FuzzV1(f *testing.F) { fuzz(f, 0) }
func FuzzV2(f *testing.F) { fuzz(f, 1) }

// known is a Batch that has every series.
type known struct{ heap }

func (*known) Append(labels.Labels, int64, float64) uint64 { return 1 }
func (*known) AppendRef(uint64, int64, float64) bool       { return true }

// TestKnownSeriesCostNoAllocation decodes what is in the cache.
func TestKnownSeriesCostNoAllocation(t *testing.T) {
	one, two, table := &prompb.WriteRequest{}, &writev2.Request{}, writev2.NewSymbolTable()
	for i := range 500 {
		name, value := "__name__", fmt.Sprint("metric_", i)
		one.Timeseries = append(one.Timeseries, prompb.TimeSeries{Labels: []prompb.Label{{Name: name, Value: value}}, Samples: []prompb.Sample{{Timestamp: 1, Value: 2}}})
		two.Timeseries = append(two.Timeseries, writev2.TimeSeries{LabelsRefs: []uint32{table.Symbolize(name), table.Symbolize(value)}, Samples: []writev2.Sample{{Timestamp: 1, Value: 2}}})
	}
	two.Symbols = table.Symbols()
	for i, m := range []interface{ Marshal() ([]byte, error) }{one, two} {
		body, err := m.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		q := &request{seeds: newSeeds(), cache: newCache(2000)}
		b := &known{}
		n := testing.AllocsPerRun(20, func() {
			q.reset(b)
			if err := decoders[i].ours(q, body); err != nil {
				t.Fatal(err)
			}
		})
		if n > 5 {
			t.Errorf("%s: %g allocations for 500 known series", decoders[i].name, n)
		}
	}
}
