package automation

import (
	"encoding/json"
	"fmt"

	"nocturne/internal/ledger"
)

// JobEvidence is the Data of a job's ledger entry "job.PHASE".
type JobEvidence struct {
	Job        string            `json:"job"`
	Runbook    string            `json:"runbook"`
	Revision   string            `json:"revision"`
	Parameters map[string]string `json:"parameters,omitempty"`
	Hosts      []string          `json:"hosts"`
	Episode    string            `json:"episode,omitempty"`
	Phase      string            `json:"phase"`
	Reason     string            `json:"reason,omitempty"`
}

// StepEvidence is the Data of a step's ledger entry "step.PHASE", and of a
// probe's "probe.PHASE".
type StepEvidence struct {
	Job          string `json:"job"`
	Host         string `json:"host"`
	Step         string `json:"step"`
	Phase        string `json:"phase"`
	Token        string `json:"token,omitempty"`
	Attempt      int    `json:"attempt"`
	Command      string `json:"command,omitempty"` // with its parameters, without its fence
	Exit         *int   `json:"exit,omitempty"`
	Err          string `json:"err,omitempty"`
	OutputBytes  int64  `json:"outputBytes,omitempty"`
	OutputSHA256 string `json:"outputSha256,omitempty"`
	Recovered    bool   `json:"recovered,omitempty"` // written at the next start
}

// Subject is the ledger subject of a job's entries.
func Subject(job string) string { return "job/" + job }

func (x *Executor) note(j jobRecord, action, actor string, data any) error {
	b, err := json.Marshal(data)
	if err != nil {
		return err
	}
	_, err = x.o.Ledger.Append(ledger.Entry{
		Kind: ledger.Job, Actor: actor, Action: action,
		Subject: Subject(j.Spec.ID), Incident: j.Spec.Incident, Data: b,
	})
	if err != nil {
		return fmt.Errorf("record %s of job %s: %w", action, j.Spec.ID, err)
	}
	return nil
}

// noteJob records a job's phase and shows it to those who watch.
func (x *Executor) noteJob(j jobRecord, actor string) error {
	x.hub.emit(Event{Job: j.Spec.ID, Phase: j.Phase})
	return x.note(j, "job."+j.Phase, actor, JobEvidence{
		Job: j.Spec.ID, Runbook: j.Spec.Runbook, Revision: j.Runbook.Revision, Parameters: j.Values,
		Hosts: j.Spec.Hosts, Episode: j.Spec.Episode, Phase: j.Phase, Reason: j.Reason,
	})
}

// stepEvidence describes where a step is.
func stepEvidence(j jobRecord, host string, i int, s StepState) StepEvidence {
	e := StepEvidence{
		Job: j.Spec.ID, Host: host, Step: s.Name, Phase: s.Phase, Token: s.Token, Attempt: s.Attempts,
		Err: s.Err, OutputBytes: s.OutputBytes, OutputSHA256: s.OutputSHA,
	}
	if (s.Phase == StepOK || s.Phase == StepFailed) && s.Err == "" || s.Exit != 0 {
		e.Exit = new(s.Exit)
	}
	// A command that does not render was never sent; the step says why.
	if cmd, err := Render(j.Runbook.Steps[i].Shell, j.Values); err == nil {
		e.Command = cmd
	}
	return e
}

// noteSteps records what changed between two states of a task.
func (x *Executor) noteSteps(j jobRecord, host string, before, after taskRecord, recovered bool) error {
	for i, s := range after.Steps {
		if p := s.Probe; p != nil && (before.Steps[i].Probe == nil || before.Steps[i].Probe.Phase != p.Phase) && p.Phase != StepReady {
			if err := x.noteProbe(j, host, i, s, recovered); err != nil {
				return err
			}
		}
		if s.Phase == before.Steps[i].Phase {
			continue
		}
		x.hub.emit(Event{Job: j.Spec.ID, Phase: JobRunning, Host: host, Step: s.Name, StepPhase: s.Phase})
		e := stepEvidence(j, host, i, s)
		e.Recovered = recovered
		if err := x.note(j, "step."+s.Phase, "system", e); err != nil {
			return err
		}
	}
	return nil
}

func (x *Executor) noteProbe(j jobRecord, host string, i int, s StepState, recovered bool) error {
	e := StepEvidence{Job: j.Spec.ID, Host: host, Step: s.Name, Phase: s.Probe.Phase, Token: s.Token, Attempt: s.Attempts, Err: s.Probe.Err, Recovered: recovered}
	if s.Probe.Phase == StepOK || s.Probe.Phase == StepFailed {
		e.Exit = new(s.Probe.Exit)
	}
	if cmd, err := Render(j.Runbook.Steps[i].Probe, j.Values); err == nil {
		e.Command = cmd
	}
	return x.note(j, "probe."+s.Probe.Phase, "system", e)
}
