package promapi

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/util/annotations"

	"nocturne/tsdb"
)

// maxBody bounds a POSTed form; queries are text that people write.
const maxBody = 10 << 20

// maxPoints is how many points of one series a range query may ask for.
const maxPoints = 11000

type api struct {
	db     *tsdb.DB
	parser parser.Parser
}

// answer is what a request comes to: data with annotations, or an error.
// release, if any, is called once data is no longer read.
type answer struct {
	data     any
	warnings annotations.Annotations
	err      *apiError
	release  func()
}

// New returns the handler for the paths under /api/v1/.
func New(db *tsdb.DB) http.Handler {
	a := &api{db: db, parser: parser.NewParser(parser.Options{})}
	mux := http.NewServeMux()
	for path, f := range map[string]func(*http.Request) answer{
		"/api/v1/query":       a.query,
		"/api/v1/query_range": a.queryRange,
		"/api/v1/series":      a.series,
		"/api/v1/labels":      a.labelNames,
	} {
		mux.HandleFunc("GET "+path, serve(f))
		mux.HandleFunc("POST "+path, serve(f))
	}
	mux.HandleFunc("GET /api/v1/label/{name}/values", serve(a.labelValues))
	return mux
}

func serve(f func(*http.Request) answer) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		ans := f(r)
		if ans.release != nil {
			defer ans.release()
		}
		status, body := encode(ans, r.FormValue("query"))
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		if _, err := w.Write(body); err != nil {
			slog.Debug("answer not taken", "component", "promapi", "path", r.URL.Path, "err", err)
		}
	}
}

func (a *api) query(r *http.Request) answer {
	limit, err := parseLimit(r)
	if err != nil {
		return invalid("limit", err)
	}
	at, err := parseTimeParam(r, "time", time.Now())
	if err != nil {
		return invalid("time", err)
	}
	ctx, cancel, err := withTimeout(r)
	if err != nil {
		return invalid("timeout", err)
	}
	defer cancel()
	opts, err := queryOptions(r)
	if err != nil {
		return badData(err)
	}
	q, err := a.db.InstantQuery(ctx, opts, r.FormValue("query"), at)
	if err != nil {
		return notPrepared(err)
	}
	return a.run(ctx, r, q, limit)
}

func (a *api) queryRange(r *http.Request) answer {
	limit, err := parseLimit(r)
	if err != nil {
		return invalid("limit", err)
	}
	from, err := parseTime(r.FormValue("start"))
	if err != nil {
		return invalid("start", err)
	}
	to, err := parseTime(r.FormValue("end"))
	if err != nil {
		return invalid("end", err)
	}
	if to.Before(from) {
		return invalid("end", errors.New("end timestamp must not be before start time"))
	}
	step, err := parseDuration(r.FormValue("step"))
	if err != nil {
		return invalid("step", err)
	}
	if step <= 0 {
		return invalid("step", errors.New("zero or negative query resolution step widths are not accepted. Try a positive integer"))
	}
	if to.Sub(from)/step > maxPoints {
		return badData(errors.New("exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution (?step=XX)"))
	}
	ctx, cancel, err := withTimeout(r)
	if err != nil {
		return invalid("timeout", err)
	}
	defer cancel()
	opts, err := queryOptions(r)
	if err != nil {
		return badData(err)
	}
	q, err := a.db.RangeQuery(ctx, opts, r.FormValue("query"), from, to, step)
	if err != nil {
		return notPrepared(err)
	}
	return a.run(ctx, r, q, limit)
}

func (a *api) run(ctx context.Context, r *http.Request, q promql.Query, limit int) answer {
	res := q.Exec(ctx)
	if res.Err != nil {
		q.Close()
		return answer{err: classify(res.Err)}
	}
	warnings := res.Warnings
	if truncate(res, limit) {
		warnings = warnings.Add(tsdb.ErrTruncated)
	}
	data := queryData{Type: res.Value.Type(), Result: res.Value}
	if want := r.FormValue("stats"); want != "" {
		data.Stats = q.Stats()
		if want != "true" && want != "all" {
			warnings = warnings.Add(fmt.Errorf("value %q for parameter \"stats\" is deprecated and will be rejected in the next major release, use %q or %q", want, "true", "all"))
		}
	}
	return answer{data: data, warnings: warnings, release: q.Close}
}

// truncate cuts a vector or matrix at the limit and says whether it did.
func truncate(res *promql.Result, limit int) bool {
	switch v := res.Value.(type) {
	case promql.Matrix:
		if limit > 0 && len(v) > limit {
			res.Value = v[:limit]
			return true
		}
	case promql.Vector:
		if limit > 0 && len(v) > limit {
			res.Value = v[:limit]
			return true
		}
	}
	return false
}

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
	found, warnings, err := a.db.Series(r.Context(), sel.matchers, sel.from, sel.to, sel.limit)
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
	found, warnings, err := a.db.LabelNames(r.Context(), sel.matchers, sel.from, sel.to, sel.limit)
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
	found, warnings, err := a.db.LabelValues(r.Context(), name, sel.matchers, sel.from, sel.to, sel.limit)
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
	if sel.matchers, err = a.parser.ParseMetricSelectors(r.Form["match[]"]); err != nil {
		return sel, new(badMatch(err))
	}
	for _, set := range sel.matchers {
		if !slices.ContainsFunc(set, func(m *labels.Matcher) bool { return m != nil && !m.Matches("") }) {
			return sel, new(badMatch(errors.New("match[] must contain at least one non-empty matcher")))
		}
	}
	return sel, nil
}
