package rollup

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/timestamp"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/util/annotations"
)

// Raw is the name of what is no tier.
const Raw = "raw"

// worthwhile is the length of time from which on a tier is read in place of
// raw samples that are there, if the answer is the same.
const worthwhile = 6 * time.Hour

// Holdings say what can be read.
type Holdings struct {
	// RawFrom is the time in Unix milliseconds from which on raw samples are
	// there.
	RawFrom int64
	Tiers   []Holding // fine to coarse
}

// Holding is what one tier can answer.
type Holding struct {
	Name    string
	Width   int64 // of a bucket, in milliseconds
	Covered []Range
}

// from is the time from which on the tier holds buckets.
func (h Holding) from() int64 {
	if len(h.Covered) == 0 {
		return math.MaxInt64
	}
	return h.Covered[0].From
}

// share is how much of r the tier holds.
func (h Holding) share(r Range) float64 {
	var missing int64
	for _, m := range r.Without(h.Covered) {
		missing += m.To - m.From
	}
	return 1 - float64(missing)/float64(r.To-r.From)
}

// Answer says what a rewritten query reads.
type Answer struct {
	Tiers []string // "5m", "1h", Raw; in the order of the selectors, each once
	Notes annotations.Annotations
}

func (a *Answer) reads(tier string) {
	if !slices.Contains(a.Tiers, tier) {
		a.Tiers = append(a.Tiers, tier)
	}
}

// Rewrite makes the selectors of a prepared statement read tiers: where a tier
// gives the answer that raw samples would give and spares much reading, and
// where raw samples have expired. The engine must then evaluate it over a
// Queryable. Where the answer is not what raw samples would have given, a
// warning among the notes says so.
func Rewrite(s *parser.EvalStmt, h Holdings) Answer {
	r := rewriter{holdings: h, lookback: s.LookbackDelta}
	s.Expr = r.expr(s.Expr, times{
		start: timestamp.FromTime(s.Start),
		end:   timestamp.FromTime(s.End),
		step:  s.Interval.Milliseconds(),
	})
	return r.answer
}

type rewriter struct {
	holdings Holdings
	lookback time.Duration
	answer   Answer
}

// times are when an expression is evaluated.
type times struct {
	start, end, step int64
	within           bool // a subquery, or otherwise at more times than these
}

// at are the times under an offset and an @ modifier.
func (c times) at(ts *int64, offset time.Duration) times {
	if ts != nil {
		c.start, c.end = *ts, *ts
	}
	c.start -= offset.Milliseconds()
	c.end -= offset.Milliseconds()
	return c
}

// aligned says that all times are ends of buckets.
func (c times) aligned(width int64) bool {
	return !c.within && floor(c.start, width) == c.start && (c.start == c.end || c.step%width == 0)
}

func (r *rewriter) expr(e parser.Expr, c times) parser.Expr {
	switch n := e.(type) {
	case *parser.VectorSelector:
		return r.instant(n, c)
	case *parser.MatrixSelector: // by itself: an instant query for samples
		return r.window(nil, n, c)
	case *parser.Call:
		return r.call(n, c)
	case *parser.AggregateExpr:
		n.Expr = r.expr(n.Expr, c)
		if n.Param != nil {
			n.Param = r.expr(n.Param, c)
		}
	case *parser.BinaryExpr:
		n.LHS, n.RHS = r.expr(n.LHS, c), r.expr(n.RHS, c)
	case *parser.ParenExpr:
		n.Expr = r.expr(n.Expr, c)
	case *parser.UnaryExpr:
		n.Expr = r.expr(n.Expr, c)
	case *parser.StepInvariantExpr:
		c.end = c.start
		n.Expr = r.expr(n.Expr, c)
	case *parser.SubqueryExpr:
		in := c.at(n.Timestamp, n.OriginalOffset)
		in.start -= n.Range.Milliseconds()
		in.step, in.within = n.Step.Milliseconds(), true
		n.Expr = r.expr(n.Expr, in)
	}
	return e
}

func (r *rewriter) call(n *parser.Call, c times) parser.Expr {
	switch n.Func.Name {
	case "info":
		r.answer.reads(Raw) // it makes selectors of its own
		return n
	case "timestamp":
		c.within = true // a bucket has the time of its end
	}
	for i, arg := range n.Args {
		if m, ok := arg.(*parser.MatrixSelector); ok {
			return r.window(n, m, c)
		}
		n.Args[i] = r.expr(arg, c)
	}
	return n
}

// instant rewrites a selector of the present value.
func (r *rewriter) instant(vs *parser.VectorSelector, c times) parser.Expr {
	at := c.at(vs.Timestamp, vs.OriginalOffset)
	of := Range{at.start - r.lookback.Milliseconds(), at.end}
	same := func(h Holding) bool {
		return vs.Timestamp == nil && at.aligned(h.Width) && r.lookback == Lookback
	}
	h, exact := r.choose(vs, of, same)
	if h == nil {
		return vs
	}
	if exact || h.Width <= r.lookback.Milliseconds() {
		return r.selector(vs, h, Last)
	}
	return call("last_over_time", matrix(r.selector(vs, h, Last), h.Width), vs)
}

// window rewrites a selector of a range, that is an argument of n or stands by
// itself.
func (r *rewriter) window(n *parser.Call, m *parser.MatrixSelector, c times) parser.Expr {
	vs, name := m.VectorSelector.(*parser.VectorSelector), ""
	if n != nil {
		name = n.Func.Name
	}
	at := c.at(vs.Timestamp, vs.OriginalOffset)
	w := m.Range.Milliseconds()
	f, known := functions[name]
	same := func(h Holding) bool {
		return known && vs.Timestamp == nil && at.aligned(h.Width) && w%h.Width == 0 && w >= f.buckets*h.Width
	}
	h, exact := r.choose(vs, Range{at.start - w, at.end}, same)
	switch {
	case h == nil && n == nil:
		return m
	case h == nil:
		return n
	case known:
		wide := max(1, (w+h.Width-1)/h.Width) * h.Width
		aligned := vs.Timestamp == nil && at.aligned(h.Width)
		if f.counts && !aligned {
			wide = max(wide, 2*h.Width)
		}
		e := f.rewrite(r, n, m, window{h, wide, aligned})
		if !exact && f.grows && wide != w {
			e = binary(parser.MUL, e, &parser.NumberLiteral{Val: float64(w) / float64(wide), PosRange: n.PosRange})
		}
		return e
	}
	m.VectorSelector = r.selector(vs, h, Last)
	m.Range = max(m.Range, 2*time.Duration(h.Width)*time.Millisecond)
	if n == nil {
		return m
	}
	return n
}

// choose decides what a selector reads, and whether that is the same as raw:
// the coarsest tier that gives the same answer, if raw samples have expired or
// much reading is spared; else, if they have expired, the finest tier that
// reaches back far enough.
func (r *rewriter) choose(vs *parser.VectorSelector, of Range, same func(Holding) bool) (*Holding, bool) {
	oldest, widest := int64(math.MaxInt64), int64(0)
	for _, h := range r.holdings.Tiers {
		oldest, widest = min(oldest, h.from()), max(widest, h.Width)
	}
	// A tier begins up to a bucket before the first sample.
	expired := of.From < r.holdings.RawFrom && oldest < math.MaxInt64 && oldest+widest < r.holdings.RawFrom
	if vs.Anchored || vs.Smoothed || !expired && of.To-of.From < worthwhile.Milliseconds() {
		r.answer.reads(Raw)
		return nil, false
	}
	// Tiers begin with a bucket of theirs, so not quite at the same time.
	reaches := func(h Holding) bool { return h.from() <= max(of.From, oldest)+widest }
	for i := range slices.Backward(r.holdings.Tiers) {
		h := &r.holdings.Tiers[i]
		if same(*h) && (expired && reaches(*h) || !expired && h.share(of) > 0.5) {
			r.answer.reads(h.Name)
			r.answer.Notes.Add(fmt.Errorf("%w: answered from buckets of %s", annotations.PromQLInfo, h.Name))
			return h, true
		}
	}
	if !expired {
		r.answer.reads(Raw)
		return nil, false
	}
	i := max(0, slices.IndexFunc(r.holdings.Tiers, reaches))
	h := &r.holdings.Tiers[i]
	r.answer.reads(h.Name)
	r.answer.Notes.Add(fmt.Errorf("%w: raw samples before %s have expired: %s is read from buckets of %s and may differ by what one bucket holds, windows are widened to whole buckets",
		annotations.PromQLWarning, at(r.holdings.RawFrom), vs, h.Name))
	return h, false
}

// selector is vs reading a kind of a tier. The matcher is no equality, since
// absent() makes labels of those.
func (r *rewriter) selector(vs *parser.VectorSelector, h *Holding, k Kind) *parser.VectorSelector {
	out := *vs
	out.LabelMatchers = append(slices.Clone(vs.LabelMatchers), labels.MustNewMatcher(labels.MatchRegexp, Label, reading(h.Name, k)))
	return &out
}

// window is a range selector as a tier is to read it.
type window struct {
	tier    *Holding
	width   int64 // in milliseconds: whole buckets
	aligned bool  // begins and ends with buckets
}

// function says how a function over a window is answered from buckets.
type function struct {
	buckets int64 // of a window at least, for the answer to be that of raw
	grows   bool  // with the window
	counts  bool  // what counters do
	rewrite func(*rewriter, *parser.Call, *parser.MatrixSelector, window) parser.Expr
}

var functions = map[string]function{
	"max_over_time":   over("max_over_time", Max, false),
	"min_over_time":   over("min_over_time", Min, false),
	"last_over_time":  over("last_over_time", Last, false),
	"sum_over_time":   over("sum_over_time", Sum, true),
	"count_over_time": over("sum_over_time", Count, true),
	"avg_over_time": {rewrite: func(r *rewriter, n *parser.Call, m *parser.MatrixSelector, w window) parser.Expr {
		vs := r.selector(m.VectorSelector.(*parser.VectorSelector), w.tier, meanOf(w.width/w.tier.Width))
		return call("max_over_time", matrix(vs, w.tier.Width), n) // of the one point at the window's last bucket
	}},
	"rate":     {buckets: 2, counts: true, rewrite: increase},
	"increase": {buckets: 2, counts: true, grows: true, rewrite: increase},
}

// over answers by a function over a window of one kind.
func over(name string, k Kind, grows bool) function {
	return function{grows: grows, rewrite: func(r *rewriter, n *parser.Call, m *parser.MatrixSelector, w window) parser.Expr {
		vs := m.VectorSelector.(*parser.VectorSelector)
		return call(name, matrix(r.selector(vs, w.tier, k), w.width), n)
	}}
}

func increase(r *rewriter, n *parser.Call, m *parser.MatrixSelector, w window) parser.Expr {
	k := Ends
	if w.aligned {
		k = Whole
	}
	return over(n.Func.Name, k, false).rewrite(r, n, m, w)
}

func matrix(vs *parser.VectorSelector, width int64) *parser.MatrixSelector {
	return &parser.MatrixSelector{VectorSelector: vs, Range: time.Duration(width) * time.Millisecond, EndPos: vs.PosRange.End}
}

func call(name string, arg parser.Expr, in parser.Expr) parser.Expr {
	return &parser.Call{Func: parser.Functions[name], Args: parser.Expressions{arg}, PosRange: in.PositionRange()}
}

func binary(op parser.ItemType, lhs, rhs parser.Expr) parser.Expr {
	b := &parser.BinaryExpr{Op: op, LHS: lhs, RHS: rhs}
	if rhs.Type() == parser.ValueTypeVector {
		b.VectorMatching = &parser.VectorMatching{Card: parser.CardOneToOne}
	}
	return b
}
