package web

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"nocturne/alerting"
	"nocturne/automation"
	"nocturne/automation/remedy"
	"nocturne/internal/ledger"
	jobsview "nocturne/views/jobs"
	"nocturne/views/ui"
)

// manyJobs bounds the list: older jobs are found through their incident or by
// their link.
const manyJobs = 1000

func (s *Server) jobs(w http.ResponseWriter, r *http.Request) error {
	m := jobsview.List{Page: s.page(r, "Jobs"), Query: ui.ParseQuery("/jobs", r.URL.Query(), "phase", "runbook")}
	rows := s.jobRows(s.Jobs.Jobs(manyJobs))
	m.Known = len(rows)
	rows = slices.DeleteFunc(rows, func(row jobsview.Row) bool { return !jobMatches(row, m.Query) })
	slices.SortStableFunc(rows, func(a, b jobsview.Row) int {
		c := 0
		switch m.Query.Sort {
		case "runbook":
			c = cmp.Compare(a.Runbook, b.Runbook)
		case "phase":
			c = cmp.Compare(a.Phase, b.Phase)
		default:
			c = b.Created.Compare(a.Created)
		}
		if m.Query.Desc {
			c = -c
		}
		return cmp.Or(c, cmp.Compare(a.ID, b.ID))
	})
	m.Rows, m.Pager = paged(rows, &m.Query)
	if actorOf(r.Context()).May("run") {
		for _, rb := range s.Jobs.Runbooks() {
			m.Runbooks = append(m.Runbooks, jobsview.Runbook{Name: rb.Name, Title: cmp.Or(rb.Title, rb.Name), Description: rb.Description, Href: runHref(rb.Name, ""), Steps: len(rb.Steps)})
		}
	}
	s.render(w, r, http.StatusOK, jobsview.ListPage(m))
	return nil
}

func jobMatches(row jobsview.Row, q ui.Query) bool {
	text := strings.ToLower(strings.Join(append([]string{row.Title, row.Runbook, row.By, row.ID}, row.Hosts...), " "))
	return (q.Text == "" || strings.Contains(text, strings.ToLower(q.Text))) &&
		(q.Filter["phase"] == "" || row.Phase == q.Filter["phase"]) &&
		(q.Filter["runbook"] == "" || row.Runbook == q.Filter["runbook"])
}

// runHref is the form that starts a runbook, on a host where one is named.
func runHref(runbook, host string) string {
	v := url.Values{"runbook": {runbook}}
	if host != "" {
		v.Set("host", host)
	}
	return "/jobs/new?" + v.Encode()
}

func (s *Server) jobRows(jobs []automation.Job) []jobsview.Row {
	var rows []jobsview.Row
	for _, j := range jobs {
		rows = append(rows, jobRow(j))
	}
	return rows
}

func jobRow(j automation.Job) jobsview.Row {
	row := jobsview.Row{
		ID: j.ID, Href: jobHref(j.ID), Title: cmp.Or(j.Title, j.Runbook), Runbook: j.Runbook, Phase: j.Phase, Reason: j.Reason,
		By: j.By, Hosts: j.Hosts, Created: j.Created, Started: j.Started, Ended: j.Ended,
	}
	if j.Incident != "" {
		row.Incident = ui.Ref{ID: j.Incident, Label: j.Incident, Href: incidentHref(j.Incident)}
	}
	return row
}

// shownLines is how much output a page carries; the rest comes by scrolling.
const shownLines = 2000

func (s *Server) job(w http.ResponseWriter, r *http.Request) error {
	id := r.PathValue("id")
	j, err := s.Jobs.Job(id)
	if errors.Is(err, automation.ErrNoJob) {
		return notFound{"job " + id}
	}
	if err != nil {
		return err
	}
	m := jobsview.Run{
		Page: s.page(r, cmp.Or(j.Title, j.Runbook), "job:"+id), Row: jobRow(j), Parameters: properties(j.Parameters), Revision: j.Revision,
		CanCancel: !automation.JobEnded(j.Phase) && j.Phase != automation.JobVerifying && actorOf(r.Context()).May("run"),
	}
	for _, t := range j.Tasks {
		m.Tasks = append(m.Tasks, s.taskModel(t))
	}
	lines, err := s.Jobs.Output(id, 0)
	if err != nil {
		return err
	}
	if over := len(lines) - shownLines; over > 0 {
		m.Dropped, lines = over, lines[over:]
	}
	for _, l := range lines {
		m.Lines = append(m.Lines, jobsview.Line{Seq: l.Seq, At: l.At, Host: l.Host, Step: l.Step, Text: l.Text})
	}
	if m.Proof, err = s.proof(j); err != nil {
		return err
	}
	s.render(w, r, http.StatusOK, jobsview.RunPage(m))
	return nil
}

func (s *Server) taskModel(t automation.Task) jobsview.Task {
	out := jobsview.Task{Host: s.ref("host/" + t.Host), Region: t.Region}
	for _, st := range t.Steps {
		step := jobsview.Step{Name: st.Name, Phase: st.Phase, Started: st.Started, Ended: st.Ended, Err: st.Err}
		if (st.Phase == automation.StepOK || st.Phase == automation.StepFailed) && st.Err == "" {
			step.Exit = new(st.Exit)
		}
		out.Steps = append(out.Steps, step)
	}
	return out
}

// proof is what the alert's own rule said of a job that is to be proved; nil
// where it is not, or where the job ended before.
func (s *Server) proof(j automation.Job) (*jobsview.Proof, error) {
	if !j.Verify || j.Episode == "" {
		return nil, nil
	}
	entries, err := collect(s.Ledger.Incident(j.Incident))
	if err != nil {
		return nil, err
	}
	if _, reached := entryOf(entries, j.ID, "job."+automation.JobVerifying); !reached && automation.JobEnded(j.Phase) {
		return nil, nil
	}
	p := &jobsview.Proof{Verdict: "waiting", Reason: "Waits until every step is done.", Until: s.proveUntil(j)}
	if j.Phase == automation.JobVerifying {
		p.Reason = "The target is polled afresh and the alert's rule evaluated."
	}
	switch a, err := s.Alerts.Episode(j.Episode); {
	case err == nil:
		p.Rule, p.Alert = s.ruleText(a), ui.Ref{ID: a.Fingerprint, Label: a.Rule, Href: alertHref(a)}
	case !errors.Is(err, alerting.ErrNotFound):
		return nil, err
	}
	if e, ok := entryOf(entries, j.ID, "remedy.proved"); ok {
		p.Verdict, p.At, p.Reason = "cleared", e.At, reasonOf(e)
	} else if j.Phase == automation.JobSucceeded {
		p.Verdict, p.At, p.Reason = "cleared", j.Ended, j.Reason
	} else if automation.JobEnded(j.Phase) {
		p.Verdict, p.At, p.Reason = "not cleared", j.Ended, j.Reason
		if strings.Contains(j.Reason, remedy.Unseen) {
			p.Verdict = "not seen"
		}
	}
	return p, nil
}

// proveUntil is the end of the time in which a remedy's job is to be proved;
// zero before its last step has ended.
func (s *Server) proveUntil(j automation.Job) time.Time {
	name, _ := strings.CutPrefix(j.By, "remedy:")
	remedies := s.replaced.Load().Remedies
	i := slices.IndexFunc(remedies, func(r remedy.Remedy) bool { return r.Name == name })
	if i < 0 || j.Phase == automation.JobQueued || j.Phase == automation.JobRunning {
		return time.Time{}
	}
	var last time.Time
	for _, t := range j.Tasks {
		for _, st := range t.Steps {
			if st.Ended.After(last) {
				last = st.Ended
			}
		}
	}
	if last.IsZero() {
		return last
	}
	return last.Add(remedies[i].VerifyWithin)
}

// ruleText is the rule's expression, or its name where it is not loaded.
func (s *Server) ruleText(a alerting.Alert) string {
	for _, rule := range s.Alerts.Rules() {
		if rule.Name == a.Rule && rule.Group == a.Group {
			return rule.Query
		}
	}
	return a.Rule
}

func (s *Server) cancelJob(w http.ResponseWriter, r *http.Request) error {
	id := r.PathValue("id")
	if err := s.Jobs.Cancel(r.Context(), id, actorOf(r.Context()).String()); err != nil {
		return err
	}
	return done(w, r, jobHref(id))
}

// record leaves in the ledger what somebody did through a page or the API,
// where the package that does it does not.
func (s *Server) record(ctx context.Context, action, subject string, data any) error {
	b, err := json.Marshal(data)
	if err != nil {
		return err
	}
	_, err = s.Ledger.Append(ledger.Entry{Kind: "audit", Actor: actorOf(ctx).String(), Action: action, Subject: subject, Data: b})
	return err
}
