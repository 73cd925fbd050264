package self

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/VictoriaMetrics/metrics"
	"github.com/google/go-cmp/cmp"

	"nocturne/collector"
)

var target = collector.Target{Name: "nocturne", Kind: Kind}

// TestPollReadsWhatIsCounted counts with the library that the program counts
// with, and looks for the same numbers in the samples.
func TestPollReadsWhatIsCounted(t *testing.T) {
	set := metrics.NewSet()
	set.NewCounter(`polls_total{kind="snmp",note="a \"b\" \\ c"}`).Add(41)
	set.NewGauge("free_bytes", func() float64 { return -2.5 })
	h := set.NewHistogram(`took_seconds{kind="snmp"}`)
	for _, v := range []float64{0.25, 0.5, 4} {
		h.Update(v)
	}
	res, err := New(set.WritePrometheus, "v1").Poll(t.Context(), target)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range res.Samples {
		got = append(got, fmt.Sprintf("%s %v", s.Labels, s.V))
	}
	slices.Sort(got)
	want := []string{
		`{__name__="free_bytes", instance="nocturne", job="nocturne"} -2.5`,
		`{__name__="polls_total", instance="nocturne", job="nocturne", kind="snmp", note="a \"b\" \\ c"} 41`,
		`{__name__="took_seconds_count", instance="nocturne", job="nocturne", kind="snmp"} 3`,
		`{__name__="took_seconds_sum", instance="nocturne", job="nocturne", kind="snmp"} 4.75`,
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if f := res.Facts; len(f) != 1 || f[0].Kind != ItemKind || f[0].Key != "nocturne" || f[0].Fields["version"] != "v1" || f[0].Binding["job"] != Kind {
		t.Errorf("facts %+v", f)
	}
}

// TestProcessIsSeen has the library tell of this process.
func TestProcessIsSeen(t *testing.T) {
	res, err := New(func(w io.Writer) { metrics.WriteProcessMetrics(w); metrics.WriteFDMetrics(w) }, "").Poll(t.Context(), target)
	if err != nil {
		t.Fatal(err)
	}
	// A process that has just begun may have used less than a tick of CPU.
	for name, least := range map[string]float64{"process_cpu_seconds_total": 0, "process_resident_memory_bytes": 1, "process_open_fds": 1, "go_goroutines": 1} {
		if !slices.ContainsFunc(res.Samples, func(s collector.Sample) bool { return s.Labels.Get("__name__") == name && s.V >= least }) {
			t.Errorf("no %s of at least %g", name, least)
		}
	}
}

func TestNonsenseIsAnError(t *testing.T) {
	_, err := New(func(w io.Writer) { _, _ = io.WriteString(w, "good 1\nbad{ 2\n") }, "").Poll(t.Context(), target)
	if err == nil || !strings.Contains(err.Error(), "poll nocturne: read the program's own metrics") {
		t.Error(err)
	}
}

func TestCatalogueIsSortedAndWhole(t *testing.T) {
	for i, m := range Metrics {
		if m.Help == "" || !strings.HasPrefix(m.Name, "nocturne_") || i > 0 && m.Name <= Metrics[i-1].Name {
			t.Errorf("%+v", m)
		}
		if m.Type == counter != strings.HasSuffix(m.Name, "_total") {
			t.Errorf("%s is a %s", m.Name, m.Type)
		}
	}
}
