package web

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"nocturne/alerting"
	"nocturne/automation"
	"nocturne/internal/ledger"
	"nocturne/internal/state"
	alertsview "nocturne/views/alerts"
	"nocturne/views/ui"
)

// story is an incident put together: its alerts, jobs and ledger entries.
type story struct {
	incident alerting.Incident
	alerts   []alerting.Alert
	jobs     []automation.Job
	entries  []ledger.Entry
	answered bool // a remedy is there for one of the alerts
}

func (s *Server) story(id string) (story, error) {
	in, err := s.Alerts.Incident(id)
	if errors.Is(err, state.ErrNotFound) {
		return story{}, notFound{"incident " + id}
	}
	if err != nil {
		return story{}, err
	}
	st := story{incident: in}
	for _, episode := range in.Episodes {
		a, err := s.Alerts.Episode(episode)
		if errors.Is(err, alerting.ErrNotFound) {
			continue // about to fire: the incident is written first
		}
		if err != nil {
			return st, fmt.Errorf("incident %s: episode %s: %w", id, episode, err)
		}
		st.alerts = append(st.alerts, a)
	}
	if st.entries, err = collect(s.Ledger.Incident(id)); err != nil {
		return st, err
	}
	st.answered = slices.ContainsFunc(st.alerts, func(a alerting.Alert) bool {
		_, ok := s.remedyFor(a)
		return ok
	})
	st.jobs, err = s.jobsOf(st.entries)
	return st, err
}

// jobsOf reads the jobs that the entries speak of, in the order of the telling.
func (s *Server) jobsOf(entries []ledger.Entry) ([]automation.Job, error) {
	var out []automation.Job
	seen := map[string]bool{}
	for _, e := range entries {
		id, ok := strings.CutPrefix(e.Subject, "job/")
		if !ok || seen[id] {
			continue
		}
		seen[id] = true
		j, err := s.Jobs.Job(id)
		if errors.Is(err, automation.ErrNoJob) {
			continue // planned, not yet submitted
		}
		if err != nil {
			return nil, err
		}
		out = append(out, j)
	}
	return out, nil
}

// phase is where an incident is in the loop.
func (st story) phase() string {
	escalated := slices.ContainsFunc(st.entries, func(e ledger.Entry) bool { return e.Action == alerting.Escalated })
	switch {
	case !st.incident.Closed.IsZero():
		return "resolved"
	case escalated:
		return "escalated"
	case slices.ContainsFunc(st.jobs, func(j automation.Job) bool { return j.Phase == automation.JobVerifying }):
		return "verifying"
	case slices.ContainsFunc(st.jobs, func(j automation.Job) bool { return !automation.JobEnded(j.Phase) }):
		return "repairing"
	}
	return "open"
}

func (st story) title() string {
	for _, a := range st.alerts {
		if t := a.Annotations["summary"]; t != "" {
			return t
		}
	}
	if len(st.alerts) > 0 {
		return st.alerts[0].Rule
	}
	return st.incident.ID
}

func incidentHref(id string) string { return "/incidents/" + url.PathEscape(id) }

func (s *Server) incident(w http.ResponseWriter, r *http.Request) error {
	st, err := s.story(r.PathValue("id"))
	if err != nil {
		return err
	}
	in := st.incident
	m := alertsview.Incident{
		Page: s.page(r, "Incident", "alerts"), ID: in.ID, Headline: st.title(), Item: s.ref(in.Item), Phase: st.phase(),
		Opened: in.Opened, Closed: in.Closed, Stages: st.stages(), Timeline: s.timeline(st.entries), Alerts: s.alertRows(st.alerts),
		Verified: s.checkedRange(st.entries),
	}
	if in.Item == "" {
		m.Item.Label = "not in the inventory"
	}
	for _, j := range st.jobs {
		m.Jobs = append(m.Jobs, alertsview.JobLine{
			ID: j.ID, Href: jobHref(j.ID), Title: cmp.Or(j.Title, j.Runbook), Phase: j.Phase, Hosts: strings.Join(j.Hosts, ", "),
			Started: j.Started, Ended: j.Ended, Reason: j.Reason,
		})
	}
	m.Affected = s.refs(s.Graph.Dependents(in.Item))
	s.render(w, r, http.StatusOK, alertsview.IncidentPage(m))
	return nil
}

// checkedRange says that the entries are within what was checked last; "" when
// they are not.
func (s *Server) checkedRange(entries []ledger.Entry) string {
	v, ok := s.Ledger.LastVerdict()
	if !ok || v.Err != nil || len(entries) == 0 || entries[len(entries)-1].Seq > v.Entries {
		return ""
	}
	return fmt.Sprintf("records %d to %d unbroken, checked %s UTC", entries[0].Seq, entries[len(entries)-1].Seq, ui.Stamp(v.At))
}

// stages are the arrows of the loop, each with when it was reached.
func (st story) stages() []alertsview.Stage {
	seen := alertsview.Stage{Name: "Seen", State: "done", At: st.incident.Opened}
	for _, a := range st.alerts {
		if a.ActiveAt.Before(seen.At) {
			seen.At = a.ActiveAt
		}
	}
	alert := alertsview.Stage{Name: "Alert", State: "waiting"}
	for _, a := range st.alerts {
		if !a.FiredAt.IsZero() && (alert.At.IsZero() || a.FiredAt.Before(alert.At)) {
			alert.State, alert.At, alert.Detail, alert.Href = "done", a.FiredAt, a.Rule, alertHref(a)
		}
	}
	job, proof := st.jobStages()
	resolved := alertsview.Stage{Name: "Resolved", State: "waiting", At: st.incident.Closed}
	if !st.incident.Closed.IsZero() {
		resolved.State = "done"
	}
	stages := []alertsview.Stage{seen, alert, job, proof, resolved}
	for i := 1; i < len(stages); i++ {
		if !stages[i].At.IsZero() && !stages[i-1].At.IsZero() {
			stages[i].After = stages[i].At.Sub(stages[i-1].At)
		}
	}
	return stages
}

// jobStages tells how the last job went, and its proof.
func (st story) jobStages() (job, proof alertsview.Stage) {
	if len(st.jobs) == 0 {
		return st.withoutJob()
	}
	j := st.jobs[len(st.jobs)-1]
	job = alertsview.Stage{Name: "Job", State: "done", At: j.Created, Href: jobHref(j.ID), Detail: cmp.Or(j.Title, j.Runbook)}
	proof = alertsview.Stage{Name: "Proof", State: "waiting"}
	_, proving := entryOf(st.entries, j.ID, "job."+automation.JobVerifying)
	switch {
	case j.Phase == automation.JobQueued, j.Phase == automation.JobRunning:
		job.State = "active"
	case j.Phase == automation.JobVerifying:
		proof.State, proof.Detail = "active", "the alert's own rule is asked"
	case j.Phase == automation.JobCanceled:
		job.State, job.Detail, proof.State = "skipped", j.Reason, "skipped"
	case proving && j.Phase == automation.JobSucceeded:
		proof.State, proof.At, proof.Detail = "done", j.Ended, j.Reason
	case proving:
		proof.State, proof.At, proof.Detail = "failed", j.Ended, j.Reason
	case j.Phase == automation.JobSucceeded:
		proof.State = "skipped" // nobody asked for one
	default:
		job.State, job.Detail, proof.State = "failed", j.Reason, "skipped"
	}
	return job, proof
}

// withoutJob tells why there is no job, or none yet.
func (st story) withoutJob() (job, proof alertsview.Stage) {
	job, proof = alertsview.Stage{Name: "Job", State: "waiting"}, alertsview.Stage{Name: "Proof", State: "waiting"}
	decided := false
	for _, e := range st.entries {
		switch e.Action {
		case "remedy.planned":
			decided = true
			job.State, job.At, job.Detail = "active", e.At, "planned"
		case "remedy.refused":
			decided = true
			job.State, job.At, job.Detail, proof.State = "failed", e.At, reasonOf(e), "skipped"
		case "remedy.skipped", "remedy.withdrawn":
			decided = true
			job.State, job.At, job.Detail, proof.State = "skipped", e.At, reasonOf(e), "skipped"
		}
	}
	switch {
	case decided:
	case !st.incident.Closed.IsZero():
		job.State, proof.State = "skipped", "skipped"
	case !st.answered:
		job.State, job.Detail, proof.State = "skipped", "no remedy answers this alert", "skipped"
	}
	return job, proof
}

// entryOf finds the first entry of an action that is about a job: as its
// subject, or in what a remedy noted.
func entryOf(entries []ledger.Entry, job, action string) (ledger.Entry, bool) {
	i := slices.IndexFunc(entries, func(e ledger.Entry) bool { return e.Action == action && jobOf(e) == job })
	if i < 0 {
		return ledger.Entry{}, false
	}
	return entries[i], true
}

// jobOf is the ID of the job that an entry is about, "" for none.
func jobOf(e ledger.Entry) string {
	if id, ok := strings.CutPrefix(e.Subject, "job/"); ok {
		return id
	}
	var d struct {
		Job string `json:"job"`
	}
	if e.Kind != ledger.Job || json.Unmarshal(e.Data, &d) != nil {
		return ""
	}
	return d.Job
}

func reasonOf(e ledger.Entry) string {
	var d struct {
		Reason string `json:"reason"`
	}
	if json.Unmarshal(e.Data, &d) != nil {
		return ""
	}
	return d.Reason
}

// timeline turns ledger entries into lines for people.
func (s *Server) timeline(entries []ledger.Entry) []ui.Entry {
	var out []ui.Entry
	for _, e := range entries {
		line := ui.Entry{At: e.At, Kind: e.Kind, Title: titleOf(e), Detail: detailOf(e), Actor: e.Actor, Seq: e.Seq, State: stateOfEntry(e)}
		if id := jobOf(e); id != "" {
			line.Href = jobHref(id)
		}
		if strings.HasPrefix(e.Action, "remedy.") {
			line.Kind = "proof"
		}
		out = append(out, line)
	}
	return out
}

var titles = map[string]string{
	"pending": "The condition holds", "firing": "The alert fires", "resolved": "The alert resolves", "escalated": "Escalated to a person",
	"acknowledge": "Acknowledged", "remedy.planned": "A remedy is planned", "remedy.proved": "Proved: the alert's own rule is false on fresh samples",
	"remedy.failed": "The remedy failed", "remedy.refused": "The remedy was refused", "remedy.skipped": "No remedy was run", "remedy.withdrawn": "The remedy was withdrawn",
	"job.queued": "The job is queued", "job.running": "The job runs", "job.verifying": "All steps done, now to be proved", "job.succeeded": "The job succeeded",
	"job.failed": "The job failed", "job.unknown": "The job's outcome is not known", "job.canceled": "The job was canceled",
}

func titleOf(e ledger.Entry) string {
	if t, ok := titles[e.Action]; ok {
		return t
	}
	return strings.ReplaceAll(e.Action, ".", " ")
}

func detailOf(e ledger.Entry) string {
	var d struct {
		Reason, Step, Host, Command, Note, Err string
		Exit                                   *int
		Receiver                               string
		Annotations                            map[string]string
	}
	if json.Unmarshal(e.Data, &d) != nil {
		return ""
	}
	parts := []string{d.Host, d.Step, d.Command}
	if d.Exit != nil {
		parts = append(parts, fmt.Sprintf("exit %d", *d.Exit))
	}
	parts = append(parts, d.Receiver, d.Err, d.Note, d.Reason)
	if e.Action == alerting.Firing {
		parts = append(parts, d.Annotations["summary"])
	}
	return strings.Join(slices.DeleteFunc(parts, func(p string) bool { return p == "" }), " · ")
}

func stateOfEntry(e ledger.Entry) ui.State {
	switch e.Action {
	case alerting.Firing, alerting.Escalated, "remedy.failed", "remedy.refused", "job.failed", "step.failed":
		return ui.Critical
	case alerting.Pending:
		return ui.Warning
	case alerting.Resolved, "remedy.proved", "job.succeeded", "step.ok":
		return ui.OK
	case "job.unknown", "step.unknown":
		return ui.Unknown
	}
	return ""
}
