package promapi

import (
	"encoding/json"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	jsoniter "github.com/json-iterator/go"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/util/stats"
)

// maxNotes is how many warnings, and how many infos, an answer carries.
const maxNotes = 10

type queryData struct {
	Type   parser.ValueType
	Result parser.Value
	Stats  *stats.Statistics
}

// status is an answer's status code.
func (a answer) status() int {
	if a.err != nil {
		return a.err.status
	}
	return http.StatusOK
}

// encode returns an answer's JSON body, or what is left of it after the pieces
// given to cut; see writeBody. Values are written by hand: JSON knows neither
// NaN nor Inf, and a matrix is long.
func encode(a answer, query string, cut func([]byte) []byte) []byte {
	if a.err != nil {
		b := quoteHTML([]byte(`{"status":"error","errorType":`), a.err.kind)
		b = quoteHTML(append(b, `,"error":`...), a.err.err.Error())
		return append(b, '}')
	}
	b := appendData([]byte(`{"status":"success","data":`), a.data, cut)
	warnings, infos := a.warnings.AsStrings(query, maxNotes, maxNotes)
	b = appendNotes(b, `,"warnings":`, warnings)
	b = appendNotes(b, `,"infos":`, infos)
	return append(b, '}')
}

func appendNotes(b []byte, field string, notes []string) []byte {
	if len(notes) == 0 {
		return b
	}
	slices.Sort(notes) // they come out of a map
	return appendStrings(append(b, field...), notes)
}

func appendData(b []byte, data any, cut func([]byte) []byte) []byte {
	switch d := data.(type) {
	case queryData:
		b = quote(append(b, `{"resultType":`...), string(d.Type))
		b = appendValue(append(b, `,"result":`...), d.Result, cut)
		if d.Stats != nil {
			b = append(append(b, `,"stats":`...), marshalStats(d.Stats)...)
		}
		return append(b, '}')
	case []labels.Labels:
		return appendList(b, d, func(b []byte, ls labels.Labels) []byte { return appendLabels(cut(b), ls) })
	case []string:
		return appendStrings(b, d)
	}
	raw, err := structures.Marshal(data)
	if err != nil {
		panic("promapi: no encoding for this data: " + err.Error())
	}
	return append(b, raw...)
}

// structures is how Prometheus encodes what is no result of a query. Unlike
// the standard library's it leaves alone what MarshalJSON has written.
var structures = jsoniter.ConfigCompatibleWithStandardLibrary

// labelSet is a set of labels within a structure.
type labelSet struct{ labels.Labels }

// MarshalJSON writes an object without escaping HTML.
func (s labelSet) MarshalJSON() ([]byte, error) { return appendLabels(nil, s.Labels), nil }

func marshalStats(s *stats.Statistics) []byte {
	raw, err := json.Marshal(stats.NewQueryStats(s))
	if err != nil {
		return []byte("null") // a timer that overflowed to Inf
	}
	return raw
}

func appendValue(b []byte, v parser.Value, cut func([]byte) []byte) []byte {
	switch v := v.(type) {
	case promql.Vector:
		return appendList(b, v, func(b []byte, s promql.Sample) []byte { return appendSample(cut(b), s) })
	case promql.Matrix:
		return appendList(b, v, func(b []byte, s promql.Series) []byte { return appendSeries(cut(b), s) })
	case promql.Scalar:
		// A scalar has its own encoding in Prometheus, without exponents.
		b = append(appendTimeShort(append(b, '['), v.T), `,"`...)
		return append(strconv.AppendFloat(b, v.V, 'f', -1, 64), `"]`...)
	case promql.String:
		b = append(appendTimeShort(append(b, '['), v.T), ',')
		return append(quoteHTML(b, v.V), ']')
	}
	panic("promapi: no encoding for this value")
}

func appendList[T any](b []byte, list []T, one func([]byte, T) []byte) []byte {
	b = append(b, '[')
	for i, v := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = one(b, v)
	}
	return append(b, ']')
}

func appendStrings(b []byte, list []string) []byte { return appendList(b, list, quoteHTML) }

func appendSample(b []byte, s promql.Sample) []byte {
	b = appendLabels(append(b, `{"metric":`...), s.Metric)
	if s.H != nil {
		b = appendHistogramPoint(append(b, `,"histogram":`...), promql.HPoint{T: s.T, H: s.H})
		return append(b, '}')
	}
	return append(appendPoint(append(b, `,"value":`...), s.T, s.F), '}')
}

func appendSeries(b []byte, s promql.Series) []byte {
	b = appendLabels(append(b, `{"metric":`...), s.Metric)
	if len(s.Floats) > 0 {
		b = appendList(append(b, `,"values":`...), s.Floats, func(b []byte, p promql.FPoint) []byte { return appendPoint(b, p.T, p.F) })
	}
	if len(s.Histograms) > 0 {
		b = appendList(append(b, `,"histograms":`...), s.Histograms, appendHistogramPoint)
	}
	return append(b, '}')
}

func appendLabels(b []byte, ls labels.Labels) []byte {
	b = append(b, '{')
	first := true
	ls.Range(func(l labels.Label) {
		if !first {
			b = append(b, ',')
		}
		first = false
		b = quote(append(quote(b, l.Name), ':'), l.Value)
	})
	return append(b, '}')
}

func appendPoint(b []byte, t int64, v float64) []byte {
	b = append(appendTime(append(b, '['), t), ',')
	return append(appendFloat(b, v), ']')
}

// appendTimeShort writes milliseconds as seconds without trailing zeros, which
// is what scalars and strings have.
func appendTimeShort(b []byte, ms int64) []byte {
	raw, err := json.Marshal(float64(ms) / 1000)
	if err != nil {
		panic("promapi: a time that does not marshal")
	}
	return append(b, raw...)
}

// appendTime writes milliseconds as seconds, three digits after the point
// unless they are whole.
func appendTime(b []byte, ms int64) []byte {
	if ms < 0 {
		b, ms = append(b, '-'), -ms
	}
	b = strconv.AppendInt(b, ms/1000, 10)
	if frac := ms % 1000; frac != 0 {
		b = append(b, '.', byte('0'+frac/100), byte('0'+frac/10%10), byte('0'+frac%10))
	}
	return b
}

// appendFloat writes a value as a string, since it may be NaN, +Inf or -Inf.
func appendFloat(b []byte, v float64) []byte {
	abs := math.Abs(v)
	if abs < 1<<53 && abs == math.Trunc(abs) && (v != 0 || !math.Signbit(v)) { // counters: three times as quick
		return append(strconv.AppendInt(append(b, '"'), int64(v), 10), '"')
	}
	format := byte('f')
	if abs != 0 && (abs < 1e-6 || abs >= 1e21) {
		format = 'e'
	}
	return append(strconv.AppendFloat(append(b, '"'), v, format, -1, 64), '"')
}

func appendHistogramPoint(b []byte, p promql.HPoint) []byte {
	b = append(appendTime(append(b, '['), p.T), ',')
	b = appendFloat(append(b, `{"count":`...), p.H.Count)
	b = appendFloat(append(b, `,"sum":`...), p.H.Sum)
	sep := `,"buckets":[`
	for it := p.H.AllBucketIterator(); it.Next(); {
		bucket := it.At()
		if bucket.Count == 0 {
			continue
		}
		b = appendBucket(append(b, sep...), bucket)
		sep = ","
	}
	if sep == "," {
		b = append(b, ']')
	}
	return append(b, '}', ']')
}

// appendBucket writes [kind, lower, upper, count]; kind 0 is open on the left,
// 1 on the right, 2 on both sides, 3 on neither.
func appendBucket(b []byte, k histogram.Bucket[float64]) []byte {
	kind := byte('2')
	switch {
	case k.LowerInclusive && k.UpperInclusive:
		kind = '3'
	case k.LowerInclusive:
		kind = '1'
	case k.UpperInclusive:
		kind = '0'
	}
	b = appendFloat(append(b, '[', kind, ','), k.Lower)
	b = appendFloat(append(b, ','), k.Upper)
	return append(appendFloat(append(b, ','), k.Count), ']')
}

const hexDigits = "0123456789abcdef"

// quote appends s as a JSON string without escaping HTML, which is how
// Prometheus writes the labels of series.
func quote(b []byte, s string) []byte { return appendQuoted(b, s, "") }

// quoteHTML appends s as a JSON string with HTML characters escaped, which is
// how Prometheus writes every other string.
func quoteHTML(b []byte, s string) []byte { return appendQuoted(b, s, "<>&\u2028\u2029") }

func appendQuoted(b []byte, s, escaped string) []byte {
	b = append(b, '"')
	for _, r := range s { // a byte that is not UTF-8 becomes U+FFFD
		switch {
		case r == '"' || r == '\\':
			b = append(b, '\\', byte(r))
		case r == '\n':
			b = append(b, `\n`...)
		case r == '\r':
			b = append(b, `\r`...)
		case r == '\t':
			b = append(b, `\t`...)
		case r < 0x20 || strings.ContainsRune(escaped, r):
			b = append(b, '\\', 'u', hexDigits[r>>12&15], hexDigits[r>>8&15], hexDigits[r>>4&15], hexDigits[r&15])
		default:
			b = utf8.AppendRune(b, r)
		}
	}
	return append(b, '"')
}
