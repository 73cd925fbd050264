package web

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
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
	m := dash.Overview{Page: s.page(r, "Overview", "alerts")}
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
	m.Tiles = s.tiles(r)
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

// tile is a key figure by a query over everything.
type tile struct {
	label, query, unit, hint, href string
	show                           func(float64) string
}

var tiles = []tile{
	{"Traffic", `sum(rate(ifHCInOctets[1m])) * 8`, "bit/s", "received by all interfaces", "/topology", metric},
	{"CPU busy", `100 * (1 - sum(rate(node_cpu_seconds_total{mode="idle"}[1m])) / sum(rate(node_cpu_seconds_total[1m])))`, "%", "of all hosts together", "/devices?kind=host", percent},
	{"Memory used", `100 * (1 - sum(node_memory_MemAvailable_bytes) / sum(node_memory_MemTotal_bytes))`, "%", "of all hosts together", "/devices?kind=host", percent},
	{"Fullest disk", `100 * max(1 - node_filesystem_avail_bytes{fstype!~"tmpfs|overlay|squashfs"} / node_filesystem_size_bytes)`, "%", "of all file systems", "/reports", percent},
}

// tileAge is how long the figures are shown before they are asked for anew:
// they read all series, and every reader of the overview wants them.
const tileAge = 15 * time.Second

// tileBoard holds the figures that were asked for last.
type tileBoard struct {
	mu    sync.Mutex // guards below, and lets one ask at a time
	at    time.Time
	tiles []dash.Tile
}

// tiles answers each figure with its last hour. What was not seen is left out.
func (s *Server) tiles(r *http.Request) []dash.Tile {
	b := &s.figures
	b.mu.Lock()
	defer b.mu.Unlock()
	if time.Since(b.at) < tileAge {
		return b.tiles
	}
	found, err := s.askTiles(r.Context(), time.Now())
	if err != nil {
		s.log.Error("figures of the overview", "err", err)
		return found
	}
	b.at, b.tiles = time.Now(), found
	return found
}

func (s *Server) askTiles(ctx context.Context, now time.Time) ([]dash.Tile, error) {
	var out []dash.Tile
	var errs []error
	for _, t := range tiles {
		res, err := s.History.QueryRange(ctx, t.query, now.Add(-time.Hour), now, time.Minute)
		if err != nil {
			errs = append(errs, fmt.Errorf("query %q: %w", t.query, err))
			continue
		}
		m, err := res.Matrix()
		if err != nil || len(m) == 0 {
			continue
		}
		spark := sparkOf(m[0].Floats, now.Add(-time.Hour), time.Minute, 61)
		last := spark.Points[len(spark.Points)-1]
		if math.IsNaN(last) {
			continue
		}
		spark.Label, spark.Last = t.label+" in the last hour", t.show(last)+" "+t.unit
		out = append(out, dash.Tile{Label: t.label, Value: t.show(last), Unit: t.unit, Hint: t.hint, Href: t.href, Spark: spark})
	}
	return out, errors.Join(errs...)
}

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
