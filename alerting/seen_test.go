package alerting

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
)

var staleMarker = math.Float64frombits(value.StaleNaN)

// firing brings the service's alert to firing: samples at 0 and 15, an
// evaluation at 16.
func firing(h *house) (at func(s int) time.Time) {
	h.t.Helper()
	t0 := time.Now().Add(-2 * time.Hour).Truncate(time.Second)
	at = func(s int) time.Time { return t0.Add(time.Duration(s) * time.Second) }
	for _, s := range []int{0, 15} {
		h.put(at(s), 0, unit...)
		h.put(at(s), 1, upWeb...)
		h.eval(at(s + 1))
	}
	if a := h.one(); a.Phase != Firing {
		h.t.Fatalf("the alert is %s", a.Phase)
	}
	return at
}

func TestKeepsFiringWhileStale(t *testing.T) {
	h := newHouse(t, serviceRules)
	at := firing(h)
	// The host is gone: polls fail, samples age out of the lookback.
	for s := 30; s < 3600; s += 30 {
		h.put(at(s), 0, upWeb...)
	}
	h.eval(at(3600))
	a := h.one()
	if a.Phase != Firing || !a.Stale || !strings.Contains(a.Reason, "not seen") {
		t.Fatalf("got %s stale=%v %q", a.Phase, a.Stale, a.Reason)
	}
	// It answers again, and the fault is still there.
	h.put(at(3610), 0, unit...)
	h.put(at(3610), 1, upWeb...)
	h.eval(at(3611))
	if a := h.one(); a.Phase != Firing || a.Stale {
		t.Fatalf("got %s stale=%v", a.Phase, a.Stale)
	}
	h.put(at(3625), 1, unit...)
	h.put(at(3625), 1, upWeb...)
	h.eval(at(3626))
	if n := len(h.e.Alerts()); n != 0 {
		t.Fatalf("%d alerts after it was seen to be over", n)
	}
	h.wantLog("ServiceDown inactive>pending", "ServiceDown pending>firing", "ServiceDown firing>resolved")
}

func TestAPersonClosesWhatIsStale(t *testing.T) {
	h := newHouse(t, serviceRules)
	at := firing(h)
	fp := h.one().Fingerprint
	if err := h.e.Close(t.Context(), fp, "person:ada", ""); !errors.Is(err, ErrNotStale) {
		t.Fatalf("close what is seen: %v", err)
	}
	h.eval(at(3600))
	if err := h.e.Close(t.Context(), fp, "person:ada", "scrapped"); err != nil {
		t.Fatal(err)
	}
	h.eval(at(3605))
	if a, ok := h.e.Alert(fp); !ok || a.Phase != Resolved || a.Reason != "closed by person:ada: scrapped" || len(h.e.Alerts()) != 0 {
		t.Fatalf("got %+v", a)
	}
}

// A guard that becomes false because the target is down proves nothing.
func TestGuardByUpProvesNothing(t *testing.T) {
	h := newHouse(t, strings.Replace(serviceRules, `== 0`, `== 0 and on (job, instance) up == 1`, 1))
	at := firing(h)
	h.put(at(30), 0, upWeb...)
	h.eval(at(31))
	if a := h.one(); a.Phase != Firing || !a.Stale {
		t.Fatalf("got %s stale=%v %q", a.Phase, a.Stale, a.Reason)
	}
}

func TestSeriesThatEndedWhileTargetWasSeen(t *testing.T) {
	h := newHouse(t, serviceRules)
	at := firing(h)
	h.put(at(30), staleMarker, unit...)
	h.put(at(30), 1, upWeb...)
	h.eval(at(31))
	if n := len(h.e.Alerts()); n != 0 {
		t.Fatalf("%d alerts for a unit that is no longer there: %+v", n, h.e.Alerts())
	}
	past, err := h.e.Resolved(at(0))
	if err != nil || len(past) != 1 || !strings.Contains(past[0].Reason, "ended while web-1 was seen") {
		t.Fatalf("got %+v, %v", past, err)
	}
}

func TestRemovedTargetResolves(t *testing.T) {
	h := newHouse(t, serviceRules)
	at := firing(h)
	h.put(at(30), 0, upWeb...)
	h.put(at(40), staleMarker, unit...)
	h.put(at(40), staleMarker, upWeb...)
	h.eval(at(41))
	past, err := h.e.Resolved(at(0))
	if err != nil || len(past) != 1 || past[0].Reason != "target removed: web-1" {
		t.Fatalf("got %+v, %v; active %+v", past, err, h.e.Alerts())
	}
}

func TestRateWithoutSamplesIsNotOver(t *testing.T) {
	h := newHouse(t, `
groups:
- name: net
  rules:
  - alert: Errors
    expr: sum by (instance) (rate(ifInErrors[1m])) > 1
`)
	t0 := time.Now().Add(-time.Hour).Truncate(time.Second)
	series := func(name string) []string {
		return []string{"__name__", "ifInErrors", "job", "snmp", "instance", "leaf1", "ifName", name}
	}
	up := []string{"__name__", "up", "job", "snmp", "instance", "leaf1"}
	for s := range 5 {
		at := t0.Add(time.Duration(s*15) * time.Second)
		h.put(at, float64(s*1000), series("Ethernet1")...)
		h.put(at, 0, series("Ethernet2")...)
		h.put(at, 1, up...)
	}
	h.eval(t0.Add(61 * time.Second))
	if a := h.one(); a.Phase != Firing || a.Labels.String() != `{alertname="Errors", instance="leaf1"}` {
		t.Fatalf("got %s %s", a.Phase, a.Labels)
	}
	// Two minutes later the range is empty though a sample is within lookback.
	h.eval(t0.Add(180 * time.Second))
	if a := h.one(); !a.Stale {
		t.Fatal("an empty range was taken for a zero rate")
	}
	// Only the interface that was quiet is seen again: still not proved.
	for s := range 5 {
		h.put(t0.Add(time.Duration(200+s*10)*time.Second), 0, series("Ethernet2")...)
	}
	h.eval(t0.Add(245 * time.Second))
	if a := h.one(); !a.Stale || !strings.Contains(a.Reason, "Ethernet1") {
		t.Fatalf("stale=%v %q", a.Stale, a.Reason)
	}
	for s := range 5 {
		h.put(t0.Add(time.Duration(250+s*10)*time.Second), 4000, series("Ethernet1")...)
		h.put(t0.Add(time.Duration(250+s*10)*time.Second), 0, series("Ethernet2")...)
	}
	h.eval(t0.Add(295 * time.Second))
	if n := len(h.e.Alerts()); n != 0 {
		t.Fatalf("%d alerts after it was seen to be over", n)
	}
}

func TestAbsence(t *testing.T) {
	h := newHouse(t, `
groups:
- name: absence
  rules:
  - alert: NoTarget
    expr: absent(up{job="snmp"})
  - alert: TargetDown
    expr: up == 0
`)
	t0 := time.Now().Add(-time.Hour).Truncate(time.Second)
	h.eval(t0)
	if a := h.one(); a.Rule != "NoTarget" || a.Stale {
		t.Fatalf("got %+v", a)
	}
	up := []string{"__name__", "up", "job", "snmp", "instance", "leaf1"}
	h.put(t0.Add(5*time.Second), 0, up...)
	h.eval(t0.Add(6 * time.Second))
	if a := h.one(); a.Rule != "TargetDown" || a.Phase != Firing {
		t.Fatalf("got %+v", a)
	}
	h.put(t0.Add(20*time.Second), 1, up...)
	h.eval(t0.Add(21 * time.Second))
	if n := len(h.e.Alerts()); n != 0 {
		t.Fatalf("%d alerts", n)
	}
}

func TestEvaluateNeedsFreshSamples(t *testing.T) {
	h := newHouse(t, strings.Replace(serviceRules, "for: 10s", "for: 0s", 1))
	now := time.Now()
	h.put(now.Add(-20*time.Second), 0, unit...)
	h.put(now.Add(-20*time.Second), 1, upWeb...)
	h.eval(now.Add(-19 * time.Second))
	a := h.one()
	job := now.Add(-5 * time.Second)
	verdict := func() Verdict {
		v, err := h.e.Evaluate(t.Context(), a.Episode, job)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	if v := verdict(); v.Cleared || v.Seen {
		t.Fatalf("before any poll: %+v", v)
	}
	// A sample that says it is over, taken before the job ended, proves nothing.
	h.put(job, 1, unit...)
	if v := verdict(); !v.Cleared || v.Seen {
		t.Fatalf("a sample of the job's own time: %+v", v)
	}
	h.put(job.Add(time.Second), 0, unit...)
	if v := verdict(); v.Cleared || !v.Seen {
		t.Fatalf("seen and not over: %+v", v)
	}
	h.put(job.Add(2*time.Second), 1, unit...)
	if v := verdict(); !v.Cleared || !v.Seen {
		t.Fatalf("seen and over: %+v", v)
	}
	if _, err := h.e.Evaluate(t.Context(), "nope", job); err == nil {
		t.Fatal("an episode that never was is evaluated")
	}
}

func TestWhatAnAlertRestsOn(t *testing.T) {
	series := labels.FromStrings("instance", "a", "device", "sda", "rack", "r1")
	f := func(expr string, want ...string) {
		t.Helper()
		e, err := promQL.ParseExpr(expr)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, s := range restsOn(e) {
			var ms []string
			for _, m := range s.narrow(series) {
				ms = append(ms, m.String())
			}
			slices.Sort(ms)
			got = append(got, strings.Join(ms, ","))
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s\n got %q\nwant %q", expr, got, want)
		}
	}
	f(`x > 1`, `__name__="x",device="sda",instance="a",rack="r1"`)
	f(`sum by (instance) (x) > 1`, `__name__="x",instance="a"`)
	f(`sum without (device) (x) > 1`, `__name__="x",instance="a",rack="r1"`)
	f(`sum(x) > 1`, `__name__="x"`)
	f(`topk(3, x)`, `__name__="x",device="sda",instance="a",rack="r1"`)
	f(`count_values("device", x)`, `__name__="x"`)
	f(`x / on (instance) y`, `__name__="x",instance="a"`, `__name__="y",instance="a"`)
	f(`x * on (instance) group_left (rack) y`, `__name__="x",device="sda",instance="a"`, `__name__="y",instance="a",rack="r1"`)
	f(`x and on (instance) up == 1`, `__name__="x",device="sda",instance="a",rack="r1"`, `__name__="up",instance="a"`)
	f(`x unless on (instance) y`, `__name__="x",device="sda",instance="a",rack="r1"`)
	f(`label_replace(x, "rack", "$1", "pos", "(.*)")`, `__name__="x",device="sda",instance="a"`)
	f(`x > scalar(y)`, `__name__="x",device="sda",instance="a",rack="r1"`, `__name__="y"`)
	f(`vector(1)`)
}

// A sum that became small since one of its targets was removed and the others
// are not seen is not seen to be over.
func TestRemovedTargetIsNoSightOfTheOthers(t *testing.T) {
	h := newHouse(t, `
groups:
- name: hall
  rules:
  - alert: Errors
    expr: sum(errors) > 10
`)
	t0 := time.Now().Add(-time.Hour).Truncate(time.Second)
	put := func(s int, host string, up, v float64) {
		at := t0.Add(time.Duration(s) * time.Second)
		h.put(at, v, "__name__", "errors", "job", "linux", "instance", host)
		h.put(at, up, "__name__", "up", "job", "linux", "instance", host)
	}
	for i := range 10 {
		put(0, fmt.Sprintf("web-%d", i), 1, 9)
	}
	h.eval(t0.Add(time.Second))
	a := h.one()
	put(15, "web-0", staleMarker, staleMarker)
	h.eval(t0.Add(400 * time.Second)) // nothing came of the others for longer than the lookback
	if a := h.one(); a.Phase != Firing || !a.Stale {
		t.Fatalf("got %s stale=%v %q", a.Phase, a.Stale, a.Reason)
	}
	for i := range 9 {
		put(405, fmt.Sprintf("web-%d", i+1), 1, 0)
	}
	// It is over, yet by a removal in part: that proves no remedy.
	s, err := h.e.look(t.Context(), h.e.groups[0].rules[0], labels.EmptyLabels(), t0.Add(time.Second), t0.Add(time.Second), t0.Add(406*time.Second))
	if err != nil || !s.seen || s.removed || !s.partly {
		t.Fatalf("got %+v, %v", s, err)
	}
	h.eval(t0.Add(406 * time.Second))
	if past, err := h.e.Episode(a.Episode); err != nil || past.Phase != Resolved || past.Reason != "target removed: web-0" {
		t.Fatalf("got %s %q, %v", past.Phase, past.Reason, err)
	}
}

// A label that the rule fills in changes with the value: that is no end.
func TestEvaluateSeesTheFaultUnderOtherLabels(t *testing.T) {
	h := newHouse(t, `
groups:
- name: g
  rules:
  - alert: Load
    expr: node_load1 > 8
    labels: {load: '{{ $value }}'}
`)
	load := []string{"__name__", "node_load1", "job", "linux", "instance", "web-1"}
	now := time.Now()
	h.put(now.Add(-20*time.Second), 9, load...)
	h.eval(now.Add(-19 * time.Second))
	a := h.one()
	h.put(now.Add(-2*time.Second), 10, load...)
	if v, err := h.e.Evaluate(t.Context(), a.Episode, now.Add(-5*time.Second)); err != nil || v.Cleared || !v.Seen || v.Value != 10 {
		t.Fatalf("got %+v, %v", v, err)
	}
}
