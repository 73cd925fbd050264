package promapi

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/url"
	"strconv"
	"strings"
	"time"
)

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func unix(t time.Time) string {
	return strconv.FormatFloat(float64(t.UnixMilli())/1000, 'f', -1, 64)
}

// tableRequests are the corners: each parameter's forms, good and bad.
func tableRequests(h history) []request {
	at, from, to := unix(h.to), unix(h.from), unix(h.to)
	q := func(path string, kv ...string) request {
		form := url.Values{}
		for i := 0; i < len(kv); i += 2 {
			form.Add(kv[i], kv[i+1])
		}
		return request{"/api/v1/" + path, form, false}
	}
	instant := func(expr string) request { return q("query", "query", expr, "time", at) }
	ranged := func(expr string, kv ...string) request {
		return q("query_range", append([]string{"query", expr, "start", from, "end", to, "step", "60"}, kv...)...)
	}
	list := []request{
		instant(`up`), instant(`ifHCInOctets`), instant(`odd_values`), instant(`odd_values[5m]`), instant(`nothing`), instant(`nothing[5m]`),
		instant(`1`), instant(`1e-9`), instant(`1e30`), instant(`NaN`), instant(`-Inf`), instant(`0/0`), instant(`"a <string> & \"quotes\" \n"`),
		instant(`time()`), q("query", "query", "1e30", "time", at+".5"), q("query", "query", `"x"`, "time", at+".050"), q("query", "query", "vector(1)", "time", at+".5"), instant(`vector(1)`), instant(`scalar(vector(2))`), instant(`timestamp(up)`), instant(`absent(nothing{a="b"})`),
		instant(``), instant(`up{`), instant(`sum(`), instant(`rate(up)`), instant(`up[5m] + 1`), instant(`{}`), instant(`nofunc(up)`),
		instant(`up * ifHCInOctets`), instant(`label_replace(up, "port", "$1", "instance", "(.*)")`),
		instant(`up and "x"`), instant(`sum by (1) (up)`), instant(`up offset`), instant(`up[0s]`), instant(`count_values("v", up == 1)`),
		q("query", "query", "up", "time", h.to.Format(time.RFC3339)), q("query", "query", "up", "time", h.to.Format(time.RFC3339Nano)),
		q("query", "query", "up", "time", at+".123"), q("query", "query", "up", "time", "yesterday"), q("query", "query", "up", "time", "-1.5"),
		q("query", "query", "up", "time", at, "timeout", "5s"), q("query", "query", "up", "time", at, "timeout", "1.5"), q("query", "query", "up", "time", at, "timeout", "soon"),
		q("query", "query", "up", "time", at, "timeout", "0"), q("query", "query", "up", "time", at, "timeout", "1ns"),
		q("query", "query", "up", "time", "-9223372036.854775"), q("query", "query", "time()", "time", "0"), q("query", "query", "time()", "time", "-62.5"),
		ranged(`up`), ranged(`odd_values`), ranged(`1`), ranged(`time()`), ranged(`"x"`), ranged(`up[5m]`), ranged(`nothing`), ranged(`up{`), ranged(``),
		ranged(`sum(rate(ifHCInOctets[2m])) by (instance)`), ranged(`up`, "timeout", "5s"), ranged(`up`, "timeout", "x"), ranged(`up`, "timeout", "0"),
		q("query_range", "query", "up"), q("query_range", "query", "up", "start", from), q("query_range", "query", "up", "start", from, "end", to),
		q("query_range", "query", "up", "start", "x", "end", to, "step", "1m"), q("query_range", "query", "up", "start", to, "end", from, "step", "1m"),
		q("query_range", "query", "up", "start", from, "end", to, "step", "0"), q("query_range", "query", "up", "start", from, "end", to, "step", "-5"),
		q("query_range", "query", "up", "start", from, "end", to, "step", "x"), q("query_range", "query", "up", "start", from, "end", to, "step", "1e30"),
		q("query_range", "query", "up", "start", from, "end", to, "step", "0.01"), q("query_range", "query", "up", "start", "0", "end", "11000", "step", "1"),
		q("query_range", "query", "up", "start", "0", "end", "11001", "step", "1"), q("query_range", "query", "up", "start", from, "end", to, "step", "2m30s"),
		q("query_range", "query", "up", "start", h.from.Format(time.RFC3339), "end", h.to.Format(time.RFC3339), "step", "7m"),
		q("series"), q("series", "match[]", "up"), q("series", "match[]", "up", "match[]", `{job="snmp"}`), q("series", "match[]", "{}"), q("series", "match[]", `{a=""}`),
		q("series", "match[]", "up{"), q("series", "match[]", "nothing"), q("series", "match[]", "up", "start", "x"), q("series", "match[]", "up", "end", "x"),
		q("series", "match[]", "up", "start", from, "end", to), q("series", "match[]", "up", "start", "1", "end", "2"), q("series", "match[]", `{__name__=~".+"}`),
		q("labels"), q("labels", "match[]", "up"), q("labels", "match[]", "up", "match[]", "latency_bucket"), q("labels", "match[]", "nothing"), q("labels", "match[]", "{}"),
		q("labels", "match[]", "up{"), q("labels", "start", "x"), q("labels", "start", from, "end", to), q("labels", "start", "1", "end", "2"),
		q("label/ifName/values"), q("label/__name__/values"), q("label/nothing/values"), q("label/instance/values", "match[]", "up"), q("label/le/values", "match[]", "up", "match[]", "latency_bucket"),
		q("label/site/values", "match[]", "{}"), q("label/site/values", "match[]", "up{"), q("label/site/values", "end", "x"), q("label/site/values", "start", "1", "end", "2"),
		q("labels", "start", minTime.Format(time.RFC3339Nano), "end", maxTime.Format(time.RFC3339Nano)),
		instant(`native`), instant(`custom`), instant(`native[2m]`), ranged(`native`), ranged(`custom`, "step", "7"), instant(`histogram_quantile(0.9, native)`),
		ranged(`rate(native[5m])`), ranged(`ending`), instant(`ending[10m]`), instant(`{"température"!=""}`), instant(`rate(up[5m])`), instant(`quantile(2, up)`),
		instant(`histogram_quantile(0.9, latency_bucket{instance="leaf1"})`), ranged(`histogram_quantile(0.9, latency_bucket)`), ranged(`native + up`), ranged(`sum({__name__=~"native|up"})`), instant(`double_exponential_smoothing(up[5m], 0.5, 0.5)`),
		instant(`limitk(2, up)`), instant(`info(up)`), instant(`sort_by_label(up, "instance")`), instant(`up[5m:]`), instant(`up @ start()`), instant(`sum(up) by (instance) fill(0)`),
		q("query", "query", "up", "time", at, "limit", "2"), q("query", "query", "up", "time", at, "limit", "-1"), q("query", "query", "up", "time", at, "limit", "x"),
		ranged(`up`, "limit", "3"), ranged(`up`, "limit", "0"), ranged(`sum(up)`, "limit", "3"), q("query", "query", "up[5m]", "time", at, "limit", "1"),
		q("query", "query", "up", "time", at, "lookback_delta", "1s"), q("query", "query", "up", "time", at, "lookback_delta", "x"), q("query", "query", "up", "time", at, "lookback_delta", "1h"),
		q("query", "query", "up", "time", at, "stats", "true"), q("query", "query", "up", "time", at, "stats", "all"), ranged(`up`, "stats", "all"), ranged(`up`, "stats", "yes"),
		q("series", "match[]", "up", "limit", "2"), q("series", "match[]", "up", "match[]", "temperature", "limit", "7"), q("series", "match[]", "up", "limit", "x"),
		q("labels", "limit", "2"), q("labels", "match[]", "up", "match[]", "native", "limit", "1"), q("label/instance/values", "limit", "2"), q("label/instance/values", "limit", "-2"),
		q("label/temp%C3%A9rature/values"), q("label/U__temp_e9_rature/values"), q("label/%FF/values"), q("label/a b/values"), q("label/__name__/values", "match[]", `{instance="leaf1"}`),
		q("format_query", "query", "sum by(instance)(rate(up[5m]))>0 and vector(1)"), q("format_query", "query", "up{"), q("format_query"),
		q("format_query", "query", strings.Repeat("sum(rate(ifHCInOctets{instance=\"leaf1\",job='snmp'}[5m])) + ", 3)+"1"),
		q("parse_query", "query", "up{"), q("parse_query"), q("query_exemplars", "query", "up"), q("query_exemplars", "query", "1"), q("query_exemplars"),
		q("query_exemplars", "query", "up{"), q("query_exemplars", "query", "up", "start", to, "end", from), q("query_exemplars", "query", "up", "start", "x"),
		q("query_exemplars", "query", "rate(up[5m])", "start", from, "end", to),
		q("metadata"), q("metadata", "limit", "x"), q("metadata", "limit_per_metric", "x"), q("metadata", "metric", "up", "limit", "1"),
		q("targets"), q("targets", "state", "active"), q("targets", "state", "dropped"), q("targets", "state", "any"), q("targets", "state", "none", "scrapePool", "x"),
		q("targets/metadata"), q("targets/metadata", "limit", "x"), q("targets/metadata", "match_target", "{"), q("targets/metadata", "match_target", `{job="x"}`),
		q("scrape_pools"), q("alertmanagers"), q("alerts"), q("rules"), q("rules", "type", "alert"), q("rules", "type", "x"), q("rules", "match[]", "{"), q("rules", "exclude_alerts", "x"),
		q("rules", "group_limit", "0"), q("rules", "group_limit", "x"), q("rules", "group_next_token", "x"), q("rules", "group_limit", "1"),
		q("status/tsdb"), q("status/tsdb", "limit", "2"), q("status/tsdb", "limit", "0"), q("status/tsdb", "limit", "x"), q("status/tsdb", "limit", "10001"),
		q("status/walreplay"), q("nothing"), q("label/x"), q("status/nothing"),
	}
	for _, expr := range []string{
		`sum by (a, b) (up)`, `topk without (x) (5, up)`, `up * on (instance) group_left (job) temperature`, `up + ignoring (job) temperature > bool 3`,
		`rate(up{a=~"<b>",c!="d"}[5m] offset -1h)`, `max_over_time(up[1h:30s] @ end())`, `-(1.5 + 2e9)`, `"text <>"`, `up @ 12.5`, `label_replace(up, "a", "b", "c", "d")`,
		`time()`, `vector(1)`, `{"a b", "c d"="e"}`, `up and on () vector(NaN)`, `up[5m:]`, `quantile_over_time(0.5, up[1m])`,
	} {
		list = append(list, q("parse_query", "query", expr), q("format_query", "query", expr))
	}
	for i, r := range list {
		if i%2 == 0 && formed[r.path] {
			list[i].post = true
		}
	}
	return list
}

// formed are the paths that take a POSTed form.
var formed = map[string]bool{
	"/api/v1/query": true, "/api/v1/query_range": true, "/api/v1/series": true, "/api/v1/labels": true,
	"/api/v1/query_exemplars": true, "/api/v1/format_query": true, "/api/v1/parse_query": true,
}

// randomRequests are n requests to any path, some of them broken.
func randomRequests(r *rand.Rand, h history, n int) []request {
	var list []request
	span := h.to.Sub(h.from)
	for range n {
		at := h.from.Add(time.Duration(r.Int64N(int64(span/time.Millisecond))) * time.Millisecond)
		later := at.Add(time.Duration(r.IntN(1800)) * time.Second)
		form := url.Values{}
		path := pick(r, "query", "query", "query", "query_range", "query_range", "query_range", "series", "labels", "label/instance/values", "label/__name__/values",
			"query_exemplars", "format_query", "parse_query", "status/tsdb")
		switch {
		case path == "query":
			form.Set("query", expression(r, 3))
			form.Set("time", unix(at))
		case path == "query_range":
			form.Set("query", expression(r, 3))
			form.Set("start", unix(at))
			form.Set("end", unix(later))
			form.Set("step", fmt.Sprintf("%ds", 1+r.IntN(300)))
		case path == "status/tsdb":
			form.Set("limit", strconv.Itoa(1+r.IntN(20)))
		case strings.HasSuffix(path, "_query"), path == "query_exemplars":
			form.Set("query", expression(r, 3))
		default:
			for range r.IntN(3) {
				form.Add("match[]", selector(r))
			}
			form.Set("start", unix(at))
			form.Set("end", unix(later))
		}
		vary(r, form)
		q := request{"/api/v1/" + path, form, false}
		q.post = formed[q.path] && r.IntN(2) == 0
		list = append(list, q)
	}
	return list
}

// vary adds what a request may have besides, and breaks one in ten.
func vary(r *rand.Rand, form url.Values) {
	if r.IntN(5) == 0 {
		form.Set(pick(r, "limit", "limit", "lookback_delta", "stats"), pick(r, "1", "2", "7", "40s", "all"))
	}
	if expr := form.Get("query"); r.IntN(10) == 0 && expr != "" {
		at := r.IntN(len(expr))
		form.Set("query", expr[:at]+pick(r, "", "{", "\"", "5m", " by ", "\x00", "é", "@")+expr[at+r.IntN(len(expr)-at):])
	}
	if r.IntN(20) == 0 {
		form.Set(pick(r, "start", "end", "step", "time", "timeout"), pick(r, "", "x", "-1", "1e400", "NaN", "5m"))
	}
}

func pick[T any](r *rand.Rand, from ...T) T { return from[r.IntN(len(from))] }

func selector(r *rand.Rand) string {
	name := pick(r, "ifHCInOctets", "up", "temperature", "odd_values", "latency_bucket", "native", "custom", "ending")
	return name + pick(r, "", `{instance="leaf1"}`, `{instance=~"leaf[123]"}`, `{instance!="leaf2"}`, `{job!~"linux|x"}`, `{ifName="Ethernet<2>&"}`)
}

func expression(r *rand.Rand, depth int) string {
	if depth == 0 {
		return selector(r) + pick(r, "", "", " offset 5m", " offset -3m")
	}
	inner := func() string { return expression(r, depth-1) }
	window := func() string { return fmt.Sprintf("[%ds]", 30+r.IntN(600)) }
	switch r.IntN(10) {
	case 0, 1:
		if r.IntN(2) == 0 {
			return pick(r, "rate", "increase", "irate") + "(" + pick(r, "ifHCInOctets", "latency_bucket") + window() + ")"
		}
		return pick(r, "resets", "changes", "delta", "idelta", "deriv") + "(" + selector(r) + window() + ")"
	case 2, 3:
		return pick(r, "avg", "sum", "min", "max", "count", "last", "stddev", "present") + "_over_time(" + selector(r) + window() + ")"
	case 4:
		return fmt.Sprintf("quantile_over_time(%.2f, %s%s)", r.Float64(), selector(r), window())
	case 5:
		return pick(r, "sum", "avg", "min", "max", "count", "group") + pick(r, "", " by (instance)", " without (ifName, le)", " by (job)") + "(" + inner() + ")"
	case 6:
		// What magnifies a last digit gets stored values only.
		if r.IntN(2) == 0 {
			return selector(r) + pick(r, "%", "> bool", "<", ">=", "== bool", "!=") + " " + strconv.Itoa(r.IntN(50))
		}
		return "(" + inner() + ") " + pick(r, "+", "-", "*", "/") + " " + strconv.Itoa(1+r.IntN(50))
	case 7:
		if r.IntN(2) == 0 {
			return pick(r, "ceil", "floor", "round", "exp") + "(" + selector(r) + ")"
		}
		return pick(r, "abs", "sgn", "sqrt") + "(" + inner() + ")"
	case 8:
		return fmt.Sprintf("max_over_time((%s)[%dm:%ds])", selector(r), 1+r.IntN(10), 7+r.IntN(60))
	}
	return "(" + selector(r) + ") " + pick(r, "and", "or", "unless") + pick(r, "", " on (instance)") + " (" + selector(r) + ")"
}
