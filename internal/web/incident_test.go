package web

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"nocturne/alerting"
	"nocturne/automation"
	"nocturne/collector"
	"nocturne/internal/access"
	"nocturne/internal/ledger"
)

// phaseOf is where the incident of a host is, "" when there is none.
func (e *estate) phaseOf(host string) string {
	id := e.incidentOf(host)
	if id == "" {
		return ""
	}
	st, err := e.story(id)
	if err != nil {
		e.t.Fatal(err)
	}
	return st.phase()
}

func (e *estate) incidentOf(host string) string {
	all, err := e.Alerts.Incidents(time.Now().Add(-time.Hour))
	if err != nil {
		e.t.Fatal(err)
	}
	for _, in := range all {
		if in.Item == "host/"+host {
			return in.ID
		}
	}
	return ""
}

// tell logs the records of a host's incident when the test failed.
func (e *estate) tell(host string) {
	if !e.t.Failed() {
		return
	}
	for entry, err := range e.Ledger.Incident(e.incidentOf(host)) {
		e.t.Logf("%s: %s %s %s %s %v", host, entry.At.Format(time.TimeOnly), entry.Action, entry.Subject, entry.Data, err)
	}
}

// fullEstate is a running estate in which every trouble has come to where it
// stays.
func fullEstate(t testing.TB) *estate {
	e := openEstate(t, fullPlan())
	now := time.Now()
	if err := e.Alerts.Maintain(t.Context(), alerting.Maintenance{Item: "host/web-kept", From: now.Add(-time.Minute), To: now.Add(time.Hour), By: "person:ann", Note: nastyQuotes}); err != nil {
		t.Fatal(err)
	}
	e.run()
	want := map[string]string{
		"web-fixed": "resolved", "web-broken": "escalated", "web-stuck": "repairing", "web-lost": "escalated",
		"web-kept": "open", "web-odd": "escalated", "web-lone": "open",
	}
	for host, phase := range want {
		t.Cleanup(func() { e.tell(host) })
		e.until("the incident of "+host+" is "+phase, func() bool { return e.phaseOf(host) == phase })
	}
	e.until("the switches are linked", func() bool { return len(e.Graph.Links()) > 0 })
	e.furnish()
	return e
}

// furnish adds what people leave: a report, acknowledgements, tokens, secrets.
func (e *estate) furnish() {
	t, ctx := e.t, e.t.Context()
	ann := access.Actor{Name: "ann", Role: access.Administrator}
	if _, err := e.Inspections.NowBy(ctx, "daily", ann.String()); err != nil {
		t.Fatal(err)
	}
	if _, err := e.Access.AddToken(ctx, ann, "robot", access.Viewer, time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if err := e.Access.Vault().Put(ctx, ann, "lab", "snmp", map[string]string{"version": "2c", "community": "never-to-be-seen"}); err != nil {
		t.Fatal(err)
	}
	for _, a := range e.Alerts.Alerts() {
		if a.Item == "host/web-lone" && a.Phase == alerting.Firing {
			if err := e.Alerts.Ack(ctx, a.Fingerprint, ann.String(), nastyMarkup); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestStagesOfTheLoop(t *testing.T) {
	t.Parallel()
	e := fullEstate(t)
	for host, want := range map[string][]string{
		"web-fixed":  {"Seen done", "Alert done", "Job done", "Proof done", "Resolved done"},
		"web-broken": {"Seen done", "Alert done", "Job done", "Proof failed", "Resolved waiting"},
		"web-stuck":  {"Seen done", "Alert done", "Job active", "Proof waiting", "Resolved waiting"},
		"web-lost":   {"Seen done", "Alert done", "Job failed", "Proof skipped", "Resolved waiting"},
		"web-kept":   {"Seen done", "Alert done", "Job skipped", "Proof skipped", "Resolved waiting"},
		"web-odd":    {"Seen done", "Alert done", "Job failed", "Proof skipped", "Resolved waiting"},
		"web-lone":   {"Seen done", "Alert done", "Job skipped", "Proof skipped", "Resolved waiting"},
	} {
		st, err := e.story(e.incidentOf(host))
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, stage := range st.stages() {
			got = append(got, stage.Name+" "+stage.State)
			if stage.State == "done" && stage.At.IsZero() {
				t.Errorf("%s: stage %s is done at no time", host, stage.Name)
			}
			if (stage.State == "waiting" || stage.Name == "Proof" && stage.State == "skipped") && !stage.At.IsZero() {
				t.Errorf("%s: stage %s is %s and has a time", host, stage.Name, stage.State)
			}
			if stage.State == "failed" && stage.Detail == "" {
				t.Errorf("%s: stage %s failed and does not say why", host, stage.Name)
			}
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("stages of %s (-want +got):\n%s", host, d)
		}
	}
	t.Run("proof", func(t *testing.T) { e.proofs(t) })
	t.Run("verified", func(t *testing.T) { e.verifiedRange(t) })
}

// proofs looks at what the pages of jobs say of their proof.
func (e *estate) proofs(t *testing.T) {
	verdicts := map[string]string{"web-fixed": "cleared", "web-broken": "not cleared", "web-stuck": "waiting", "web-lost": ""}
	for _, j := range e.Jobs.Jobs(100) {
		want, known := verdicts[j.Hosts[0]]
		if !known {
			t.Errorf("a job on %s", j.Hosts[0])
			continue
		}
		delete(verdicts, j.Hosts[0])
		p, err := e.proof(j)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		if p != nil {
			got = p.Verdict
			if p.Reason == "" || p.Rule == "" || p.Alert.Href == "" {
				t.Errorf("proof of %s lacks something: %+v", j.Hosts[0], p)
			}
			if automation.JobEnded(j.Phase) && p.Until.IsZero() {
				t.Errorf("proof of %s does not say until when", j.Hosts[0])
			}
		}
		if got != want {
			t.Errorf("proof of the job on %s is %q, want %q", j.Hosts[0], got, want)
		}
	}
	for host := range verdicts {
		t.Errorf("no job on %s", host)
	}
}

// verifiedRange checks the chain and expects the incident's page to say so.
func (e *estate) verifiedRange(t *testing.T) {
	path := incidentHref(e.incidentOf("web-fixed"))
	if body := e.get("vic", path).Body.String(); strings.Contains(body, "unbroken") {
		t.Error("the page speaks of a check that nobody made")
	}
	if res := e.post("ann", "/admin/audit/verify"); res.Code != http.StatusSeeOther {
		t.Fatalf("verify: %d %s", res.Code, res.Body)
	}
	if body := e.get("vic", path).Body.String(); !strings.Contains(body, "unbroken, checked") {
		t.Error("the page does not tell that its records were checked")
	}
}

func TestAcknowledge(t *testing.T) {
	t.Parallel()
	e := openEstate(t, plan{people: true, rules: estateRules, targets: []collector.Target{{Name: "web-lone", Kind: "linux", Interval: 5 * time.Second}}, failed: map[string]string{"web-lone": nastyMarkup + ".service"}}).run()
	var a alerting.Alert
	e.until("the alert fires", func() bool {
		for _, x := range e.Alerts.Alerts() {
			if x.Phase == alerting.Firing {
				a = x
				return true
			}
		}
		return false
	})
	long := strings.Repeat("ü", maxNote+1)
	if res := e.post("ann", alertHref(a)+"/ack", "note", long); res.Code != http.StatusBadRequest || !strings.Contains(res.Body.String(), long) || !strings.Contains(res.Body.String(), "longer than") {
		t.Errorf("a note that is too long: %d, or its text or fault is not shown", res.Code)
	}
	if res := e.post("ann", alertHref(a)+"/ack", "note", "mine", "back", "/alerts"); res.Code != http.StatusSeeOther || res.Header().Get("Location") != "/alerts" {
		t.Fatalf("ack: %d to %q", res.Code, res.Header().Get("Location"))
	}
	if body := e.get("vic", alertHref(a)).Body.String(); !strings.Contains(body, "mine") || !strings.Contains(body, "person:ann") {
		t.Error("the page does not say who took the alert")
	}
	entries, err := e.Ledger.Latest(5, ledger.Alert)
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) == 0 || entries[0].Action != "acknowledge" || entries[0].Actor != "person:ann" {
		t.Errorf("the ledger's newest alert entry is %+v", entries[0])
	}
	e.hand.mend("web-lone")
	if res := e.post("ann", "/poll", "target", "web-lone"); res.Code != http.StatusSeeOther {
		t.Fatalf("poll: %d", res.Code)
	}
	e.until("the alert resolves", func() bool { x, _ := e.Alerts.Alert(a.Fingerprint); return x.Phase == alerting.Resolved })
	if res := e.post("ann", alertHref(a)+"/ack", "note", "late"); res.Code != http.StatusConflict || !strings.Contains(res.Body.String(), "does not fire") {
		t.Errorf("ack of what is over: %d", res.Code)
	}
	if res := e.get("vic", "/alerts?phase=resolved"); !strings.Contains(res.Body.String(), a.Fingerprint) {
		t.Error("the resolved alert is not listed")
	}
	polled, err := e.Ledger.Latest(5, ledger.Audit)
	if err != nil || len(polled) == 0 || polled[0].Action != "target.poll" || polled[0].Subject != "target/web-lone" {
		t.Errorf("the poll on request is not in the ledger: %+v, %v", polled, err)
	}
}
