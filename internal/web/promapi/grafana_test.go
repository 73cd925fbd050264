package promapi

import (
	"net/url"
	"strconv"
	"testing"
	"time"

	"nocturne/internal/need"
	"nocturne/tsdb"
)

// grafanaRequests are what Grafana's Prometheus data source sends, as far as
// the answer is data (TestBuildInfo, TestTargets and TestRules have the rest).
// The comments name the file of Grafana's source that builds each.
func grafanaRequests(h history) []request {
	at := func(t time.Time) string {
		return strconv.FormatFloat(float64(t.Unix())+float64(t.Nanosecond())/1e9, 'f', -1, 64)
	}
	from, to := at(h.from), at(h.to)
	get := func(path string, kv ...string) request { return request{"/api/v1/" + path, values(kv), false} }
	post := func(path string, kv ...string) request { return request{"/api/v1/" + path, values(kv), true} }
	snapped := []string{"start", strconv.FormatInt(h.from.Unix()/60*60, 10), "end", strconv.FormatInt(h.to.Unix()/60*60+60, 10)}
	with := func(kv ...string) []string { return append(kv, snapped...) }
	ranged := func(expr, step string) request {
		return post("query_range", "query", expr, "start", from, "end", to, "step", step)
	}
	return []request{
		// Save & test: pkg/promlib/healthcheck.go asks 1+1 at the fourth second.
		post("query", "query", "1+1", "time", "4"),
		get("query", "query", "1+1", "time", "4"), // httpMethod: GET
		// Opening the query editor: packages/grafana-prometheus/src/resource_clients.ts
		get("label/__name__/values", with("limit", "40000")...),
		post("labels", with("limit", "40000")...),
		post("labels", with("limit", "40000", "match[]", `{__name__="ifHCInOctets"}`)...),
		get("label/instance/values", with("limit", "40000", "match[]", `{__name__="ifHCInOctets"}`)...),
		get("label/ifName/values", with("limit", "2", "match[]", `{__name__="ifHCInOctets",instance="leaf1"}`)...),
		get("label/U__temp_E9_rature/values", with("limit", "40000")...),
		post("series", with("match[]", `{__name__!=""}`, "limit", "40000")...),
		post("series", with("match[]", `{__name__=~".*oct.*"}`, "limit", "10")...),
		post("series", with("match[]", `{"température"!=""}`, "limit", "40000")...),
		// language_provider.ts: metadata for hints and the metrics explorer.
		get("metadata", "limit", "40000"), get("metadata"),
		// Explore and panels: pkg/promlib/client/client.go, models/query.go
		ranged(`ifHCInOctets{instance="leaf1"}`, "15"),
		ranged(`rate(ifHCInOctets[1m0s])`, "15"),
		ranged(`sum by(instance) (rate(ifHCInOctets{ifName="Ethernet1"}[4m])) * 8`, "7.5"),
		ranged(`histogram_quantile(0.95, sum by(le) (rate(latency_bucket[5m])))`, "60"),
		ranged(`topk(3, temperature)`, "60"), ranged(`count(up == 0) or vector(0)`, "60"), ranged(`up offset 1h`, "60"),
		ranged(`avg_over_time(temperature[10m]) - avg_over_time(temperature[10m] offset 20m)`, "120"),
		ranged(`native`, "60"), ranged(`no_such_metric`, "15"), ranged(`rate(ifHCInOctets[$__rate_interval])`, "15"), ranged(`sum(`, "15"),
		post("query_range", "query", "up", "start", from, "end", to, "step", "15", "timeout", "60s"), // queryTimeout of the settings
		post("query", "query", `sum(up)`, "time", to),
		post("query", "query", `ifHCInOctets{instance=~"leaf(1|2)"}`, "time", to),
		post("query", "query", `sort_desc(max by (instance) (temperature))`, "time", to),
		// Heatmaps and hints: query_hints.ts asks for the series' number.
		ranged(`sum(increase(latency_bucket[1m])) by (le)`, "60"), post("query", "query", "count(ifHCInOctets)", "time", to),
		// Exemplars beside a panel: client.go, QueryExemplars
		post("query_exemplars", "query", `rate(latency_bucket[1m])`, "start", from, "end", to),
		post("query_exemplars", "query", `1+1`, "start", from, "end", to),
		// Variables: metric_find_query.ts and variableMigration.ts
		get("label/instance/values", "start", from, "end", to),
		get("label/instance/values", "match[]", `up{job="snmp"}`, "start", from, "end", to),
		get("label/le/values", "match[]", `latency_bucket`, "start", from, "end", to),
		get("label/__name__/values", "start", from, "end", to),
		post("labels", "start", from, "end", to),
		post("series", "match[]", `up{instance="leaf1"}`, "start", from, "end", to),
		get("query", "query", `topk(1, up{instance="leaf1"})`, "time", to),
		get("query", "query", `scalar(count(up))`, "time", to),
		// Annotations: annotations.ts, a range at a step of 60 s or the panel's
		ranged(`ALERTS{alertstate="firing"}`, "60"), ranged(`changes(ending[2m]) > 0`, "60s"),
		// Ad hoc filters: datasource.ts, getTagKeys and getTagValues
		post("labels", with("match[]", `up`, "match[]", `temperature`)...),
		get("label/site/values", with("match[]", `{job="snmp"}`)...),
		// Alerting's data source page: buildInfo.ts, prometheus.ts
		get("rules"), get("rules", "type", "alert"), get("alerts"), get("rules", "group_limit", "40"),
		// Metrics drilldown and Explore's raw query: format and parse
		post("format_query", "query", `sum(rate(ifHCInOctets[5m]))by(instance)`), get("parse_query", "query", `sum(rate(ifHCInOctets[5m]))by(instance)`),
	}
}

func values(kv []string) url.Values {
	form := url.Values{}
	for i := 0; i < len(kv); i += 2 {
		form.Add(kv[i], kv[i+1])
	}
	return form
}

func TestGrafanasRequests(t *testing.T) {
	_, r := need.Seed(t)
	h := randomHistoryTo(r, time.Now().Add(-time.Hour).Truncate(time.Minute), 30*time.Minute)
	dir := h.folder(t)
	us, them := ours(t, dir, tsdb.Options{}).URL, peer(t, dir, outOfOrder)
	requests := grafanaRequests(h)
	refused := alike(t, us, them, requests)
	t.Logf("%d requests, %d of them refused alike", len(requests), refused)
	if refused > 4 {
		t.Errorf("%d requests were refused: the table asks for what nobody has", refused)
	}
}
