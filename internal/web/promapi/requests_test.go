package promapi

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/url"
	"strconv"
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
		return request{"/api/v1/" + path, form}
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
	}
	return list
}

// randomRequests are n queries built at random that all parse.
func randomRequests(r *rand.Rand, h history, n int) []request {
	var list []request
	span := h.to.Sub(h.from)
	for range n {
		// Milliseconds that no sample has: those are 1 to 996.
		at := h.from.Add(time.Duration(r.Int64N(int64(span/time.Second)))*time.Second + 998*time.Millisecond)
		form := url.Values{"query": {expression(r, 3)}}
		path := "/api/v1/query"
		if r.IntN(2) == 0 {
			path = "/api/v1/query_range"
			form.Set("start", unix(at))
			form.Set("end", unix(at.Add(time.Duration(r.IntN(1800))*time.Second)))
			form.Set("step", fmt.Sprintf("%ds", 1+r.IntN(300)))
		} else {
			form.Set("time", unix(at))
		}
		list = append(list, request{path, form})
	}
	return list
}

func pick[T any](r *rand.Rand, from ...T) T { return from[r.IntN(len(from))] }

func selector(r *rand.Rand) string {
	name := pick(r, "ifHCInOctets", "up", "temperature", "odd_values", "latency_bucket")
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
