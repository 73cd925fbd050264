package remedy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"nocturne/alerting"
	"nocturne/automation"
	"nocturne/internal/state"
)

var errCrash = errors.New("crashed")

// crash ends everything at one call of what is around the remedies: before its
// effect or just behind it. From then on no call has an effect.
type crash struct {
	Alerts
	Jobs
	poll func(ctx context.Context, target string) error

	end func()

	mu     sync.Mutex // guards below
	calls  int
	at     int  // which call
	behind bool // crash behind its effect
	where  string
	dead   bool
}

func (c *crash) call(name string, effect func() error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.dead {
		return errCrash
	}
	c.calls++
	if c.calls != c.at {
		return effect()
	}
	c.where, c.dead = name, true
	defer c.end()
	if c.behind {
		if err := effect(); err != nil {
			return err
		}
	}
	return errCrash
}

func (c *crash) Episode(id string) (a alerting.Alert, err error) {
	err = c.call("episode", func() error { a, err = c.Alerts.Episode(id); return err })
	return a, err
}

func (c *crash) Evaluate(ctx context.Context, id string, since time.Time) (v alerting.Verdict, err error) {
	err = c.call("evaluate", func() error { v, err = c.Alerts.Evaluate(ctx, id, since); return err })
	return v, err
}

func (c *crash) Escalate(ctx context.Context, id, reason string) error {
	return c.call("escalate", func() error { return c.Alerts.Escalate(ctx, id, reason) })
}

func (c *crash) Submit(ctx context.Context, s automation.Spec) (j automation.Job, err error) {
	err = c.call("submit", func() error { j, err = c.Jobs.Submit(ctx, s); return err })
	return j, err
}

func (c *crash) Job(id string) (j automation.Job, err error) {
	err = c.call("job", func() error { j, err = c.Jobs.Job(id); return err })
	return j, err
}

func (c *crash) Conclude(ctx context.Context, id string, ok bool, reason string) error {
	return c.call("conclude", func() error { return c.Jobs.Conclude(ctx, id, ok, reason) })
}

func (c *crash) Poll(ctx context.Context, target string) error {
	return c.call("poll", func() error { return c.poll(ctx, target) })
}

// runUntilCrash runs until the crash happens or d has passed.
func (l *loop) runUntilCrash(c *crash, d time.Duration) {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(l.t.Context(), d)
	defer cancel()
	c.Alerts, c.Jobs, c.poll, c.end = l.engine, l.jobs, l.poll, cancel
	l.remedies.o.Alerts, l.remedies.o.Jobs, l.remedies.o.Poll = c, c, c.Poll
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := l.engine.Run(ctx); err != nil {
			l.t.Error(err)
		}
	})
	wg.Go(func() {
		if err := l.remedies.Run(ctx); err != nil && !errors.Is(err, errCrash) {
			l.t.Error(err)
		}
		cancel()
	})
	wg.Wait()
}

// crashAt plays one alert with one crash; false when there are fewer calls.
func crashAt(t *testing.T, at int, behind, helps bool) (where string) {
	inBubble(t, func(t *testing.T, l *loop) {
		l.jobs.run = func(automation.Spec) (string, string) { l.active = helps; return automation.JobVerifying, "" }
		c := &crash{at: at, behind: behind}
		l.fault()
		l.runUntilCrash(c, time.Minute)
		where = c.where
		l.stop()
		l.start()
		stop := l.run()
		l.after(time.Minute)
		stop()
		if helps {
			l.want(Proved, "")
			l.wantEscalated(0, "")
		} else {
			l.want(Failed, "not proved")
			l.wantEscalated(1, "")
		}
		if len(l.jobs.ran) != 1 {
			t.Fatalf("crash at %s: %d jobs", c.where, len(l.jobs.ran))
		}
		case1, err := l.remedies.Case(l.episode())
		if err != nil {
			t.Fatal(err)
		}
		got := l.evidence(case1.Incident)
		slices.Sort(got)
		if len(slices.Compact(slices.Clone(got))) != len(got) {
			t.Fatalf("crash at %s: evidence twice: %q", c.where, got)
		}
	})
	return where
}

func TestCrashAtEveryStep(t *testing.T) {
	reached := map[string]bool{}
	for _, helps := range []bool{true, false} {
		for _, behind := range []bool{false, true} {
			for at := 1; at < 12; at++ {
				t.Run(fmt.Sprintf("helps=%v behind=%v call %d", helps, behind, at), func(t *testing.T) {
					where := crashAt(t, at, behind, helps)
					reached[where] = true
					t.Logf("crash at %q", where)
				})
			}
			if !helps { // the last calls come after many polls
				for at := 60; at < 70; at++ {
					t.Run(fmt.Sprintf("behind=%v call %d", behind, at), func(t *testing.T) {
						where := crashAt(t, at, behind, helps)
						reached[where] = true
						t.Logf("crash at %q", where)
					})
				}
			}
		}
	}
	for _, where := range []string{"episode", "submit", "job", "poll", "evaluate", "conclude", "escalate"} {
		if !reached[where] {
			t.Errorf("no crash at %s", where)
		}
	}
}

// A crash between two writes of the store, made by undoing the later one.
func TestCrashBetweenWrites(t *testing.T) {
	undo := map[string]func(l *loop) error{
		"case, not the cursor": func(l *loop) error {
			_, rev, err := l.remedies.cursors.Get(cursorID)
			return errors.Join(err, l.remedies.cursors.Delete(cursorID, rev))
		},
		"submitted, not noted": func(l *loop) error {
			_, _, err := l.remedies.cases.Update(l.episode(), func(c *Case, _ bool) error { c.Phase = Planned; return nil })
			return err
		},
		"concluded, not closed": func(l *loop) error {
			_, _, err := l.remedies.cases.Update(l.episode(), func(c *Case, _ bool) error { c.Phase, c.Outcome = Submitted, ""; return nil })
			return err
		},
	}
	for name, f := range undo {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, l *loop) {
				stop := l.run()
				l.fault()
				l.after(10 * time.Second)
				stop()
				before := l.evidence(l.want(Proved, "").Incident)
				if err := f(l); err != nil && !errors.Is(err, state.ErrNotFound) {
					t.Fatal(err)
				}
				l.stop()
				l.text = remedies + "\n- {name: other, alert: Nothing, runbook: x}\n" // a change of the file is no second job
				l.start()
				stop = l.run()
				l.after(time.Minute)
				stop()
				c := l.want(Proved, "")
				if len(l.jobs.ran) != 1 {
					t.Fatalf("%d jobs", len(l.jobs.ran))
				}
				if got := l.evidence(c.Incident); !slices.Equal(got, before) {
					t.Fatalf("evidence %q, before %q", got, before)
				}
			})
		})
	}
}

// The window of the proof goes on by the wall clock while nothing runs.
func TestVerifyingGoesOnAfterRestart(t *testing.T) {
	f := func(down, work time.Duration, outcome string) {
		t.Run(down.String(), func(t *testing.T) {
			inBubble(t, func(t *testing.T, l *loop) {
				l.jobs.run = func(automation.Spec) (string, string) { return automation.JobRunning, "" }
				stop := l.run()
				l.fault()
				l.after(5 * time.Second)
				id := l.jobs.ran[0]
				l.jobs.set(id, automation.JobVerifying)
				l.after(5 * time.Second)
				stop()
				l.stop()
				time.Sleep(down)
				l.active = outcome == Proved
				l.start()
				began := time.Now()
				stop = l.run()
				l.after(work)
				stop()
				c := l.want(outcome, "")
				if took := c.Ended.Sub(began); took > work || len(l.jobs.ran) != 1 {
					t.Fatalf("it took %s more, %d jobs", took, len(l.jobs.ran))
				}
			})
		})
	}
	f(5*time.Second, 22*time.Second, Failed) // what is left of 30 s
	f(5*time.Second, 3*time.Second, Proved)
	f(time.Hour, 3*time.Second, Failed) // one attempt at least
	f(time.Hour, 4*time.Second, Proved)
}
