package alerting

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestEditedLabelIsTheSameEpisode: a person makes a rule worse while its alert
// fires. It is the same fault, shown and told with the new labels.
func TestEditedLabelIsTheSameEpisode(t *testing.T) {
	h := newHouse(t, serviceRules)
	firing(h)
	was := h.one()
	if err := h.e.Ack(t.Context(), was.Fingerprint, "person:ada", "on it"); err != nil {
		t.Fatal(err)
	}
	h.rules = strings.Replace(serviceRules, "{severity: critical}", "{severity: major, team: shop}", 1)
	h.restart()
	now := time.Now()
	h.put(now.Add(time.Second), 0, unit...)
	h.eval(now.Add(2 * time.Second))
	a := h.one()
	if a.Episode != was.Episode || a.Fingerprint != was.Fingerprint || a.Phase != Firing || a.Stale || a.Ack == nil || a.Incident != was.Incident {
		t.Fatalf("got %+v, it was %+v", a, was)
	}
	told, err := h.e.Episode(a.Episode) // what receivers are told from
	if err != nil || a.Severity() != Major || a.Labels.Get("team") != "shop" || told.Labels.Get("team") != "shop" {
		t.Fatalf("labels %s, told as %s, %v", a.Labels, told.Labels, err)
	}
	h.put(now.Add(3*time.Second), 1, unit...)
	h.eval(now.Add(4 * time.Second))
	h.wantLog("ServiceDown inactive>pending", "ServiceDown pending>firing", "ServiceDown firing>resolved")
	if past, err := h.e.Episode(a.Episode); err != nil || past.Labels.Get("team") != "shop" || past.Fingerprint != was.Fingerprint {
		t.Fatalf("resolved as %+v, %v", past, err)
	}
}

// TestValueInALabel: each evaluation fills in another value. Two series of one
// rule, whose values cross, stay the episodes they are.
func TestValueInALabel(t *testing.T) {
	h := newHouse(t, `
groups:
- name: g
  rules:
  - alert: Load
    expr: node_load1 > 8
    labels: {load: '{{ $value }}'}
`)
	t0 := time.Now().Add(-10 * time.Minute).Truncate(time.Second)
	episodes := map[string]string{}
	for i, v := range [][2]float64{{9, 12}, {10, 11}, {11, 10}, {12, 9}, {9, 12}} {
		at := t0.Add(time.Duration(i) * 15 * time.Second)
		for n, instance := range []string{"web-1", "web-2"} {
			h.put(at, v[n], "__name__", "node_load1", "job", "linux", "instance", instance)
		}
		h.eval(at.Add(time.Second))
		if n := len(h.e.Alerts()); n != 2 {
			t.Fatalf("step %d: %d alerts", i, n)
		}
		for _, a := range h.e.Alerts() {
			instance := a.Labels.Get("instance")
			n := slices.Index([]string{"web-1", "web-2"}, instance)
			if a.Labels.Get("load") != fmt.Sprint(v[n]) || a.Value != v[n] {
				t.Fatalf("step %d: %s with value %v", i, a.Labels, a.Value)
			}
			if was, ok := episodes[instance]; ok && was != a.Episode {
				t.Fatalf("step %d: another episode of %s", i, instance)
			}
			episodes[instance] = a.Episode
		}
	}
	at := t0.Add(2 * time.Minute)
	for _, instance := range []string{"web-1", "web-2"} {
		h.put(at, 1, "__name__", "node_load1", "job", "linux", "instance", instance)
	}
	h.eval(at.Add(time.Second))
	h.wantLog("Load inactive>firing", "Load inactive>firing", "Load firing>resolved", "Load firing>resolved")
}

// TestSameLabelsOfAnotherSeries: labels define an alert as in Prometheus. A
// label that the rule sets hides which of two instances has the fault.
func TestSameLabelsOfAnotherSeries(t *testing.T) {
	h := newHouse(t, "groups: [{name: g, rules: [{alert: X, expr: 'x == 1', labels: {instance: any}}]}]")
	t0 := time.Now().Add(-time.Minute).Truncate(time.Second)
	at := func(s int) time.Time { return t0.Add(time.Duration(s) * time.Second) }
	x := func(instance string) []string { return []string{"__name__", "x", "job", "linux", "instance", instance} }
	h.put(at(0), 1, x("a")...)
	h.eval(at(1))
	was := h.one()
	h.put(at(2), 0, x("a")...)
	h.put(at(2), 1, x("b")...)
	h.eval(at(3))
	if a := h.one(); a.Episode != was.Episode || a.Stale {
		t.Fatalf("got %+v, it was %+v", a, was)
	}
}
