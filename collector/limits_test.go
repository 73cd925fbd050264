package collector

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/prometheus/model/labels"
)

// TestLimitedPolls: a credential that sees only a part sees that part whole:
// what is gone from it ends. When it may see less than before, what it no
// longer shows has not ended.
func TestLimitedPolls(t *testing.T) {
	own := []error{errors.New("sees its own project only")}
	less := append([]error{errors.New("may not list hypervisors")}, own...)
	synctest.Test(t, func(t *testing.T) {
		var now Result
		src := newFake(func(context.Context, Target) (Result, error) { return now, nil })
		var st store
		s := start(t, Options{Sources: map[string]Source{"openstack": src}, Append: st.append})
		set(t, s, Target{Name: "zed", Kind: "openstack", Interval: time.Hour})
		step := func(names string, limited, partial []error, wantX, wantY string) {
			t.Helper()
			now = Result{Limited: limited, Partial: partial}
			for n := range strings.FieldsSeq(names) {
				now.Samples = append(now.Samples, Sample{Labels: labels.FromStrings("__name__", n, "instance", "zed"), V: 1})
			}
			if err := s.PollNow(t.Context(), "zed"); err != nil {
				t.Fatal(err)
			}
			if x, y := strings.Join(st.of("x", "zed"), " "), strings.Join(st.of("y", "zed"), " "); x != wantX || y != wantY {
				t.Errorf("x: %s (want %s), y: %s (want %s)", x, wantX, y, wantY)
			}
		}
		step("x y", own, nil, "1", "1")
		if got := status(s, "zed"); !got.Partial || !strings.Contains(got.Err, "own project") {
			t.Errorf("what it may not see is not told: %+v", got)
		}
		step("x", own, []error{errors.New("timeout")}, "1 1", "1") // not seen
		step("x", own, nil, "1 1 1", "1 stale")                    // gone
		step("x y", own, nil, "1 1 1 1", "1 stale 1")
		step("x", less, nil, "1 1 1 1 1", "1 stale 1")   // hidden now
		step("x", less, nil, "1 1 1 1 1 1", "1 stale 1") // and stays so
		step("y", less, nil, "1 1 1 1 1 1 stale", "1 stale 1 1")
		step("", nil, nil, "1 1 1 1 1 1 stale", "1 stale 1 1") // sees all: who knows what y was
		if got := st.of(PartialMetric, "zed"); strings.Join(got, " ") != "0 1 0 0 0 0 0 0" {
			t.Errorf("partial: %v", got)
		}
	})
}

// TestWhatRemainsUnseen: a poll that did not ask for what the last one missed
// is still one of a target that is seen in part; its series end as ever.
func TestWhatRemainsUnseen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var now Result
		src := newFake(func(context.Context, Target) (Result, error) { return now, nil })
		var st store
		s := start(t, Options{Sources: map[string]Source{"snmp": src}, Append: st.append})
		set(t, s, Target{Name: "sw", Kind: "snmp", Interval: time.Hour})
		x := []Sample{{Labels: labels.FromStrings("__name__", "x", "instance", "sw"), V: 1}}
		broken := []error{errors.New("neighbours (LLDP): timeout")}
		for _, r := range []Result{{Samples: x, Partial: broken}, {Samples: x, Remains: broken}, {Remains: broken}, {}} {
			now = r
			if err := s.PollNow(t.Context(), "sw"); err != nil {
				t.Fatal(err)
			}
			if got := status(s, "sw"); got.Partial != (len(r.Partial)+len(r.Remains) > 0) {
				t.Errorf("status %+v", got)
			}
		}
		if got := strings.Join(st.of(PartialMetric, "sw"), " "); got != "1 1 1 0" {
			t.Errorf("partial: %s", got)
		}
		if got := strings.Join(st.of("x", "sw"), " "); got != "1 1 stale" {
			t.Errorf("x: %s", got)
		}
	})
}
