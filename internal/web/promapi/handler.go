package promapi

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/util/annotations"

	"nocturne/alerting"
	"nocturne/collector"
	"nocturne/tsdb"
)

// maxBody bounds a POSTed form; queries are text that people write.
const maxBody = 10 << 20

// maxPoints is how many points of one series a range query may ask for.
const maxPoints = 11000

// Options are what the API answers from. DB is needed; what else is missing
// is answered empty.
type Options struct {
	DB       *tsdb.DB
	Metadata *tsdb.Metadata                    // what senders say of their metrics
	Targets  func() []collector.TargetStatus   // what is polled
	Metrics  map[string][]collector.Metric     // what the targets of each kind have
	Rules    func() []alerting.RuleStatus      // in the order of their files
	Alerts   func() []alerting.Alert           // pending and firing
	Interval func() (poll, eval time.Duration) // the usual ones, for status/config
	Build    string                            // our own version
	Started  time.Time

	// Record notes in the ledger what is changed in the history, in the name of
	// whom ctx knows. Whoever may ask the paths under admin/ is the caller's to
	// say. nil: nothing is changed by this API.
	Record func(ctx context.Context, action string, data any) error
}

type api struct {
	Options
	parser parser.Parser
}

// answer is what a request comes to: data with annotations, or an error.
// Neither is 204. release, if any, is called once data is no longer read.
type answer struct {
	data     any
	warnings annotations.Annotations
	err      *apiError
	tiers    []string // that a query read
	release  func()
}

// New returns the handler for the paths under /api/v1/ and for /federate.
func New(o Options) http.Handler {
	a := &api{Options: o, parser: parser.NewParser(parser.Options{})}
	if a.Metadata == nil {
		a.Metadata = new(tsdb.Metadata)
	}
	mux := http.NewServeMux()
	for path, f := range map[string]func(*http.Request) answer{
		"query":           a.query,
		"query_range":     a.queryRange,
		"query_exemplars": a.exemplars,
		"format_query":    a.formatQuery,
		"parse_query":     a.parseQuery,
		"series":          a.series,
		"labels":          a.labelNames,
	} {
		mux.HandleFunc("GET /api/v1/"+path, serve(f))
		mux.HandleFunc("POST /api/v1/"+path, serve(f))
		mux.HandleFunc("OPTIONS /api/v1/"+path, preflight)
	}
	for path, f := range map[string]func(*http.Request) answer{
		"label/{name}/values": a.labelValues,
		"metadata":            a.metadata,
		"targets":             a.targets,
		"targets/metadata":    a.targetMetadata,
		"scrape_pools":        a.scrapePools,
		"alertmanagers":       a.alertmanagers,
		"rules":               a.rules,
		"alerts":              a.alerts,
		"status/buildinfo":    a.buildInfo,
		"status/runtimeinfo":  a.runtimeInfo,
		"status/config":       a.config,
		"status/flags":        a.flags,
		"status/tsdb":         a.headStats,
		"status/walreplay":    a.replay,
	} {
		mux.HandleFunc("GET /api/v1/"+path, serve(f))
		mux.HandleFunc("OPTIONS /api/v1/"+path, preflight)
	}
	for path, f := range map[string]func(*http.Request) answer{
		"delete_series":    a.deleteSeries,
		"clean_tombstones": a.cleanTombstones,
	} {
		if o.Record == nil {
			f = disabled
		}
		mux.HandleFunc("POST /api/v1/admin/tsdb/"+path, serve(f))
		mux.HandleFunc("PUT /api/v1/admin/tsdb/"+path, serve(f))
		mux.HandleFunc("OPTIONS /api/v1/admin/tsdb/"+path, preflight)
	}
	mux.HandleFunc("GET /federate", a.federate)
	return mux
}

// tierHeader says what an answer was read from: raw samples, rollups of 5m or
// 1h, or several of them.
const tierHeader = "X-Nocturne-Tier"

func serve(f func(*http.Request) answer) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		allowOrigin(w, r)
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		ans := f(r)
		if ans.release != nil {
			defer ans.release()
		}
		if ans.err == nil && ans.data == nil {
			w.WriteHeader(http.StatusNoContent)
			return
		}
		if len(ans.tiers) > 0 {
			w.Header().Set(tierHeader, strings.Join(ans.tiers, ","))
		}
		w.Header().Set("Content-Type", "application/json")
		err := writeBody(w, r, ans.status(), func(cut func([]byte) []byte) []byte { return encode(ans, r.FormValue("query"), cut) })
		if err != nil {
			slog.Debug("answer not taken", "component", "promapi", "path", r.URL.Path, "err", err)
		}
	}
}

// allowOrigin lets scripts of other sites read an answer, as Prometheus does.
// They have to bring a token: cookies are never allowed along.
func allowOrigin(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Add("Vary", "Origin")
	origin := r.Header.Get("Origin")
	if origin == "" {
		return
	}
	h.Set("Access-Control-Allow-Headers", "Accept, Authorization, Content-Type, Origin")
	h.Set("Access-Control-Allow-Methods", "GET, POST, OPTIONS")
	h.Set("Access-Control-Expose-Headers", "Date")
	h.Set("Access-Control-Allow-Origin", origin)
}

// preflight answers what a browser asks before it sends a token.
func preflight(w http.ResponseWriter, r *http.Request) {
	allowOrigin(w, r)
	w.WriteHeader(http.StatusNoContent)
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
	if err := nesting(r.FormValue("query")); err != nil {
		return invalid("query", err)
	}
	q, err := a.DB.InstantQuery(ctx, opts, r.FormValue("query"), at)
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
	if err := nesting(r.FormValue("query")); err != nil {
		return invalid("query", err)
	}
	q, err := a.DB.RangeQuery(ctx, opts, r.FormValue("query"), from, to, step)
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
	return answer{data: data, warnings: warnings, tiers: tsdb.TiersOf(q), release: q.Close}
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
