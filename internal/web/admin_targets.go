package web

import (
	"cmp"
	"fmt"
	"net/http"
	"net/url"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"nocturne/alerting"
	"nocturne/collector"
	"nocturne/views/admin"
	"nocturne/views/static"
	"nocturne/views/ui"
)

func (s *Server) targets(w http.ResponseWriter, r *http.Request) error {
	m := admin.Targets{Page: s.page(r, "Targets"), Query: ui.ParseQuery("/admin/targets", r.URL.Query(), "kind")}
	all := s.Collector.Status()
	m.Known = len(all)
	var found []admin.Target
	for _, t := range all {
		m.Debt += t.Debt
		row := s.targetRow(t)
		if targetMatches(row, m.Query) {
			found = append(found, row)
		}
	}
	sortTargets(found, m.Query)
	m.Rows, m.Pager = paged(found, &m.Query)
	s.render(w, r, http.StatusOK, admin.TargetsPage(m))
	return nil
}

func sortTargets(rows []admin.Target, q ui.Query) {
	slices.SortStableFunc(rows, func(a, b admin.Target) int {
		c := 0
		switch q.Sort {
		case "name":
		case "state":
			c = cmp.Compare(a.State.Rank(), b.State.Rank())
		case "kind":
			c = cmp.Compare(a.Kind, b.Kind)
		case "address":
			c = naturally(a.Address, b.Address)
		case "took":
			c = cmp.Compare(a.Took, b.Took)
		case "last":
			c = b.LastOK.Compare(a.LastOK)
		case "debt":
			c = cmp.Compare(b.Debt, a.Debt)
		case "failures":
			c = cmp.Compare(b.Failures, a.Failures)
		default:
			c = cmp.Or(boolFirst(a.Err != "", b.Err != ""), cmp.Compare(a.Kind, b.Kind))
		}
		c = cmp.Or(c, naturally(a.Name, b.Name), cmp.Compare(a.Name, b.Name))
		if q.Desc {
			return -c
		}
		return c
	})
}

func (s *Server) targetRow(t collector.TargetStatus) admin.Target {
	item := s.itemOfTarget(t.Target)
	return admin.Target{
		Name: t.Target.Name, Kind: t.Target.Kind, Address: t.Target.Address, Site: t.Target.Site, Credential: t.Target.Credential, Item: s.ref(item),
		Interval: t.Target.Interval, Took: t.Duration, Last: t.Last, LastOK: t.LastOK, Err: t.Err, Debt: t.Debt, Polls: t.Polls, Failures: t.Failures,
		Running: t.Running, State: stateOf(s.Alerts.Status(item).State),
	}
}

// itemOfTarget is the item that a target's own series belong to, "" before it
// was seen.
func (s *Server) itemOfTarget(t collector.Target) string {
	id, _ := s.Graph.Resolve(labels.FromStrings("job", collector.Job(t.Kind), "instance", t.Name), time.Now())
	return id
}

func targetMatches(row admin.Target, q ui.Query) bool {
	return (q.Text == "" || strings.Contains(strings.ToLower(row.Name+" "+row.Address+" "+row.Err), strings.ToLower(q.Text))) &&
		(q.Filter["kind"] == "" || row.Kind == q.Filter["kind"]) && (q.State == "" || row.State == q.State)
}

// pollWait bounds how long a page waits for a poll that somebody asked for.
const pollWait = 20 * time.Second

func (s *Server) pollNow(w http.ResponseWriter, r *http.Request) error {
	name := r.PostFormValue("target")
	if err := s.poll(r.Context(), name); err != nil {
		return err
	}
	return done(w, r, cmp.Or(r.PostFormValue("back"), "/admin/targets?q="+url.QueryEscape(name)))
}

func (s *Server) rules(w http.ResponseWriter, r *http.Request) error {
	m := admin.Rules{Page: s.page(r, "Rules"), Faults: slices.Clone(s.replaced.Load().Faults)}
	for _, err := range s.Alerts.RuleErrors() {
		if !slices.Contains(m.Faults, err.Error()) {
			m.Faults = append(m.Faults, err.Error())
		}
	}
	type counted struct{ group, rule, phase string }
	counts := map[counted]int{}
	for _, a := range s.Alerts.Alerts() {
		counts[counted{a.Group, a.Rule, a.Phase}]++
	}
	for _, rule := range s.Alerts.Rules() {
		if rule.Query == "" {
			continue // it did not load: told among the faults
		}
		i := slices.IndexFunc(m.Groups, func(g admin.Group) bool { return g.Name == rule.Group && g.File == rule.File })
		if i < 0 {
			m.Groups = append(m.Groups, admin.Group{Name: rule.Group, File: rule.File, Interval: rule.Interval})
			i = len(m.Groups) - 1
		}
		m.Groups[i].Rules = append(m.Groups[i].Rules, admin.Rule{
			Name: rule.Name, Query: rule.Query, Severity: severityOf(rule), For: rule.For, Health: healthWord(rule.Health), Err: rule.LastError, Last: rule.LastEval,
			Took: rule.Duration, Firing: counts[counted{rule.Group, rule.Name, alerting.Firing}], Pending: counts[counted{rule.Group, rule.Name, alerting.Pending}], Remedy: s.remedyOf(rule.Name),
		})
	}
	s.render(w, r, http.StatusOK, admin.RulesPage(m))
	return nil
}

// healthWord is the engine's word as people read it.
func healthWord(health string) string {
	if health == "err" {
		return "error"
	}
	return health
}

func severityOf(rule alerting.RuleStatus) ui.State {
	switch v := ui.State(rule.Labels["severity"]); v {
	case ui.Critical, ui.Major:
		return v
	}
	return ui.Warning
}

func (s *Server) remedyOf(rule string) string {
	for _, m := range s.replaced.Load().Remedies {
		if m.Alert == rule {
			return m.Runbook
		}
	}
	return ""
}

func (s *Server) about(w http.ResponseWriter, r *http.Request) error {
	var mem runtime.MemStats
	runtime.ReadMemStats(&mem)
	m := admin.About{Page: s.page(r, "About"), Facts: []ui.Property{
		{Name: "Version", Value: s.Build}, {Name: "Go", Value: runtime.Version()},
		{Name: "Up since", Value: s.Started.UTC().Format(time.RFC3339)},
		{Name: "Memory in use", Value: quantity(float64(mem.HeapInuse), "B")},
		{Name: "Goroutines", Value: strconv.Itoa(runtime.NumGoroutine())},
	}}
	for _, set := range s.replaced.Load().Settings {
		m.Settings = append(m.Settings, ui.Property{Name: set.Name, Value: set.Value, Mono: true})
	}
	var err error
	if m.Vendors, err = vendors(); err != nil {
		return err
	}
	s.render(w, r, http.StatusOK, admin.AboutPage(m))
	return nil
}

// vendors are the projects whose files the pages load, each once.
func vendors() ([]admin.Vendor, error) {
	files, err := static.Vendor()
	if err != nil {
		return nil, fmt.Errorf("read what is vendored: %w", err)
	}
	var out []admin.Vendor
	for _, f := range files {
		if v := (admin.Vendor{Name: f.Name, Version: f.Version, Licence: f.Licence, Source: f.Source}); !slices.Contains(out, v) {
			out = append(out, v)
		}
	}
	return out, nil
}
