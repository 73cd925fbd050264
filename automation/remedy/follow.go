package remedy

import (
	"context"
	"errors"
	"fmt"
	"time"

	"nocturne/alerting"
	"nocturne/automation"
	"nocturne/internal/state"
)

// follow carries one case to its end. What goes wrong outside of the case (the
// store, a full queue) is tried again; only the end of ctx leaves it open.
func (m *Remedies) follow(ctx context.Context, c Case) {
	for ctx.Err() == nil {
		err := m.carry(ctx, &c)
		if err == nil || ctx.Err() != nil {
			return
		}
		m.log.Error("remedy does not get on", "remedy", c.Remedy, "episode", c.Episode, "err", err)
		sleep(ctx, retryEvery)
	}
}

func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

func (m *Remedies) carry(ctx context.Context, c *Case) error {
	if c.Phase == Planned {
		if err := m.submit(ctx, c); err != nil || c.Phase == Done {
			return err
		}
	}
	j, err := m.settled(ctx, c.Spec.ID)
	if err != nil {
		return err
	}
	if j.Phase == automation.JobVerifying {
		if j, err = m.prove(ctx, *c, j); err != nil {
			return err
		}
	}
	return m.close(ctx, c.after(j))
}

// submit notes what is about to be done, and asks for the job. What was planned
// may have become unwanted while the program was down or the queue full; once
// there is a job it is carried on.
func (m *Remedies) submit(ctx context.Context, c *Case) error {
	if _, err := m.o.Jobs.Job(c.Spec.ID); errors.Is(err, automation.ErrNoJob) {
		a, err := m.o.Alerts.Episode(c.Episode)
		if err != nil {
			return err
		}
		if why := m.unwanted(a, time.Now()); why != "" {
			*c = c.end(Skipped, why, time.Now())
			c.Spec.ID = "" // there is no such job
			return m.close(ctx, *c)
		}
	} else if err != nil {
		return err
	}
	if err := m.note(*c, "remedy.planned"); err != nil {
		return err
	}
	_, err := m.o.Jobs.Submit(ctx, c.Spec)
	if errors.Is(err, automation.ErrInvalid) {
		*c = c.end(Refused, err.Error(), time.Now())
		c.Spec.ID = "" // there is no such job
		return m.close(ctx, *c)
	}
	if err != nil {
		return fmt.Errorf("submit job: %w", err)
	}
	c.Phase = Submitted
	return m.cases.PutMany([]state.Record[Case]{{ID: c.Episode, Value: *c}})
}

// settled returns the job when its commands are over.
func (m *Remedies) settled(ctx context.Context, id string) (automation.Job, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	events := m.o.Jobs.Watch(ctx, id)
	tick := time.NewTicker(lookAgain)
	defer tick.Stop()
	for {
		j, err := m.o.Jobs.Job(id)
		if err != nil || automation.JobEnded(j.Phase) || j.Phase == automation.JobVerifying {
			return j, err
		}
		if err := await(ctx, events, tick.C, j.Phase); err != nil {
			return automation.Job{}, err
		}
	}
}

// await returns when a job may have another phase than before.
func await(ctx context.Context, events <-chan automation.Event, tick <-chan time.Time, phase string) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick:
			return nil
		case ev, ok := <-events:
			if !ok {
				events = nil // the ticks go on
			} else if ev.Resync || ev.Phase != phase {
				return nil
			}
		}
	}
}

// prove polls and evaluates until the alert is seen to be over, or its time
// is, and concludes the job.
func (m *Remedies) prove(ctx context.Context, c Case, j automation.Job) (automation.Job, error) {
	since := lastStep(j)
	if now := time.Now(); since.After(now) {
		since = now // the clock was set back meanwhile
	}
	deadline := since.Add(c.Within)
	// A restart may come here when the time is over: the one attempt that is left
	// is a whole one, for a host that needs a second to answer.
	for limit := attemptLimit; ; limit = max(min(time.Until(deadline), attemptLimit), attemptPause) {
		v, err := m.attempt(ctx, c, since, limit)
		if ctx.Err() != nil {
			return j, ctx.Err()
		}
		switch {
		case err == nil && v.Cleared && v.Seen:
			return m.conclude(ctx, c, true, "proved: "+v.Reason)
		case !time.Now().Add(attemptPause).Before(deadline):
			return m.conclude(ctx, c, false, "not proved within "+c.Within.String()+": "+unproved(v, err))
		}
		sleep(ctx, attemptPause)
	}
}

// Unseen is in the reason of a job whose effect nobody could look at in time.
const Unseen = "no fresh samples"

func unproved(v alerting.Verdict, err error) string {
	switch {
	case err != nil:
		return err.Error()
	case !v.Seen:
		return Unseen + ": " + v.Reason
	}
	return v.Reason
}

// attempt polls the target and evaluates. A poll that fails is no verdict on
// the alert, yet the evaluation is still asked: somebody else may have polled.
func (m *Remedies) attempt(ctx context.Context, c Case, since time.Time, limit time.Duration) (alerting.Verdict, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	polled := m.o.Poll(ctx, c.Target)
	if polled != nil {
		polled = fmt.Errorf("poll %s: %w", c.Target, polled)
	}
	v, err := m.o.Alerts.Evaluate(context.WithoutCancel(ctx), c.Episode, since)
	if err != nil {
		return v, errors.Join(polled, err)
	}
	if v.Cleared && v.Seen {
		return v, nil
	}
	return v, polled
}

func (m *Remedies) conclude(ctx context.Context, c Case, ok bool, reason string) (automation.Job, error) {
	err := m.o.Jobs.Conclude(ctx, c.Spec.ID, ok, reason)
	if err != nil && !errors.Is(err, automation.ErrPhase) { // a person may have been faster
		return automation.Job{}, fmt.Errorf("conclude job: %w", err)
	}
	return m.o.Jobs.Job(c.Spec.ID)
}

// after is the case once its job has ended.
func (c Case) after(j automation.Job) Case {
	switch j.Phase {
	case automation.JobSucceeded:
		return c.end(Proved, j.Reason, time.Now())
	case automation.JobCanceled:
		return c.end(Withdrawn, j.Reason, time.Now())
	}
	return c.end(Failed, "the job is "+j.Phase+": "+j.Reason, time.Now())
}
