package alerting

import (
	"strings"
	"testing"
	"time"
)

func TestBrokenRulesAreNamedAndTheRestWorks(t *testing.T) {
	files := []File{
		{"syntax.yml", []byte("groups:\n- name: a\n  rules: [\n")},
		{"field.yml", []byte("groups:\n- name: b\n  rules:\n  - alert: X\n    exprr: up\n    expr: up\n")},
		{"mixed.yml", []byte(`groups:
- name: c
  rules:
  - alert: Sound
    expr: up == 0
  - alert: Broken
    expr: sum(up
  - alert: Template
    expr: up == 0
    annotations: {summary: '{{ $labels.x'}
  - record: fine:up
    expr: sum(up)
`)},
		{"again.yml", []byte("groups:\n- name: c\n  rules:\n  - {alert: Y, expr: up}\n")},
	}
	groups, faults := parse(files)
	var names []string
	for _, g := range groups {
		for _, r := range g.rules {
			names = append(names, r.id)
		}
	}
	if got := strings.Join(names, " "); got != "c/Sound c/fine:up" {
		t.Errorf("sound rules: %s", got)
	}
	want := [][]string{
		{"syntax.yml:3: "},
		{"field.yml:5: ", "exprr"},
		{`mixed.yml:7: group "c": rule 2 "Broken": could not parse expression`},
		{`mixed.yml: group "c": rule 3 "Template": annotation "summary"`},
		{`again.yml: group "c": a group of this name is in mixed.yml already`},
	}
	if len(faults) != len(want) {
		t.Fatalf("%d faults: %v", len(faults), ParseRules(files))
	}
	for i, parts := range want {
		for _, p := range parts {
			if !strings.Contains(faults[i].Error(), p) {
				t.Errorf("fault %d is %q, want %q in it", i, faults[i], p)
			}
		}
	}
}

func TestRecordingRules(t *testing.T) {
	h := newHouse(t, `
groups:
- name: g
  rules:
  - record: job:up:sum
    expr: sum by (job) (up)
    labels: {made: here}
  - alert: TooFew
    expr: job:up:sum < 2
`)
	now := time.Now().Add(-time.Minute)
	h.put(now, 1, up("linux", "web-1")...)
	h.eval(now.Add(time.Second))
	a := h.one()
	if a.Labels.String() != `{alertname="TooFew", job="linux", made="here"}` || a.Value != 1 {
		t.Fatalf("got %s = %v", a.Labels, a.Value)
	}
}

// Two results with the same labels would share one alert: an error, and the
// alerts that are there stay.
func TestEvaluationFailsTruthfully(t *testing.T) {
	h := newHouse(t, "groups: [{name: broken, rules: [{alert: X, expr: 'x == 1', labels: {instance: all}}]}]")
	now := time.Now().Add(-time.Minute)
	h.put(now, 1, "__name__", "x", "instance", "a")
	h.eval(now.Add(time.Second))
	if a := h.one(); a.Phase != Firing {
		t.Fatalf("got %+v", a)
	}
	h.put(now.Add(2*time.Second), 1, "__name__", "x", "instance", "b")
	h.eval(now.Add(3 * time.Second))
	if a := h.one(); a.Phase != Firing || !a.Stale {
		t.Fatalf("got %+v", a)
	}
	if r := h.e.Rules()[0]; r.Health != "err" || !strings.Contains(r.LastError, "two results have the labels") {
		t.Fatalf("got %+v", r)
	}
}
