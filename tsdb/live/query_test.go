package live

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/prometheus/model/labels"
)

// counted is a window in which two counters of leaf1 grow each second by 100
// and 200 until end, and one of leaf2 by 300.
func counted(t *testing.T, end time.Time) *Window {
	t.Helper()
	w := window(t, Options{})
	for i := 60; i >= 0; i-- {
		at := end.Add(-time.Duration(i) * time.Second)
		n := float64(60 - i)
		add := func(target, port string, v float64) {
			t.Helper()
			put(t, w, target, Point{labels.FromStrings("__name__", "ifHCInOctets", "instance", target, "ifName", port), at.UnixMilli(), v})
		}
		add("leaf1", "Ethernet1", n*100)
		add("leaf1", "Ethernet2", n*200)
		add("leaf2", "Ethernet1", n*300)
	}
	return w
}

func TestQueryRatesOverSeconds(t *testing.T) {
	now := time.Now().Truncate(time.Second)
	w := counted(t, now)
	got := map[string]float64{}
	v, err := w.Query(t.Context(), `rate(ifHCInOctets{instance="leaf1",ifName=~"Ethernet[12]"}[5s]) * 8`, now)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range v {
		got[s.Metric.Get("ifName")] = s.F
	}
	if diff := cmp.Diff(map[string]float64{"Ethernet1": 800, "Ethernet2": 1600}, got); diff != "" {
		t.Error(diff)
	}
	m, err := w.QueryRange(t.Context(), `rate(ifHCInOctets{instance!="leaf1"}[5s])`, now.Add(-2*time.Minute), now, time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if len(m) != 1 || m[0].Metric.Get("instance") != "leaf2" || len(m[0].Floats) < 58 || len(m[0].Floats) > 60 {
		t.Fatalf("got %v", m)
	}
	for _, p := range m[0].Floats[4:] { // before, five seconds are not full
		if p.F < 299 || p.F > 301 {
			t.Errorf("%v at %d, want 300", p.F, p.T)
		}
	}
}

// TestQueryInventsNothing asks after the points ended.
func TestQueryInventsNothing(t *testing.T) {
	now := time.Now().Truncate(time.Second)
	w := counted(t, now.Add(-10*time.Second))
	for _, expr := range []string{`ifHCInOctets`, `rate(ifHCInOctets[5s])`, `sum(ifHCInOctets)`} {
		v, err := w.Query(t.Context(), expr, now)
		if err != nil || len(v) != 0 {
			t.Errorf("%s ten seconds after the last point: %v, %v", expr, v, err)
		}
	}
	if _, err := w.Query(t.Context(), `rate(`, now); err == nil {
		t.Error("a query that does not parse gives no error")
	}
	if _, err := w.QueryRange(t.Context(), `up`, now, now, 0); err == nil {
		t.Error("a step of nothing gives no error")
	}
}

func TestQueryableListsLabels(t *testing.T) {
	now := time.Now().Truncate(time.Second)
	q, err := counted(t, now).Queryable().Querier(now.Add(-time.Minute).UnixMilli(), now.UnixMilli())
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	names, _, err := q.LabelNames(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"__name__", "ifName", "instance"}, names); diff != "" {
		t.Error(diff)
	}
	values, _, err := q.LabelValues(t.Context(), "ifName", nil, labels.MustNewMatcher(labels.MatchEqual, "instance", "leaf2"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"Ethernet1"}, values); diff != "" {
		t.Error(diff)
	}
}
