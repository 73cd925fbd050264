package alerting

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// named is a receiver of another name.
type named struct {
	receiver
	name string
}

func (n *named) Name() string { return n.name }

const replaceRules = `
groups:
- name: g
  rules:
  - {alert: Stays, expr: v > 1}
  - {alert: Waits, expr: v > 2, for: 40s}
  - {alert: Goes, expr: v > 3}
`

// phases are the alerts by rule.
func (h *house) phases() map[string]string {
	out := map[string]string{}
	for _, a := range h.e.Alerts() {
		out[a.Rule] = a.Phase
	}
	return out
}

// TestReplaceUnderFiringAlerts takes other rules and receivers while alerts
// fire and one is pending: what stays goes on with its episode and its `for`,
// what is gone resolves, a new rule and a new receiver begin.
func TestReplaceUnderFiringAlerts(t *testing.T) {
	old, fresh := &named{name: "old"}, &named{name: "fresh"}
	inBubble(t, replaceRules, []Notifier{old}, func(t *testing.T, h *house) {
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- h.e.Run(ctx) }()
		feed := func(d time.Duration) {
			t.Helper()
			for range int(d / (5 * time.Second)) {
				h.put(time.Now(), 9, "__name__", "v", "instance", "web-1")
				time.Sleep(5 * time.Second)
			}
		}
		feed(20 * time.Second)
		if p := h.phases(); p["Stays"] != Firing || p["Waits"] != Pending || p["Goes"] != Firing {
			t.Fatalf("before: %v", p)
		}
		episodes := map[string]string{}
		for _, a := range h.e.Alerts() {
			episodes[a.Rule] = a.Episode
		}
		next := strings.Replace(replaceRules, "  - {alert: Goes, expr: v > 3}\n", "  - {alert: New, expr: v > 4}\n", 1)
		next = strings.Replace(next, "expr: v > 1", "expr: v > 1.5", 1)
		broken := []File{{Name: "rules.yml", Data: []byte("groups: [{name: g, rules: [{alert: X, expr: 'v >'}]}]")}}
		if err := h.e.Replace(broken, nil, 0); err == nil || !strings.Contains(err.Error(), "rules.yml") || len(h.e.Rules()) != 3 || len(h.e.Notifiers()) != 1 {
			t.Fatalf("broken rules: %v; now %v", err, h.e.Rules())
		}
		if err := h.e.Replace([]File{{Name: "rules.yml", Data: []byte(next)}}, []Notifier{fresh}, 5*time.Second); err != nil {
			t.Fatal(err)
		}
		feed(15 * time.Second)
		if p := h.phases(); p["Stays"] != Firing || p["Waits"] != Pending || p["Goes"] != "" || p["New"] != Firing {
			t.Errorf("after: %v", p)
		}
		for _, a := range h.e.Alerts() {
			if was := episodes[a.Rule]; was != "" && was != a.Episode {
				t.Errorf("%s has another episode", a.Rule)
			}
		}
		if gone, err := h.e.Episode(episodes["Goes"]); err != nil || gone.Phase != Resolved || gone.Reason != "rule removed" {
			t.Errorf("the alert of the rule that is gone: %+v, %v", gone, err)
		}
		feed(10 * time.Second) // 45 s since it was first true
		if p := h.phases(); p["Waits"] != Firing {
			t.Errorf("`for` did not count on: %v", p)
		}
		synctest.Wait()
		told := len(old.told())
		h.put(time.Now(), 0, "__name__", "v", "instance", "web-1")
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if n := len(old.told()); n != told {
			t.Errorf("the receiver that is gone was told again: %q", old.told())
		}
		all := strings.Join(fresh.told(), " ")
		if !strings.Contains(all, "firing:") || !strings.Contains(all, "resolved:") {
			t.Errorf("the new receiver was told %q", fresh.told())
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// TestClockSetBack fires under a clock that is twenty minutes ahead. Set right,
// the alert that fires resolves on the next samples, and what was pending
// fires after its `for`: neither waits for the clock to catch up.
func TestClockSetBack(t *testing.T) {
	h := newHouse(t, replaceRules)
	right := time.Now().Add(-30 * time.Minute).Truncate(time.Second)
	wrong := right.Add(20 * time.Minute)
	put := func(at time.Time, v float64, instance string) {
		t.Helper()
		h.put(at, v, "__name__", "v", "instance", instance)
	}
	for i := range 4 {
		at := wrong.Add(time.Duration(i) * 5 * time.Second)
		put(at, 1.2, "fires")
		put(at, 2.5, "waits")
		h.eval(at.Add(time.Second))
	}
	find := func(rule, instance string) string {
		for _, a := range h.e.Alerts() {
			if a.Rule == rule && a.Labels.Get("instance") == instance {
				return a.Phase
			}
		}
		return ""
	}
	if find("Stays", "fires") != Firing || find("Waits", "waits") != Pending {
		t.Fatalf("under the wrong clock: %v", h.e.Alerts())
	}
	fired, resolved := time.Duration(-1), time.Duration(-1)
	for i := 1; i <= 20; i++ {
		since := time.Duration(i) * 5 * time.Second
		put(right.Add(since), 0, "fires")
		put(right.Add(since), 2.5, "waits")
		h.eval(right.Add(since + time.Second))
		if fired < 0 && find("Waits", "waits") == Firing {
			fired = since
		}
		if resolved < 0 && find("Stays", "fires") == "" {
			resolved = since
		}
	}
	if fired < 40*time.Second || fired > 50*time.Second {
		t.Errorf("what was pending fired after %v, its `for` is 40s", fired)
	}
	if resolved < 0 || resolved > 20*time.Second {
		t.Errorf("what fired resolved after %v", resolved)
	}
}

// TestClockSetForward sets the clock three hours ahead under a firing alert: it
// is not over because nothing was seen since, goes on as the same episode when
// its series comes again, and ends when that says so.
func TestClockSetForward(t *testing.T) {
	h := newHouse(t, replaceRules)
	before := time.Now().Add(-4 * time.Hour).Truncate(time.Second)
	for i := range 4 {
		at := before.Add(time.Duration(i) * 5 * time.Second)
		h.put(at, 1.2, "__name__", "v", "instance", "fires")
		h.eval(at.Add(time.Second))
	}
	only := func(what string) Alert {
		t.Helper()
		all := h.e.Alerts()
		if len(all) != 1 || all[0].Phase != Firing {
			t.Fatalf("%s: %+v", what, all)
		}
		return all[0]
	}
	first := only("before")
	ahead := before.Add(3 * time.Hour)
	h.eval(ahead)
	if a := only("just after"); a.Episode != first.Episode || !a.Stale {
		t.Errorf("with nothing seen since: %+v", a)
	}
	for i := 1; i <= 4; i++ {
		at := ahead.Add(time.Duration(i) * 5 * time.Second)
		h.put(at, 1.3, "__name__", "v", "instance", "fires")
		h.eval(at.Add(time.Second))
	}
	if a := only("seen again"); a.Episode != first.Episode || a.Stale {
		t.Errorf("seen again it is %+v, it was %+v", a, first)
	}
	for i := 5; i <= 20; i++ {
		at := ahead.Add(time.Duration(i) * 5 * time.Second)
		h.put(at, 0, "__name__", "v", "instance", "fires")
		h.eval(at.Add(time.Second))
	}
	if all := h.e.Alerts(); len(all) != 0 {
		t.Errorf("it is over, and still there: %+v", all)
	}
}
