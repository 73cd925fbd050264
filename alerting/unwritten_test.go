package alerting

import (
	"context"
	"fmt"
	"testing"
	"time"

	"nocturne/internal/ledger"
	"nocturne/internal/state"
)

// closedStore is a store that takes nothing any more.
func (h *house) closedStore(use func(db *state.DB)) {
	h.t.Helper()
	db, err := state.Open(state.Options{InMemory: true, Log: quiet()})
	if err != nil {
		h.t.Fatal(err)
	}
	use(db)
	if err := db.Close(); err != nil {
		h.t.Fatal(err)
	}
}

// breakLedger has the engine write its ledger to a closed store until heal.
func (h *house) breakLedger() (heal func()) {
	h.t.Helper()
	was := h.e.o.Ledger
	h.closedStore(func(db *state.DB) {
		var err error
		if h.e.o.Ledger, err = ledger.Open(db); err != nil {
			h.t.Fatal(err)
		}
	})
	return func() { h.e.o.Ledger = was }
}

// breakLog does it with the log of transitions.
func (h *house) breakLog() (heal func()) {
	h.t.Helper()
	was := h.e.transitions
	h.closedStore(func(db *state.DB) {
		var err error
		if h.e.transitions, err = state.NewLog[Transition](db, "alert.transition", 1); err != nil {
			h.t.Fatal(err)
		}
	})
	return func() { h.e.transitions = was }
}

// evalFails evaluates while the store takes nothing.
func (h *house) evalFails(ts time.Time) {
	h.t.Helper()
	for _, g := range h.e.groups {
		h.e.evalGroup(context.WithoutCancel(h.t.Context()), g, ts)
	}
	if r := h.e.Rules()[0]; r.Health != "err" {
		h.t.Fatalf("the store takes nothing, and the rule is %+v", r)
	}
}

// told counts what the ledger holds of an episode, by action.
func (h *house) told(a Alert) map[string]int {
	h.t.Helper()
	n := map[string]int{}
	for entry, err := range h.chain.Subject(subject(a.Item, a.Fingerprint)) {
		if err != nil {
			h.t.Fatal(err)
		}
		n[entry.Action]++
	}
	return n
}

func (h *house) episodes() (all []Alert) {
	h.t.Helper()
	for rec, err := range h.e.alerts.All("") {
		if err != nil {
			h.t.Fatal(err)
		}
		all = append(all, rec.Value.Alert)
	}
	return all
}

// TestStoreFailsBehindTheRecord: the record of a transition is on disk, and
// ledger or log then fail for three evaluations. Healed or restarted, the
// fault is one episode, and each of its transitions is told once.
func TestStoreFailsBehindTheRecord(t *testing.T) {
	breaks := map[string]func(h *house) func(){"ledger": (*house).breakLedger, "log": (*house).breakLog}
	for part, breakIt := range breaks {
		for at := range 3 {
			for _, restart := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s at step %d restart=%v", part, at, restart), func(t *testing.T) {
					h := newHouse(t, serviceRules)
					t0 := time.Now().Add(-90 * time.Second).Truncate(time.Second)
					for step, value := range []float64{0, 0, 1} { // pending, firing, resolved
						sec := func(s int) time.Time { return t0.Add(time.Duration(20*step+s) * time.Second) }
						h.put(sec(0), value, unit...)
						if step == at {
							heal := breakIt(h)
							for s := 1; s <= 3; s++ {
								h.evalFails(sec(s))
							}
							heal()
							if restart {
								h.restart()
								// What proves that it is over must be newer than the start.
								t0 = time.Now().Truncate(time.Second).Add(-38 * time.Second)
							}
						}
						h.eval(sec(4))
					}
					h.wantLog("ServiceDown inactive>pending", "ServiceDown pending>firing", "ServiceDown firing>resolved")
					all := h.episodes()
					if len(all) != 1 || all[0].Phase != Resolved || len(h.e.Alerts()) != 0 {
						t.Fatalf("%d episodes: %+v", len(all), all)
					}
					if n := h.told(all[0]); n[Pending] != 1 || n[Firing] != 1 || n[Resolved] != 1 {
						t.Errorf("the ledger tells %v", n)
					}
					if inc, err := h.e.Incident(all[0].Incident); err != nil || inc.Closed.IsZero() {
						t.Errorf("incident %+v, %v", inc, err)
					}
				})
			}
		}
	}
}

// TestWhatIsNotWrittenHoldsNobodyUp: one alert waits for the store; another of
// the same rule, which is written, ends meanwhile.
func TestWhatIsNotWrittenHoldsNobodyUp(t *testing.T) {
	h := newHouse(t, "groups: [{name: g, rules: [{alert: X, expr: 'x == 1'}]}]")
	t0 := time.Now().Add(-time.Minute).Truncate(time.Second)
	at := func(s int) time.Time { return t0.Add(time.Duration(s) * time.Second) }
	x := func(instance string) []string { return []string{"__name__", "x", "job", "linux", "instance", instance} }
	h.put(at(0), 1, x("a")...)
	h.eval(at(1))
	h.put(at(2), 1, x("b")...)
	heal := h.breakLog()
	h.evalFails(at(3))
	heal()
	// What waits is written by the next evaluation, in which the rule is false
	// for both.
	h.put(at(4), 0, x("a")...)
	h.put(at(4), 0, x("b")...)
	h.eval(at(5))
	h.wantLog("X inactive>firing", "X inactive>firing", "X firing>resolved", "X firing>resolved")
	if n := len(h.episodes()); n != 2 {
		t.Fatalf("%d episodes", n)
	}
}

// TestOneEpisodeIsLeftOfSeveral: records of one alert that an earlier version
// left side by side. The log never hears that the orphan fired.
func TestOneEpisodeIsLeftOfSeveral(t *testing.T) {
	h := newHouse(t, serviceRules)
	firing(h)
	a := h.one()
	orphan := a
	orphan.Episode, orphan.ActiveAt = "orphan", a.ActiveAt.Add(-15*time.Second)
	rec, _, err := h.e.alerts.Get(a.Episode)
	if err != nil {
		t.Fatal(err)
	}
	rec.Alert = orphan
	if _, err := h.e.alerts.Put(orphan.Episode, rec, 0); err != nil {
		t.Fatal(err)
	}
	h.restart()
	if got := h.one(); got.Episode != a.Episode {
		t.Fatalf("got episode %s, want the newest, %s", got.Episode, a.Episode)
	}
	past, err := h.e.Episode("orphan")
	if err != nil || past.Phase != Resolved {
		t.Fatalf("the orphan is %+v, %v", past, err)
	}
	h.wantLog("ServiceDown inactive>pending", "ServiceDown pending>firing", "ServiceDown firing>resolved")
}
