package web

import (
	"cmp"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/prometheus/promql"

	"nocturne/alerting"
	"nocturne/automation/inspection"
	"nocturne/collector"
	"nocturne/views/dash"
	"nocturne/views/ui"
)

const (
	overviewRows = 12
	recently     = 24 * time.Hour
)

func (s *Server) overview(w http.ResponseWriter, r *http.Request) error {
	figures, drawn := s.figures.now()
	m := dash.Overview{Page: s.page(r, "Overview", "alerts", fmt.Sprint("figures:", drawn)), Tiles: figures}
	firing := slices.DeleteFunc(s.Alerts.Alerts(), func(a alerting.Alert) bool { return a.Phase != alerting.Firing })
	for _, a := range firing {
		m.Alerts = append(m.Alerts, s.alertRow(a))
	}
	sortAlerts(m.Alerts, ui.Query{})
	m.Alerts = m.Alerts[:min(len(m.Alerts), overviewRows)]
	s.addJobs(m.Alerts, firing)
	incidents, err := s.incidents()
	if err != nil {
		return err
	}
	m.Incidents = incidents
	m.Jobs = s.jobRows(s.Jobs.Jobs(8))
	m.Kinds = s.kinds()
	for _, k := range s.Graph.Racks() {
		ids := make([]string, len(k.Contents))
		for i, p := range k.Contents {
			ids[i] = p.Item
		}
		m.Racks = append(m.Racks, dash.Rack{ID: k.ID, Name: cmp.Or(k.Name, k.ID), Href: itemHref(k.ID), State: stateOf(s.Alerts.Status(k.ID).State), Tally: tallyOf(s.Alerts.Tally(ids))})
	}
	m.Charts = s.panelsFor("host/localhost")
	m.Sources = s.sources()
	m.Report = s.lastReport()
	s.render(w, r, http.StatusOK, dash.OverviewPage(m))
	return nil
}

func (s *Server) incidents() ([]dash.Incident, error) {
	found, err := s.Alerts.Incidents(time.Now().Add(-recently))
	if err != nil {
		return nil, err
	}
	slices.SortFunc(found, func(a, b alerting.Incident) int {
		return cmp.Or(boolFirst(a.Closed.IsZero(), b.Closed.IsZero()), b.Opened.Compare(a.Opened))
	})
	var out []dash.Incident
	for _, in := range found[:min(len(found), 8)] {
		st, err := s.story(in.ID)
		if err != nil {
			return nil, err
		}
		line := dash.Incident{ID: in.ID, Href: incidentHref(in.ID), Title: st.title(), Item: s.ref(in.Item), Phase: st.phase(), Opened: in.Opened, Closed: in.Closed}
		line.State = line.Item.State
		if !in.Closed.IsZero() {
			line.Took = in.Closed.Sub(in.Opened)
		}
		out = append(out, line)
	}
	return out, nil
}

func boolFirst(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	}
	return 1
}

// kinds counts what can fail, by kind.
func (s *Server) kinds() []dash.Kind {
	var out []dash.Kind
	for _, kind := range walled {
		var ids []string
		for _, it := range s.Graph.Items(kind) {
			ids = append(ids, it.ID)
		}
		if len(ids) > 0 {
			out = append(out, dash.Kind{Name: kind, Href: "/devices?kind=" + url.QueryEscape(kind), Tally: tallyOf(s.Alerts.Tally(ids))})
		}
	}
	return out
}

// sources tells how fresh each way of looking is.
func (s *Server) sources() []dash.Source {
	names := map[string]string{"snmp": "SNMP", "linux": "Linux hosts", "local": "This machine", "openstack": "OpenStack"}
	byKind := map[string]*dash.Source{}
	interval := map[string]time.Duration{}
	for _, t := range s.Collector.Status() {
		src := byKind[t.Target.Kind]
		if src == nil {
			src = &dash.Source{Name: cmp.Or(names[t.Target.Kind], t.Target.Kind), Href: "/admin/targets?kind=" + url.QueryEscape(t.Target.Kind)}
			byKind[t.Target.Kind] = src
		}
		src.Targets++
		src.Debt += t.Debt
		if failing(t) {
			src.Failing++
		}
		if t.LastOK.After(src.Last) {
			src.Last = t.LastOK
		}
		interval[t.Target.Kind] = max(interval[t.Target.Kind], t.Target.Interval)
	}
	var out []dash.Source
	for kind, src := range byKind {
		src.Stale = time.Since(src.Last) > 3*interval[kind]
		out = append(out, *src)
	}
	slices.SortFunc(out, func(a, b dash.Source) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// failing says that the last poll saw nothing; one that missed a part is told
// on the targets' page.
func failing(t collector.TargetStatus) bool { return t.Err != "" && !t.Partial }

// sparkOf lays points on a grid; what is not there is NaN.
func sparkOf(points []promql.FPoint, from time.Time, step time.Duration, n int) *ui.Spark {
	out := &ui.Spark{Points: make([]float64, n)}
	for i := range out.Points {
		out.Points[i] = math.NaN()
	}
	for _, p := range points {
		if i := int(time.UnixMilli(p.T).Sub(from).Round(step) / step); i >= 0 && i < n {
			out.Points[i] = p.F
		}
	}
	return out
}

func percent(v float64) string { return fmt.Sprintf("%.1f", v) }

// quantity writes a figure with its prefix and unit: 0 B, 1.5 Gbit/s.
func quantity(v float64, unit string) string {
	m := metric(v)
	if !strings.Contains(m, " ") {
		m += " "
	}
	return m + unit
}

// metric writes a figure with its decimal prefix.
func metric(v float64) string {
	for _, p := range []struct {
		at   float64
		name string
	}{{1e12, "T"}, {1e9, "G"}, {1e6, "M"}, {1e3, "k"}} {
		if math.Abs(v) >= p.at {
			return fmt.Sprintf("%.3g %s", v/p.at, p.name)
		}
	}
	return fmt.Sprintf("%.3g", v)
}

func (s *Server) lastReport() *dash.ReportSummary {
	reports := s.Inspections.Reports()
	if len(reports) == 0 {
		return nil
	}
	rep := reports[0]
	out := &dash.ReportSummary{Title: rep.Title, Href: reportHref(rep.ID), At: rep.At}
	for _, c := range rep.Checks {
		switch c.Verdict {
		case inspection.Pass:
			out.Pass++
		case inspection.Warn:
			out.Warn++
		case inspection.Fail:
			out.Fail++
		default:
			out.NotSeen++
		}
	}
	return out
}
