package web

import (
	"context"
	"strconv"
	"strings"
	"time"

	"nocturne/alerting"
	"nocturne/internal/access"
	"nocturne/internal/ledger"
)

// alertJSON is one episode of an alert.
type alertJSON struct {
	Fingerprint string            `json:"fingerprint" doc:"The same in every episode"`
	Episode     string            `json:"episode"`
	Rule        string            `json:"rule"`
	Group       string            `json:"group"`
	Severity    string            `json:"severity" enum:"critical,major,warning"`
	Phase       string            `json:"phase" enum:"pending,firing,resolved"`
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
	ActiveAt    time.Time         `json:"active_at"`
	FiredAt     *time.Time        `json:"fired_at,omitempty"`
	ResolvedAt  *time.Time        `json:"resolved_at,omitempty"`
	Value       string            `json:"value" doc:"A number, NaN, +Inf or -Inf"`
	Item        string            `json:"item,omitempty"`
	Incident    string            `json:"incident,omitempty"`
	Ack         *alerting.Ack     `json:"ack,omitempty"`
	Stale       bool              `json:"stale" doc:"Kept firing since its series are not seen"`
	Reason      string            `json:"reason,omitempty"`
}

// incidentStory is an incident put together.
type incidentStory struct {
	ID     string         `json:"id"`
	Title  string         `json:"title"`
	Item   string         `json:"item,omitempty"`
	Phase  string         `json:"phase" enum:"open,repairing,verifying,resolved,escalated"`
	Opened time.Time      `json:"opened"`
	Closed *time.Time     `json:"closed,omitempty"`
	Alerts []alertJSON    `json:"alerts"`
	Jobs   []JobJSON      `json:"jobs"`
	Ledger []ledger.Entry `json:"ledger" doc:"All that happened, oldest first"`
}

// ruleJSON is how one rule does.
type ruleJSON struct {
	File      string            `json:"file"`
	Group     string            `json:"group"`
	Name      string            `json:"name"`
	Record    bool              `json:"record"`
	Query     string            `json:"query"`
	For       float64           `json:"for_seconds"`
	Labels    map[string]string `json:"labels"`
	Health    string            `json:"health" enum:"ok,err,unknown"`
	LastError string            `json:"last_error,omitempty"`
	LastEval  *time.Time        `json:"last_eval,omitempty"`
	Remedy    string            `json:"remedy,omitempty" doc:"The runbook that answers it"`
}

// addAlerting adds alerts, incidents, rules and maintenance.
func (a *apiMux) addAlerting() {
	s := a.s
	add(a, op{id: "list-alerts", method: "GET", path: "/alerts", tag: "alerts", summary: "Alerts that are pending or fire, or those resolved in the last week", right: access.View}, s.apiAlerts)
	add(a, op{id: "get-alert", method: "GET", path: "/alerts/{fingerprint}", tag: "alerts", summary: "One alert", right: access.View}, s.apiAlert)
	add(a, op{id: "ack-alert", method: "POST", path: "/alerts/{fingerprint}/ack", tag: "alerts", summary: "Say that you know of a firing alert", right: access.Ack}, s.apiAck)
	add(a, op{id: "close-alert", method: "POST", path: "/alerts/{fingerprint}/close", tag: "alerts", summary: "Resolve a firing alert whose series are not seen any more", right: access.Ack}, s.apiClose)
	add(a, op{id: "list-rules", method: "GET", path: "/rules", tag: "alerts", summary: "Rules and how they do", right: access.View}, s.apiRules)
	add(a, op{id: "list-incidents", method: "GET", path: "/incidents", tag: "alerts", summary: "Incidents of the last days", right: access.View}, s.apiIncidents)
	add(a, op{id: "get-incident", method: "GET", path: "/incidents/{id}", tag: "alerts", summary: "One incident with its alerts, jobs and ledger entries", right: access.View}, s.apiIncident)
	add(a, op{id: "list-maintenance", method: "GET", path: "/maintenance", tag: "maintenance", summary: "Maintenance windows, past ones too", right: access.View}, s.apiMaintenances)
	add(a, op{id: "start-maintenance", method: "POST", path: "/maintenance", tag: "maintenance", summary: "Open a maintenance window from now", right: access.Configure, status: 201}, s.apiMaintain)
	add(a, op{id: "end-maintenance", method: "POST", path: "/maintenance/{id}/end", tag: "maintenance", summary: "End a maintenance window now", right: access.Configure}, s.apiEndMaintenance)
}

func alertAnswer(a alerting.Alert) alertJSON {
	return alertJSON{
		Fingerprint: a.Fingerprint, Episode: a.Episode, Rule: a.Rule, Group: a.Group, Severity: string(a.Severity()), Phase: a.Phase,
		Labels: a.Labels.Map(), Annotations: a.Annotations, ActiveAt: a.ActiveAt, FiredAt: when(a.FiredAt), ResolvedAt: when(a.ResolvedAt),
		Value: strconv.FormatFloat(a.Value, 'g', -1, 64), Item: a.Item, Incident: a.Incident, Ack: a.Ack, Stale: a.Stale, Reason: a.Reason,
	}
}

func (s *Server) apiAlerts(_ context.Context, in *struct {
	Cut
	Phase string `query:"phase" enum:"pending,firing,resolved"`
	Item  string `query:"item" maxLength:"500"`
}) (*body[list[alertJSON]], error) {
	all := s.Alerts.Alerts()
	if in.Phase == alerting.Resolved {
		var err error
		if all, err = s.Alerts.Resolved(time.Now().Add(-7 * 24 * time.Hour)); err != nil {
			return nil, err
		}
	}
	var out []alertJSON
	for _, a := range all {
		if (in.Phase == "" || a.Phase == in.Phase) && (in.Item == "" || a.Item == in.Item) {
			out = append(out, alertAnswer(a))
		}
	}
	return cutOut(out, in.Cut), nil
}

// ByFingerprint names an alert. What operations embed is exported: huma passes
// over the rest.
type ByFingerprint struct {
	Fingerprint string `path:"fingerprint"`
}

func (s *Server) apiAlert(_ context.Context, in *ByFingerprint) (*body[alertJSON], error) {
	a, ok := s.Alerts.Alert(in.Fingerprint)
	if !ok {
		return nil, notFound{"alert " + in.Fingerprint}
	}
	return reply(alertAnswer(a)), nil
}

func (s *Server) apiAck(ctx context.Context, in *decision) (*body[alertJSON], error) {
	return s.apiDecide(ctx, in, s.Alerts.Ack)
}

func (s *Server) apiClose(ctx context.Context, in *decision) (*body[alertJSON], error) {
	return s.apiDecide(ctx, in, s.Alerts.Close)
}

// decision is what a person says about an alert.
type decision struct {
	ByFingerprint
	Body struct {
		Note string `json:"note,omitempty" maxLength:"1000"`
	}
}

func (s *Server) apiDecide(ctx context.Context, in *decision, do func(ctx context.Context, fingerprint, by, note string) error) (*body[alertJSON], error) {
	was, ok := s.Alerts.Alert(in.Fingerprint)
	if !ok {
		return nil, notFound{"alert " + in.Fingerprint}
	}
	if err := do(ctx, in.Fingerprint, actorOf(ctx).String(), strings.TrimSpace(in.Body.Note)); err != nil {
		return nil, err
	}
	if now, ok := s.Alerts.Alert(in.Fingerprint); ok {
		was = now
	}
	return reply(alertAnswer(was)), nil
}

func (s *Server) apiRules(context.Context, *struct{}) (*body[list[ruleJSON]], error) {
	out := []ruleJSON{}
	for _, r := range s.Alerts.Rules() {
		out = append(out, ruleJSON{
			File: r.File, Group: r.Group, Name: r.Name, Record: r.Record, Query: r.Query, For: r.For.Seconds(), Labels: r.Labels,
			Health: r.Health, LastError: r.LastError, LastEval: when(r.LastEval), Remedy: s.remedyOf(r.Name),
		})
	}
	return reply(list[ruleJSON]{out, len(out)}), nil
}

func (s *Server) apiIncidents(_ context.Context, in *struct {
	Cut
	Days int `query:"days" default:"7" minimum:"1" maximum:"365"`
}) (*body[list[alerting.Incident]], error) {
	found, err := s.Alerts.Incidents(time.Now().AddDate(0, 0, -in.Days))
	if err != nil {
		return nil, err
	}
	return cutOut(found, in.Cut), nil
}

func (s *Server) apiIncident(_ context.Context, in *struct {
	ID string `path:"id"`
}) (*body[incidentStory], error) {
	st, err := s.story(in.ID)
	if err != nil {
		return nil, err
	}
	out := incidentStory{
		ID: st.incident.ID, Title: st.title(), Item: st.incident.Item, Phase: st.phase(), Opened: st.incident.Opened, Closed: when(st.incident.Closed),
		Alerts: []alertJSON{}, Jobs: []JobJSON{}, Ledger: some(st.entries),
	}
	for _, a := range st.alerts {
		out.Alerts = append(out.Alerts, alertAnswer(a))
	}
	for _, j := range st.jobs {
		out.Jobs = append(out.Jobs, jobAnswer(j))
	}
	return reply(out), nil
}

func (s *Server) apiMaintenances(_ context.Context, in *struct {
	Cut
	Open bool `query:"open" doc:"Only those that hold now"`
}) (*body[list[alerting.Maintenance]], error) {
	var out []alerting.Maintenance
	now := time.Now()
	for _, m := range s.Alerts.Maintenances() {
		if !in.Open || !now.Before(m.From) && now.Before(m.To) {
			out = append(out, m)
		}
	}
	return cutOut(out, in.Cut), nil
}

func (s *Server) apiMaintain(ctx context.Context, in *struct {
	Body struct {
		Item    string `json:"item" minLength:"1" maxLength:"500"`
		Minutes int    `json:"minutes" minimum:"1" maximum:"43200"`
		Note    string `json:"note,omitempty" maxLength:"1000"`
	}
}) (*body[alerting.Maintenance], error) {
	if err := s.maintain(requestOf(ctx), in.Body.Item, time.Duration(in.Body.Minutes)*time.Minute, in.Body.Note); err != nil {
		return nil, err
	}
	m, ok := s.Alerts.Maintained(in.Body.Item, time.Now())
	if !ok {
		return nil, notFound{"window of " + in.Body.Item}
	}
	return reply(m), nil
}

func (s *Server) apiEndMaintenance(ctx context.Context, in *struct {
	ID string `path:"id"`
}) (*body[alerting.Maintenance], error) {
	now := time.Now().UTC()
	for _, m := range s.Alerts.Maintenances() {
		if m.ID != in.ID {
			continue
		}
		if now.Before(m.From) || !now.Before(m.To) {
			return nil, invalid{"the window does not hold now"}
		}
		m.To, m.By = now, actorOf(ctx).String()
		if err := s.Alerts.Maintain(ctx, m); err != nil {
			return nil, err
		}
		return reply(m), nil
	}
	return nil, notFound{"maintenance " + in.ID}
}
