package remedy

import (
	"slices"
	"testing"
	"time"

	"nocturne/automation"
)

// TestProofAfterItsTime: the program was down for longer than the time of the
// proof, and the host takes seconds to answer. One whole attempt is made.
func TestProofAfterItsTime(t *testing.T) {
	inBubble(t, func(t *testing.T, l *loop) {
		l.jobs.run = func(automation.Spec) (string, string) {
			l.active, l.slow = true, time.Hour
			return automation.JobVerifying, ""
		}
		stop := l.run()
		l.fault()
		l.after(5 * time.Second)
		stop()
		l.stop()
		l.after(time.Minute)
		l.slow = 3 * time.Second
		l.start()
		stop = l.run()
		l.after(30 * time.Second)
		stop()
		l.want(Proved, "the rule is false")
		l.wantEscalated(0, "")
	})
}

// TestPlannedIsAskedAgain: while the job could not be submitted a person took
// the alert over.
func TestPlannedIsAskedAgain(t *testing.T) {
	inBubble(t, func(t *testing.T, l *loop) {
		l.jobs.busy = true
		stop := l.run()
		l.fault()
		l.after(7 * time.Second)
		if err := l.engine.Ack(t.Context(), l.engine.Alerts()[0].Fingerprint, "person:ada", ""); err != nil {
			t.Fatal(err)
		}
		l.jobs.mu.Lock()
		l.jobs.busy = false
		tried := l.jobs.submitted
		l.jobs.mu.Unlock()
		l.after(20 * time.Second)
		stop()
		c := l.want(Skipped, "person:ada")
		l.wantEscalated(0, "")
		if tried == 0 || len(l.jobs.ran) != 0 || !slices.Contains(l.evidence(c.Incident), "remedy.skipped") {
			t.Fatalf("submitted %d times before, ran %q, evidence %q", tried, l.jobs.ran, l.evidence(c.Incident))
		}
	})
}
