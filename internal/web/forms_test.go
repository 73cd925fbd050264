package web

import (
	"bytes"
	"cmp"
	"encoding/json"
	"html"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"nocturne/collector"
	"nocturne/internal/access"
	"nocturne/internal/cloudconn"
	"nocturne/internal/ledger"
	"nocturne/internal/secret"
	"nocturne/internal/snmpconn"
	"nocturne/internal/sshconn"
)

// shows expects a refused form: its status, texts that are shown and texts
// that are not.
func shows(t *testing.T, what string, res *httptest.ResponseRecorder, status int, want, never []string) {
	t.Helper()
	page := html.UnescapeString(res.Body.String())
	if res.Code != status {
		t.Errorf("%s: %d, want %d: %.200s", what, res.Code, status, page)
	}
	for _, text := range want {
		if !strings.Contains(page, text) {
			t.Errorf("%s: %q is not on the page", what, text)
		}
	}
	for _, text := range never {
		if strings.Contains(page, text) {
			t.Errorf("%s: %q is on the page", what, text)
		}
	}
	sound(t, what, res)
}

func TestSetupHappensOnce(t *testing.T) {
	t.Parallel()
	e := openEstate(t, plan{})
	if page := e.get("", "/setup?token="+e.setupLink).Body.String(); !strings.Contains(page, "First administrator") || !strings.Contains(page, e.setupLink) {
		t.Error("the set-up page has no form")
	}
	form := func(token, name, password, again string) *httptest.ResponseRecorder {
		return e.post("", "/setup", "token", token, "name", name, "password", password, "again", again)
	}
	shows(t, "passwords that differ", form(e.setupLink, "ann", "correct horse", "wrong horse"), wrong, []string{"differ", `value="ann"`, e.setupLink}, []string{"correct horse", "wrong horse"})
	shows(t, "a weak password", form(e.setupLink, "ann", "short", "short"), wrong, []string{"password has", `value="ann"`}, []string{`value="short"`})
	shows(t, "a name that cannot be", form(e.setupLink, "an n/", "correct horse", "correct horse"), wrong, []string{"a name has", `value="an n/"`}, nil)
	shows(t, "a wrong token", form("guess", "ann", "correct horse", "correct horse"), no, []string{"spent"}, nil)
	if people, err := e.Access.People(); err != nil || len(people) != 0 {
		t.Fatalf("somebody exists after refused forms: %v, %v", people, err)
	}
	res := form(e.setupLink, "ann", "correct horse", "correct horse")
	if res.Code != other || res.Header().Get("Location") != "/" {
		t.Fatalf("set-up: %d %s", res.Code, res.Body)
	}
	cookie := sessionOf(t, res)
	if !cookie.HttpOnly || cookie.SameSite != http.SameSiteLaxMode || cookie.Path != "/" || cookie.Domain != "" {
		t.Errorf("session cookie %+v", cookie)
	}
	e.sessions["ann"] = cookie.Value
	if res := e.get("ann", "/"); res.Code != ok || !strings.Contains(res.Body.String(), "ann") {
		t.Errorf("the first page of the first administrator: %d", res.Code)
	}
	shows(t, "the link a second time", form(e.setupLink, "eve", "correct horse", "correct horse"), no, []string{"spent"}, nil)
	shows(t, "the page a second time", e.get("", "/setup?token="+e.setupLink), ok, []string{"spent"}, []string{"First administrator"})
}

func sessionOf(t *testing.T, res *httptest.ResponseRecorder) *http.Cookie {
	t.Helper()
	for _, c := range res.Result().Cookies() {
		if c.Name == sessionCookie {
			return c
		}
	}
	t.Fatalf("no session cookie: %d %v", res.Code, res.Header())
	return nil
}

func TestSession(t *testing.T) {
	t.Parallel()
	e := openEstate(t, plan{people: true})
	shows(t, "a wrong password", e.post("", "/login", "name", "ann", "password", "wrong horse", "next", "/jobs"), who, []string{"is wrong", `value="ann"`, `value="/jobs"`}, []string{"wrong horse"})
	shows(t, "a wrong name", e.post("", "/login", "name", "nobody", "password", "wrong horse"), who, []string{"is wrong"}, nil)
	for next, to := range map[string]string{
		"/jobs?phase=failed": "/jobs?phase=failed", "": "/", "//evil.example": "/", "https://evil.example/": "/", `/\evil.example`: "/", "javascript:alert(1)": "/",
		"evil": "/", "/\t/evil.example": "/", "/a\r\nX-Bad: 1": "/", "http:evil.example": "/", "///evil.example": "/", "/%5Cevil.example": "/%5Cevil.example",
	} {
		res := e.post("", "/login", "name", "vic", "password", "stapled to the wall", "next", next)
		if got := res.Header().Get("Location"); res.Code != other || got != to {
			t.Errorf("next %q leads to %q (%d), want %q", next, got, res.Code, to)
		}
	}
	if got := e.get("", "/jobs?phase=failed").Header().Get("Location"); got != "/login?next=%2Fjobs%3Fphase%3Dfailed" {
		t.Errorf("nobody is sent to %q", got)
	}
	res := e.post("vic", "/logout")
	if c := sessionOf(t, res); c.MaxAge >= 0 || c.Value != "" {
		t.Errorf("the cookie stays: %+v", c)
	}
	if got := e.get("vic", "/jobs").Code; got != other {
		t.Errorf("a session that was ended answers %d", got)
	}
	if e.post("ann", "/admin/people/vic/disable", "disabled", "yes").Code != other || e.post("", "/login", "name", "vic", "password", "stapled to the wall").Code != who {
		t.Error("who is disabled can sign in")
	}
}

func TestSignInLocks(t *testing.T) {
	t.Parallel()
	e := openEstate(t, plan{people: true})
	status := 0
	for range 50 {
		if status = e.post("", "/login", "name", "vic", "password", "a guess of it").Code; status != who {
			break
		}
	}
	if status != http.StatusTooManyRequests {
		t.Fatalf("50 wrong passwords end with %d", status)
	}
	shows(t, "the right password while locked", e.post("", "/login", "name", "vic", "password", "stapled to the wall"), http.StatusTooManyRequests, []string{"too many"}, nil)
}

func TestFormsOfPeople(t *testing.T) {
	t.Parallel()
	e := openEstate(t, plan{people: true})
	add := func(name, role, password string) *httptest.ResponseRecorder {
		return e.post("ann", "/admin/people", "name", name, "role", role, "password", password)
	}
	shows(t, "a weak password", add("zoe", "administrator", "short"), wrong, []string{"password has", `value="zoe"`, `value="administrator" selected`}, []string{`value="short"`})
	shows(t, "a name that is taken", add("vic", "viewer", "long enough"), wrong, []string{"exists", `value="vic"`}, []string{"long enough"})
	shows(t, "a role that is none", add("zoe", "king", "long enough"), wrong, []string{"king"}, nil)
	shows(t, "the last administrator", e.post("ann", "/admin/people/ann/role", "role", "viewer"), wrong, []string{"last"}, nil)
	shows(t, "shutting oneself out", e.post("ann", "/admin/people/ann/disable", "disabled", "yes"), wrong, []string{"last"}, nil)
	if res := add("zoe", "administrator", "long enough"); res.Code != other {
		t.Fatalf("add: %d", res.Code)
	}
	if res := e.post("ann", "/admin/people/vic/password", "password", "another wall"); res.Code != other || e.get("vic", "/").Code != other {
		t.Error("a new password leaves the old session")
	}
	token := func(name, role, days string) *httptest.ResponseRecorder {
		return e.post("ann", "/admin/tokens", "name", name, "role", role, "days", days)
	}
	shows(t, "days that are no number", token("gate", "administrator", "soon"), wrong, []string{"whole number", `value="gate"`, `value="soon"`, `value="administrator" selected`}, nil)
	shows(t, "a token's bad name", token("ga te", "viewer", "9"), wrong, []string{"a name has", `value="ga te"`, `value="9"`}, nil)
	shows(t, "a token for ever", token("gate", "viewer", ""), ok, []string{access.TokenPrefix, "never"}, nil)
	entries, err := e.Ledger.Latest(20, ledger.Audit)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"zoe", "vic", "gate"} {
		if !slices.ContainsFunc(entries, func(x ledger.Entry) bool { return x.Actor == "person:ann" && strings.Contains(x.Subject, want) }) {
			t.Errorf("the ledger does not say what ann did to %s", want)
		}
	}
}

// TestCredentialsAreReadByTheirPackages seals one of each kind through its
// form and opens it as the connection does.
func TestCredentialsAreReadByTheirPackages(t *testing.T) {
	t.Parallel()
	e := openEstate(t, plan{people: true, targets: []collector.Target{{Name: "leaf1", Kind: "snmp", Credential: "v3", Interval: time.Minute}}})
	put := func(kv ...string) *httptest.ResponseRecorder { return e.post("ann", "/admin/credentials", kv...) }
	shows(t, "no kind", put("name", "x"), wrong, []string{"kind snmp, ssh or openstack"}, nil)
	shows(t, "a missing field", put("kind", "ssh", "name", "door", "user", "root"), wrong, []string{"Private key", "missing", `value="door"`, `value="root"`}, nil)
	shows(t, "a version that is none", put("kind", "snmp", "name", "v3", "version", "4", "community", "hush-hush"), wrong, []string{"version is", `value="v3"`}, []string{"hush-hush"})
	shows(t, "a bad name", put("kind", "snmp", "name", "a b", "version", "2c", "community", "hush-hush"), wrong, []string{`value="a b"`}, []string{"hush-hush"})
	for _, form := range [][]string{
		{"kind", "snmp", "name", "v3", "version", "3", "user", "u", "auth_protocol", "SHA256", "auth_passphrase", "hush-auth", "priv_protocol", "AES", "priv_passphrase", "hush-priv", "context", "c"},
		{"kind", "ssh", "name", "door", "user", "root", "private_key", "line 1\nline 2\n", "passphrase", "hush-key"},
		{"kind", "openstack", "name", "cloud", "auth_url", "https://k/v3", "username", "u", "password", "hush-pw", "project", "p", "user_domain", "ud", "project_domain", "pd", "region", "r", "application_credential_id", "id", "application_credential_secret", "hush-ac"},
	} {
		if res := put(form...); res.Code != other {
			t.Fatalf("%v: %d %s", form[:4], res.Code, res.Body)
		}
	}
	shows(t, "the list", e.get("ann", "/admin/credentials"), ok, []string{"v3", "door", "cloud"}, []string{"hush-", "line 1"})
	var (
		v3    snmpconn.Credential
		door  sshconn.Credential
		cloud cloudconn.Credential
	)
	for name, into := range map[string]any{"v3": &v3, "door": &door, "cloud": &cloud} {
		if _, err := e.Access.Vault().Open(name, into); err != nil {
			t.Fatal(err)
		}
	}
	if want := (snmpconn.Credential{Version: "3", User: "u", AuthProtocol: "SHA256", AuthPassphrase: "hush-auth", PrivProtocol: "AES", PrivPassphrase: "hush-priv", Context: "c"}); v3 != want {
		t.Errorf("snmp: %s", revealed(t, v3))
	}
	if want := (sshconn.Credential{User: "root", PrivateKey: "line 1\nline 2\n", Passphrase: "hush-key"}); door != want {
		t.Errorf("ssh: %s", revealed(t, door))
	}
	want := cloudconn.Credential{
		AuthURL: "https://k/v3", Username: "u", Password: "hush-pw", Project: "p", UserDomain: "ud", ProjectDomain: "pd", Region: "r",
		ApplicationCredentialID: "id", ApplicationCredentialSecret: "hush-ac",
	}
	if cloud != want {
		t.Errorf("openstack: %s", revealed(t, cloud))
	}
	if res := e.post("ann", "/admin/credentials/door/delete"); res.Code != other {
		t.Errorf("delete: %d", res.Code)
	}
	e.nothingLeaks(t, "hush-")
}

func revealed(t *testing.T, v any) string {
	t.Helper()
	b, err := secret.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// nothingLeaks looks for a secret in the ledger and in the files of the state.
func (e *estate) nothingLeaks(t *testing.T, hidden string) {
	t.Helper()
	for entry, err := range e.Ledger.Read(1) {
		if err != nil {
			t.Fatal(err)
		}
		if b, err := json.Marshal(entry); err != nil || bytes.Contains(b, []byte(hidden)) {
			t.Errorf("ledger entry %d holds a secret (%v)", entry.Seq, err)
		}
	}
	files, err := filepath.Glob(filepath.Join(e.dir, "state", "*"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no files of the state: %v", err)
	}
	for _, f := range files {
		if b, err := os.ReadFile(f); err != nil || bytes.Contains(b, []byte(hidden)) {
			t.Errorf("%s holds a secret (%v)", f, err)
		}
	}
}

func TestFormOfMaintenance(t *testing.T) {
	t.Parallel()
	e := openEstate(t, plan{people: true, inventory: nastyInventory()})
	begin := func(item, minutes, note string) *httptest.ResponseRecorder {
		return e.post("ann", "/maintenance", "item", item, "minutes", minutes, "note", note)
	}
	for _, minutes := range []string{"", "soon", "0", "-5", "43201", "99999999999999999999"} {
		shows(t, "minutes "+minutes, begin("host/web-kept", minutes, "why so"), wrong, []string{"whole number", `value="why so"`, `value="` + cmp.Or(minutes, "60") + `"`}, nil)
	}
	shows(t, "a long note", begin("host/web-kept", "7", strings.Repeat("x", maxNote+1)), wrong, []string{"longer than", `value="7"`}, nil)
	if len(e.Alerts.Maintenances()) != 0 {
		t.Fatal("a refused form began maintenance")
	}
	if res := begin("host/web-kept", "7", "why so"); res.Code != other || res.Header().Get("Location") != "/device/host/web-kept" {
		t.Fatalf("begin: %d to %q", res.Code, res.Header().Get("Location"))
	}
	shows(t, "the device", e.get("vic", "/device/host/web-kept"), ok, []string{"why so", `data-state="maintenance"`}, nil)
	if res := e.post("ann", "/maintenance/end", "item", "host/web-kept"); res.Code != other || strings.Contains(e.get("vic", "/device/host/web-kept").Body.String(), `class="hero" data-item="host/web-kept" data-state="maintenance"`) {
		t.Errorf("end: %d, or the page still says maintenance", res.Code)
	}
	if res := begin("rack/r02", "7", ""); res.Code != other || res.Header().Get("Location") != "/rack/rack/r02" {
		t.Fatalf("begin on a rack: %d to %q", res.Code, res.Header().Get("Location"))
	}
	if res := e.post("ann", "/maintenance/end", "item", "host/web-kept"); res.Code != wrong || !strings.Contains(res.Body.String(), "end it there") {
		t.Errorf("end of another's maintenance: %d", res.Code)
	}
	entries, err := e.Ledger.Latest(1, "")
	if err != nil || len(entries) != 1 || entries[0].Actor != "person:ann" || entries[0].Subject != "rack/r02" {
		t.Errorf("the ledger's newest entry is %+v, %v", entries, err)
	}
}

func TestFormOfJobs(t *testing.T) {
	t.Parallel()
	e := openEstate(t, plan{people: true, runbook: estateRunbook, targets: []collector.Target{
		{Name: "web-ok", Kind: "linux", Interval: time.Minute}, {Name: "db-1", Kind: "linux", Interval: time.Minute}, {Name: "leaf1", Kind: "snmp", Interval: time.Minute},
	}})
	shows(t, "the form", e.get("ann", "/jobs/new?runbook=restart&host=web-ok&p.unit=shop"), ok,
		[]string{`name="p.unit"`, `value="shop"`, `name="p.level"`, `value="3"`, `value="web-ok" checked`, "systemctl restart {{unit}}"}, []string{`value="leaf1"`, "p.p."})
	start := func(kv ...string) *httptest.ResponseRecorder {
		return e.post("ann", "/jobs", append([]string{"runbook", "restart"}, kv...)...)
	}
	shows(t, "a missing parameter", start("host", "web-ok", "p.level", "7"), wrong, []string{"unit", `value="7"`, `value="web-ok" checked`}, nil)
	shows(t, "a value against the pattern", start("host", "web-ok", "p.unit", "typed unit", "p.level", "x"), wrong, []string{"level", `value="typed unit"`, `value="x"`}, nil)
	shows(t, "a parameter that nobody declared", start("host", "web-ok", "p.unit", "x", "p.evil", "1"), wrong, []string{"evil"}, nil)
	shows(t, "a host that is none", start("host", "db-1", "p.unit", "x"), wrong, []string{"db-1", `value="db-1" checked`}, nil)
	shows(t, "no host", start("p.unit", "typed unit"), wrong, []string{"host", `value="typed unit"`}, nil)
	if len(e.Jobs.Jobs(10)) != 0 {
		t.Fatal("a refused form started a job")
	}
	if res := start("host", "web-ok", "p.unit", nastyQuotes, "p.level", "4"); res.Code != other {
		t.Fatalf("start: %d %s", res.Code, res.Body)
	}
	jobs := e.Jobs.Jobs(10)
	if len(jobs) != 1 || jobs[0].By != "person:ann" || jobs[0].Parameters["unit"] != nastyQuotes || jobs[0].Parameters["level"] != "4" {
		t.Errorf("jobs: %+v", jobs)
	}
}

// TestFormSentTwiceIsOneJob: a double click, and a form sent again, start one
// job; the same form changed, or a fresh one, another.
func TestFormSentTwiceIsOneJob(t *testing.T) {
	t.Parallel()
	e := openEstate(t, plan{people: true, runbook: estateRunbook, targets: []collector.Target{{Name: "web-ok", Kind: "linux", Interval: time.Minute}}})
	form := func() string {
		m := regexp.MustCompile(`name="key" value="([^"]{20,})"`).FindStringSubmatch(e.get("ann", "/jobs/new?runbook=restart&host=web-ok").Body.String())
		if m == nil {
			t.Fatal("the form has no key of its own")
		}
		return m[1]
	}
	key := form()
	if again := form(); again == key {
		t.Error("two forms have one key")
	}
	start := func(key, unit string) string {
		res := e.post("ann", "/jobs", "key", key, "runbook", "restart", "host", "web-ok", "p.unit", unit, "p.level", "4")
		if res.Code != other {
			t.Errorf("start: %d %s", res.Code, res.Body)
		}
		return res.Header().Get("Location")
	}
	got := make([]string, 4)
	var wg sync.WaitGroup
	for i := range got {
		wg.Go(func() { got[i] = start(key, "shop") })
	}
	wg.Wait()
	if jobs := e.Jobs.Jobs(10); len(jobs) != 1 || len(slices.Compact(got)) != 1 {
		t.Fatalf("one form sent four times led to %q; there are %d jobs", got, len(jobs))
	}
	if changed := start(key, "till"); changed == got[0] {
		t.Error("a form that was changed leads to the job before")
	}
	if fresh := start(form(), "shop"); fresh == got[0] {
		t.Error("another form leads to the job before")
	}
	if jobs := e.Jobs.Jobs(10); len(jobs) != 3 {
		t.Errorf("%d jobs, want 3", len(jobs))
	}
}

func TestFormOfImport(t *testing.T) {
	t.Parallel()
	e := openEstate(t, plan{people: true})
	file := func(name, text string) *httptest.ResponseRecorder {
		var b bytes.Buffer
		w := multipart.NewWriter(&b)
		part, err := w.CreateFormFile("file", name)
		if err == nil {
			_, err = part.Write([]byte(text))
		}
		if err == nil {
			err = w.Close()
		}
		if err != nil {
			t.Fatal(err)
		}
		r := httptest.NewRequest(http.MethodPost, "/inventory/import", &b)
		r.Header.Set("Content-Type", w.FormDataContentType())
		return e.do("ann", r)
	}
	const faulty = "sites:\n- name: lab\n  colour: red\n  rooms:\n  - name: hall\n    racks:\n    - {name: r01, units: much}\n"
	shows(t, "a faulty file", file("hall<b>.yaml", faulty), wrong, []string{":3", "sites[0].colour", ":7", "sites[0].rooms[0].racks[0].units", "colour: red", "hall<b>.yaml"}, nil)
	shows(t, "no YAML", file("x.yaml", "\x00\xff: ["), wrong, []string{"x.yaml"}, nil)
	shows(t, "nothing", e.post("ann", "/inventory/import", "text", "  \n"), wrong, []string{"choose a file"}, nil)
	shows(t, "too much", file("big.yaml", strings.Repeat("# filler\n", maxBody/8)), wrong, []string{"larger than 4 MiB"}, nil)
	e.MaxBody = 1 << 20
	shows(t, "too much by configuration", file("big.yaml", strings.Repeat("# filler\n", 1<<20/8)), wrong, []string{"larger than 1 MiB"}, nil)
	if got := e.Graph.Items(""); len(got) != 0 {
		t.Fatalf("a refused file left %v", got)
	}
	shows(t, "a good file", file("hall.yaml", "sites: [{name: lab, rooms: [{name: hall}]}]"), ok, []string{"hall.yaml", "2 added"}, nil)
	shows(t, "typed text", e.post("ann", "/inventory/import", "text", "sites: [{name: lab, title: Lab}]"), ok, []string{"1 changed"}, nil)
	entries, err := e.Ledger.Latest(1, ledger.Audit)
	if err != nil || entries[0].Action != "inventory.import" || entries[0].Actor != "person:ann" {
		t.Errorf("the ledger's newest entry is %+v, %v", entries, err)
	}
	export := e.get("vic", "/inventory/export")
	if export.Code != ok || !strings.Contains(export.Body.String(), "title: Lab") || !strings.Contains(export.Header().Get("Content-Disposition"), "attachment") {
		t.Errorf("export: %d %v %s", export.Code, export.Header(), export.Body)
	}
	if res := e.post("ann", "/inventory/import", "text", export.Body.String()); res.Code != ok || !strings.Contains(res.Body.String(), "2 unchanged") {
		t.Errorf("the export does not come in again: %d", res.Code)
	}
}

func TestThemeStays(t *testing.T) {
	t.Parallel()
	e := openEstate(t, plan{people: true})
	res := e.post("vic", "/theme", "theme", "light", "back", "//evil.example")
	if res.Header().Get("Location") != "/" {
		t.Errorf("theme leads to %q", res.Header().Get("Location"))
	}
	r := httptest.NewRequest(http.MethodGet, "/jobs", nil)
	for _, c := range res.Result().Cookies() {
		r.AddCookie(c)
	}
	if page := e.do("vic", r).Body.String(); !strings.Contains(page, `data-theme="light"`) {
		t.Error("the page is not light")
	}
}
