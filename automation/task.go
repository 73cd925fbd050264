package automation

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"nocturne/internal/state"
)

// afterFault is how long a task waits when its record could not be written.
const afterFault = 5 * time.Second

// work gives one task its turn. stop ends when no more may begin, working when
// what was sent is cut off.
func (x *Executor) work(stop, working context.Context, t *ticket) {
	again, ended, err := x.attend(stop, working, t)
	switch {
	case errors.Is(err, errStale):
		x.log.Error("another executor took over; this one ends", "job", t.Job, "host", t.Host, "err", err)
		x.supersede()
		again = time.Time{}
	case err != nil:
		x.log.Error("task is interrupted", "job", t.Job, "host", t.Host, "err", err)
		if stop.Err() == nil {
			again = time.Now().Add(afterFault)
		}
	}
	receipts := x.slots.release(t, again)
	if ended && len(receipts) > 0 {
		if err := x.o.Queue.Ack(working, receipts...); err != nil {
			x.log.Error("queue entry is not acknowledged", "err", err)
		}
	}
	x.poke()
}

// attend works on a task until it ends, must wait until again, or has to stop.
func (x *Executor) attend(stop, working context.Context, t *ticket) (again time.Time, ended bool, err error) {
	l, err := x.track(t.Job)
	if err != nil || l == nil {
		return time.Time{}, err == nil, err
	}
	if l.isCanceled() {
		return time.Time{}, true, x.skipTask(l, t.Host)
	}
	le, err := x.take(l, t.Host)
	if err != nil {
		return time.Time{}, false, err
	}
	if le.machine != t.machine { // it moved while it waited: the slot is of the other
		le.release()
		return time.Now(), false, nil
	}
	if again, err = x.steps(stop, working, le); err != nil || !again.IsZero() {
		le.release()
		return again, false, err
	}
	_, what := le.task.next()
	le.release()
	if what != doNothing {
		return time.Time{}, false, nil // stopped; the record says where to go on
	}
	return time.Time{}, true, x.finish(l, t.Host)
}

func (x *Executor) steps(stop, working context.Context, le *lease) (again time.Time, err error) {
	if err := x.start(le.job); err != nil {
		return time.Time{}, err
	}
	for stop.Err() == nil {
		i, what := le.task.next()
		switch what {
		case doNothing:
			return time.Time{}, nil
		case doProbe:
			again, err = x.probe(stop, working, le, i)
		case doRun:
			again, err = x.step(stop, working, le, i)
		}
		if err != nil || !again.IsZero() {
			return again, err
		}
		if le.job.isCanceled() {
			if err := le.write(func(t *taskRecord) { t.skipRest(x.cancelReason(le.job)) }); err != nil {
				return time.Time{}, err
			}
		}
	}
	return time.Time{}, nil
}

// start moves the job from queued to running.
func (x *Executor) start(l *liveJob) error {
	changed := false
	j, _, err := x.rec.jobs.Update(l.rec.Spec.ID, func(j *jobRecord, _ bool) error {
		if changed = j.Phase == JobQueued; !changed {
			return state.Skip
		}
		j.Phase, j.Started = JobRunning, time.Now().UTC()
		return nil
	})
	if err != nil || !changed {
		return err
	}
	return x.noteJob(j, "system")
}

// finish counts a task as ended; with the last one the job's phase is decided.
func (x *Executor) finish(l *liveJob, host string) error {
	x.mu.Lock()
	delete(l.left, host)
	last := len(l.left) == 0
	x.mu.Unlock()
	if !last {
		return nil
	}
	return x.decide(l)
}

// decide gives a job whose tasks have all ended the phase that follows.
func (x *Executor) decide(l *liveJob) error {
	id := l.rec.Spec.ID
	if err := x.newest(); err != nil {
		return err
	}
	tasks := map[string]taskRecord{}
	for _, h := range l.rec.Spec.Hosts {
		t, err := x.rec.task(l.rec, h)
		if err != nil {
			return err
		}
		if !t.ended() { // somebody else works on it
			return fmt.Errorf("end job %s, whose task on %s has not ended: %w", id, h, errStale)
		}
		tasks[h] = t
	}
	l.out.flush()
	changed := false
	j, _, err := x.rec.jobs.Update(id, func(j *jobRecord, _ bool) error {
		if changed = j.Phase == JobQueued || j.Phase == JobRunning; !changed {
			return state.Skip
		}
		j.Phase, j.Reason = verdict(*j, tasks)
		if j.Phase != JobVerifying {
			j.Ended = time.Now().UTC()
		}
		return nil
	})
	if err != nil {
		return err
	}
	x.mu.Lock()
	delete(x.live, id)
	x.mu.Unlock()
	switch {
	case !changed: // an executor that ended wrote it, but not to those who watch here
		x.hub.emit(Event{Job: id, Phase: j.Phase})
		return nil
	case j.Phase == JobVerifying:
		return x.noteJob(j, "system")
	}
	return x.ended(j)
}

// ended records a job's end and takes it off the list of open ones.
func (x *Executor) ended(j jobRecord) error {
	if err := x.noteJob(j, "system"); err != nil {
		return err
	}
	metrics.GetOrCreateCounter(`nocturne_automation_jobs_ended_total{phase="` + j.Phase + `"}`).Inc()
	return x.unmark(j.Spec.ID)
}

func (x *Executor) cancelReason(l *liveJob) string {
	if j, err := x.rec.job(l.rec.Spec.ID); err == nil && j.CanceledBy != "" {
		return "canceled by " + j.CanceledBy
	}
	return "canceled"
}

// skip ends a task that waited in a lane and was withdrawn.
func (x *Executor) skip(l *liveJob, t *ticket) error {
	err := x.skipTask(l, t.Host)
	receipts := x.slots.release(t, time.Time{})
	if err != nil {
		return err
	}
	return x.o.Queue.Ack(context.Background(), receipts...)
}

// skipTask ends a task of a canceled job. It needs neither host nor slot, for
// nothing is sent; the token that it writes takes the task from whoever has it.
func (x *Executor) skipTask(l *liveJob, host string) error {
	var before taskRecord
	after, _, err := x.rec.tasks.Update(taskID(l.rec.Spec.ID, host), func(t *taskRecord, exists bool) error {
		if !exists {
			*t = newTask(l.rec.Runbook)
		}
		epoch := x.currentEpoch()
		if t.Epoch > epoch {
			return errStale
		}
		before = t.clone()
		t.Epoch, t.Token = epoch, ""
		t.settle(l.rec.Runbook, time.Now().UTC())
		t.skipRest(x.cancelReason(l))
		return nil
	})
	if err != nil {
		return err
	}
	if err := x.noteSteps(l.rec, host, before, after, false); err != nil {
		return err
	}
	return x.finish(l, host)
}
