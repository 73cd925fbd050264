package remedy

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"nocturne/alerting"
	"nocturne/automation"
)

// Phases of a case.
const (
	Planned   = "planned"   // decided, the job is to be submitted
	Submitted = "submitted" // the job runs, or is to be proved
	Done      = "done"
)

// Outcomes of a case that is done.
const (
	Proved    = "proved"    // the alert's own rule is false on fresh samples
	Failed    = "failed"    // the job failed, is unknown, or proved nothing: escalated
	Refused   = "refused"   // it could not be made a job: escalated
	Skipped   = "skipped"   // nothing was to be done
	Withdrawn = "withdrawn" // a person canceled the job
)

// Case is how one episode is answered.
type Case struct {
	Episode  string          `json:"episode"`
	Incident string          `json:"incident,omitempty"`
	Item     string          `json:"item,omitempty"`
	Remedy   string          `json:"remedy"`
	Revision string          `json:"revision"`
	Phase    string          `json:"phase"`
	Spec     automation.Spec `json:"spec"`
	Target   string          `json:"target,omitempty"`
	Within   time.Duration   `json:"verify_within"`
	Outcome  string          `json:"outcome,omitempty"`
	Reason   string          `json:"reason,omitempty"`
	Opened   time.Time       `json:"opened"`
	Ended    time.Time       `json:"ended,omitzero"`
}

func (c Case) actor() string { return "remedy:" + c.Remedy }

// decide makes the case of a firing episode. Its Phase is Done when nothing is
// to be run.
func (m *Remedies) decide(r Remedy, a alerting.Alert, now time.Time) Case {
	c := Case{
		Episode: a.Episode, Incident: a.Incident, Item: a.Item, Remedy: r.Name, Revision: r.Revision(),
		Phase: Planned, Within: r.VerifyWithin, Opened: now.UTC(),
	}
	if why := m.unwanted(a, now); why != "" {
		return c.end(Skipped, why, now)
	}
	spec, target, err := m.plan(r, a)
	if err != nil {
		return c.end(Refused, err.Error(), now)
	}
	c.Spec, c.Target = spec, target
	return c
}

// unwanted tells why nothing is to be done about an alert.
func (m *Remedies) unwanted(a alerting.Alert, now time.Time) string {
	if a.Phase != alerting.Firing {
		return "the alert is " + a.Phase + " already"
	}
	if a.Ack != nil {
		return "a person has acknowledged it: " + a.Ack.By
	}
	if w, ok := m.o.Alerts.Maintained(a.Item, now); ok {
		return fmt.Sprintf("%s is in maintenance until %s, by %s", w.Item, w.To.UTC().Format(time.RFC3339), w.By)
	}
	return ""
}

// plan fills in the templates. Anything missing is an error: nothing half
// filled in is ever run.
func (m *Remedies) plan(r Remedy, a alerting.Alert) (automation.Spec, string, error) {
	s := subjectOf(a)
	spec := automation.Spec{
		ID: r.JobID(a.Episode), Runbook: r.Runbook, By: "remedy:" + r.Name,
		Incident: a.Incident, Episode: a.Episode, Verify: true, Parameters: map[string]string{},
	}
	var errs []error
	fill := func(what, text string) string {
		out, err := fillIn(text, s)
		if err == nil && out == "" {
			err = errors.New("it is empty")
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", what, err))
		}
		return out
	}
	for name, text := range r.Parameters {
		spec.Parameters[name] = fill("parameter "+name, text)
	}
	target := fill("target", r.Target)
	host := ""
	if r.Host != "" {
		host = fill("host", r.Host)
	} else if h, ok := m.hostOf(a); ok {
		host = h
	} else {
		errs = append(errs, fmt.Errorf("no host is known for %s", a.Labels))
	}
	spec.Hosts = []string{host}
	return spec, target, errors.Join(errs...)
}

func (m *Remedies) hostOf(a alerting.Alert) (string, bool) {
	if m.o.HostOf == nil {
		return "", false
	}
	return m.o.HostOf(a)
}

func fillIn(text string, s subject) (string, error) {
	t, err := parseTemplate(text)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	if err := t.Execute(&b, s); err != nil {
		return "", err
	}
	return b.String(), nil
}

func (c Case) end(outcome, reason string, now time.Time) Case {
	c.Phase, c.Outcome, c.Reason, c.Ended = Done, outcome, reason, now.UTC()
	return c
}

// escalates tells the outcomes that need a person.
func (c Case) escalates() bool { return c.Outcome == Failed || c.Outcome == Refused }

// lastStep is when the last command of a job ended.
func lastStep(j automation.Job) time.Time {
	var t time.Time
	for _, task := range j.Tasks {
		for _, s := range task.Steps {
			if s.Ended.After(t) {
				t = s.Ended
			}
		}
	}
	return t
}
