package web

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

// TestPrometheusClientNeedsAddressAndToken asks what a client of Prometheus
// asks of the site, with no more than a token: as a bearer, and as the
// password of basic authentication.
func TestPrometheusClientNeedsAddressAndToken(t *testing.T) {
	t.Parallel()
	e := openEstate(t, plan{people: true})
	res := e.post("ann", "/admin/tokens", "name", "grafana", "role", "viewer", "days", "1")
	_, rest, _ := strings.Cut(res.Body.String(), `id="new-token">`)
	secret, _, _ := strings.Cut(rest, "<")
	if secret == "" {
		t.Fatalf("no token is shown: %d", res.Code)
	}
	bearer := func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+secret) }
	lower := func(r *http.Request) { r.Header.Set("Authorization", "bearer "+secret) }
	basic := func(r *http.Request) { r.SetBasicAuth("grafana", secret) }
	anyName := func(r *http.Request) { r.SetBasicAuth("", secret) }
	wrong := func(r *http.Request) { r.SetBasicAuth("grafana", secret+"x") }
	asName := func(r *http.Request) { r.SetBasicAuth(secret, "") }
	nobody := func(*http.Request) {}
	ask := func(auth func(*http.Request), method, path, form string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(method, path, strings.NewReader(form))
		if method == http.MethodPost {
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		}
		auth(r)
		return e.do("", r)
	}
	sum := url.Values{"query": {"1+1"}, "time": {"4"}}.Encode()
	for _, auth := range []func(*http.Request){bearer, lower, basic, anyName} {
		for path, want := range map[string]string{
			"/api/v1/status/buildinfo": `"version":"3.15.0"`, "/api/v1/metadata": `"success"`, "/api/v1/targets": `"activeTargets"`, "/api/v1/rules": `"groups"`,
			"/api/v1/alerts": `"alerts"`, "/api/v1/status/tsdb": `"headStats"`, "/api/v1/status/config": `"yaml"`, "/api/v1/status/flags": `"query.max-samples"`,
			"/api/v1/status/runtimeinfo": `"serverTime"`, "/federate?match[]=up": "",
		} {
			if got := ask(auth, "GET", path, ""); got.Code != ok || !strings.Contains(got.Body.String(), want) {
				t.Errorf("GET %s: %d %.300s", path, got.Code, got.Body)
			}
		}
		if got := ask(auth, "POST", "/api/v1/query", sum); got.Code != ok || got.Body.String() != `{"status":"success","data":{"resultType":"scalar","result":[4,"2"]}}` {
			t.Errorf("health check: %d %s", got.Code, got.Body)
		}
	}
	for _, auth := range []func(*http.Request){wrong, asName, nobody} {
		for _, path := range []string{"/api/v1/query?query=1", "/federate?match[]=up", "/api/v1/status/config", "/api/v1/nothing"} {
			if got := ask(auth, "GET", path, ""); got.Code != who || got.Header().Get("WWW-Authenticate") == "" {
				t.Errorf("GET %s with a wrong token or none: %d", path, got.Code)
			}
		}
	}
	// What is asked before there is a token, and by a page of another site.
	for _, path := range []string{"/-/healthy", "/-/ready"} {
		if got := ask(nobody, "GET", path, ""); got.Code != ok {
			t.Errorf("GET %s: %d %s", path, got.Code, got.Body)
		}
	}
	fromElsewhere := func(r *http.Request) {
		r.Header.Set("Origin", "https://elsewhere.example")
		r.Header.Set("Sec-Fetch-Site", "cross-site")
	}
	if got := ask(fromElsewhere, "OPTIONS", "/api/v1/query_range", ""); got.Code != http.StatusNoContent || got.Header().Get("Access-Control-Allow-Origin") == "" {
		t.Errorf("preflight: %d %v", got.Code, got.Header())
	}
	both := func(r *http.Request) { bearer(r); fromElsewhere(r) }
	if got := ask(both, "POST", "/api/v1/query", sum); got.Code != ok || got.Header().Get("Access-Control-Allow-Credentials") != "" {
		t.Errorf("POST from elsewhere: %d %s", got.Code, got.Body)
	}
	if got := ask(both, "POST", "/admin/tokens", "name=x"); got.Code != no {
		t.Errorf("a form from elsewhere: %d", got.Code)
	}
}
