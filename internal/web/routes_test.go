package web

import (
	"context"
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"

	"nocturne/alerting"
)

// visit is what a route answers to nobody, a viewer and an administrator.
type visit struct {
	path                string
	form                []string
	nobody, viewer, all int
}

const (
	ok    = http.StatusOK
	other = http.StatusSeeOther
	none  = http.StatusNotFound
	no    = http.StatusForbidden
	who   = http.StatusUnauthorized
	wrong = http.StatusBadRequest
)

// visits has a row for each route; patterns that serve several kinds of things
// are visited with one that exists. What changes the estate comes last.
func (e *estate) visits() map[string]visit {
	incident := e.incidentOf("web-lone")
	fingerprint, job := "", ""
	for _, a := range e.Alerts.Alerts() {
		if a.Item == "host/web-broken" && a.Phase == alerting.Firing {
			fingerprint = a.Fingerprint
		}
	}
	for _, j := range e.Jobs.Jobs(100) {
		if j.Hosts[0] == "web-stuck" {
			job = j.ID
		}
	}
	report := e.Inspections.Reports()[0].ID
	seen := func(path string) visit { return visit{path, nil, other, ok, ok} }
	acts := func(path string, form ...string) visit { return visit{path, form, other, no, other} }
	rules := func(path string) visit { return visit{path, nil, other, no, ok} }
	return map[string]visit{
		"GET /static/":        {"/static/nothing.css", nil, none, none, none},
		"GET /metrics":        {"/metrics", nil, ok, ok, ok},
		"GET /healthz":        {"/healthz", nil, ok, ok, ok},
		"GET /readyz":         {"/readyz", nil, ok, ok, ok},
		"GET /login":          {"/login", nil, ok, ok, ok},
		"POST /login":         {"/login", []string{"name", "nobody", "password", "a wrong password"}, who, who, who},
		"POST /logout":        {"/logout", nil, other, other, other},
		"GET /setup":          {"/setup?token=x", nil, ok, ok, ok},
		"POST /setup":         {"/setup", []string{"token", "x", "name", "eve", "password", "long enough", "again", "long enough"}, no, no, no},
		"POST /theme":         {"/theme", []string{"theme", "light", "back", "/jobs"}, other, other, other},
		"GET /{$}":            seen("/"),
		"GET /devices":        seen("/devices"),
		"/":                   {"/no/such/page", nil, none, none, none},
		"GET /live":           {"/live", nil, who, ok, ok},
		"POST /api/v1/write":  {"/api/v1/write", nil, who, no, no}, // no person may: TestOnlyTokensWrite
		"/api/v1/":            {"/api/v1/query?query=1", nil, who, ok, ok},
		"POST /api/v1/admin/": {"/api/v1/admin/tsdb/clean_tombstones", nil, who, no, http.StatusNoContent},
		"PUT /api/v1/admin/":  {"/api/v1/admin/tsdb/delete_series?match[]=nothing", nil, who, no, http.StatusNoContent},
		"OPTIONS /api/v1/":    {"/api/v1/query", nil, http.StatusNoContent, http.StatusNoContent, http.StatusNoContent},
		"GET /federate":       {"/federate?match[]=up", nil, who, ok, ok},
		"GET /-/healthy":      {"/-/healthy", nil, ok, ok, ok},
		"GET /-/ready":        {"/-/ready", nil, ok, ok, ok},
		"GET /racks":          seen("/racks"),
		"GET /topology":       seen("/topology"),
		"GET /alerts":         seen("/alerts"),
		"GET /jobs":           seen("/jobs"),
		"GET /reports":        seen("/reports"),

		"GET /device/{id...}":                   seen("/device/device/leaf1"),
		"GET /rack/{id...}":                     seen("/rack/rack/r01"),
		"GET /alerts/{fingerprint}":             seen("/alerts/" + fingerprint),
		"GET /incidents/{id}":                   seen("/incidents/" + incident),
		"GET /jobs/{id}":                        seen("/jobs/" + job),
		"GET /jobs/new":                         rules("/jobs/new?runbook=restart"),
		"GET /reports/{id}":                     seen("/reports/" + report),
		"GET /inventory":                        seen("/inventory"),
		"GET /inventory/{id...}":                seen("/inventory/rack/r01"),
		"GET /inventory/export":                 seen("/inventory/export"),
		"GET /inventory/import":                 rules("/inventory/import"),
		"GET /admin":                            {"/admin", nil, other, other, other},
		"GET /admin/people":                     rules("/admin/people"),
		"GET /admin/tokens":                     rules("/admin/tokens"),
		"GET /admin/credentials":                rules("/admin/credentials"),
		"GET /admin/audit":                      rules("/admin/audit"),
		"GET /admin/configuration":              rules("/admin/configuration"),
		"POST /admin/configuration/reload":      {"/admin/configuration/reload", nil, other, no, http.StatusConflict}, // there is no file
		"GET /admin/targets":                    seen("/admin/targets"),
		"GET /admin/rules":                      seen("/admin/rules"),
		"GET /admin/about":                      seen("/admin/about"),
		"GET /debug/pprof/":                     rules("/debug/pprof/goroutine?debug=1"),
		"GET /admin/history":                    seen("/admin/history"),
		"GET /admin/appliance":                  seen("/admin/appliance"),
		"POST /maintenance":                     acts("/maintenance", "item", "host/web-ok", "minutes", "5"),
		"POST /maintenance/end":                 acts("/maintenance/end", "item", "host/web-ok"),
		"POST /poll":                            acts("/poll", "target", "web-ok"),
		"POST /alerts/{fingerprint}/ack":        acts("/alerts/"+fingerprint+"/ack", "note", "mine"),
		"POST /alerts/{fingerprint}/close":      {"/alerts/" + fingerprint + "/close", []string{"reason", "gone"}, other, no, http.StatusConflict}, // it is seen
		"POST /jobs":                            acts("/jobs", "runbook", "restart", "host", "web-ok", "p.unit", "x"),
		"POST /jobs/{id}/cancel":                acts("/jobs/" + job + "/cancel"),
		"POST /reports":                         acts("/reports", "inspection", "daily"),
		"POST /inventory/import":                {"/inventory/import", []string{"text", "sites: [{name: third}]"}, other, no, ok},
		"POST /admin/people":                    acts("/admin/people", "name", "zoe", "role", "viewer", "password", "long enough"),
		"POST /admin/people/{name}/role":        acts("/admin/people/vic/role", "role", "viewer"),
		"POST /admin/people/{name}/password":    acts("/admin/people/vic/password", "password", "another long one"),
		"POST /admin/people/{name}/disable":     acts("/admin/people/vic/disable", "disabled", "no"),
		"POST /admin/tokens":                    {"/admin/tokens", []string{"name", "gate", "role", "viewer", "days", ""}, other, no, ok},
		"POST /admin/tokens/{name}/revoke":      acts("/admin/tokens/robot/revoke"),
		"POST /admin/credentials":               acts("/admin/credentials", "kind", "snmp", "name", "new", "version", "2c", "community", "c"),
		"POST /admin/credentials/{name}/delete": acts("/admin/credentials/lab/delete"),
		"POST /admin/key/rotate":                acts("/admin/key/rotate"),
		"POST /admin/audit/verify":              acts("/admin/audit/verify"),
	}
}

// routesOf reads the patterns that routes.go registers, so that no route is
// forgotten here.
func routesOf(t *testing.T) []string {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), "routes.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	ast.Inspect(f, func(n ast.Node) bool {
		call, is := n.(*ast.CallExpr)
		if !is || len(call.Args) < 2 {
			return true
		}
		arg := call.Args[0]
		if sum, is := arg.(*ast.BinaryExpr); is {
			arg = sum.X // "GET " + static.Prefix
		}
		lit, is := arg.(*ast.BasicLit)
		if !is || lit.Kind != token.STRING {
			return true
		}
		pattern, err := strconv.Unquote(lit.Value)
		if err != nil {
			t.Fatal(err)
		}
		if pattern == "GET " {
			pattern = "GET /static/"
		}
		if strings.Contains(pattern, "/") {
			out = append(out, pattern)
		}
		return true
	})
	if len(out) < 50 {
		t.Fatalf("only %d routes were read from routes.go", len(out))
	}
	return out
}

func (v visit) request(method string) *http.Request {
	if method != http.MethodPost {
		return httptest.NewRequest(method, v.path, nil)
	}
	form := url.Values{}
	for i := 0; i < len(v.form); i += 2 {
		form.Add(v.form[i], v.form[i+1])
	}
	r := httptest.NewRequest(method, v.path, strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return r
}

func TestEveryRouteAsksForItsRight(t *testing.T) {
	t.Parallel()
	e := fullEstate(t)
	rows := e.visits()
	// The stream would not end by itself.
	over, end := context.WithCancel(t.Context())
	end()
	visitAs := func(as, method string, v visit) *httptest.ResponseRecorder {
		r := v.request(method)
		if v.path == "/live" {
			r = r.WithContext(over)
		}
		return e.do(as, r)
	}
	routes := routesOf(t)
	slices.SortStableFunc(routes, func(a, b string) int { return lastly(a) - lastly(b) })
	for _, pattern := range routes {
		v, known := rows[pattern]
		if !known {
			t.Errorf("route %q has no row: who may do that?", pattern)
			continue
		}
		delete(rows, pattern)
		method, _, named := strings.Cut(pattern, " ")
		if !named {
			method = http.MethodGet
		}
		for _, turn := range []struct {
			as   string
			want int
		}{{"", v.nobody}, {"vic", v.viewer}, {"ann", v.all}} {
			if pattern == "POST /logout" && turn.as != "" {
				continue // TestSession
			}
			res := visitAs(turn.as, method, v)
			if res.Code != turn.want {
				t.Errorf("%s as %q: %d, want %d: %.300s", pattern, turn.as, res.Code, turn.want, res.Body)
			}
			e.guarded(t, pattern, turn.as, res)
		}
		if res := e.crossOrigin(visitAs, method, v); changes(method) && res.Code != no {
			t.Errorf("%s from another site: %d, want 403", pattern, res.Code)
		}
	}
	for pattern := range rows {
		t.Errorf("there is no route %q any more", pattern)
	}
}

func changes(method string) bool { return method == http.MethodPost || method == http.MethodPut }

// lastly puts those behind that would take something from the others.
func lastly(pattern string) int {
	return slices.IndexFunc([]string{"cancel", "revoke", "delete", "/password"}, func(s string) bool { return strings.Contains(pattern, s) })
}

// crossOrigin sends what a browser sends for a form on another site, with the
// administrator's cookie.
func (e *estate) crossOrigin(visitAs func(string, string, visit) *httptest.ResponseRecorder, method string, v visit) *httptest.ResponseRecorder {
	if !changes(method) {
		return visitAs("ann", http.MethodHead, visit{path: "/healthz"})
	}
	r := v.request(method)
	r.Header.Set("Origin", "https://evil.example")
	r.Header.Set("Sec-Fetch-Site", "cross-site")
	return e.do("ann", r)
}

// guarded looks at the headers that every answer has.
func (e *estate) guarded(t *testing.T, pattern, as string, res *httptest.ResponseRecorder) {
	t.Helper()
	want := appPolicy
	if wall := []string{"GET /racks", "GET /rack/{id...}", "GET /topology"}; slices.Contains(wall, pattern) && res.Code == ok {
		want = wallPolicy
	}
	h := res.Header()
	for name, value := range map[string]string{
		"Content-Security-Policy": want, "X-Content-Type-Options": "nosniff", "Referrer-Policy": "same-origin", "Cross-Origin-Opener-Policy": "same-origin",
	} {
		if h.Get(name) != value {
			t.Errorf("%s as %q: header %s is %q, want %q", pattern, as, name, h.Get(name), value)
		}
	}
	if pattern != "GET /static/" && h.Get("Cache-Control") != "no-store" {
		t.Errorf("%s as %q may be cached: %q", pattern, as, h.Get("Cache-Control"))
	}
	if as == "" && res.Code == other && pattern != "POST /logout" && pattern != "POST /theme" {
		if to := h.Get("Location"); to != "/login" && !strings.HasPrefix(to, "/login?next=%2F") {
			t.Errorf("%s sends nobody to %q", pattern, to)
		}
	}
}

func TestUnknownThingsHaveAPage(t *testing.T) {
	t.Parallel()
	e := openEstate(t, plan{people: true, inventory: "sites: [{name: lab}]"})
	for _, path := range []string{
		"/device/device/none", "/device/x", "/device/", "/rack/rack/none", "/rack/site/lab", "/alerts/none", "/incidents/none", "/jobs/none", "/jobs/new?runbook=none",
		"/reports/none", "/inventory/device/none", "/topology?site=none", "/nothing", "/admin/credentials?kind=none", "/device/device/%2e%2e", "/jobs/a%2Fb",
	} {
		res := e.get("ann", path)
		if res.Code != none || !strings.Contains(res.Body.String(), "<html") || !strings.Contains(res.Body.String(), "404") {
			t.Errorf("GET %s: %d %.200s", path, res.Code, res.Body)
		}
	}
	for path, form := range map[string][]string{
		"/alerts/none/ack": nil, "/alerts/none/close": nil, "/jobs/none/cancel": nil, "/jobs": {"runbook", "none"}, "/reports": {"inspection", "none"}, "/poll": {"target", "none"},
		"/maintenance": {"item", "device/none", "minutes", "5"}, "/admin/people/none/role": {"role", "viewer"}, "/admin/tokens/none/revoke": nil, "/admin/credentials/none/delete": nil,
	} {
		if res := e.post("ann", path, form...); res.Code != none || !strings.Contains(res.Body.String(), "<html") {
			t.Errorf("POST %s: %d %.200s", path, res.Code, res.Body)
		}
	}
	for _, path := range []string{"/api/nothing", "/api/nocturne/v1/nothing", "/api/nocturne/v1/item?id=device/none"} {
		res := e.get("ann", path)
		var problem struct{ Status int }
		if res.Code != none || !strings.HasPrefix(res.Header().Get("Content-Type"), "application/problem+json") || json.Unmarshal(res.Body.Bytes(), &problem) != nil || problem.Status != none {
			t.Errorf("GET %s: %d %s %s", path, res.Code, res.Header().Get("Content-Type"), res.Body)
		}
	}
}

func TestTokensComeByHeader(t *testing.T) {
	t.Parallel()
	e := openEstate(t, plan{people: true})
	res := e.post("ann", "/admin/tokens", "name", "gate", "role", "viewer", "days", "1")
	_, rest, _ := strings.Cut(res.Body.String(), `id="new-token">`)
	secret, _, _ := strings.Cut(rest, "<")
	if secret == "" {
		t.Fatalf("no token is shown: %d", res.Code)
	}
	if strings.Contains(e.get("ann", "/admin/tokens").Body.String(), secret) {
		t.Error("the token is shown a second time")
	}
	ask := func(method, path, token string) int {
		r := httptest.NewRequest(method, path, nil)
		r.Header.Set("Authorization", "Bearer "+token)
		return e.do("", r).Code
	}
	for _, c := range []struct {
		method, path, token string
		want                int
	}{
		{"GET", "/devices", secret, ok}, {"GET", "/api/v1/query?query=1", secret, ok}, {"GET", "/devices", secret + "x", who}, {"GET", "/healthz", "wrong", who},
		{"POST", "/admin/audit/verify", secret, no}, {"GET", "/admin/people", secret, no},
	} {
		if got := ask(c.method, c.path, c.token); got != c.want {
			t.Errorf("%s %s with a token: %d, want %d", c.method, c.path, got, c.want)
		}
	}
	if res := e.post("ann", "/admin/tokens/gate/revoke"); res.Code != other {
		t.Fatalf("revoke: %d", res.Code)
	}
	if got := ask("GET", "/devices", secret); got != who {
		t.Errorf("a revoked token still answers %d", got)
	}
}
