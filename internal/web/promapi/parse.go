package promapi

import (
	"errors"
	"net/http"
	"strconv"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
)

func (a *api) formatQuery(r *http.Request) answer {
	expr, err := a.parse(r.FormValue("query"))
	if err != nil {
		return invalid("query", err)
	}
	return answer{data: expr.Pretty(0)}
}

func (a *api) parseQuery(r *http.Request) answer {
	expr, err := a.parse(r.FormValue("query"))
	if err != nil {
		return invalid("query", err)
	}
	return answer{data: tree(expr)}
}

// exemplars checks a request for exemplars. None are stored, so that a right
// one has none.
func (a *api) exemplars(r *http.Request) answer {
	from, err := parseTimeParam(r, "start", minTime)
	if err != nil {
		return invalid("start", err)
	}
	to, err := parseTimeParam(r, "end", maxTime)
	if err != nil {
		return invalid("end", err)
	}
	if to.Before(from) {
		return badData(errors.New("end timestamp must not be before start timestamp"))
	}
	expr, err := a.parse(r.FormValue("query"))
	if err != nil {
		return badData(err)
	}
	if len(parser.ExtractSelectors(expr)) == 0 {
		return answer{} // Prometheus answers 204 where no series is asked for
	}
	return answer{data: []string{}}
}

type object = map[string]any

// tree is an expression as Prometheus shows it to its own pages.
func tree(node parser.Expr) any {
	switch n := node.(type) {
	case nil:
		return nil
	case *parser.AggregateExpr:
		return object{
			"type": "aggregation", "op": n.Op.String(), "expr": tree(n.Expr), "param": tree(n.Param),
			"grouping": list(n.Grouping), "without": n.Without,
		}
	case *parser.BinaryExpr:
		return object{
			"type": "binaryExpr", "op": n.Op.String(), "lhs": tree(n.LHS), "rhs": tree(n.RHS),
			"matching": matching(n.VectorMatching), "bool": n.ReturnBool,
		}
	case *parser.Call:
		args := []any{}
		for _, arg := range n.Args {
			args = append(args, tree(arg))
		}
		f := object{"name": n.Func.Name, "argTypes": n.Func.ArgTypes, "variadic": n.Func.Variadic, "returnType": n.Func.ReturnType}
		return object{"type": "call", "func": f, "args": args}
	case *parser.MatrixSelector:
		out := selectorTree("matrixSelector", n.VectorSelector.(*parser.VectorSelector))
		out["range"], out["rangeExpr"] = n.Range.Milliseconds(), durationTree(n.RangeExpr)
		return out
	case *parser.SubqueryExpr:
		return object{
			"type": "subquery", "expr": tree(n.Expr), "range": n.Range.Milliseconds(), "rangeExpr": durationTree(n.RangeExpr),
			"offset": n.OriginalOffset.Milliseconds(), "offsetExpr": durationTree(n.OriginalOffsetExpr),
			"step": n.Step.Milliseconds(), "stepExpr": durationTree(n.StepExpr),
			"timestamp": n.Timestamp, "startOrEnd": startOrEnd(n.StartOrEnd),
		}
	case *parser.DurationExpr:
		return durationTree(n)
	case *parser.NumberLiteral:
		return object{"type": "numberLiteral", "val": strconv.FormatFloat(n.Val, 'f', -1, 64)}
	case *parser.ParenExpr:
		return object{"type": "parenExpr", "expr": tree(n.Expr)}
	case *parser.StringLiteral:
		return object{"type": "stringLiteral", "val": n.Val}
	case *parser.UnaryExpr:
		return object{"type": "unaryExpr", "op": n.Op.String(), "expr": tree(n.Expr)}
	case *parser.VectorSelector:
		return selectorTree("vectorSelector", n)
	}
	panic("promapi: no tree for this expression")
}

func selectorTree(kind string, n *parser.VectorSelector) object {
	return object{
		"type": kind, "name": n.Name, "offset": n.OriginalOffset.Milliseconds(), "offsetExpr": durationTree(n.OriginalOffsetExpr),
		"matchers": matcherTrees(n.LabelMatchers), "timestamp": n.Timestamp, "startOrEnd": startOrEnd(n.StartOrEnd),
		"anchored": n.Anchored, "smoothed": n.Smoothed,
	}
}

func matching(m *parser.VectorMatching) any {
	if m == nil {
		return nil
	}
	return object{
		"card": m.Card.String(), "labels": list(m.MatchingLabels), "on": m.On, "include": list(m.Include),
		"fillValues": map[string]*float64{"lhs": m.FillValues.LHS, "rhs": m.FillValues.RHS},
	}
}

func durationTree(node parser.Expr) any {
	switch n := node.(type) {
	case nil:
		return nil
	case *parser.DurationExpr:
		if n == nil {
			return nil
		}
		return object{"type": "durationExpr", "op": n.Op.String(), "lhs": durationTree(n.LHS), "rhs": durationTree(n.RHS), "wrapped": n.Wrapped}
	case *parser.NumberLiteral:
		if n == nil {
			return nil
		}
		return object{"type": "numberLiteral", "val": strconv.FormatFloat(n.Val, 'f', -1, 64), "duration": n.Duration}
	}
	return tree(node)
}

func matcherTrees(matchers []*labels.Matcher) []object {
	out := []object{}
	for _, m := range matchers {
		out = append(out, object{"name": m.Name, "value": m.Value, "type": m.Type.String()})
	}
	return out
}

func startOrEnd(item parser.ItemType) any {
	if item == 0 {
		return nil
	}
	return item.String()
}

func list(s []string) []string {
	if s == nil {
		return []string{}
	}
	return s
}
