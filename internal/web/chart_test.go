package web

import (
	"encoding/json"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"

	"nocturne/tsdb"
)

// pts makes points of pairs of seconds and value.
func pts(pairs ...float64) []chartPoint {
	var out []chartPoint
	for i := 0; i < len(pairs); i += 2 {
		out = append(out, chartPoint{int64(pairs[i] * 1000), pairs[i+1]})
	}
	return out
}

func encoded(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestRefinedAndGapped(t *testing.T) {
	coarse := []chartSeries{{Key: "in", Pts: pts(0, 1, 10, 2, 20, 3, 30, 4, 60, 5, 70, 6)}, {Key: "out", Pts: pts(0, 1)}}
	fine := []chartSeries{{Key: "in", Pts: pts(25, 30, 26, 31, 27, 32)}, {Key: "new", Pts: pts(25, 7)}}
	got := refined(coarse, fine, 10*time.Second)
	for i := range got {
		got[i].Pts = gapped(got[i].Pts, 10*time.Second)
	}
	want := []string{
		// 20 and 30 lie within a step of a fine point; from 27 to 60 more than
		// one and a half steps are missing.
		`[[0,1],[10,2],[25,30],[26,31],[27,32],[37,null],[60,5],[70,6]]`,
		`[[0,1]]`,
		`[[25,7]]`,
	}
	for i := range want {
		if diff := cmp.Diff(want[i], encoded(t, got[i].Pts)); diff != "" {
			t.Errorf("%s: %s", got[i].Key, diff)
		}
	}
	if s := encoded(t, pts(1.5, math.NaN(), 2, math.Inf(1), 3, 1e300)); s != `[[1.5,null],[2,null],[3,1e+300]]` {
		t.Error(s)
	}
}

func TestSettledLeavesOutTheBeginningOfRuns(t *testing.T) {
	got := settled(pts(1, 0, 2, 0, 3, 0, 4, 0, 5, 0, 6, 60, 7, 70, 20, 0, 21, 0, 22, 0, 23, 0, 24, 0, 25, 250))
	if diff := cmp.Diff(pts(6, 60, 7, 70, 25, 250), got); diff != "" {
		t.Error(diff)
	}
}

func TestStepFits(t *testing.T) {
	for _, interval := range []time.Duration{time.Second, 15 * time.Second, time.Minute, 5 * time.Minute} {
		for name, span := range spans {
			step := stepOf(span, interval)
			if n := span / step; n > chartPoints || step < span/chartPoints {
				t.Errorf("%s at %s: %d points of %s", name, interval, n, step)
			}
		}
	}
}

// TestPanelsParse fills in every query of every panel; two panels of one kind
// and job have different names.
func TestPanelsParse(t *testing.T) {
	p := parser.NewParser(parser.Options{})
	seen := map[string]bool{}
	for _, pn := range panels {
		queries := []string{}
		if pn.Pick != "" {
			queries = append(queries, pn.Pick)
		}
		for _, l := range append(slices.Clone(pn.Lines), pn.Now...) {
			queries = append(queries, l.Query)
		}
		for _, q := range queries {
			if _, err := p.ParseExpr(expr(q, `job="x",instance="y"`, picked("z", []string{"a.b"}), time.Minute)); err != nil {
				t.Errorf("%s: %v", pn.Name, err)
			}
		}
		for _, kind := range pn.Kinds {
			if seen[kind+pn.Name] {
				t.Errorf("two panels %s of a %s", pn.Name, kind)
			}
			seen[kind+pn.Name] = true
		}
		if (pn.Pick == "") != (pn.By == "") || len(pn.Lines) == 0 || pn.Title == "" {
			t.Errorf("panel %s is not whole", pn.Name)
		}
	}
}

func TestDrawn(t *testing.T) {
	for _, c := range []struct {
		name, job string
		more      []string
		want      bool
	}{
		{"ifHCInOctets", "snmp", nil, true},
		{"ifHCInOctets", "linux", nil, false},
		{"ifInErrors", "snmp", nil, false},
		{"node_cpu_seconds_total", "linux", []string{"mode", "idle"}, true},
		{"node_cpu_seconds_total", "linux", []string{"mode", "user"}, false},
		{"node_network_receive_bytes_total", "linux", []string{"device", "lo"}, false},
		{"openstack_nova_vcpus_used", "openstack", nil, false},
	} {
		ls := labels.FromStrings(append([]string{"__name__", c.name, "job", c.job, "instance", "x"}, c.more...)...)
		if got := Drawn(ls); got != c.want {
			t.Errorf("%s: %v", ls, got)
		}
	}
}

func TestLabelOfLine(t *testing.T) {
	ls := labels.FromStrings("ifName", "{ifName}", "b", "2")
	for in, want := range map[string]string{"in": "in", "{ifName} x {b}": "{ifName} x 2", "{": "{", "a{b": "a{b", "{none}": ""} {
		if got := (line{Label: in}).label(ls); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

// TestChartInventsNothing puts 20 minutes of history with a hole into the
// store: the chart has the points, a gap for the hole, and nothing before,
// within or after.
func TestChartInventsNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t).ready()
	r.world.deaf.Store(true)
	now := time.Now()
	var samples []tsdb.Sample
	for ago := 28 * time.Minute; ago >= 10*time.Minute; ago -= 15 * time.Second {
		if ago > 20*time.Minute || ago < 15*time.Minute {
			samples = append(samples, tsdb.Sample{
				Labels: labels.FromStrings("__name__", "node_load1", "job", "linux", "instance", "web-1"), T: now.Add(-ago).UnixMilli(), V: 3,
			})
		}
	}
	if _, err := r.History.Append(t.Context(), samples); err != nil {
		t.Fatal(err)
	}
	got, err := r.chart(t.Context(), "host/web-1", "load", "hour")
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Series) != 1 {
		t.Fatalf("%d series", len(got.Series))
	}
	gaps := 0
	for _, p := range got.Series[0].Pts {
		ago := now.Sub(time.UnixMilli(p.T)).Minutes()
		switch {
		case math.IsNaN(p.V):
			gaps++
		case p.V != 3 || ago > 28.1 || ago > 15 && ago < 18.9 || ago < 8.9:
			t.Errorf("%v %.1f minutes ago", p.V, ago)
		}
	}
	if gaps != 1 {
		t.Errorf("%d gaps, want one", gaps)
	}
	for _, bad := range [][3]string{{"host/web-1", "load", "year"}, {"host/web-1", "sent", "hour"}, {"host/none", "load", "hour"}} {
		if _, err := r.chart(t.Context(), bad[0], bad[1], bad[2]); err == nil {
			t.Errorf("%v: no error", bad)
		}
	}
}

func TestPanelsOfItems(t *testing.T) {
	t.Parallel()
	r := newRig(t).ready()
	for id, want := range map[string][]string{
		"device/leaf1":              {"received", "sent", "faults"},
		"interface/leaf1/Ethernet1": {"traffic", "faults"},
		"host/web-1":                {"cpu", "memory", "network", "disks", "load"},
		"host/none":                 nil,
		"":                          nil,
	} {
		var got []string
		for _, c := range r.panelsFor(id) {
			got = append(got, c.Panel)
			if status, text := r.ask(r.viewer, "GET", c.Src+"&range=day", nil); status != 200 {
				t.Errorf("%s: %d %s", c.Src, status, text)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", id, got, want)
		}
	}
}
