package remotequery

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/util/annotations"
)

// envelope is what stands around each answer.
type envelope struct {
	Status    string          `json:"status"`
	Data      json.RawMessage `json:"data"`
	ErrorType string          `json:"errorType"`
	Error     string          `json:"error"`
	Warnings  []string        `json:"warnings"`
	Infos     []string        `json:"infos"`
}

func decode(resp *http.Response, body []byte, into any) (annotations.Annotations, error) {
	var e envelope
	err := json.Unmarshal(body, &e)
	switch {
	case resp.StatusCode/100 != 2 && (err != nil || e.Status != "error"):
		return nil, refused(resp.StatusCode, "", resp.Status+": "+string(body[:min(len(body), 2000)]))
	case err != nil:
		return nil, garbled("the answer is no JSON of the query API: " + shortened(err.Error()))
	case e.Status == "error":
		return nil, refused(resp.StatusCode, e.ErrorType, e.Error)
	case e.Status != "success":
		return nil, garbled(fmt.Sprintf("the status of the answer is %q", shortened(e.Status)))
	case len(e.Data) == 0 || bytes.Equal(e.Data, []byte("null")):
		return nil, garbled("the answer has no data")
	}
	notes := e.notes()
	if err := json.Unmarshal(e.Data, into); err != nil {
		if own, ok := errors.AsType[*Error](err); ok {
			return notes, own
		}
		return notes, garbled("the data of the answer: " + shortened(err.Error()))
	}
	return notes, nil
}

// note is an annotation in the store's words, of PromQL's kind.
type note struct {
	text string
	kind error
}

func (n note) Error() string { return n.text }
func (n note) Unwrap() error { return n.kind }

func (e envelope) notes() annotations.Annotations {
	var notes annotations.Annotations
	for _, w := range e.Warnings {
		notes.Add(note{w, annotations.PromQLWarning})
	}
	for _, i := range e.Infos {
		notes.Add(note{i, annotations.PromQLInfo})
	}
	return notes
}

type queryData struct {
	Type   string          `json:"resultType"`
	Result json.RawMessage `json:"result"`
}

// element is one series of a vector or matrix.
type element struct {
	Metric     metric          `json:"metric"`
	Value      points          `json:"value"`
	Values     pointList       `json:"values"`
	Histogram  json.RawMessage `json:"histogram"`
	Histograms json.RawMessage `json:"histograms"`
}

func (d queryData) elements() ([]element, error) {
	var list []element
	if err := json.Unmarshal(d.Result, &list); err != nil {
		if own, ok := errors.AsType[*Error](err); ok {
			return nil, own
		}
		return nil, garbled("the result of the answer: " + shortened(err.Error()))
	}
	for _, e := range list {
		if len(e.Histogram) > 0 || len(e.Histograms) > 0 {
			return nil, &Error{Kind: Unsupported, Message: fmt.Sprintf("%s has native histograms, which are not read", e.Metric.labels)}
		}
	}
	return list, nil
}

func (d queryData) value(maxSamples int) (parser.Value, error) {
	switch d.Type {
	case "vector":
		return d.vector(maxSamples)
	case "matrix":
		return d.matrix(maxSamples, math.MinInt64, math.MaxInt64)
	case "scalar":
		var p points
		if err := json.Unmarshal(d.Result, &p); err != nil || len(p) != 1 {
			return nil, garbled("the scalar of the answer is no pair of time and value")
		}
		return promql.Scalar{T: p[0].T, V: p[0].F}, nil
	case "string":
		var pair [2]json.RawMessage
		var s promql.String
		err := json.Unmarshal(d.Result, &pair)
		if err == nil {
			s.T, err = milliseconds(string(pair[0]))
		}
		if err != nil || json.Unmarshal(pair[1], &s.V) != nil {
			return nil, garbled("the string of the answer is no pair of time and text")
		}
		return s, nil
	}
	return nil, garbled(fmt.Sprintf("the result is of type %q", shortened(d.Type)))
}

func (d queryData) vector(maxSamples int) (parser.Value, error) {
	list, err := d.elements()
	if err != nil {
		return nil, err
	}
	if len(list) > maxSamples {
		return nil, tooMany(maxSamples)
	}
	v := make(promql.Vector, len(list))
	for i, e := range list {
		if len(e.Value) != 1 {
			return nil, garbled(fmt.Sprintf("%s has no value", e.Metric.labels))
		}
		v[i] = promql.Sample{Metric: e.Metric.labels, T: e.Value[0].T, F: e.Value[0].F}
	}
	if v.ContainsSameLabelset() {
		return nil, garbled("the answer has the same series twice")
	}
	return v, nil
}

// grid reads the matrix of a range query: all its times are in the range.
func (d queryData) grid(maxSamples int, from, to int64) (parser.Value, error) {
	if d.Type != "matrix" {
		return nil, garbled(fmt.Sprintf("the result of a range is of type %q", shortened(d.Type)))
	}
	return d.matrix(maxSamples, from, to)
}

func (d queryData) matrix(maxSamples int, from, to int64) (parser.Value, error) {
	list, err := d.elements()
	if err != nil {
		return nil, err
	}
	m := make(promql.Matrix, 0, len(list))
	samples := 0
	for _, e := range list {
		if samples += len(e.Values); samples > maxSamples {
			return nil, tooMany(maxSamples)
		}
		if len(e.Values) == 0 {
			continue
		}
		for i, p := range e.Values {
			if i > 0 && p.T <= e.Values[i-1].T {
				return nil, garbled(fmt.Sprintf("the samples of %s are not in the order of time", e.Metric.labels))
			}
		}
		if e.Values[0].T < from || e.Values[len(e.Values)-1].T > to {
			return nil, garbled(fmt.Sprintf("%s has samples outside the range asked for", e.Metric.labels))
		}
		m = append(m, promql.Series{Metric: e.Metric.labels, Floats: e.Values})
	}
	if m.ContainsSameLabelset() {
		return nil, garbled("the answer has the same series twice")
	}
	slices.SortFunc(m, func(a, b promql.Series) int { return labels.Compare(a.Metric, b.Metric) })
	return m, nil
}

func tooMany(limit int) error {
	return &Error{Kind: TooLarge, Message: fmt.Sprintf("the answer has more than %d samples", limit)}
}

// metric is a label set.
type metric struct{ labels labels.Labels }

func (m *metric) UnmarshalJSON(b []byte) error {
	if b[0] != '{' {
		return garbled("a metric is no object")
	}
	var set map[string]string
	if err := json.Unmarshal(b, &set); err != nil {
		return err
	}
	m.labels = labels.FromMap(set)
	return nil
}

// points is one pair [seconds, "value"]; pointList is a list of such pairs.
// What comes to UnmarshalJSON is valid JSON, so only its shape is checked.
type (
	points    []promql.FPoint
	pointList []promql.FPoint
)

func (p *points) UnmarshalJSON(b []byte) error {
	s := shape{b: b}
	one := s.pair()
	if s.end(); s.bad {
		return garbled("a value is no pair of time and value")
	}
	*p = points{one}
	return nil
}

func (p *pointList) UnmarshalJSON(b []byte) error {
	s := shape{b: b}
	list := make([]promql.FPoint, 0, len(b)/28+1) // as long as most pairs are
	s.expect('[')
	for s.peek() != ']' && !s.bad {
		if len(list) > 0 {
			s.expect(',')
		}
		list = append(list, s.pair())
	}
	s.expect(']')
	if s.end(); s.bad {
		return garbled("values are no list of pairs of time and value")
	}
	*p = list
	return nil
}

// shape walks over JSON that is known to be valid.
type shape struct {
	b   []byte
	bad bool
}

func (s *shape) peek() byte {
	for len(s.b) > 0 && (s.b[0] == ' ' || s.b[0] == '\n' || s.b[0] == '\t' || s.b[0] == '\r') {
		s.b = s.b[1:]
	}
	if len(s.b) == 0 {
		return 0
	}
	return s.b[0]
}

func (s *shape) expect(c byte) {
	if s.peek() != c {
		s.bad = true
		return
	}
	s.b = s.b[1:]
}

func (s *shape) end() { s.bad = s.bad || s.peek() != 0 }

// until returns what stands before any of the bytes of stop.
func (s *shape) until(stop string) string {
	i := bytes.IndexAny(s.b, stop)
	if i < 0 {
		s.bad = true
		return ""
	}
	got := string(s.b[:i])
	s.b = s.b[i:]
	return got
}

func (s *shape) pair() promql.FPoint {
	s.expect('[')
	s.peek()
	t, err := milliseconds(strings.TrimSpace(s.until(",]")))
	s.bad = s.bad || err != nil
	s.expect(',')
	s.expect('"')
	v, err := strconv.ParseFloat(s.until(`"`), 64)
	s.bad = s.bad || err != nil
	s.expect('"')
	s.expect(']')
	return promql.FPoint{T: t, F: v}
}

// milliseconds reads Unix seconds with up to three decimals, without passing
// through a number of seconds that has fewer bits than the times need.
func milliseconds(s string) (int64, error) {
	whole, frac, _ := strings.Cut(s, ".")
	if len(frac) <= 3 && len(whole) <= 15 && !strings.ContainsAny(s, "eE") {
		return strconv.ParseInt(whole+(frac + "000")[:3], 10, 64)
	}
	f, err := strconv.ParseFloat(s, 64)
	if err == nil && math.Abs(f) > math.MaxInt64/2000 {
		err = errors.New("no time")
	}
	return int64(math.Round(f * 1000)), err
}
