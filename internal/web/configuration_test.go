package web

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
)

// filed is a Configuration that says what a test wants.
type filed struct {
	difference Difference
	err        error
	by         []string
}

func (f *filed) Difference() (Difference, error) { return f.difference, nil }

func (f *filed) Reload(_ context.Context, by string) (Difference, error) {
	f.by = append(f.by, by)
	return f.difference, f.err
}

// TestConfigurationPage shows the difference, and answers a reload with what it
// changed or why it changed nothing.
func TestConfigurationPage(t *testing.T) {
	t.Parallel()
	e := openEstate(t, plan{people: true})
	e.says("ann", "/admin/configuration", "No configuration file")
	f := &filed{difference: Difference{File: "/etc/n.yaml", Changes: []Change{
		{Field: "targets.snmp[leaf]", Is: nastyMarkup}, {Field: "listen", Was: "a", Is: "b", Restart: true},
	}}}
	e.Configuration = f
	e.says("ann", "/admin/configuration", "/etc/n.yaml", "targets.snmp[leaf]", "listen is changed in the file and needs a restart")
	e.lacks("ann", "/admin/configuration", nastyMarkup)
	if got := e.post("ann", "/admin/configuration/reload"); got.Code != http.StatusOK || !strings.Contains(got.Body.String(), "Applied: 2 changes") {
		t.Errorf("reload: %d %s", got.Code, got.Body)
	}
	f.err = &RefusedError{[]string{"listen is changed and needs a restart"}}
	if got := e.post("ann", "/admin/configuration/reload"); got.Code != http.StatusConflict || !strings.Contains(got.Body.String(), "listen is changed and needs a restart") {
		t.Errorf("refused reload: %d %s", got.Code, got.Body)
	}
	if got := e.post("ann", apiRoot+"/configuration/reload"); got.Code != http.StatusConflict || !strings.Contains(got.Body.String(), "nothing was changed: listen") {
		t.Errorf("refused by the API: %d %s", got.Code, got.Body)
	}
	f.err = nil
	if got := e.post("ann", apiRoot+"/configuration/reload"); got.Code != http.StatusOK || !strings.Contains(got.Body.String(), `"restart":true`) {
		t.Errorf("by the API: %d %s", got.Code, got.Body)
	}
	f.err = errors.New("broken")
	if got := e.post("ann", "/admin/configuration/reload"); got.Code != http.StatusInternalServerError {
		t.Errorf("broken: %d", got.Code)
	}
	if want := "person:ann"; len(f.by) != 5 || f.by[0] != want {
		t.Errorf("reloaded by %q", f.by)
	}
	if got := e.post("vic", "/admin/configuration/reload"); got.Code != http.StatusForbidden || len(f.by) != 5 {
		t.Errorf("a viewer: %d", got.Code)
	}
}
