package alerting

import (
	"slices"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
)

// lookback is how old a sample an instant selector still takes (PromQL's
// default).
const lookback = 5 * time.Minute

// selector is one vector selector of a rule's expression.
type selector struct {
	matchers []*labels.Matcher
	// passes tells whether a label of the result is that of the selector's
	// series: not aggregated away, not set from elsewhere.
	passes func(name string) bool
	window time.Duration // how far back the selector looks
	offset time.Duration
	absent bool // under absent(): the missing of samples is what is judged
}

// restsOn finds the selectors whose series an alert of this expression rests
// on. Those on the right of `unless` are none: the alert holds without them.
func restsOn(expr parser.Expr) []selector {
	var w walk
	w.expr(expr, selector{passes: func(string) bool { return true }})
	return w.found
}

type walk struct{ found []selector }

func (w *walk) expr(e parser.Expr, s selector) {
	switch e := e.(type) {
	case *parser.VectorSelector:
		s.matchers, s.window = e.LabelMatchers, max(s.window, lookback)
		s.offset += e.OriginalOffset
		w.found = append(w.found, s)
	case *parser.MatrixSelector:
		s.window = max(s.window, 0) + e.Range
		w.expr(e.VectorSelector, s)
	case *parser.SubqueryExpr:
		s.window += e.Range
		s.offset += e.OriginalOffset
		w.expr(e.Expr, s)
	case *parser.ParenExpr:
		w.expr(e.Expr, s)
	case *parser.UnaryExpr:
		w.expr(e.Expr, s)
	case *parser.StepInvariantExpr:
		w.expr(e.Expr, s)
	case *parser.AggregateExpr:
		w.expr(e.Expr, s.through(aggregated(e, s.passes)))
	case *parser.Call:
		w.call(e, s)
	case *parser.BinaryExpr:
		w.binary(e, s)
	}
}

func (s selector) through(passes func(string) bool) selector {
	s.passes = passes
	return s
}

func aggregated(e *parser.AggregateExpr, passes func(string) bool) func(string) bool {
	switch e.Op {
	case parser.TOPK, parser.BOTTOMK, parser.LIMITK, parser.LIMIT_RATIO:
		return passes // they choose among series and keep all labels
	case parser.COUNT_VALUES:
		if l, ok := e.Param.(*parser.StringLiteral); ok && slices.Contains(e.Grouping, l.Val) == e.Without {
			passes = without(passes, l.Val)
		}
	}
	if e.Without {
		return without(passes, e.Grouping...)
	}
	return within(passes, e.Grouping)
}

func without(passes func(string) bool, names ...string) func(string) bool {
	return func(n string) bool { return !slices.Contains(names, n) && passes(n) }
}

func within(passes func(string) bool, names []string) func(string) bool {
	return func(n string) bool { return slices.Contains(names, n) && passes(n) }
}

func (w *walk) call(e *parser.Call, s selector) {
	switch e.Func.Name {
	case "absent", "absent_over_time":
		s.absent = true
	case "label_replace", "label_join":
		if l, ok := e.Args[1].(*parser.StringLiteral); ok {
			s = s.through(without(s.passes, l.Val))
		}
	case "scalar":
		s = s.through(within(s.passes, nil))
	}
	for _, arg := range e.Args {
		w.expr(arg, s)
	}
}

func (w *walk) binary(e *parser.BinaryExpr, s selector) {
	m := e.VectorMatching
	if m == nil { // one side is a scalar
		w.expr(e.LHS, s)
		w.expr(e.RHS, s)
		return
	}
	matched := without(s.passes, m.MatchingLabels...)
	if m.On {
		matched = within(s.passes, m.MatchingLabels)
	}
	// The "one" side gives the included labels, the "many" side all others.
	many := without(s.passes, m.Include...)
	one := func(n string) bool { return slices.Contains(m.Include, n) && s.passes(n) || matched(n) }
	switch {
	case e.Op == parser.LOR:
		w.expr(e.LHS, s)
		w.expr(e.RHS, s)
	case e.Op == parser.LUNLESS:
		w.expr(e.LHS, s)
	case e.Op == parser.LAND:
		w.expr(e.LHS, s)
		w.expr(e.RHS, s.through(matched))
	case m.Card == parser.CardManyToOne:
		w.expr(e.LHS, s.through(many))
		w.expr(e.RHS, s.through(one))
	case m.Card == parser.CardOneToMany:
		w.expr(e.LHS, s.through(one))
		w.expr(e.RHS, s.through(many))
	default:
		w.expr(e.LHS, s.through(matched))
		w.expr(e.RHS, s.through(matched))
	}
}

// narrow adds the labels of an alert's series that pass.
func (s selector) narrow(series labels.Labels) []*labels.Matcher {
	ms := slices.Clone(s.matchers)
	series.Range(func(l labels.Label) {
		if l.Name != model.MetricNameLabel && s.passes(l.Name) {
			ms = append(ms, labels.MustNewMatcher(labels.MatchEqual, l.Name, l.Value))
		}
	})
	return ms
}
