package promapi

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
)

func (a *api) series(r *http.Request) answer {
	if err := r.ParseForm(); err != nil {
		return badData(fmt.Errorf("error parsing form values: %w", err))
	}
	if len(r.Form["match[]"]) == 0 {
		return badData(errors.New("no match[] parameter provided"))
	}
	sel, bad := a.selection(r, func(err error) answer { return invalid("match[]", err) })
	if bad != nil {
		return *bad
	}
	found, warnings, err := a.DB.Series(r.Context(), sel.matchers, sel.from, sel.to, sel.limit)
	if err != nil {
		return answer{err: classify(err)}
	}
	return answer{data: found, warnings: warnings}
}

func (a *api) labelNames(r *http.Request) answer {
	sel, bad := a.selection(r, badData)
	if bad != nil {
		return *bad
	}
	found, warnings, err := a.DB.LabelNames(r.Context(), sel.matchers, sel.from, sel.to, sel.limit)
	if err != nil {
		return answer{err: classify(err)}
	}
	return answer{data: found, warnings: warnings}
}

func (a *api) labelValues(r *http.Request) answer {
	name := r.PathValue("name")
	if strings.HasPrefix(name, "U__") {
		name = model.UnescapeName(name, model.ValueEncodingEscaping)
	}
	if !model.UTF8Validation.IsValidLabelName(name) {
		return badData(fmt.Errorf("invalid label name: %q", name))
	}
	sel, bad := a.selection(r, badData)
	if bad != nil {
		return *bad
	}
	found, warnings, err := a.DB.LabelValues(r.Context(), name, sel.matchers, sel.from, sel.to, sel.limit)
	if err != nil {
		return answer{err: classify(err)}
	}
	return answer{data: found, warnings: warnings}
}

// selection is what series, labels and label values have in common.
type selection struct {
	matchers [][]*labels.Matcher
	from, to time.Time
	limit    int
}

func (a *api) selection(r *http.Request, badMatch func(error) answer) (selection, *answer) {
	var sel selection
	var err error
	if sel.limit, err = parseLimit(r); err != nil {
		return sel, new(invalid("limit", err))
	}
	if sel.from, err = parseTimeParam(r, "start", minTime); err != nil {
		return sel, new(invalid("start", err))
	}
	if sel.to, err = parseTimeParam(r, "end", maxTime); err != nil {
		return sel, new(invalid("end", err))
	}
	if sel.matchers, err = a.matchers(r); err != nil {
		return sel, new(badMatch(err))
	}
	return sel, nil
}

// matchers reads the parameters match[], each of which must leave out
// something.
func (a *api) matchers(r *http.Request) ([][]*labels.Matcher, error) {
	sets, err := a.parser.ParseMetricSelectors(r.Form["match[]"])
	if err != nil {
		return nil, err
	}
	for _, set := range sets {
		if !slices.ContainsFunc(set, func(m *labels.Matcher) bool { return m != nil && !m.Matches("") }) {
			return nil, errors.New("match[] must contain at least one non-empty matcher")
		}
	}
	return sets, nil
}
