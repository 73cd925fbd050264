package alerting

import (
	"errors"
	"testing"
	"time"
)

func TestStateSurvivesRestartInEachPhase(t *testing.T) {
	h := newHouse(t, serviceRules)
	t0 := time.Now().Add(-30 * time.Minute).Truncate(time.Second)
	at := func(s int) time.Time { return t0.Add(time.Duration(s) * time.Second) }

	h.put(at(0), 0, unit...)
	h.eval(at(1))
	pending := h.one()
	h.restart()
	if a := h.one(); a.Phase != Pending || !a.ActiveAt.Equal(pending.ActiveAt) || a.Episode != pending.Episode {
		t.Fatalf("pending came back as %+v", a)
	}

	h.put(at(10), 0, unit...)
	h.eval(at(11)) // `for` counts on
	fired := h.one()
	if fired.Phase != Firing || fired.Episode != pending.Episode {
		t.Fatalf("got %+v", fired)
	}
	if err := h.e.Ack(t.Context(), fired.Fingerprint, "person:ada", "on it"); err != nil {
		t.Fatal(err)
	}
	h.restart()
	a := h.one()
	if a.Phase != Firing || !a.FiredAt.Equal(fired.FiredAt) || a.Incident != fired.Incident || a.Ack == nil || a.Ack.By != "person:ada" || a.Ack.Note != "on it" {
		t.Fatalf("firing came back as %+v", a)
	}

	// No sample since the restart: it may not resolve, whatever the rule says.
	h.eval(time.Now())
	if a := h.one(); !a.Stale || a.Ack == nil {
		t.Fatalf("got %+v", a)
	}
	h.put(time.Now().Add(time.Second), 1, unit...)
	h.eval(time.Now().Add(2 * time.Second))
	h.restart()
	if n := len(h.e.Alerts()); n != 0 {
		t.Fatalf("%d alerts rose from the resolved", n)
	}
	past, err := h.e.Episode(fired.Episode)
	if err != nil || past.Phase != Resolved || past.Ack == nil {
		t.Fatalf("got %+v, %v", past, err)
	}
	h.wantLog("ServiceDown inactive>pending", "ServiceDown pending>firing", "ServiceDown firing>resolved")
}

func TestAckOnlyWhatFires(t *testing.T) {
	h := newHouse(t, serviceRules)
	h.put(time.Now().Add(-time.Minute), 0, unit...)
	h.eval(time.Now().Add(-59 * time.Second))
	for fp, want := range map[string]error{"nope": ErrNotFound, h.one().Fingerprint: ErrNotFiring} {
		if err := h.e.Ack(t.Context(), fp, "person:ada", ""); !errors.Is(err, want) {
			t.Errorf("acknowledge %s: %v", fp, err)
		}
	}
}

// A crash between the record and what follows it: the restart completes the
// log and the ledger, once.
func TestCrashBehindTheRecord(t *testing.T) {
	for _, phase := range []string{Firing, Resolved} {
		t.Run(phase, func(t *testing.T) {
			h := newHouse(t, serviceRules)
			t0 := time.Now().Add(-time.Minute).Truncate(time.Second)
			h.put(t0, 0, unit...)
			h.eval(t0.Add(time.Second))
			a := h.one()
			a.FiredAt = t0.Add(11 * time.Second)
			a.Phase = Firing
			want := []string{"ServiceDown inactive>pending", "ServiceDown pending>firing"}
			var err error
			if a.Incident, err = h.e.joinIncident(a); err != nil {
				t.Fatal(err)
			}
			write := func() {
				t.Helper()
				if _, _, err := h.e.alerts.Update(a.Episode, func(r *record, _ bool) error { r.Alert = a; return nil }); err != nil {
					t.Fatal(err)
				}
			}
			write()
			h.restart()
			if phase == Resolved {
				a.Phase, a.ResolvedAt = Resolved, t0.Add(20*time.Second)
				write()
				want = append(want, "ServiceDown firing>resolved")
				h.restart()
			}
			h.restart()
			h.wantLog(want...)
			n := 0
			for entry, err := range h.chain.Incident(a.Incident) {
				if err != nil {
					t.Fatal(err)
				}
				if entry.Action == phase {
					n++
				}
			}
			if n != 1 {
				t.Fatalf("the ledger tells of it %d times", n)
			}
			inc, err := h.e.Incident(a.Incident)
			if err != nil || inc.Closed.IsZero() != (phase == Firing) {
				t.Fatalf("incident %+v, %v", inc, err)
			}
		})
	}
}

func TestIncidentJoinsWhatHitsOneItem(t *testing.T) {
	h := newHouse(t, `
groups:
- name: host
  rules:
  - {alert: A, expr: a == 1}
  - {alert: B, expr: b == 1}
`)
	h.site()
	t0 := time.Now().Add(-time.Minute).Truncate(time.Second)
	a := []string{"__name__", "a", "job", "linux", "instance", "web-1"}
	b := []string{"__name__", "b", "job", "linux", "instance", "web-1"}
	other := []string{"__name__", "a", "job", "linux", "instance", "web-2"}
	h.put(t0, 1, a...)
	h.put(t0, 1, b...)
	h.put(t0, 1, other...)
	h.eval(t0.Add(time.Second))
	ids := map[string]string{}
	for _, al := range h.e.Alerts() {
		ids[al.Rule+" "+al.Labels.Get("instance")] = al.Incident
	}
	if ids["A web-1"] == "" || ids["A web-1"] != ids["B web-1"] || ids["A web-1"] == ids["A web-2"] {
		t.Fatalf("incidents %v", ids)
	}
	h.put(t0.Add(5*time.Second), 0, a...)
	h.eval(t0.Add(6 * time.Second))
	if inc, err := h.e.Incident(ids["A web-1"]); err != nil || !inc.Closed.IsZero() || len(inc.Episodes) != 2 || inc.Item != "host/web-1" {
		t.Fatalf("incident %+v, %v", inc, err)
	}
	h.put(t0.Add(10*time.Second), 0, b...)
	h.eval(t0.Add(11 * time.Second))
	if inc, err := h.e.Incident(ids["A web-1"]); err != nil || inc.Closed.IsZero() {
		t.Fatalf("incident %+v, %v", inc, err)
	}
}

func TestRemovedRuleResolvesUnlessAFileIsBroken(t *testing.T) {
	h := newHouse(t, serviceRules)
	firing(h)
	h.rules = "groups: [{name: other, rules: [{alert: X, expr: 'sum('}]}]"
	h.restart()
	if err := h.e.retire(t.Context(), time.Now()); err != nil {
		t.Fatal(err)
	}
	if a := h.one(); a.Phase != Firing || !a.Stale {
		t.Fatalf("got %s stale=%v", a.Phase, a.Stale)
	}
	h.rules = "groups: []"
	h.restart()
	if err := h.e.retire(t.Context(), time.Now()); err != nil {
		t.Fatal(err)
	}
	if n := len(h.e.Alerts()); n != 0 {
		t.Fatalf("%d alerts of no rule", n)
	}
}
