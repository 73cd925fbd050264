package promapi

import (
	"fmt"

	"github.com/prometheus/prometheus/promql/parser"
)

// maxNesting is how deep the parentheses of a query may nest. The library's
// parser takes time with the square of the depth, seconds for some thousand
// levels, and heeds no deadline.
const maxNesting = 1000

// nesting refuses a query that would keep the parser busy. Parentheses in
// strings count too: no query of people or dashboards comes near the bound.
func nesting(query string) error {
	depth := 0
	for i := range len(query) {
		switch query[i] {
		case '(':
			if depth++; depth > maxNesting {
				return fmt.Errorf("parentheses nest deeper than %d", maxNesting)
			}
		case ')':
			depth--
		}
	}
	return nil
}

func (a *api) parse(query string) (parser.Expr, error) {
	if err := nesting(query); err != nil {
		return nil, err
	}
	return a.parser.ParseExpr(query)
}
