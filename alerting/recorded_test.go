package alerting

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
)

// TestRecordedSeriesProveNothingAlone: samples of the source stop coming, the
// recording rule goes on and makes a harmless number of what is left. Its fresh
// samples do not prove that the alert is over.
func TestRecordedSeriesProveNothingAlone(t *testing.T) {
	h := newHouse(t, `
groups:
- name: g
  rules:
  - record: instance:errors:sum
    expr: sum by (instance) (ifInErrors or up * 0)
  - alert: Errors
    expr: instance:errors:sum > 10
`)
	t0 := time.Now().Add(-time.Hour).Truncate(time.Second)
	at := func(s int) time.Time { return t0.Add(time.Duration(s) * time.Second) }
	errs := []string{"__name__", "ifInErrors", "job", "snmp", "instance", "leaf1", "ifName", "Ethernet1"}
	h.put(at(0), 50, errs...)
	h.put(at(0), 1, up("snmp", "leaf1")...)
	h.eval(at(1))
	if a := h.one(); a.Phase != Firing {
		t.Fatalf("got %+v", a)
	}
	for s := 15; s <= 400; s += 15 { // the device answers, its errors are not seen
		h.put(at(s), 1, up("snmp", "leaf1")...)
	}
	h.eval(at(401))
	if a := h.one(); !a.Stale || !strings.Contains(a.Reason, "ifInErrors") {
		t.Fatalf("stale=%v %q", a.Stale, a.Reason)
	}
	if v, err := h.e.Evaluate(t.Context(), h.one().Episode, at(390)); err != nil || v.Seen {
		t.Fatalf("seen without a sample of the source: %+v, %v", v, err)
	}
	h.put(at(410), 0, errs...)
	h.put(at(410), 1, up("snmp", "leaf1")...)
	h.eval(at(411))
	if n := len(h.e.Alerts()); n != 0 {
		t.Fatalf("%d alerts after it was seen to be over", n)
	}
}

func TestWhatARecordedSeriesRestsOn(t *testing.T) {
	groups, faults := parse([]File{{"r.yml", []byte(`
groups:
- name: g
  rules:
  - {record: a, expr: 'sum by (instance, dc) (rate(x[10m]))', labels: {team: net}}
  - {record: b, expr: 'max by (instance) (a{dc="d1"} offset 1m)'}
  - {record: loop, expr: 'loop offset 1m + y'}
  - {alert: OnB, expr: 'b > 1'}
  - {alert: OnLoop, expr: 'max_over_time(loop[1h]) > 1'}
  - {alert: Other, expr: 'a{team="storage"} > 1'}
`)}})
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	series := labels.FromStrings("instance", "i1", "dc", "d1", "team", "net")
	f := func(rule int, want ...string) {
		t.Helper()
		var got []string
		for _, s := range groups[0].rules[rule].rests {
			var ms []string
			for _, m := range s.narrow(series) {
				ms = append(ms, m.String())
			}
			slices.Sort(ms)
			got = append(got, strings.Join(slices.Compact(ms), ",")+" "+s.window.String()+" "+s.offset.String())
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s rests on\n %q, want\n %q", groups[0].rules[rule].name, got, want)
		}
	}
	f(3, `__name__="b",dc="d1",instance="i1",team="net" 5m0s 0s`,
		`__name__="a",dc="d1",instance="i1" 5m0s 1m0s`,
		`__name__="x",dc="d1",instance="i1" 10m0s 1m0s`)
	f(4, `__name__="loop",dc="d1",instance="i1",team="net" 1h0m0s 0s`,
		`__name__="loop",dc="d1",instance="i1",team="net" 1h0m0s 1m0s`,
		`__name__="y",dc="d1",instance="i1",team="net" 1h0m0s 0s`)
	f(5, `__name__="a",dc="d1",instance="i1",team="net",team="storage" 5m0s 0s`)
}
