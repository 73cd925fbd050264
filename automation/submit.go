package automation

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"nocturne/internal/state"
)

var jobIDRE = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$`)

// Submit takes a job. The same ID again returns the job that has it, whatever
// else the Spec says. An error that wraps ErrInvalid names all that is wrong.
func (x *Executor) Submit(ctx context.Context, s Spec) (Job, error) {
	if !jobIDRE.MatchString(s.ID) {
		return Job{}, fmt.Errorf("job %q: %w: an ID has 1 to 128 letters, digits, . _ : and -", s.ID, ErrInvalid)
	}
	if j, err := x.rec.job(s.ID); err == nil {
		return x.resubmitted(ctx, j)
	} else if !errors.Is(err, ErrNoJob) {
		return Job{}, err
	}
	j, err := x.plan(s)
	if err != nil {
		return Job{}, fmt.Errorf("job %s: %w: %w", s.ID, ErrInvalid, err)
	}
	if x.slots.waiting()+len(s.Hosts) > x.o.MaxTasks {
		return Job{}, fmt.Errorf("job %s: %w: %d of %d", s.ID, ErrBusy, x.slots.waiting(), x.o.MaxTasks)
	}
	if err := x.store(s.ID, j); errors.Is(err, state.ErrConflict) {
		first, err := x.rec.job(s.ID)
		if err != nil {
			return Job{}, err
		}
		return x.resubmitted(ctx, first)
	} else if err != nil {
		return Job{}, err
	}
	metrics.GetOrCreateCounter(`nocturne_automation_jobs_submitted_total`).Inc()
	// The record decides: from here on the job is taken, and what fails behind
	// it is made good by the executor rather than told as a refusal.
	if err := errors.Join(x.announce(j), x.hint(ctx, j)); err != nil {
		x.log.Error("job is taken, but not yet told to ledger and queue", "job", s.ID, "err", err)
		x.owe(s.ID)
	}
	return x.Job(s.ID)
}

// owe notes a job that ledger or queue do not know yet.
func (x *Executor) owe(id string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.owed = append(x.owed, id)
}

// settleDebts tells ledger and queue of the jobs that they do not know yet.
func (x *Executor) settleDebts(ctx context.Context) {
	x.mu.Lock()
	owed := x.owed
	x.owed = nil
	x.mu.Unlock()
	for _, id := range owed {
		if err := x.tell(ctx, id); err != nil {
			x.log.Error("job is still not told to ledger and queue", "job", id, "err", err)
			x.owe(id)
		}
	}
}

func (x *Executor) tell(ctx context.Context, id string) error {
	j, err := x.rec.job(id)
	if err != nil {
		return err
	}
	known, err := x.evidence(id)
	if err != nil {
		return err
	}
	if err := x.announceOnce(j, known); err != nil {
		return err
	}
	_, err = x.resubmitted(ctx, j)
	return err
}

// store writes a new job. The mark comes first: a job without it would not be
// found at the next start, a mark without a job is cleared there.
func (x *Executor) store(id string, j jobRecord) error {
	x.marking.RLock()
	defer x.marking.RUnlock()
	if err := x.rec.open.PutMany([]state.Record[openJob]{{ID: id}}); err != nil {
		return err
	}
	_, err := x.rec.jobs.Put(id, j, 0)
	return err
}

// plan checks a Spec against runbook and hosts.
func (x *Executor) plan(s Spec) (jobRecord, error) {
	rb, ok := x.runbook(s.Runbook)
	if !ok {
		return jobRecord{}, fmt.Errorf("unknown runbook %q", s.Runbook)
	}
	var faults []error
	values, err := rb.Bind(s.Parameters)
	faults = append(faults, err)
	if len(s.Hosts) == 0 {
		faults = append(faults, errors.New("no host is named"))
	}
	regions := map[string]string{}
	for _, name := range s.Hosts {
		h, ok := x.o.Hosts(name)
		switch {
		case name == "" || strings.ContainsRune(name, '/'):
			faults = append(faults, fmt.Errorf("host %q: not a host's name", name))
		case !ok:
			faults = append(faults, fmt.Errorf("unknown host %q", name))
		case regions[name] != "":
			faults = append(faults, fmt.Errorf("host %q stands here twice", name))
		default:
			regions[name] = x.atlas.of(h.Address)
		}
	}
	if s.By == "" {
		s.By = "system"
	}
	s.Parameters, s.Hosts = maps.Clone(s.Parameters), slices.Clone(s.Hosts)
	return jobRecord{Spec: s, Runbook: rb, Values: values, Regions: regions, Phase: JobQueued, Created: time.Now().UTC()}, errors.Join(faults...)
}

// announce puts a new job into the list of jobs and the ledger. Both may have
// happened before.
func (x *Executor) announce(j jobRecord) error {
	if _, _, err := x.rec.order.AppendUnique(j.Spec.ID, j.Spec.ID); err != nil {
		return err
	}
	return x.noteJob(j, j.Spec.By)
}

// hint tells the queue what could be done.
func (x *Executor) hint(ctx context.Context, j jobRecord) error {
	var entries []Entry
	for _, h := range j.Spec.Hosts {
		entries = append(entries, Entry{Job: j.Spec.ID, Host: h, Region: x.region(j.Regions[h])})
	}
	if err := x.o.Queue.Enqueue(ctx, entries...); err != nil {
		return fmt.Errorf("job %s: %w", j.Spec.ID, err)
	}
	x.poke()
	return nil
}

// resubmitted answers with the job that has the ID, and tells the queue again:
// the first time may have ended between the record and the queue.
func (x *Executor) resubmitted(ctx context.Context, j jobRecord) (Job, error) {
	if j.Phase == JobQueued {
		if err := x.hint(ctx, j); err != nil {
			return Job{}, err
		}
	}
	return x.Job(j.Spec.ID)
}

// Conclude ends a job in phase verifying. Saying the same twice is no error.
func (x *Executor) Conclude(_ context.Context, id string, ok bool, reason string) error {
	phase := JobFailed
	if ok {
		phase = JobSucceeded
	}
	j, _, err := x.rec.jobs.Update(id, func(j *jobRecord, exists bool) error {
		switch {
		case !exists:
			return fmt.Errorf("job %s: %w", id, ErrNoJob)
		case j.Phase == phase:
			return state.Skip
		case j.Phase != JobVerifying:
			return fmt.Errorf("conclude job %s: %w: it is %s", id, ErrPhase, j.Phase)
		}
		j.Phase, j.Reason, j.Ended = phase, reason, time.Now().UTC()
		return nil
	})
	if err != nil {
		return err
	}
	return x.ended(j)
}

// Cancel keeps a job from sending anything more. A command that was sent is
// left to end and its outcome counts; steps behind it are skipped.
func (x *Executor) Cancel(_ context.Context, id, by string) error {
	j, _, err := x.rec.jobs.Update(id, func(j *jobRecord, exists bool) error {
		switch {
		case !exists:
			return fmt.Errorf("job %s: %w", id, ErrNoJob)
		case JobEnded(j.Phase):
			return fmt.Errorf("cancel job %s: %w: it is %s", id, ErrPhase, j.Phase)
		case j.CanceledBy != "":
			return state.Skip
		}
		j.CanceledBy = by
		if j.Phase == JobVerifying {
			j.Phase, j.Reason, j.Ended = JobCanceled, "canceled by "+by, time.Now().UTC()
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := x.note(j, "job.cancel", by, nil); err != nil {
		return err
	}
	if JobEnded(j.Phase) {
		return x.ended(j)
	}
	if x.currentEpoch() == 0 {
		return nil // Run will find the job canceled
	}
	l, err := x.track(id)
	if err != nil || l == nil {
		return err
	}
	l.cancel()
	return x.skipWaiting(l)
}

// skipWaiting ends the tasks of a canceled job that wait for their turn.
func (x *Executor) skipWaiting(l *liveJob) error {
	var errs []error
	for _, t := range x.slots.withdraw(l.rec.Spec.ID) {
		errs = append(errs, x.skip(l, t))
	}
	return errors.Join(errs...)
}
