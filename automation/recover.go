package automation

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"nocturne/internal/state"
)

const epochID = "executor"

func (x *Executor) currentEpoch() uint64 {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.epoch
}

// beginInTime begins, as soon as that can be recorded.
func (x *Executor) beginInTime(ctx context.Context) error {
	for {
		err := x.begin()
		if !errors.Is(err, state.ErrReadOnly) {
			return err
		}
		x.log.Error("no job is run until it can be recorded", "err", err)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(afterFault):
		}
	}
}

// begin makes this the newest executor and decides every step that an earlier
// one left. From the new epoch on no other can send.
func (x *Executor) begin() error {
	e, _, err := x.rec.epochs.Update(epochID, func(e *epochRecord, _ bool) error {
		*e = epochRecord{Epoch: e.Epoch + 1, Since: time.Now().UTC()}
		return nil
	})
	if err != nil {
		return fmt.Errorf("begin executor: %w", err)
	}
	x.mu.Lock()
	x.epoch = e.Epoch
	x.mu.Unlock()
	for rec, err := range x.rec.hosts.All("") {
		if err != nil {
			return fmt.Errorf("begin executor: %w", err)
		}
		if rec.Value.Epoch < e.Epoch {
			if err := x.rec.hosts.Delete(rec.ID, rec.Rev); err != nil && !errors.Is(err, state.ErrNotFound) && !errors.Is(err, state.ErrConflict) {
				return fmt.Errorf("begin executor: %w", err)
			}
		}
	}
	var open []string
	for rec, err := range x.rec.open.All("") {
		if err != nil {
			return fmt.Errorf("begin executor: %w", err)
		}
		open = append(open, rec.ID)
	}
	for _, id := range open {
		if err := x.recover(id); err != nil {
			return fmt.Errorf("recover job %s: %w", id, err)
		}
	}
	return nil
}

// recover goes on with one job that was open.
func (x *Executor) recover(id string) error {
	j, err := x.rec.job(id)
	if errors.Is(err, ErrNoJob) {
		return x.clearMark(id)
	}
	if err != nil {
		return err
	}
	known, err := x.evidence(id)
	if err != nil {
		return err
	}
	if err := x.mendJob(j, known); err != nil {
		return err
	}
	for _, h := range j.Spec.Hosts {
		if err := x.settle(j, h, known); err != nil {
			return err
		}
	}
	if JobEnded(j.Phase) {
		return x.unmark(id)
	}
	l, err := x.track(id)
	if err != nil || l == nil {
		return err // verifying: whoever submitted it concludes it
	}
	x.mu.Lock()
	left := slices.Sorted(maps.Keys(l.left))
	x.mu.Unlock()
	for _, h := range left {
		x.slots.add(Entry{Job: id, Host: h, Region: x.region(j.Regions[h])}, "", time.Time{})
	}
	if len(left) == 0 {
		return x.decide(l)
	}
	if l.isCanceled() {
		return x.skipWaiting(l)
	}
	return nil
}

// clearMark takes a mark away behind which no job was stored: the end came
// between the two, unless this is just happening.
func (x *Executor) clearMark(id string) error {
	x.marking.Lock()
	defer x.marking.Unlock()
	if _, err := x.rec.job(id); !errors.Is(err, ErrNoJob) {
		return err
	}
	return x.unmark(id)
}

// unmark takes a job off the list of open ones.
func (x *Executor) unmark(id string) error {
	if err := x.rec.open.Delete(id, 0); err != nil && !errors.Is(err, state.ErrNotFound) {
		return err
	}
	return nil
}

// settle takes one task over and decides what was under way.
func (x *Executor) settle(j jobRecord, host string, known map[string]bool) error {
	epoch := x.currentEpoch()
	var before taskRecord
	after, _, err := x.rec.tasks.Update(taskID(j.Spec.ID, host), func(t *taskRecord, exists bool) error {
		if !exists {
			return state.Skip
		}
		if t.Epoch > epoch {
			return errStale
		}
		before = t.clone()
		t.settle(j.Runbook, time.Now().UTC())
		t.Epoch, t.Token = epoch, ""
		return nil
	})
	if err != nil || len(after.Steps) == 0 {
		return err
	}
	if err := x.mendSteps(j, host, before, known); err != nil {
		return err
	}
	return x.noteSteps(j, host, before, after, true)
}

func evidenceKey(action, host, step string, attempt int) string {
	return fmt.Sprintf("%s %s %s %d", action, host, step, attempt)
}

// evidence lists what the ledger has about a job.
func (x *Executor) evidence(id string) (map[string]bool, error) {
	known := map[string]bool{}
	for e, err := range x.o.Ledger.Subject(Subject(id)) {
		if err != nil {
			return nil, err
		}
		var s StepEvidence
		if json.Unmarshal(e.Data, &s) == nil { // other entries just have no step
			known[evidenceKey(e.Action, s.Host, s.Step, s.Attempt)] = true
		}
	}
	return known, nil
}

// mendJob writes the entries of a job that was stored while its evidence was
// not: the end came between the two.
func (x *Executor) mendJob(j jobRecord, known map[string]bool) error {
	if err := x.announceOnce(j, known); err != nil {
		return err
	}
	if j.Phase != JobQueued && !known[evidenceKey("job."+j.Phase, "", "", 0)] {
		return x.noteJob(j, "system")
	}
	return nil
}

// announceOnce announces a job as it was submitted, unless that is known.
func (x *Executor) announceOnce(j jobRecord, known map[string]bool) error {
	if known[evidenceKey("job."+JobQueued, "", "", 0)] {
		return nil
	}
	j.Phase, j.Reason = JobQueued, ""
	return x.announce(j)
}

func (x *Executor) mendSteps(j jobRecord, host string, t taskRecord, known map[string]bool) error {
	for i, s := range t.Steps {
		if s.Phase == StepReady || known[evidenceKey("step."+s.Phase, host, s.Name, s.Attempts)] {
			continue
		}
		e := stepEvidence(j, host, i, s)
		e.Recovered = true
		if err := x.note(j, "step."+s.Phase, "system", e); err != nil {
			return err
		}
	}
	return nil
}
