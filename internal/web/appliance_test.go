package web

import (
	"slices"
	"strings"
	"testing"

	"nocturne/tsdb"
	"nocturne/views/admin"
	"nocturne/views/ui"
)

// part is what the API says of one part.
func (e *estate) part(name string) admin.Part {
	e.t.Helper()
	out, err := e.apiAppliance(e.t.Context(), nil)
	if err != nil {
		e.t.Fatal(err)
	}
	for _, p := range out.Body.Parts {
		if p.Name == name {
			return admin.Part{Name: p.Name, State: p.State, Text: p.Text}
		}
	}
	e.t.Fatalf("no part %s among %+v", name, out.Body.Parts)
	return admin.Part{}
}

// TestApplianceTellsTheTruth looks at a program that just started, then breaks
// its parts one after the other.
func TestApplianceTellsTheTruth(t *testing.T) {
	t.Parallel()
	e := openEstate(t, plan{people: true})
	// Nobody has checked the ledger: that is not called well.
	e.says("vic", "/admin/appliance", "Its chain was not checked since the start", `class="hero verdict"`)
	e.lacks("vic", "/admin/appliance", `class="hero verdict" data-state="ok"`)
	if p := e.part("Ledger"); p.State != ui.Unknown {
		t.Errorf("an unchecked ledger is %+v", p)
	}
	if _, err := e.Ledger.Verify(t.Context()); err != nil {
		t.Fatal(err)
	}
	if p := e.part("Ledger"); p.State != ui.OK || !strings.Contains(p.Text, "hold, checked") {
		t.Errorf("a whole ledger is %+v", p)
	}
	e.openHistory(tsdb.Options{MinFree: 1 << 60})
	if p := e.part("History"); p.State != ui.Critical || !strings.Contains(p.Text, "read-only") {
		t.Errorf("a read-only history is %+v", p)
	}
	e.says("vic", "/admin/appliance", `class="hero verdict" data-state="critical"`, "History: History is read-only since")
	e.Replace(Replaceable{Faults: []string{"a.yml: broken"}})
	if p := e.part("Rules"); p.State != ui.Major || !strings.Contains(p.Text, "1 file was left out") {
		t.Errorf("rules with a fault are %+v", p)
	}
}

func TestVerdictIsTheWorst(t *testing.T) {
	part := func(s ui.State) admin.Part { return admin.Part{Name: string(s), State: s, Text: "so"} }
	for _, c := range []struct {
		parts []admin.Part
		want  ui.State
		first string
	}{
		{nil, ui.OK, ""},
		{[]admin.Part{part(ui.OK), part(ui.OK)}, ui.OK, ""},
		{[]admin.Part{part(ui.OK), part(ui.Unknown)}, ui.Unknown, "unknown: so"},
		{[]admin.Part{part(ui.Warning), part(ui.OK), part(ui.Critical), part(ui.Unknown)}, ui.Critical, "critical: so"},
	} {
		v := verdictOf(c.parts)
		if v.State != c.want || c.first != "" && v.Reasons[0].Text != c.first || (v.Title == "All parts do their work") != (c.want == ui.OK) {
			t.Errorf("%v: %+v", c.parts, v)
		}
	}
}

// TestOwnChartsAreLive holds the charts of the program to what the live window
// takes in.
func TestOwnChartsAreLive(t *testing.T) {
	own := panelsOf("appliance/nocturne")
	if len(own) < 5 || !slices.ContainsFunc(own, func(p panel) bool { return p.Live }) {
		t.Errorf("%d charts", len(own))
	}
}
