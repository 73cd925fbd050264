package inspection

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
)

// Verdict is the outcome of a check, or for one of its series.
type Verdict string

// The verdicts. What was not seen never passes.
const (
	Pass    Verdict = "pass"
	Warn    Verdict = "warn"
	Fail    Verdict = "fail"
	NotSeen Verdict = "not seen"
)

// rank orders the verdicts: the worst is what a whole has.
func (v Verdict) rank() int { return slices.Index([]Verdict{Pass, Warn, NotSeen, Fail}, v) }

func worst(a, b Verdict) Verdict {
	if b.rank() > a.rank() {
		return b
	}
	return a
}

// maxRows bounds the rows kept of one check, the worst first.
const maxRows = 1000

// Report is what one inspection found at one time.
type Report struct {
	ID         string          `json:"id"`
	Inspection string          `json:"inspection"`
	Title      string          `json:"title"`
	At         time.Time       `json:"at"`           // the queries' time
	Due        time.Time       `json:"due,omitzero"` // of the schedule; zero when asked for by hand
	Late       bool            `json:"late"`         // its time had passed while nothing ran
	Note       string          `json:"note,omitempty"`
	By         string          `json:"by"` // schedule, or who asked
	Took       time.Duration   `json:"took"`
	Verdict    Verdict         `json:"verdict"` // of the worst check
	Counts     map[Verdict]int `json:"counts"`  // of checks
	Checks     []CheckResult   `json:"checks"`
}

// CheckResult is what one check found.
type CheckResult struct {
	Name     string          `json:"name"`
	Title    string          `json:"title"`
	Text     string          `json:"text,omitempty"`
	Query    string          `json:"query"`
	Unit     string          `json:"unit,omitempty"`
	Warn     string          `json:"warn,omitempty"`
	Fail     string          `json:"fail,omitempty"`
	FailAt   *float64        `json:"failAt,omitempty"` // the number in Fail
	Verdict  Verdict         `json:"verdict"`
	Reason   string          `json:"reason,omitempty"` // why it is not seen
	Expected int             `json:"expected"`         // series; 0 when none are expected by name or number
	Seen     int             `json:"seen"`             // of the expected ones, or of the result
	Counts   map[Verdict]int `json:"counts"`           // of series, missing ones included
	Rows     []Row           `json:"rows,omitempty"`   // worst first
	Cut      int             `json:"cut,omitempty"`    // rows left out
	Err      string          `json:"err,omitempty"`    // of a query
}

// Row is one series of a check. A missing one has no value.
type Row struct {
	Labels  labels.Labels `json:"labels"`
	Value   *float64      `json:"value,omitempty"`
	Text    string        `json:"text"` // the value for people, with its unit
	Verdict Verdict       `json:"verdict"`
}

// look makes all checks as of one time.
func (i *Inspector) look(ctx context.Context, in Inspection, at time.Time) Report {
	r := Report{Inspection: in.Name, Title: in.Title, At: at, Verdict: Pass, Counts: map[Verdict]int{}}
	began := time.Now()
	for _, c := range in.Checks {
		res := i.check(ctx, c, at)
		r.Checks = append(r.Checks, res)
		r.Counts[res.Verdict]++
		r.Verdict = worst(r.Verdict, res.Verdict)
	}
	r.Took = time.Since(began)
	return r
}

func (i *Inspector) check(ctx context.Context, c Check, at time.Time) CheckResult {
	res := CheckResult{
		Name: c.Name, Title: c.Title, Text: c.Text, Query: c.Query, Unit: c.Unit,
		Warn: c.Warn.String(), Fail: c.Fail.String(), Verdict: Pass, Counts: map[Verdict]int{},
	}
	if c.Fail.Op != "" {
		res.FailAt = new(c.Fail.Value)
	}
	if ctx.Err() != nil {
		res.notSeen(fmt.Sprintf("not asked: the inspection was not done within %v", i.limit))
		return res
	}
	seen, err := i.vector(ctx, c.Query, at)
	if err != nil {
		res.notSeen(fmt.Sprintf("the query fails: %v", err))
		res.Err = err.Error()
		return res
	}
	for _, s := range seen {
		res.add(c.row(s))
	}
	res.Seen = len(seen)
	if len(seen) == 0 {
		res.notSeen("the query returns nothing")
	}
	i.expect(ctx, c, at, seen, &res)
	slices.SortStableFunc(res.Rows, func(a, b Row) int { return b.Verdict.rank() - a.Verdict.rank() })
	if n := len(res.Rows); n > maxRows {
		res.Rows, res.Cut = res.Rows[:maxRows], n-maxRows
	}
	return res
}

// expect holds what was seen against what should be there.
func (i *Inspector) expect(ctx context.Context, c Check, at time.Time, seen promql.Vector, res *CheckResult) {
	if c.Expect == "" {
		return
	}
	if n, err := strconv.Atoi(c.Expect); err == nil {
		res.Expected = n
		if len(seen) < n {
			res.Counts[NotSeen] += n - len(seen)
			res.notSeen(fmt.Sprintf("%d of %d series are not seen", n-len(seen), n))
		}
		return
	}
	want, err := i.vector(ctx, c.Expect, at)
	switch {
	case err != nil:
		res.Err = err.Error()
		res.notSeen(fmt.Sprintf("the query for what is expected fails: %v", err))
		return
	case len(want) == 0:
		res.notSeen("the query for what is expected returns nothing")
		return
	}
	res.Expected, res.Seen = len(want), 0
	for _, w := range want {
		if slices.ContainsFunc(seen, func(s promql.Sample) bool { return agree(w.Metric, s.Metric) && !math.IsNaN(s.F) }) {
			res.Seen++
			continue
		}
		res.add(Row{Labels: w.Metric, Verdict: NotSeen, Text: "not seen"})
	}
	if n := res.Expected - res.Seen; n > 0 {
		res.notSeen(fmt.Sprintf("%d of %d expected series are not seen", n, res.Expected))
	}
}

// agree tells whether two series are of the same thing: equal in each label
// that both have, the metric's name aside, and both have one.
func agree(a, b labels.Labels) bool {
	shared, equal := false, true
	a.Range(func(l labels.Label) {
		if l.Name != model.MetricNameLabel && b.Has(l.Name) {
			shared = true
			equal = equal && b.Get(l.Name) == l.Value
		}
	})
	return shared && equal
}

func (res *CheckResult) notSeen(reason string) {
	res.Verdict = worst(res.Verdict, NotSeen)
	if res.Reason == "" {
		res.Reason = reason
	}
}

func (res *CheckResult) add(r Row) {
	res.Rows = append(res.Rows, r)
	res.Counts[r.Verdict]++
	res.Verdict = worst(res.Verdict, r.Verdict)
}

func (c Check) row(s promql.Sample) Row {
	r := Row{Labels: s.Metric, Verdict: Pass, Value: new(s.F), Text: strconv.FormatFloat(s.F, 'g', 4, 64)}
	if c.Unit != "" {
		r.Text += " " + c.Unit
	}
	switch {
	case math.IsNaN(s.F) || s.H != nil:
		r.Verdict, r.Value, r.Text = NotSeen, nil, "no number"
	case c.Fail.Holds(s.F):
		r.Verdict = Fail
	case c.Warn.Holds(s.F):
		r.Verdict = Warn
	}
	if r.Value != nil && math.IsInf(*r.Value, 0) {
		r.Value = nil // JSON has no infinity; the text says it
	}
	return r
}

func (i *Inspector) vector(ctx context.Context, query string, at time.Time) (promql.Vector, error) {
	q, err := i.o.DB.InstantQuery(ctx, promql.NewPrometheusQueryOpts(false, i.o.Lookback), query, at)
	if err != nil {
		return nil, fmt.Errorf("query %q: %w", query, err)
	}
	r := q.Exec(ctx) // not closed: its result is read below
	if r.Err != nil {
		return nil, fmt.Errorf("query %q: %w", query, r.Err)
	}
	switch v := r.Value.(type) {
	case promql.Vector:
		return v, nil
	case promql.Scalar:
		return promql.Vector{{T: v.T, F: v.V}}, nil
	}
	return nil, fmt.Errorf("%s: a %s is neither vector nor scalar", query, r.Value.Type())
}
