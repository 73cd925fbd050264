package web

import (
	"fmt"
	"html"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"nocturne/alerting"
	"nocturne/automation"
	"nocturne/views/ui"
)

// tag is one start tag of a page.
type tag struct {
	name  string
	attrs map[string]string
}

// tagsOf reads the tags of a page strictly: what a name broke out of shows as a
// tag or an attribute that the page does not have.
func tagsOf(page string) ([]tag, error) {
	var out []tag
	for i := 0; i < len(page); {
		at := strings.IndexByte(page[i:], '<')
		if at < 0 {
			break
		}
		i += at + 1
		switch {
		case strings.HasPrefix(page[i:], "!--"):
			end := strings.Index(page[i:], "-->")
			if end < 0 {
				return out, fmt.Errorf("a comment without an end")
			}
			i += end
			continue
		case i < len(page) && (page[i] == '/' || page[i] == '!'):
			continue
		case i >= len(page) || !letter(page[i]):
			return out, fmt.Errorf("a bare < before %.60q", page[i:])
		}
		t, n, err := readTag(page[i:])
		if err != nil {
			return out, err
		}
		out, i = append(out, t), i+n
		if t.name == "script" {
			text, _, _ := strings.Cut(page[i:], "</script>")
			t.attrs["#text"] = text
			i += len(text)
		}
	}
	return out, nil
}

func letter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }

func readTag(s string) (tag, int, error) {
	name := func(i int) int {
		for i < len(s) && !strings.ContainsRune(" \t\r\n=/>\"'<", rune(s[i])) {
			i++
		}
		return i
	}
	i := name(0)
	t := tag{s[:i], map[string]string{}}
	for {
		for i < len(s) && strings.ContainsRune(" \t\r\n/", rune(s[i])) {
			i++
		}
		if i >= len(s) {
			return t, i, fmt.Errorf("tag %s has no end", t.name)
		}
		if s[i] == '>' {
			return t, i + 1, nil
		}
		end := name(i)
		if end == i {
			return t, i, fmt.Errorf("tag %s holds %.60q", t.name, s[i:])
		}
		key := s[i:end]
		i = end
		if i >= len(s) || s[i] != '=' {
			t.attrs[key] = ""
			continue
		}
		quote := s[i+1]
		if quote != '"' && quote != '\'' {
			return t, i, fmt.Errorf("tag %s: attribute %s is not quoted", t.name, key)
		}
		value, _, closed := strings.Cut(s[i+2:], string(quote))
		if !closed {
			return t, i, fmt.Errorf("tag %s: attribute %s has no end", t.name, key)
		}
		t.attrs[key] = html.UnescapeString(value)
		i += 2 + len(value) + 1
	}
}

// sound checks a page: whole, without anything inline, and nothing broken out
// of its text. It returns the links of the page.
func sound(t *testing.T, path string, res *httptest.ResponseRecorder) []string {
	t.Helper()
	page := res.Body.String()
	if kind := res.Header().Get("Content-Type"); kind != "text/html; charset=utf-8" {
		t.Errorf("%s: content type %q", path, kind)
	}
	if !strings.HasSuffix(strings.TrimSpace(page), "</html>") {
		t.Errorf("%s: the page is cut off: %q", path, page[max(0, len(page)-80):])
	}
	tags, err := tagsOf(page)
	if err != nil {
		t.Errorf("%s: %v", path, err)
	}
	for _, bad := range []string{"%!", "NaN", "0001-01-01", "+Inf", "<nil>"} {
		if i := strings.Index(page, bad); i >= 0 {
			t.Errorf("%s holds %q: %q", path, bad, page[max(0, i-80):min(len(page), i+40)])
		}
	}
	ids := map[string]bool{}
	var links []string
	for _, x := range tags {
		if x.name == "script" && (x.attrs["src"] == "" || strings.TrimSpace(x.attrs["#text"]) != "") || x.name == "style" || x.attrs["onerror"] != "" || x.attrs["x-broken"] != "" {
			t.Errorf("%s: <%s %v>", path, x.name, x.attrs)
		}
		for key, value := range x.attrs {
			if strings.HasPrefix(key, "on") || key == "style" || strings.HasPrefix(key, "hx-on") {
				t.Errorf("%s: <%s> has %s=%q", path, x.name, key, value)
			}
			if (key == "href" || key == "src" || key == "action") && !strings.HasPrefix(value, "/") && !strings.HasPrefix(value, "#") {
				t.Errorf("%s: <%s %s=%q> leads away", path, x.name, key, value)
			}
			if key == "id" && ids[value] {
				t.Errorf("%s: id %q is there twice", path, value)
			} else if key == "id" {
				ids[value] = true
			}
		}
		if href := x.attrs["href"]; x.name == "a" && !strings.HasPrefix(href, "#") {
			links = append(links, href)
		}
	}
	return links
}

// walk loads pages as an administrator, from those given on to whatever they
// link to, and checks each.
func (e *estate) walk(t *testing.T, from ...string) (seen []string) {
	t.Helper()
	done := map[string]bool{}
	for queue := from; len(queue) > 0; queue = queue[1:] {
		path, _, _ := strings.Cut(queue[0], "#")
		if done[path] || strings.HasPrefix(path, "/static/") || path == "/inventory/export" {
			continue
		}
		done[path] = true
		res := e.get("ann", path)
		if to := res.Header().Get("Location"); res.Code == http.StatusSeeOther && to != "/login" {
			queue = append(queue, to)
			continue
		}
		if res.Code != http.StatusOK {
			t.Errorf("GET %s, which a page links to: %d %.300s", path, res.Code, res.Body)
			continue
		}
		for _, href := range sound(t, path, res) {
			if list := (url.URL{}); len(done) < 800 && href != "" {
				if u, err := url.Parse(href); err != nil {
					t.Errorf("%s links to %q: %v", path, href, err)
				} else if list = *u; u.RawQuery == "" || strings.Count(u.RawQuery, "=") < 2 {
					queue = append(queue, list.String())
				}
			}
		}
		seen = append(seen, path)
	}
	return seen
}

var firstPages = []string{"/", "/devices", "/racks", "/topology", "/alerts", "/jobs", "/reports", "/inventory", "/inventory/import",
	"/admin/people", "/admin/tokens", "/admin/credentials", "/admin/credentials?kind=ssh", "/admin/credentials?kind=openstack", "/admin/audit", "/admin/targets", "/admin/rules", "/admin/about", "/admin/appliance"}

func TestPagesOfAnEmptyWorld(t *testing.T) {
	t.Parallel()
	e := openEstate(t, plan{people: true})
	seen := e.walk(t, firstPages...)
	for _, path := range firstPages {
		if !slices.Contains(seen, path) {
			t.Errorf("%s was not loaded", path)
		}
	}
	for _, path := range []string{"/login", "/setup?token=x", "/nothing"} {
		sound(t, path, e.get("", path))
	}
	// Nothing is known: nothing may look well.
	for _, path := range []string{"/", "/devices", "/racks", "/topology"} {
		if page := e.get("ann", path).Body.String(); strings.Contains(page, `data-rack`) || strings.Contains(page, `class="hero" data-state="ok"`) {
			t.Errorf("%s shows something that is well in an empty world", path)
		}
	}
}

func TestPagesOfNastyNames(t *testing.T) {
	t.Parallel()
	e := fullEstate(t)
	pages := append(slices.Clone(firstPages), "/alerts?phase=resolved", "/alerts?q="+url.QueryEscape(nastyQuotes), "/devices?state=unknown&sort=rack", "/inventory?kind=link",
		"/jobs/new?runbook=restart&host="+url.QueryEscape(nastyMarkup), "/rack/rack/r01?face=both&highlight="+url.QueryEscape(nastyQuotes), "/device/host/web-ok?range=week",
		"/devices?page=9223372036854775807", "/inventory?page=99&sort=seen&desc=1", "/admin/audit?kind=job&q="+url.QueryEscape(nastyMarkup), "/racks?notice="+url.QueryEscape(nastyMarkup))
	for _, it := range append(e.Graph.Items(""), e.Graph.Items("link")...) {
		pages = append(pages, itemHref(it.ID), "/inventory/"+ui.Path(it.ID))
	}
	for _, j := range e.Jobs.Jobs(100) {
		pages = append(pages, jobHref(j.ID))
	}
	seen := e.walk(t, pages...)
	t.Logf("%d pages loaded", len(seen))
	for _, kind := range []string{"/alerts/", "/incidents/", "/jobs/", "/reports/", "/rack/", "/device/", "/inventory/"} {
		if !slices.ContainsFunc(seen, func(p string) bool { return strings.HasPrefix(p, kind) }) {
			t.Errorf("no page below %s was loaded", kind)
		}
	}
	e.namesShown(t)
	e.secretsKept(t, seen)
}

// namesShown expects the nasty names on their pages, written out.
func (e *estate) namesShown(t *testing.T) {
	for path, names := range map[string][]string{
		"/devices": {nastyMarkup, nastyLong, nastyScript}, "/racks": {nastyMarkup, nastyLong}, "/device/device/x1": {nastyMarkup, nastyQuotes},
		"/device/device/leaf1": {nastyQuotes, nastySlash, nastyScript}, "/device/host/web-lone": {nastyMarkup + ".service", "/unseen"},
		"/reports/" + e.Inspections.Reports()[0].ID: {nastyMarkup, nastyQuotes[:14]}, "/admin/targets": {nastyMarkup, nastyQuotes}, "/admin/rules": {nastyMarkup},
		"/inventory": {nastyMarkup, "a kind that nobody knows"},
	} {
		text := html.UnescapeString(e.get("ann", path).Body.String())
		for _, name := range names {
			if !strings.Contains(text, name) {
				t.Errorf("%s does not show %q", path, name)
			}
		}
	}
}

// secretsKept looks for what must never be shown.
func (e *estate) secretsKept(t *testing.T, seen []string) {
	for _, path := range seen {
		page := e.get("ann", path).Body.String()
		for _, secret := range []string{"never-to-be-seen", e.sessions["ann"], e.setupLink, "correct horse"} {
			if strings.Contains(page, secret) {
				t.Errorf("%s shows a secret", path)
			}
		}
	}
}

// TestGreenNeverMeansUnknown lets everything fall silent and looks for what
// still seems well.
func TestGreenNeverMeansUnknown(t *testing.T) {
	t.Parallel()
	p := fullPlan()
	p.failed = nil
	for i := range p.targets {
		p.targets[i].Interval = time.Second
	}
	e := openEstate(t, p).run()
	e.until("the hosts are well", func() bool {
		return e.Alerts.Status("host/web-ok").State == alerting.StateOK && e.Alerts.Status("device/leaf1").State == alerting.StateOK && len(e.Graph.Links()) > 0
	})
	badge := `data-item="host/web-ok" data-state="`
	if page := e.get("vic", "/device/host/web-ok").Body.String(); !strings.Contains(page, badge+"ok") {
		t.Error("a host that is well is not shown so")
	}
	e.hand.mu.Lock()
	for _, target := range p.targets {
		e.hand.deaf[target.Name] = true
	}
	e.hand.mu.Unlock()
	e.until("nothing is well", func() bool {
		return e.Alerts.Status("host/web-ok").State == alerting.StateUnknown && e.Alerts.Status("device/leaf1").State == alerting.StateUnknown && e.tally()[ui.OK] == 0
	})
	for _, path := range []string{"/", "/devices", "/racks", "/topology", "/rack/rack/r01", "/device/host/web-ok", "/device/device/leaf1", "/inventory", "/admin/targets"} {
		tags, err := tagsOf(e.get("vic", path).Body.String())
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range tags {
			if id := x.attrs["data-item"]; id != "" && x.attrs["data-state"] == "ok" {
				t.Errorf("%s shows %s in state ok, and the engine says %s", path, id, e.Alerts.Status(id).State)
			}
		}
	}
}

// TestListsKeepTheirOrder sorts and pages lists of many rows of equal keys:
// every row once, and the same page twice.
func TestListsKeepTheirOrder(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	b.WriteString("items:\n")
	for i := range 3*perPage + 7 {
		fmt.Fprintf(&b, "- {id: host/h%d, name: same}\n", i)
	}
	e := openEstate(t, plan{people: true, inventory: b.String()})
	for _, list := range []string{"/devices?", "/devices?sort=rack&", "/devices?sort=seen&desc=1&", "/inventory?", "/inventory?sort=name&desc=1&"} {
		seen := map[string]int{}
		for page := range 5 {
			tags, err := tagsOf(e.get("vic", fmt.Sprintf("%spage=%d", list, page+1)).Body.String())
			if err != nil {
				t.Fatal(err)
			}
			for _, x := range tags {
				if href := x.attrs["href"]; page < 4 && strings.Contains(href, "/host/h") {
					seen[href]++
				}
			}
		}
		if len(seen) != 3*perPage+7 {
			t.Errorf("%s shows %d rows of %d", list, len(seen), 3*perPage+7)
		}
	}
}

func TestJobOutputOnItsPage(t *testing.T) {
	t.Parallel()
	p := fullPlan()
	p.failed, p.rules, p.remedies = nil, "", ""
	e := openEstate(t, p).run()
	res := e.post("ann", "/jobs", "runbook", "restart", "host", "web-ok", "host", "web-fixed", "p.unit", nastyQuotes)
	if res.Code != http.StatusSeeOther {
		t.Fatalf("start: %d %s", res.Code, res.Body)
	}
	path := res.Header().Get("Location")
	id := strings.TrimPrefix(path, "/jobs/")
	e.until("the job has ended", func() bool { j, err := e.Jobs.Job(id); return err == nil && automation.JobEnded(j.Phase) })
	text := html.UnescapeString(e.get("vic", path).Body.String())
	for _, want := range []string{nastyMarkup + nastyQuotes, "person:ann", "web-fixed", "succeeded", nastyQuotes} {
		if !strings.Contains(text, want) {
			t.Errorf("the page of a job does not show %q", want)
		}
	}
	if strings.Contains(text, "Proof by") {
		t.Error("a job that nobody proves shows a proof")
	}
	if res := e.post("ann", path+"/cancel"); res.Code != http.StatusConflict {
		t.Errorf("cancel of a job that ended: %d", res.Code)
	}
}
