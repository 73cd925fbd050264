package inspection

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/prometheus/model/labels"

	"nocturne/internal/ledger"
	"nocturne/internal/state"
	"nocturne/tsdb"
)

const daily = `
inspections:
- name: daily
  title: Daily inspection
  schedule: "0 6 * * *"
  checks:
  - {name: disk, query: disk_used, unit: "%", warn: "> 80", fail: "> 90"}
  - {name: cpu, query: cpu_used, warn: "> 80", expect: up}
  - {name: gone, query: nothing_here, fail: "> 1"}
  - {name: count, query: up, expect: 4}
  - {name: broken, query: "up * on(instance) disk_used", fail: "> 1"}
  - {name: fine, query: count(up), fail: "< 2"}
  - {name: blind, query: up, fail: "< 1", expect: nothing_expected}
`

func open(t *testing.T, text string) (*Inspector, Options) {
	t.Helper()
	list, err := Parse("daily.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	db, err := tsdb.Open(tsdb.Options{Dir: t.TempDir(), Log: log})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	st, err := state.Open(state.Options{Dir: t.TempDir(), Log: log})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	chain, err := ledger.Open(st)
	if err != nil {
		t.Fatal(err)
	}
	o := Options{DB: db, Ledger: chain, State: st, Inspections: list, Log: log}
	i, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return i, o
}

func feed(t *testing.T, o Options) {
	t.Helper()
	now := time.Now().UnixMilli()
	s := func(v float64, ls ...string) tsdb.Sample {
		return tsdb.Sample{Labels: labels.FromStrings(ls...), T: now, V: v}
	}
	res, err := o.DB.Append(t.Context(), []tsdb.Sample{
		s(1, "__name__", "up", "instance", "a"), s(1, "__name__", "up", "instance", "b"), s(1, "__name__", "up", "instance", "c"),
		s(95, "__name__", "disk_used", "instance", "a", "mountpoint", "/"),
		s(85, "__name__", "disk_used", "instance", "a", "mountpoint", "/var"),
		s(10, "__name__", "disk_used", "instance", "b", "mountpoint", "/"),
		s(10, "__name__", "cpu_used", "instance", "a"), s(20, "__name__", "cpu_used", "instance", "b"),
	})
	if err != nil || res.Appended != 8 {
		t.Fatalf("append: %+v, %v", res, err)
	}
}

func TestVerdicts(t *testing.T) {
	i, o := open(t, daily)
	feed(t, o)
	r, err := i.NowBy(t.Context(), "daily", "person:ops")
	if err != nil {
		t.Fatal(err)
	}
	got, reasons := map[string]Verdict{}, map[string]string{}
	for _, c := range r.Checks {
		got[c.Name], reasons[c.Name] = c.Verdict, c.Reason
	}
	want := map[string]Verdict{"disk": Fail, "cpu": NotSeen, "gone": NotSeen, "count": NotSeen, "broken": NotSeen, "fine": Pass, "blind": NotSeen}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	for name, text := range map[string]string{"cpu": "1 of 3 expected", "gone": "returns nothing", "count": "1 of 4 series", "broken": "the query fails: ", "blind": "expected returns nothing"} {
		if !strings.Contains(reasons[name], text) {
			t.Errorf("%s: reason %q, want %q in it", name, reasons[name], text)
		}
	}
	if d := cmp.Diff(map[Verdict]int{Fail: 1, NotSeen: 5, Pass: 1}, r.Counts); d != "" || r.Verdict != Fail {
		t.Error(r.Verdict, d)
	}
	disk := r.Checks[0]
	if d := cmp.Diff(map[Verdict]int{Fail: 1, Warn: 1, Pass: 1}, disk.Counts); d != "" {
		t.Error(d)
	}
	if row := disk.Rows[0]; row.Labels.Get("mountpoint") != "/" || row.Text != "95 %" || row.Verdict != Fail {
		t.Errorf("worst row: %+v", row)
	}
	if row := r.Checks[1].Rows[0]; row.Labels.Get("instance") != "c" || row.Verdict != NotSeen || row.Value != nil {
		t.Errorf("missing row: %+v", row)
	}

	same, err := i.Report(r.ID)
	if err != nil || same.Verdict != Fail || len(same.Checks) != 7 {
		t.Errorf("read again: %+v, %v", same, err)
	}
	e, err := i.Evidence(r.ID)
	if err != nil || e.Kind != "report" || e.Actor != "person:ops" {
		t.Errorf("evidence: %+v, %v", e, err)
	}
	if list := i.Reports(); len(list) != 1 || list[0].ID != r.ID {
		t.Errorf("list: %+v", list)
	}
	same.Verdict = Pass
	if err := i.reports.PutMany([]state.Record[Report]{{ID: r.ID, Value: same}}); err != nil {
		t.Fatal(err)
	}
	if _, err := i.Report(r.ID); err == nil || !strings.Contains(err.Error(), "ledger entry") {
		t.Errorf("a changed report reads without complaint: %v", err)
	}
}

// TestMissedSchedule starts with a schedule whose last time passed long ago.
func TestMissedSchedule(t *testing.T) {
	i, o := open(t, daily)
	feed(t, o)
	if _, err := i.schedules.Put("daily", lastDue{At: time.Now().UTC().Add(-75 * time.Hour)}, 0); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- i.Run(ctx) }()
	if err := i.order.Wait(ctx, 0); err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	list := i.Reports()
	if len(list) != 1 {
		t.Fatalf("%d reports", len(list))
	}
	r := list[0]
	if !r.Late || r.By != "schedule" || !strings.Contains(r.Note, "when nothing ran") || r.Due.Hour() != 6 || time.Since(r.Due) > 24*time.Hour {
		t.Errorf("got %+v", r)
	}
	// The same time is not made up for twice.
	if _, err := i.see(t.Context(), o.Inspections[0], true); err != nil || len(i.Reports()) != 1 {
		t.Errorf("again: %v, %d reports", err, len(i.Reports()))
	}
}

func TestParseFaults(t *testing.T) {
	f := func(text string, want ...string) {
		t.Helper()
		_, err := Parse("x.yaml", []byte(text))
		if err == nil {
			t.Errorf("%q parsed", text)
			return
		}
		for _, w := range want {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("got %q, want %q in it", err, w)
			}
		}
	}
	f("inspections:\n- name: a\n  schedule: 'x'\n  checks:\n  - name: c\n    query: 'up{'\n    warn: 80\n  - name: c\n    query: up[5m]\n    expect: 0\n",
		"x.yaml:3: inspections[0].schedule: ", "x.yaml:6: inspections[0].checks[0].query: ", `x.yaml:7: inspections[0].checks[0].warn: "80" is not a threshold`,
		`x.yaml:8: inspections[0].checks[1].name: "c" stands here twice`, "x.yaml:9: inspections[0].checks[1].query: wants an instant vector", "at least one series")
	f("inspections:\n- {name: a, schedule: '0 0 30 2 *', checks: []}\n", "never comes", "at least one check")
	f("inspections:\n- {name: a, schedule: '@daily', checks: [{name: c, query: up}]}\n", "needs warn, fail or expect")
	f("inspections:\n- {name: a, when: x}\n", "x.yaml:2: inspections[0].when: unknown field")
}

func TestThreshold(t *testing.T) {
	f := func(s string, v float64, want bool) {
		t.Helper()
		th, err := ParseThreshold(s)
		if err != nil || th.Holds(v) != want {
			t.Errorf("%s of %v: %v, %v", s, v, th.Holds(v), err)
		}
	}
	f("> 80", 81, true)
	f(">80", 80, false)
	f(">= 80", 80, true)
	f("< 1.5", 1, true)
	f("<= -1", -2, true)
	f("== 0", 0, true)
	f("!= 0", 1, true)
}

// TestOldSamplesDoNotPass: what was seen last before a start that was late, or
// before the polls stopped, is not seen.
func TestOldSamplesDoNotPass(t *testing.T) {
	i, o := open(t, "inspections:\n- name: n\n  schedule: '0 6 * * *'\n  checks: [{name: up, query: up, fail: '< 1'}]\n")
	put := func(ago time.Duration) {
		t.Helper()
		s := tsdb.Sample{Labels: labels.FromStrings("__name__", "up", "instance", "a"), T: time.Now().Add(-ago).UnixMilli(), V: 1}
		if _, err := o.DB.Append(t.Context(), []tsdb.Sample{s}); err != nil {
			t.Fatal(err)
		}
	}
	f := func(want Verdict) {
		t.Helper()
		r, err := i.Now(t.Context(), "n")
		if err != nil || r.Verdict != want {
			t.Errorf("%s %v, %v, want %s", r.Verdict, r.Checks, err, want)
		}
	}
	put(90 * time.Second)
	f(NotSeen)
	i.o.Lookback = 3 * time.Minute // a house that polls each minute
	f(Pass)
	i.o.Lookback = defaultLookback
	put(10 * time.Second)
	f(Pass)
	o.Lookback = -time.Second
	if _, err := New(o); err == nil {
		t.Error("a negative lookback is taken")
	}
}

// TestInspectionThatIsNotDone has a report, and is not made again for ever.
func TestInspectionThatIsNotDone(t *testing.T) {
	i, o := open(t, daily)
	feed(t, o)
	i.limit = time.Nanosecond
	if _, err := i.schedules.Put("daily", lastDue{At: time.Now().UTC().Add(-25 * time.Hour)}, 0); err != nil {
		t.Fatal(err)
	}
	next, err := i.see(t.Context(), o.Inspections[0], true)
	if err != nil || !next.After(time.Now()) {
		t.Fatalf("next %v, %v", next, err)
	}
	list := i.Reports()
	if len(list) != 1 {
		t.Fatalf("%d reports", len(list))
	}
	r := list[0]
	if r.Verdict != NotSeen || r.Counts[NotSeen] != len(r.Checks) || len(r.Checks) != 7 || !strings.Contains(r.Checks[0].Reason, "not done within") ||
		!strings.Contains(r.Note, "Not done within") || !strings.Contains(r.Note, "when nothing ran") {
		t.Errorf("got %+v", r)
	}
	if _, err := i.Report(r.ID); err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := i.Now(ctx, "daily"); err == nil || len(i.Reports()) != 1 {
		t.Errorf("asked for by somebody who has gone: %v, %d reports", err, len(i.Reports()))
	}
}
