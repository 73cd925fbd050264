package web

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/prometheus/model/labels"

	"nocturne/internal/access"
	"nocturne/internal/ledger"
	"nocturne/internal/secret"
	"nocturne/tsdb"
)

const deletePath = "/api/v1/admin/tsdb/delete_series"

// deeds are the ledger's entries about the history, oldest first.
func (e *estate) deeds() (out []string) {
	e.t.Helper()
	for entry, err := range e.Ledger.Subject("history") {
		if err != nil {
			e.t.Fatal(err)
		}
		var data struct {
			Match              []string
			Start, End, Result string
		}
		if err := json.Unmarshal(entry.Data, &data); err != nil || entry.Kind != ledger.Audit {
			e.t.Errorf("entry %+v: %v", entry, err)
		}
		out = append(out, fmt.Sprintf("%s %s %s [%s %s] %s", entry.Actor, entry.Action, data.Match, data.Start, data.End, data.Result))
	}
	return out
}

// series counts what is left of the metric m.
func (e *estate) series(n int) {
	e.t.Helper()
	body := e.get("vic", "/api/v1/query?query=count(m)").Body.String()
	if !strings.Contains(body, fmt.Sprintf(`"%d"]`, n)) {
		e.t.Errorf("%d series should be left: %s", n, body)
	}
}

// TestOnlyAdministratorsDelete deletes series as everybody, by cookie and by
// token, and reads in the ledger who did.
func TestOnlyAdministratorsDelete(t *testing.T) {
	t.Parallel()
	e := openEstate(t, plan{people: true})
	now := time.Now()
	for n := range 4 {
		s := tsdb.Sample{Labels: labels.FromStrings("__name__", "m", "n", fmt.Sprint(n)), T: now.UnixMilli(), V: 1}
		if _, err := e.History.Append(t.Context(), []tsdb.Sample{s}); err != nil {
			t.Fatal(err)
		}
	}
	ann := access.Actor{Name: "ann", Role: access.Administrator}
	token := func(role access.Role) string {
		return must[secret.Text](t)(e.Access.AddToken(t.Context(), ann, "t-"+string(role), role, time.Time{})).Reveal()
	}
	viewer, writer, robot := token(access.Viewer), token(access.Writer), token(access.Administrator)
	send := func(method, token, as string, n int, headers ...string) int {
		r := httptest.NewRequest(method, deletePath+fmt.Sprintf(`?match[]=m{n="%d"}&start=%d`, n, now.Unix()-60), nil)
		if token != "" {
			r.Header.Set("Authorization", "Bearer "+token)
		}
		for i := 0; i < len(headers); i += 2 {
			r.Header.Set(headers[i], headers[i+1])
		}
		return e.do(as, r).Code
	}
	elsewhere := []string{"Origin", "https://evil.example", "Sec-Fetch-Site", "cross-site"}
	for _, method := range []string{http.MethodPost, http.MethodPut} {
		for name, c := range map[string][2]int{
			"nobody": {send(method, "", "", 0), who}, "a wrong token": {send(method, "noc_x", "", 0), who}, "a viewer": {send(method, "", "vic", 0), no},
			"a viewer's token": {send(method, viewer, "", 0), no}, "a writer's token": {send(method, writer, "", 0), no},
			"another site": {send(method, "", "ann", 0, elsewhere...), no}, "another site, with a token": {send(method, robot, "", 0, elsewhere...), no},
		} {
			if c[0] != c[1] {
				t.Errorf("%s as %s: %d, want %d", method, name, c[0], c[1])
			}
		}
	}
	for name, res := range map[string]*httptest.ResponseRecorder{
		"no matcher": e.post("ann", deletePath), "wrong matcher": e.post("ann", deletePath, "match[]", "m", "match[]", "m{"), "wrong time": e.post("ann", deletePath, "match[]", "m", "start", "x"),
	} {
		if res.Code != wrong || !strings.Contains(res.Body.String(), `"errorType":"bad_data"`) {
			t.Errorf("%s: %d %s", name, res.Code, res.Body)
		}
	}
	if got := e.get("ann", deletePath); got.Code != http.StatusMethodNotAllowed {
		t.Errorf("GET: %d", got.Code)
	}
	e.series(4)
	if deeds := e.deeds(); len(deeds) != 0 {
		t.Errorf("nothing was done, but noted: %q", deeds)
	}

	start := time.Unix(now.Unix()-60, 0).UTC().Format(time.RFC3339)
	if code := send(http.MethodPut, robot, "", 1); code != http.StatusNoContent {
		t.Errorf("an administrator's token: %d", code)
	}
	e.series(3)
	if res := e.post("ann", deletePath, "match[]", `m{n="2"}`, "match[]", `m{n="3"}`, "end", fmt.Sprint(now.Unix()+60)); res.Code != http.StatusNoContent {
		t.Errorf("an administrator: %d %s", res.Code, res.Body)
	}
	e.series(1)
	if res := e.post("ann", "/api/v1/admin/tsdb/clean_tombstones"); res.Code != http.StatusNoContent {
		t.Errorf("cleaning: %d %s", res.Code, res.Body)
	}
	end := time.Unix(now.Unix()+60, 0).UTC().Format(time.RFC3339)
	want := []string{
		`token:t-administrator history.delete [m{n="1"}] [` + start + ` ] `,
		`token:t-administrator history.delete done [m{n="1"}] [` + start + ` ] done`,
		`person:ann history.delete [m{n="2"} m{n="3"}] [ ` + end + `] `,
		`person:ann history.delete done [m{n="2"} m{n="3"}] [ ` + end + `] done`,
		`person:ann history.clean [] [ ] `,
		`person:ann history.clean done [] [ ] done`,
	}
	if d := cmp.Diff(want, e.deeds()); d != "" {
		t.Error(d)
	}
}

// TestNothingIsDeletedFromAReadOnlyHistory serves one on a disk without the
// room that it wants: it says so, and the ledger says that somebody tried.
func TestNothingIsDeletedFromAReadOnlyHistory(t *testing.T) {
	t.Parallel()
	e := openEstate(t, plan{people: true})
	e.openHistory(tsdb.Options{MinFree: 1 << 60})
	e.Server = must[*Server](t)(New(e.Options)) // its routes ask that history
	res := e.post("ann", deletePath, "match[]", "m")
	if res.Code != http.StatusServiceUnavailable || !strings.Contains(res.Body.String(), "history is read-only") || !strings.Contains(res.Body.String(), "are needed") {
		t.Errorf("%d %s", res.Code, res.Body)
	}
	if deeds := e.deeds(); len(deeds) != 2 || !strings.HasPrefix(deeds[1], "person:ann history.delete failed [m] [ ] ") || !strings.Contains(deeds[1], "history is read-only") {
		t.Errorf("%q", deeds)
	}
}
