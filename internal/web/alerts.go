package web

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"nocturne/alerting"
	"nocturne/automation"
	"nocturne/automation/remedy"
	"nocturne/internal/ledger"
	alertsview "nocturne/views/alerts"
	"nocturne/views/ui"
)

const (
	perPage = 50
	maxNote = 1000 // characters
)

// paged cuts the page out of rows that the query asks for, the last one where
// it asks for more.
func paged[T any](rows []T, q *ui.Query) ([]T, ui.Pager) {
	p := ui.Pager{Total: len(rows), PerPage: perPage}
	q.Page = min(max(q.Page, 1), p.Pages())
	from := (q.Page - 1) * perPage
	return rows[from:min(from+perPage, len(rows))], p
}

func (s *Server) alerts(w http.ResponseWriter, r *http.Request) error {
	m, err := s.alertsModel(r)
	if err != nil {
		return err
	}
	if r.Header.Get("HX-Request") == "true" {
		s.render(w, r, http.StatusOK, alertsview.ListFragment(m))
		return nil
	}
	s.render(w, r, http.StatusOK, alertsview.ListPage(m))
	return nil
}

// alertsModel is the list of alerts as the request's query narrows it.
func (s *Server) alertsModel(r *http.Request) (alertsview.List, error) {
	m := alertsview.List{Page: s.page(r, "Alerts", "alerts"), Query: ui.ParseQuery("/alerts", r.URL.Query(), "phase", "ack")}
	found := s.Alerts.Alerts()
	for _, a := range found {
		if a.Phase == alerting.Firing {
			m.Open++
		}
	}
	if m.Query.Filter["phase"] == alerting.Resolved {
		var err error
		if found, err = s.Alerts.Resolved(time.Now().Add(-7 * 24 * time.Hour)); err != nil {
			return m, err
		}
	}
	var rows []alertsview.Row
	for _, a := range found {
		if row := s.alertRow(a); alertMatches(row, m.Query) {
			rows = append(rows, row)
		}
	}
	sortAlerts(rows, m.Query)
	m.Rows, m.Pager = paged(rows, &m.Query)
	s.addJobs(m.Rows, found)
	return m, nil
}

func alertMatches(row alertsview.Row, q ui.Query) bool {
	text := strings.ToLower(row.Rule + " " + row.Summary + " " + row.Item.Label)
	switch {
	case q.Text != "" && !strings.Contains(text, strings.ToLower(q.Text)):
		return false
	case q.State != "" && row.Severity != q.State:
		return false
	case q.Filter["ack"] == "yes" && row.Ack == nil, q.Filter["ack"] == "no" && row.Ack != nil:
		return false
	case q.Filter["phase"] == "":
		return row.Phase != alerting.Resolved
	}
	return row.Phase == q.Filter["phase"]
}

func sortAlerts(rows []alertsview.Row, q ui.Query) {
	slices.SortStableFunc(rows, func(a, b alertsview.Row) int {
		c := 0
		switch q.Sort {
		case "since":
			c = b.Since.Compare(a.Since)
		case "rule":
			c = cmp.Compare(a.Rule, b.Rule)
		case "item":
			c = cmp.Compare(a.Item.Label, b.Item.Label)
		case "severity":
			c = cmp.Compare(a.Severity.Rank(), b.Severity.Rank())
		default:
			c = cmp.Or(cmp.Compare(phaseRank(a.Phase), phaseRank(b.Phase)), cmp.Compare(a.Severity.Rank(), b.Severity.Rank()), b.Since.Compare(a.Since))
		}
		if q.Desc {
			c = -c
		}
		return cmp.Or(c, cmp.Compare(a.Fingerprint, b.Fingerprint))
	})
}

func phaseRank(p string) int {
	return slices.Index([]string{alerting.Firing, alerting.Pending, alerting.Resolved}, p)
}

func (s *Server) alertRows(found []alerting.Alert) []alertsview.Row {
	var rows []alertsview.Row
	for _, a := range found {
		rows = append(rows, s.alertRow(a))
	}
	s.addJobs(rows, found)
	return rows
}

// addJobs puts the remedy at work beside each alert. It is called with the
// rows that are shown.
func (s *Server) addJobs(rows []alertsview.Row, of []alerting.Alert) {
	type episode struct {
		fingerprint string
		since       int64
	}
	at := map[episode]int{}
	for i, row := range rows {
		at[episode{row.Fingerprint, row.Since.UnixNano()}] = i
	}
	for _, a := range of {
		i, shown := at[episode{a.Fingerprint, a.ActiveAt.UnixNano()}]
		if !shown {
			continue
		}
		if j, ok := s.answerTo(a); ok {
			rows[i].Job = ui.Ref{ID: j.ID, Label: j.Phase, Href: jobHref(j.ID)}
		}
	}
}

// remedyFor is the remedy that answers an alert: of those that match, the
// first acts.
func (s *Server) remedyFor(a alerting.Alert) (remedy.Remedy, bool) {
	remedies := s.replaced.Load().Remedies
	i := slices.IndexFunc(remedies, func(r remedy.Remedy) bool {
		if r.Alert != a.Rule {
			return false
		}
		for name, value := range r.Match {
			if a.Labels.Get(name) != value {
				return false
			}
		}
		return true
	})
	if i < 0 {
		return remedy.Remedy{}, false
	}
	return remedies[i], true
}

// answerTo is the job by which an alert's remedy answers it. The job of a
// remedy that was changed since is found through the incident.
func (s *Server) answerTo(a alerting.Alert) (automation.Job, bool) {
	r, ok := s.remedyFor(a)
	if !ok {
		return automation.Job{}, false
	}
	j, err := s.Jobs.Job(r.JobID(a.Episode))
	if err != nil && !errors.Is(err, automation.ErrNoJob) {
		s.log.Error("read the job of an alert", "episode", a.Episode, "err", err)
	}
	return j, err == nil
}

func jobHref(id string) string { return "/jobs/" + url.PathEscape(id) }

func (s *Server) alertRow(a alerting.Alert) alertsview.Row {
	row := alertsview.Row{
		Fingerprint: a.Fingerprint, Href: alertHref(a), Severity: ui.State(a.Severity()).Known(), Phase: a.Phase,
		Rule: a.Rule, Summary: cmp.Or(a.Annotations["summary"], a.Labels.String()), Since: a.ActiveAt, Resolved: a.ResolvedAt,
		Value: strconv.FormatFloat(a.Value, 'g', 6, 64), Stale: a.Stale, Item: s.ref(a.Item),
	}
	if a.Incident != "" {
		row.Incident = ui.Ref{ID: a.Incident, Label: a.Incident, Href: incidentHref(a.Incident)}
	}
	if a.Item == "" {
		row.Item.Label = "not in the inventory"
	}
	if a.Ack != nil {
		row.Ack = &alertsview.Ack{By: a.Ack.By, Note: a.Ack.Note, At: a.Ack.At}
	}
	return row
}

func alertHref(a alerting.Alert) string { return "/alerts/" + url.PathEscape(a.Fingerprint) }

func (s *Server) alert(w http.ResponseWriter, r *http.Request) error {
	return s.alertPage(w, r, http.StatusOK, func(*alertsview.Detail) {})
}

// alertPage draws the alert; fault puts what was wrong with a form into it.
func (s *Server) alertPage(w http.ResponseWriter, r *http.Request, status int, fault func(*alertsview.Detail)) error {
	fingerprint := r.PathValue("fingerprint")
	a, ok := s.Alerts.Alert(fingerprint)
	if !ok {
		return notFound{"alert " + fingerprint}
	}
	m := alertsview.Detail{
		Page: s.page(r, a.Rule, "alerts"), Row: s.alertRows([]alerting.Alert{a})[0], Episode: a.Episode, Description: a.Annotations["description"],
		Labels: properties(a.Labels.Map()), Annotations: properties(a.Annotations),
	}
	may := actorOf(r.Context()).May("ack")
	m.CanAck = a.Phase == alerting.Firing && a.Ack == nil && may
	m.CanClose = a.Phase == alerting.Firing && a.Stale && may
	fault(&m)
	if !m.CanAck {
		m.Error = m.AckFault
	}
	if !m.CanClose {
		m.Error = cmp.Or(m.Error, m.CloseFault)
	}
	for _, rule := range s.Alerts.Rules() {
		if rule.Name == a.Rule && rule.Group == a.Group {
			m.Query, m.For = rule.Query, rule.For
		}
	}
	if a.Incident != "" {
		entries, err := collect(s.Ledger.Incident(a.Incident))
		if err != nil {
			return err
		}
		m.Timeline = s.timeline(entries)
		jobs, err := s.jobsOf(entries)
		if err != nil {
			return err
		}
		for _, j := range jobs {
			if j.Episode == a.Episode {
				m.Row.Job = ui.Ref{ID: j.ID, Label: j.Phase, Href: jobHref(j.ID)}
				m.Jobs = append(m.Jobs, ui.Ref{ID: j.ID, Label: cmp.Or(j.Title, j.Runbook) + ": " + j.Phase, Href: jobHref(j.ID)})
			}
		}
	}
	if panels := s.panelsFor(a.Item); len(panels) > 0 {
		m.Chart = &panels[0]
	}
	s.render(w, r, status, alertsview.DetailPage(m))
	return nil
}

// properties lists a map by its keys.
func properties(kv map[string]string) []ui.Property {
	var out []ui.Property
	for _, k := range slices.Sorted(maps.Keys(kv)) {
		out = append(out, ui.Property{Name: k, Value: kv[k], Mono: true})
	}
	return out
}

func (s *Server) ackAlert(w http.ResponseWriter, r *http.Request) error {
	return s.decide(w, r, r.PostFormValue("note"), s.Alerts.Ack, func(m *alertsview.Detail, fault, note string) {
		m.AckFault, m.AckNote = fault, note
	})
}

func (s *Server) closeAlert(w http.ResponseWriter, r *http.Request) error {
	return s.decide(w, r, r.PostFormValue("reason"), s.Alerts.Close, func(m *alertsview.Detail, fault, note string) {
		m.CloseFault, m.CloseNote = fault, note
	})
}

// decide does what a person decided about an alert, with their words.
func (s *Server) decide(w http.ResponseWriter, r *http.Request, note string, do func(ctx context.Context, fingerprint, by, note string) error,
	fault func(m *alertsview.Detail, fault, note string),
) error {
	fingerprint, note := r.PathValue("fingerprint"), strings.TrimSpace(note)
	again := func(status int, text string) error {
		return s.alertPage(w, r, status, func(m *alertsview.Detail) { fault(m, text, note) })
	}
	if utf8.RuneCountInString(note) > maxNote {
		return again(http.StatusBadRequest, "The note is longer than 1,000 characters.")
	}
	err := do(r.Context(), fingerprint, actorOf(r.Context()).String(), note)
	switch {
	case errors.Is(err, alerting.ErrNotFound):
		return notFound{"alert " + fingerprint}
	case errors.Is(err, alerting.ErrNotFiring):
		return again(http.StatusConflict, "The alert does not fire: there is nothing to acknowledge.")
	case errors.Is(err, alerting.ErrNotStale):
		return again(http.StatusConflict, "Its series are seen: it resolves by itself when they say so.")
	case err != nil:
		return err
	}
	return done(w, r, cmp.Or(r.PostFormValue("back"), "/alerts/"+url.PathEscape(fingerprint)))
}

func collect(entries func(func(ledger.Entry, error) bool)) ([]ledger.Entry, error) {
	var out []ledger.Entry
	for e, err := range entries {
		if err != nil {
			return nil, fmt.Errorf("read the ledger: %w", err)
		}
		out = append(out, e)
	}
	return out, nil
}
