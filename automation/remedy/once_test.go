package remedy

import (
	"strings"
	"testing"
	"time"

	"nocturne/alerting"
	"nocturne/automation"
	"nocturne/internal/ledger"
	"nocturne/internal/state"
)

// restart ends engine and remedies, changes something and starts them on the
// same fault again, for d.
func (l *loop) restart(d time.Duration, change func()) {
	l.t.Helper()
	l.stop()
	change()
	l.start()
	l.fault() // before the remedies poll as well
	stop := l.run()
	l.after(d)
	stop()
}

// A label of the rule is edited while its alert fires and the remedy has
// failed: the fault is the same, and nothing runs again.
func TestEditedLabelRunsNothingAgain(t *testing.T) {
	inBubble(t, func(t *testing.T, l *loop) {
		l.jobs.run = func(automation.Spec) (string, string) { return automation.JobFailed, "exit status 1" }
		stop := l.run()
		l.fault()
		l.after(10 * time.Second)
		stop()
		l.restart(time.Minute, func() { l.rules = strings.Replace(rules, "critical", "major", 1) })
		if a := l.engine.Alerts(); len(a) != 1 || a[0].Severity() != alerting.Major {
			t.Fatalf("alerts %+v", a)
		}
		l.want(Failed, "exit status 1")
		l.wantEscalated(1, "exit status 1")
		if len(l.jobs.ran) != 1 {
			t.Fatalf("%d jobs", len(l.jobs.ran))
		}
	})
}

// The ledger's store fails behind the record of the alert, for several
// evaluations, and the restart finds it whole: one episode, one job.
func TestStoreErrorMakesOneJob(t *testing.T) {
	inBubble(t, func(t *testing.T, l *loop) {
		db, err := state.Open(state.Options{InMemory: true})
		if err != nil {
			t.Fatal(err)
		}
		broken, err := ledger.Open(db)
		if err != nil {
			t.Fatal(err)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		l.stop()
		l.told = broken
		l.start()
		stop := l.run()
		l.fault()
		l.after(10 * time.Second) // five evaluations
		stop()
		if len(l.engine.Alerts()) > 0 || len(l.jobs.ran) > 0 {
			t.Fatalf("shown without being written: %+v, jobs %v", l.engine.Alerts(), l.jobs.ran)
		}
		l.restart(20*time.Second, func() { l.told = nil })
		if len(l.jobs.ran) != 1 {
			t.Fatalf("%d jobs", len(l.jobs.ran))
		}
		l.want(Proved, "the rule is false, on samples after")
	})
}
