package automation

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"nocturne/internal/state"
)

// Errors that callers branch on.
var (
	ErrNoJob   = errors.New("no such job")
	ErrInvalid = errors.New("not a valid job")
	ErrPhase   = errors.New("not possible in the job's phase")
	ErrBusy    = errors.New("too many tasks wait")

	errStale = errors.New("the lease is somebody else's now")
)

// jobRecord is what is stored of a job as a whole. Its runbook stands in it as
// it was when the job was submitted.
type jobRecord struct {
	Spec       Spec              `json:"spec"`
	Runbook    Runbook           `json:"runbook"`
	Values     map[string]string `json:"values,omitempty"`
	Regions    map[string]string `json:"regions"` // by host
	Phase      string            `json:"phase"`
	Created    time.Time         `json:"created"`
	Started    time.Time         `json:"started,omitzero"`
	Ended      time.Time         `json:"ended,omitzero"`
	Reason     string            `json:"reason,omitempty"`
	CanceledBy string            `json:"canceledBy,omitempty"`
}

// taskRecord is what is stored of a job's part on one host, under "JOB/HOST".
// None is stored before the task is first leased.
type taskRecord struct {
	Epoch uint64      `json:"epoch"` // of the executor that wrote last
	Token string      `json:"token"` // of the lease, empty when nobody holds it
	Steps []StepState `json:"steps"`
}

// hostLease is the mutex of a machine, under its address.
type hostLease struct {
	Epoch uint64 `json:"epoch"`
	Token string `json:"token"`
	Task  string `json:"task"`
}

// openJob marks a job that has not ended, so that a start need not read all.
type openJob struct{}

// epochRecord counts the executors that ran on this state. Only the newest may
// lease or send.
type epochRecord struct {
	Epoch uint64    `json:"epoch"`
	Since time.Time `json:"since"`
}

type records struct {
	jobs   *state.Table[jobRecord]
	tasks  *state.Table[taskRecord]
	hosts  *state.Table[hostLease]
	open   *state.Table[openJob]
	epochs *state.Table[epochRecord]
	output *state.Table[outputChunk]
	order  *state.Log[string] // job IDs in the order they were submitted
}

func newRecords(db *state.DB) (records, error) {
	order, err := state.NewLog[string](db, "jobs", 1)
	return records{
		jobs:   state.NewTable[jobRecord](db, "job", 1),
		tasks:  state.NewTable[taskRecord](db, "job-task", 1),
		hosts:  state.NewTable[hostLease](db, "job-host", 1),
		open:   state.NewTable[openJob](db, "job-open", 1),
		epochs: state.NewTable[epochRecord](db, "job-epoch", 1),
		output: state.NewTable[outputChunk](db, "job-output", 1),
		order:  order,
	}, err
}

func taskID(job, host string) string { return job + "/" + host }

// task reads a task's record, or makes up the one of a task nobody leased yet.
func (r records) task(j jobRecord, host string) (taskRecord, error) {
	t, _, err := r.tasks.Get(taskID(j.Spec.ID, host))
	if errors.Is(err, state.ErrNotFound) {
		return newTask(j.Runbook), nil
	}
	return t, err
}

func newTask(rb Runbook) taskRecord {
	var t taskRecord
	for _, s := range rb.Steps {
		t.Steps = append(t.Steps, StepState{Name: s.Name, Phase: StepReady})
	}
	return t
}

func (r records) job(id string) (jobRecord, error) {
	j, _, err := r.jobs.Get(id)
	if errors.Is(err, state.ErrNotFound) {
		return j, fmt.Errorf("job %s: %w", id, ErrNoJob)
	}
	return j, err
}

// What is to be done next on a task.
const (
	doNothing = iota // the task has ended
	doRun
	doProbe
)

// next tells which step comes next and what to do with it.
func (t *taskRecord) next() (step, what int) {
	for i := range t.Steps {
		switch s := &t.Steps[i]; s.Phase {
		case StepOK:
		case StepReady, StepLeased, StepConnecting:
			return i, doRun
		case StepUnknown:
			if s.Probe != nil && s.Probe.pending() {
				return i, doProbe
			}
			return 0, doNothing
		default:
			return 0, doNothing
		}
	}
	return 0, doNothing
}

// ended tells whether nothing of the task can change any more. A step that is
// sent has nothing to be done next, and has not ended.
func (t *taskRecord) ended() bool {
	for _, s := range t.Steps {
		if !StepEnded(s.Phase) || s.Probe != nil && s.Probe.pending() {
			return false
		}
	}
	return true
}

// clone copies the record so that neither's steps show in the other.
func (t taskRecord) clone() taskRecord {
	t.Steps = slices.Clone(t.Steps)
	for i := range t.Steps {
		if p := t.Steps[i].Probe; p != nil {
			t.Steps[i].Probe = new(*p)
		}
	}
	return t
}

func (p *ProbeState) pending() bool {
	return p.Phase == StepReady || p.Phase == StepConnecting || p.Phase == StepSent
}

// settle takes a task over from a lease that is no more: what may have been
// sent is decided, what was not is ready again.
func (t *taskRecord) settle(rb Runbook, now time.Time) {
	for i := range t.Steps {
		s := &t.Steps[i]
		switch s.Phase {
		case StepLeased, StepConnecting:
			s.Phase = StepReady
		case StepSent:
			s.lost(rb.Steps[i], "the executor ended while the command ran", now)
		case StepUnknown:
			if s.Probe != nil && s.Probe.pending() {
				s.Probe.Phase = StepReady
			}
		}
	}
	t.skipRest("")
}

// maxAttempts bounds how often a step that may be sent again is.
const maxAttempts = 3

// lost decides a step that was sent and has no exit status: unknown, unless the
// runbook says how to go on.
func (s *StepState) lost(step Step, why string, now time.Time) {
	s.Err = why
	switch {
	case step.Idempotent && s.Attempts < maxAttempts:
		s.Phase = StepReady
	case step.Probe != "" && s.Attempts < maxAttempts:
		s.Phase, s.Probe, s.Ended = StepUnknown, &ProbeState{Phase: StepReady}, now
	default:
		s.Phase, s.Ended = StepUnknown, now
	}
}

// mayHaveRun tells whether an earlier sending of the step may have taken effect:
// it ended without an exit status, and no probe says that it did nothing.
func (s *StepState) mayHaveRun() bool {
	return s.Attempts > 0 && (s.Probe == nil || s.Probe.Phase != StepFailed)
}

// skipRest marks what stands behind a step that did not succeed as skipped.
// With a reason it skips whatever is not sent yet: the job was canceled. A step
// that waits to be sent again is unknown then: it may have run before.
func (t *taskRecord) skipRest(canceled string) {
	stopped := false
	for i := range t.Steps {
		s := &t.Steps[i]
		waits := s.Phase == StepReady || s.Phase == StepLeased || s.Phase == StepConnecting
		switch {
		case waits && canceled != "" && s.mayHaveRun():
			s.Phase, s.Ended = StepUnknown, time.Now().UTC()
			s.Err += "; not sent again: " + canceled
		case s.Phase == StepReady && (stopped || canceled != ""),
			s.Phase == StepLeased && canceled != "", s.Phase == StepConnecting && canceled != "":
			s.Phase = StepSkipped
			if canceled != "" {
				s.Err = canceled
			}
		case s.Phase == StepFailed, s.Phase == StepSkipped, s.Phase == StepUnknown && (s.Probe == nil || !s.Probe.pending()):
			stopped = true
		case s.Phase == StepUnknown && canceled != "":
			s.Probe.Phase, s.Probe.Err = StepUnknown, canceled
			stopped = true
		}
	}
}

// verdict derives a job's phase from its tasks, all of which have ended.
func verdict(j jobRecord, tasks map[string]taskRecord) (phase, reason string) {
	hosts := slices.Clone(j.Spec.Hosts)
	find := func(phase string) (where string) {
		for _, h := range hosts {
			for _, s := range tasks[h].Steps {
				if s.Phase == phase {
					return fmt.Sprintf("step %s on %s: %s", s.Name, h, s.Err)
				}
			}
		}
		return ""
	}
	if where := find(StepUnknown); where != "" {
		return JobUnknown, "nobody knows whether it took effect: " + where
	}
	if j.CanceledBy != "" {
		return JobCanceled, "canceled by " + j.CanceledBy
	}
	if where := find(StepFailed); where != "" {
		return JobFailed, where
	}
	if j.Spec.Verify {
		return JobVerifying, ""
	}
	return JobSucceeded, ""
}
