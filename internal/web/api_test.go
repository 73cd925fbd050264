package web

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"nocturne/automation"
	"nocturne/internal/access"
)

// document is the part of an OpenAPI document that the tests look at.
type document struct {
	OpenAPI    string
	Paths      map[string]map[string]operation
	Components struct {
		Schemas         map[string]any
		SecuritySchemes map[string]any
	}
}

type operation struct {
	OperationID string `json:"operationId"`
	Summary     string
	Description string
	Security    []map[string][]string
	Responses   map[string]any
	Parameters  []struct{ Name, In string }
}

func (r *rig) document() (document, string) {
	r.t.Helper()
	status, text := r.ask(r.viewer, "GET", apiRoot+"/openapi.json", nil)
	if status != 200 {
		r.t.Fatalf("%d %s", status, text)
	}
	var d document
	if err := json.Unmarshal([]byte(text), &d); err != nil {
		r.t.Fatal(err)
	}
	return d, text
}

var reference = regexp.MustCompile(`"\$ref":"#/components/schemas/([^"]+)"`)

// TestDocumentIsWhole checks the OpenAPI document's structure: each operation
// is named once, described, secured and answered; each reference leads
// somewhere; each path parameter is declared.
func TestDocumentIsWhole(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	d, text := r.document()
	if !strings.HasPrefix(d.OpenAPI, "3.1") || d.Components.SecuritySchemes["bearer"] == nil || d.Components.SecuritySchemes["cookie"] == nil {
		t.Errorf("version %s, security schemes %v", d.OpenAPI, d.Components.SecuritySchemes)
	}
	names := map[string]string{}
	for path, ops := range d.Paths {
		for method, op := range ops {
			at := method + " " + path
			if names[op.OperationID] != "" || op.OperationID == "" {
				t.Errorf("%s: id %q, as %s", at, op.OperationID, names[op.OperationID])
			}
			names[op.OperationID] = at
			if op.Summary == "" || len(op.Security) != 2 || op.Responses["401"] == nil || op.Responses["403"] == nil {
				t.Errorf("%s: summary %q, security %v, responses %v", at, op.Summary, op.Security, op.Responses)
			}
			if op.Responses["200"] == nil && op.Responses["201"] == nil && op.Responses["204"] == nil {
				t.Errorf("%s: no success", at)
			}
			for _, m := range regexp.MustCompile(`{(\w+)}`).FindAllStringSubmatch(path, -1) {
				if !slices.ContainsFunc(op.Parameters, func(p struct{ Name, In string }) bool { return p.Name == m[1] && p.In == "path" }) {
					t.Errorf("%s: parameter %s is not declared", at, m[1])
				}
			}
		}
	}
	if len(names) < 35 {
		t.Errorf("%d operations", len(names))
	}
	for _, m := range reference.FindAllStringSubmatch(text, -1) {
		if d.Components.Schemas[m[1]] == nil {
			t.Errorf("schema %s is not there", m[1])
		}
	}
	// Fields that come in by embedding are easily lost from a schema.
	for schema, field := range map[string]string{"ItemDetail": "state", "JobDetail": "phase"} {
		if s, ok := d.Components.Schemas[schema].(map[string]any); !ok || s["properties"].(map[string]any)[field] == nil {
			t.Errorf("schema %s does not tell of %s: %v", schema, field, s)
		}
	}
	if status, text := r.ask(r.viewer, "GET", apiRoot+"/openapi.yaml", nil); status != 200 || !strings.Contains(text, "operationId: list-items") {
		t.Errorf("YAML: %d %.80s", status, text)
	}
}

// TestEveryOperationAsksForItsRight calls each operation as nobody, with a
// wrong token and as a viewer, with nothing in the request: who may is told by
// the document's own description.
func TestEveryOperationAsksForItsRight(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	d, _ := r.document()
	viewer := access.Actor{Role: access.Viewer}
	refused := 0
	for path, ops := range d.Paths {
		for method, op := range ops {
			at := strings.ToUpper(method) + " " + path
			url := apiRoot + regexp.MustCompile(`{\w+}`).ReplaceAllString(path, "nothing")
			for _, token := range []string{"", "noc_wrong"} {
				if status, text := r.ask(token, strings.ToUpper(method), url, nil); status != http.StatusUnauthorized || !strings.Contains(text, `"status":401`) {
					t.Errorf("%s with token %q: %d %s", at, token, status, text)
				}
			}
			var right access.Action
			if _, err := fmt.Sscanf(op.Description, "Needs the right to %s", &right); err != nil {
				t.Fatalf("%s: %v", at, err)
			}
			right = access.Action(strings.TrimSuffix(string(right), "."))
			if method != "get" && right == access.View {
				t.Errorf("%s changes something by the right to look", at)
			}
			status, text := r.ask(r.viewer, strings.ToUpper(method), url, nil)
			if viewer.May(right) == (status == http.StatusForbidden) {
				t.Errorf("%s needs %s; a viewer gets %d %s", at, right, status, text)
			}
			if status == http.StatusForbidden {
				refused++
			}
			if status >= 500 {
				t.Errorf("%s: %d %s", at, status, text)
			}
		}
	}
	if refused < 12 {
		t.Errorf("a viewer was refused %d times", refused)
	}
}

// TestAPILooks reads what the rig's world is.
func TestAPILooks(t *testing.T) {
	t.Parallel()
	r := newRig(t).ready()
	type items struct {
		Items []ItemJSON
		Total int
	}
	if got := take[items](r, "GET", "/items?kind=interface&limit=3", nil); len(got.Items) != 3 || got.Total != 8 {
		t.Errorf("interfaces %+v", got)
	}
	if got := take[items](r, "GET", "/items?kind=interface&q=ethernet8&offset=0", nil); got.Total != 1 || got.Items[0].ID != "interface/leaf1/Ethernet8" || got.Items[0].Name != "Ethernet8" {
		t.Errorf("found %+v", got)
	}
	it := take[itemDetail](r, "GET", "/item?id=device/leaf1", nil)
	if it.ID != "device/leaf1" || it.Fields["sysDescr"].Value != "a switch" || len(it.Relations) != 8 {
		t.Errorf("item %+v", it)
	}
	r.until("the host is ok", func() bool { return r.Alerts.Status("host/web-1").State == "ok" })
	if st := take[statusJSON](r, "GET", "/status", nil); st.Items["host/web-1"] != "ok" || st.AsOf["web-1"] == 0 || st.Build != "test" {
		t.Errorf("status %+v", st)
	}
	if me := take[meJSON](r, "GET", "/me", nil); me.Name != "robot" || !me.Token || !slices.Contains(me.May, "administer") {
		t.Errorf("me %+v", me)
	}
	targets := take[struct{ Items []targetJSON }](r, "GET", "/targets?kind=snmp", nil)
	if len(targets.Items) != 1 || targets.Items[0].Interval != 2 || targets.Items[0].Address != "127.0.0.1:161" {
		t.Errorf("targets %+v", targets)
	}
	before := targets.Items[0].Polls
	if got := take[targetJSON](r, "POST", "/targets/leaf1/poll", nil); got.Polls <= before || got.Error != "" {
		t.Errorf("polled %+v after %d polls", got, before)
	}
	r.world.deaf.Store(true)
	if got := take[targetJSON](r, "POST", "/targets/leaf1/poll", nil); !strings.Contains(got.Error, "no answer") {
		t.Errorf("a poll that failed: %+v", got)
	}
	for path, want := range map[string]int{
		"/item?id=device/none": 404, "/item": 422, "/items?limit=0": 422, "/alerts/none": 404, "/incidents/none": 404, "/jobs/none": 404, "/reports/none": 404,
		"/chart?item=device/leaf1&panel=none": 404, "/chart?item=device/leaf1&panel=sent&range=year": 422, "/search": 422, "/nothing": 404, "/jobs/none/output": 404,
	} {
		if status, text := r.ask(r.admin, "GET", apiRoot+path, nil); status != want || !strings.Contains(text, `"detail"`) {
			t.Errorf("%s: %d %s, want %d", path, status, text, want)
		}
	}
	if status, _ := r.ask(r.admin, "POST", apiRoot+"/targets/none/poll", nil); status != 404 {
		t.Errorf("polling what is not there: %d", status)
	}
}

// TestAPIAlertToMaintenance takes one alert through ack, incident and window.
func TestAPIAlertToMaintenance(t *testing.T) {
	t.Parallel()
	r := newRig(t).ready()
	r.world.failed.Store(true)
	type alerts struct{ Items []alertJSON }
	var a alertJSON
	r.until("the alert fires", func() bool {
		got := take[alerts](r, "GET", "/alerts?phase=firing", nil)
		if len(got.Items) == 1 {
			a = got.Items[0]
		}
		return len(got.Items) == 1
	})
	if a.Item != "host/web-1" || a.Severity != "critical" || a.Value != "1" || a.Labels["name"] != "shop.service" {
		t.Errorf("alert %+v", a)
	}
	if got := take[alertJSON](r, "POST", "/alerts/"+a.Fingerprint+"/ack", map[string]string{"note": "seen"}); got.Ack == nil || got.Ack.By != "token:robot" || got.Ack.Note != "seen" {
		t.Errorf("acknowledged %+v", got.Ack)
	}
	if status, text := r.ask(r.admin, "POST", apiRoot+"/alerts/"+a.Fingerprint+"/close", map[string]string{"note": "gone"}); status != 409 || !strings.Contains(text, "resolves by itself") {
		t.Errorf("closing what is seen: %d %s", status, text)
	}
	in := take[incidentStory](r, "GET", "/incidents/"+a.Incident, nil)
	if in.Phase != "open" || len(in.Alerts) != 1 || !strings.Contains(in.Title, "shop.service failed") {
		t.Errorf("incident %+v", in)
	}
	m := take[struct{ ID string }](r, "POST", "/maintenance", map[string]any{"item": "host/web-1", "minutes": 10, "note": "known"})
	if st := r.Alerts.Status("host/web-1").State; st != "maintenance" {
		t.Errorf("in maintenance the host is %s", st)
	}
	take[any](r, "POST", "/maintenance/"+m.ID+"/end", nil)
	if st := r.Alerts.Status("host/web-1").State; st != "critical" {
		t.Errorf("after maintenance the host is %s", st)
	}
	if status, text := r.ask(r.admin, "POST", apiRoot+"/maintenance/"+m.ID+"/end", nil); status != 400 {
		t.Errorf("ended twice: %d %s", status, text)
	}
	if status, _ := r.ask(r.admin, "POST", apiRoot+"/maintenance", map[string]any{"item": "host/none", "minutes": 10}); status != 404 {
		t.Errorf("maintenance of nothing: %d", status)
	}
	hits := take[found](r, "GET", "/search?q=shop", nil)
	if len(hits.Results) != 1 || hits.Results[0].Kind != "alert" || hits.Results[0].State != "critical" {
		t.Errorf("found %+v", hits)
	}
}

func TestAPIRunsJobs(t *testing.T) {
	t.Parallel()
	r := newRig(t).ready()
	books := take[struct{ Items []runbookJSON }](r, "GET", "/runbooks", nil)
	if len(books.Items) != 1 || books.Items[0].Steps[0].Shell != "echo {{word}}" || books.Items[0].Steps[0].Timeout != 60 {
		t.Errorf("runbooks %+v", books)
	}
	j := take[jobDetail](r, "POST", "/jobs", map[string]any{"runbook": "greet", "hosts": []string{"web-1"}, "parameters": map[string]string{"word": "hi"}})
	if j.By != "token:robot" || j.Parameters["word"] != "hi" || len(j.Tasks) != 1 {
		t.Errorf("job %+v", j)
	}
	r.talker.say <- "hi"
	r.talker.say <- "there"
	close(r.talker.say)
	r.until("the job succeeds", func() bool { return take[jobDetail](r, "GET", "/jobs/"+j.ID, nil).Phase == automation.JobSucceeded })
	out := take[struct{ Items []automation.OutputLine }](r, "GET", "/jobs/"+j.ID+"/output?from=2", nil)
	if len(out.Items) != 1 || out.Items[0].Text != "there" {
		t.Errorf("output %+v", out)
	}
	if got := take[struct{ Total int }](r, "GET", "/jobs?phase=succeeded", nil); got.Total != 1 {
		t.Errorf("%d jobs succeeded", got.Total)
	}
	for _, c := range []struct {
		path string
		in   any
		want int
	}{
		{"/jobs/" + j.ID + "/cancel", nil, 409},
		{"/jobs", map[string]any{"runbook": "none", "hosts": []string{"web-1"}}, 404},
		{"/jobs", map[string]any{"runbook": "greet", "hosts": []string{"none"}}, 400},
		{"/jobs", map[string]any{"runbook": "greet", "hosts": []string{}}, 422},
		{"/jobs", map[string]any{"runbook": "greet", "hosts": []string{"web-1"}, "more": 1}, 422},
	} {
		if status, text := r.ask(r.admin, "POST", apiRoot+c.path, c.in); status != c.want {
			t.Errorf("%s %v: %d %s, want %d", c.path, c.in, status, text, c.want)
		}
	}
}

// TestAPIRetryIsOneJob: a client that heard no answer asks again with its key.
func TestAPIRetryIsOneJob(t *testing.T) {
	t.Parallel()
	r := newRig(t).ready()
	start := func(key, word string) (int, string) {
		t.Helper()
		body := strings.NewReader(`{"runbook": "greet", "hosts": ["web-1"], "parameters": {"word": "` + word + `"}}`)
		q, err := http.NewRequest("POST", r.http.URL+apiRoot+"/jobs", body)
		if err != nil {
			t.Fatal(err)
		}
		q.Header.Set("Authorization", "Bearer "+r.admin)
		q.Header.Set("Content-Type", "application/json")
		if key != "" {
			q.Header.Set("Idempotency-Key", key)
		}
		resp, err := r.http.Client().Do(q)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		var j JobJSON
		if resp.StatusCode == http.StatusCreated {
			err = json.NewDecoder(resp.Body).Decode(&j)
		}
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, j.ID
	}
	_, first := start("k-1", "hi")
	if _, again := start("k-1", "hi"); again != first || first == "" {
		t.Errorf("the same key started %q, then %q", first, again)
	}
	if _, third := start("k-2", "hi"); third == first {
		t.Error("another key started the same job")
	}
	if _, bare := start("", "hi"); bare == first {
		t.Error("without a key the same job came")
	}
	if status, _ := start("k-1", "other"); status != http.StatusUnprocessableEntity {
		t.Errorf("the key with other parameters: %d", status)
	}
	if status, _ := start(strings.Repeat("k", 300), "hi"); status != http.StatusUnprocessableEntity {
		t.Errorf("a key of 300 letters: %d", status)
	}
	if got := take[struct{ Total int }](r, "GET", "/jobs", nil); got.Total != 3 {
		t.Errorf("%d jobs, want 3", got.Total)
	}
}

func TestAPIReportsAndLedger(t *testing.T) {
	t.Parallel()
	r := newRig(t).ready()
	rep := take[reportJSON](r, "POST", "/reports", map[string]string{"inspection": "daily"})
	if rep.By != "token:robot" || len(rep.Checks) != 1 || rep.Checks[0].Verdict != "pass" || len(rep.Checks[0].Rows) != 2 || rep.Hash == "" {
		t.Errorf("report %+v", rep)
	}
	if got := take[reportJSON](r, "GET", "/reports/"+rep.ID, nil); got.Hash != rep.Hash {
		t.Errorf("read again %+v", got)
	}
	if got := take[struct{ Items []inspectionJSON }](r, "GET", "/inspections", nil); len(got.Items) != 1 || got.Items[0].Next == nil {
		t.Errorf("inspections %+v", got)
	}
	entries := take[struct {
		Items []struct{ Kind, Actor, Hash string }
		Total int
	}](r, "GET", "/ledger?kind=report", nil)
	if len(entries.Items) != 1 || entries.Items[0].Hash != rep.Hash || entries.Total < 4 {
		t.Errorf("ledger %+v", entries)
	}
	if v := take[verifiedJSON](r, "POST", "/ledger/verify", nil); v.Broken != "" || v.Entries < 4 {
		t.Errorf("verified %+v", v)
	}
}

func TestAPIInventoryRoundTrip(t *testing.T) {
	t.Parallel()
	r := newRig(t).ready()
	status, exported := r.ask(r.viewer, "GET", apiRoot+"/inventory", nil)
	if status != 200 || !strings.Contains(exported, "leaf1") {
		t.Fatalf("export: %d %.200s", status, exported)
	}
	got := take[importJSON](r, "POST", "/inventory?name=lab.yaml", rigInventory)
	if !slices.Equal(got.Created, []string{"site/lab"}) {
		t.Errorf("imported %+v", got)
	}
	if _, ok := r.Graph.Item("site/lab"); !ok {
		t.Error("the site is not there")
	}
	if again := take[importJSON](r, "POST", "/inventory", rigInventory); len(again.Created)+len(again.Changed) != 0 || again.Unchanged == 0 {
		t.Errorf("imported again %+v", again)
	}
	status, text := r.ask(r.admin, "POST", apiRoot+"/inventory?name=lab.yaml", "items:\n- {id: site/x, nmae: X}\n")
	if status != 400 || !strings.Contains(text, "lab.yaml:2") {
		t.Errorf("a fault: %d %s", status, text)
	}
}

func TestAPIAdministers(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	add := map[string]string{"name": "max", "role": "viewer", "password": "a long enough password"}
	if p := take[personJSON](r, "POST", "/people", add); p.Name != "max" || p.Role != access.Viewer {
		t.Errorf("added %+v", p)
	}
	if status, _ := r.ask(r.admin, "POST", apiRoot+"/people", add); status != 409 {
		t.Errorf("added twice: %d", status)
	}
	if p := take[personJSON](r, "PATCH", "/people/max", map[string]any{"role": "administrator", "disabled": true}); p.Role != access.Administrator || !p.Disabled {
		t.Errorf("changed %+v", p)
	}
	if status, text := r.ask(r.admin, "PATCH", apiRoot+"/people/ann", map[string]any{"disabled": true}); status != 409 {
		t.Errorf("the last administrator: %d %s", status, text)
	}
	_, listed := r.ask(r.admin, "GET", apiRoot+"/people", nil)
	if strings.Contains(strings.ToLower(listed), "hash") || strings.Contains(listed, "password") || !strings.Contains(listed, "max") {
		t.Error(listed)
	}
	made := take[madeToken](r, "POST", "/tokens", map[string]any{"name": "cron", "role": "viewer", "expires": time.Now().Add(time.Hour)})
	if status, _ := r.ask(made.Token, "GET", apiRoot+"/me", nil); status != 200 {
		t.Errorf("the new token: %d", status)
	}
	if _, text := r.ask(r.admin, "GET", apiRoot+"/tokens", nil); strings.Contains(text, made.Token) || !strings.Contains(text, `"cron"`) {
		t.Error(text)
	}
	if status, text := r.ask(r.admin, "DELETE", apiRoot+"/tokens/cron", nil); status != 204 {
		t.Errorf("revoked: %d %s", status, text)
	}
	if status, _ := r.ask(made.Token, "GET", apiRoot+"/me", nil); status != 401 {
		t.Errorf("the revoked token: %d", status)
	}
}

func TestSearchRanks(t *testing.T) {
	t.Parallel()
	r := newRig(t).ready()
	for q, want := range map[string]string{"leaf1": "device/leaf1", "WEB": "host/web-1", "ethernet 8": "interface/leaf1/Ethernet8", "127.0.0.1:22": "host/web-1"} {
		if got := r.search(q); len(got) == 0 || got[0].ID != want || got[0].Href == "" || got[0].State == "" {
			t.Errorf("%s: %+v, want %s first", q, got, want)
		}
	}
	if got := r.search("leaf1 nothing"); got == nil || len(got) != 0 {
		t.Errorf("found %+v", got)
	}
}

func TestHealth(t *testing.T) {
	t.Parallel()
	r := newRig(t).ready()
	if status, text := r.ask("", "GET", "/healthz", nil); status != 200 || !strings.Contains(text, `"ok"`) {
		t.Errorf("healthz: %d %s", status, text)
	}
	r.until("a rule was evaluated and the history synced", func() bool {
		return !r.Alerts.Rules()[0].LastEval.IsZero() && !r.History.Stats().LastSync.IsZero()
	})
	if status, text := r.ask("", "GET", "/readyz", nil); status != 200 {
		t.Errorf("readyz: %d %s", status, text)
	}
	faults := strings.Join(r.notReady(time.Now().Add(time.Hour)), "; ")
	for _, part := range []string{"history:", "alerting:", "collector:"} {
		if !strings.Contains(faults, part) {
			t.Errorf("an hour of standstill: %q does not name %s", faults, part)
		}
	}
}
