package promapi

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/metadata"

	"nocturne/alerting"
	"nocturne/collector"
	"nocturne/internal/inventory"
	"nocturne/internal/ledger"
	"nocturne/internal/need"
	"nocturne/internal/state"
	"nocturne/tsdb"
)

const ruleText = `
groups:
- name: one
  interval: 1s
  rules:
  - alert: Fires
    expr: vector(3)>1   and vector( 4 )
    labels: {severity: critical, "site": "<here>"}
    annotations: {summary: 'is {{ $value }} & more'}
  - alert: Waits
    expr: label_replace(vector(2e9), "instance", "leaf1", "", "")
    for: 1h
    keep_firing_for: 5m
  - alert: Sleeps
    expr: vector(0) > 1
  - record: one:two
    expr: sum(vector(1))
    labels: {severity: none}
- name: two
  interval: 1s
  rules:
  - alert: Breaks
    expr: vector(1) / on (x) group_left () (label_replace(vector(1), "y", "1", "", "") or label_replace(vector(1), "y", "2", "", ""))
`

// engineOver runs our own rules.
func engineOver(t *testing.T, db *tsdb.DB, file string) *alerting.Engine {
	t.Helper()
	st, err := state.Open(state.Options{Dir: t.TempDir(), Log: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	chain, err := ledger.Open(st)
	if err != nil {
		t.Fatal(err)
	}
	graph, err := inventory.Open(st)
	if err != nil {
		t.Fatal(err)
	}
	e, err := alerting.New(alerting.Options{
		DB: db, State: st, Ledger: chain, Graph: graph, RuleFiles: []alerting.File{{Name: file, Data: []byte(ruleText)}}, Log: quiet(),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil && ctx.Err() == nil {
			t.Error(err)
		}
	})
	return e
}

// until polls a path of a server until its body is settled.
func until(t *testing.T, base, path string, settled func(string) bool) {
	t.Helper()
	need.Within(t, 30*time.Second, func() error {
		if got := (request{path: path}).do(t, base); !settled(got.Body) {
			return fmt.Errorf("%s of %s settles: %s", path, base, got.Body)
		}
		return nil
	})
}

// What rules and targets differ in: clocks; the address that Prometheus
// guesses others reach a target at; its settings for histograms, which ours
// has none of; and the query that our error of a rule begins with.
var (
	clocks     = regexp.MustCompile(`"(evaluationTime|lastEvaluation|activeAt|lastScrape|lastScrapeDuration|globalUrl)":("[^"]*"|[0-9.e-]+)`)
	histograms = regexp.MustCompile(`"__[a-z_]+_histograms?_[a-z_]+":"false",|"__[a-z_]+_histograms__":"false",`)
	whichQuery = regexp.MustCompile(`"lastError":"query .*?\)\\": `)
)

func timeless(body string) string {
	body = whichQuery.ReplaceAllString(histograms.ReplaceAllString(body, ""), `"lastError":"`)
	return clocks.ReplaceAllString(body, `"$1":`)
}

func compareTimeless(t *testing.T, us, them string, requests []request) {
	t.Helper()
	for _, q := range requests {
		want, got := q.do(t, them), q.do(t, us)
		want.Body, got.Body = timeless(want.Body), timeless(got.Body)
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s (-prometheus +nocturne):\n%s", q, d)
		}
	}
}

func ask(path string, kv ...string) request {
	return request{path: "/api/v1/" + path, form: values(kv)}
}

func TestRulesLikePrometheus(t *testing.T) {
	file := filepath.Join(t.TempDir(), "rules.yml")
	if err := os.WriteFile(file, []byte(ruleText), 0o600); err != nil {
		t.Fatal(err)
	}
	them := peer(t, t.TempDir(), "rule_files: ["+file+"]\nglobal: {evaluation_interval: 1s}\n")
	db, err := tsdb.Open(tsdb.Options{Dir: t.TempDir(), Log: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	e := engineOver(t, db, file)
	s := httptest.NewServer(New(Options{DB: db, Rules: e.Rules, Alerts: e.Alerts}))
	t.Cleanup(s.Close)
	for _, base := range []string{s.URL, them} {
		until(t, base, "/api/v1/rules", func(body string) bool {
			return !strings.Contains(body, `"unknown"`) && strings.Contains(body, `"state":"firing"`) && strings.Contains(body, `"health":"err"`)
		})
	}
	var groups struct{ Data ruleGroups }
	if err := json.Unmarshal([]byte(ask("rules", "group_limit", "1").do(t, them).Body), &groups); err != nil || groups.Data.Next == "" {
		t.Fatalf("no token: %v %+v", err, groups)
	}
	compareTimeless(t, s.URL, them, []request{
		ask("rules"), ask("rules", "type", "alert"), ask("rules", "type", "record"), ask("rules", "rule_name[]", "Waits"), ask("rules", "rule_group[]", "two"),
		ask("rules", "file[]", file), ask("rules", "file[]", "x"), ask("rules", "match[]", `{severity="critical"}`), ask("rules", "exclude_alerts", "true"),
		ask("rules", "group_limit", "1"), ask("rules", "group_limit", "1", "group_next_token", groups.Data.Next), ask("rules", "group_limit", "5", "group_next_token", "x"),
		ask("rules", "rule_name[]", "nothing"),
	})
	both := ask("alerts").do(t, s.URL)
	for _, want := range []string{`"alertname":"Fires"`, `"state":"firing"`, `"value":"3e+00"`, `"alertname":"Waits"`, `"state":"pending"`, `"value":"2e+09"`} {
		if !strings.Contains(both.Body, want) {
			t.Errorf("alerts has no %s: %s", want, both.Body)
		}
	}
}

// TestTargetsLikePrometheus has the peer scrape a page, and ours say that it
// polls it.
func TestTargetsLikePrometheus(t *testing.T) {
	const page = "# HELP room_celsius How warm <it> is.\n# TYPE room_celsius gauge\nroom_celsius 21\n" +
		"# HELP seen_total What was \"seen\".\n# TYPE seen_total counter\nseen_total 4\n"
	scraped := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4")
		fmt.Fprint(w, page)
	}))
	t.Cleanup(scraped.Close)
	at, err := url.Parse(scraped.URL)
	if err != nil {
		t.Fatal(err)
	}
	them := peer(t, t.TempDir(), "scrape_configs:\n- {job_name: web, scrape_interval: 1s, scrape_timeout: 500ms, static_configs: [{targets: ['"+at.Host+"']}]}\n")
	until(t, them, "/api/v1/targets", func(body string) bool { return strings.Contains(body, `"health":"up"`) })

	db, err := tsdb.Open(tsdb.Options{Dir: t.TempDir(), Log: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	status := collector.TargetStatus{
		Target: collector.Target{Name: at.Host, Kind: "web", Address: "http://user:hidden@" + at.Host + "/metrics", Interval: time.Second, Timeout: 500 * time.Millisecond,
			Credential: "hidden", Labels: map[string]string{"note": "hidden"}},
		Last: time.Now(), LastOK: time.Now(), Duration: time.Millisecond,
	}
	s := httptest.NewServer(New(Options{
		DB: db, Targets: func() []collector.TargetStatus { return []collector.TargetStatus{status} },
		Metrics: map[string][]collector.Metric{"web": {
			{Name: "room_celsius", Type: model.MetricTypeGauge, Help: "How warm <it> is."}, {Name: "seen_total", Type: model.MetricTypeCounter, Help: `What was "seen".`},
		}},
	}))
	t.Cleanup(s.Close)
	requests := []request{
		ask("targets"), ask("targets", "state", "active"), ask("targets", "state", "dropped"), ask("targets", "scrapePool", "other"), ask("targets", "scrapePool", "web"),
		ask("scrape_pools"), ask("metadata", "metric", "room_celsius"), ask("metadata", "metric", "nothing"), ask("metadata", "metric", "seen_total", "limit", "0"),
		ask("targets/metadata", "metric", "room_celsius"), ask("targets/metadata", "match_target", `{job="web"}`, "metric", "seen_total"), ask("targets/metadata", "match_target", `{job="x"}`),
	}
	compareTimeless(t, s.URL, them, requests)
	for _, q := range requests {
		if body := q.do(t, s.URL).Body; strings.Contains(body, "hidden") {
			t.Errorf("%s tells what is nobody's business: %s", q, body)
		}
	}
	var want, got struct {
		Data map[string][]metadata.Metadata
	}
	for base, into := range map[string]any{s.URL: &got, them: &want} {
		if err := json.Unmarshal([]byte(ask("metadata").do(t, base).Body), into); err != nil {
			t.Fatal(err)
		}
	}
	for _, m := range collector.OwnMetrics { // Prometheus tells nothing of its own ones
		delete(got.Data, m.Name)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("metadata (-prometheus +nocturne):\n%s", d)
	}

	status.Err, status.Duration = "poll web: no answer", 3*time.Second
	if body := ask("targets").do(t, s.URL).Body; !strings.Contains(body, `"health":"down"`) || !strings.Contains(body, `"lastError":"poll web: no answer"`) {
		t.Errorf("down: %s", body)
	}
	status.Partial = true
	if body := ask("targets").do(t, s.URL).Body; !strings.Contains(body, `"health":"up"`) {
		t.Errorf("partial: %s", body)
	}
}
