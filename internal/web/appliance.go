package web

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strings"
	"time"

	"nocturne/alerting"
	"nocturne/views/admin"
	alertsview "nocturne/views/alerts"
	"nocturne/views/ui"
)

const (
	// applianceKind is that of the items which stand for this program, and job
	// is the label of its series.
	applianceKind = "appliance"
	applianceJob  = "nocturne"
	// taskLate is how long a task may wait for its turn before that is told.
	taskLate = 5 * time.Minute
	// fewDays is how long before the disk is full that is told.
	fewDays = 7
)

// daysLeft asks in how many days the disk of the data is full, as it went in
// the last hours; it answers nothing while room does not shrink.
const daysLeft = `min(nocturne_data_free_bytes / -(deriv(nocturne_data_free_bytes[6h]) < 0) / 86400 and nocturne_data_free_bytes offset 1h)`

// appliancePage shows how the program itself fares. It asks the parts, not the
// history, so that it tells the truth when nothing is stored any more.
func (s *Server) appliancePage(w http.ResponseWriter, r *http.Request) error {
	now := time.Now()
	m := admin.Appliance{Page: s.page(r, "Appliance"), Parts: s.parts(r.Context(), now), Alerts: s.ownAlerts()}
	m.Verdict, m.Tiles = verdictOf(m.Parts), s.applianceTiles(now)
	for _, it := range s.Graph.Items(applianceKind) {
		m.Item = s.ref(it.ID)
		m.Charts = s.panelsFor(it.ID)
		m.Topics = append(m.Topics, "chart:"+it.ID)
	}
	s.render(w, r, http.StatusOK, admin.AppliancePage(m))
	return nil
}

// applianceJSON is what the page of the program shows.
type applianceJSON struct {
	State ui.State   `json:"state" enum:"critical,major,warning,unknown,maintenance,ok" doc:"Of the worst part"`
	Parts []partJSON `json:"parts"`
}

type partJSON struct {
	Name  string   `json:"name"`
	State ui.State `json:"state"`
	Text  string   `json:"text"`
}

func (s *Server) apiAppliance(ctx context.Context, _ *struct{}) (*body[applianceJSON], error) {
	all := s.parts(ctx, time.Now())
	out := applianceJSON{State: verdictOf(all).State}
	for _, p := range all {
		out.Parts = append(out.Parts, partJSON{p.Name, p.State, p.Text})
	}
	return reply(out), nil
}

// ownAlerts are those about the program that have not ended.
func (s *Server) ownAlerts() []alertsview.Row {
	found := slices.DeleteFunc(s.Alerts.Alerts(), func(a alerting.Alert) bool {
		return a.Phase == alerting.Resolved || a.Labels.Get("job") != applianceJob
	})
	rows := s.alertRows(found)
	sortAlerts(rows, ui.Query{})
	return rows
}

// verdictOf is that of the worst part. What is not known is not called well.
func verdictOf(parts []admin.Part) admin.Verdict {
	v := admin.Verdict{State: ui.OK, Title: "All parts do their work"}
	for _, p := range parts {
		if p.State != ui.OK {
			v.Reasons = append(v.Reasons, admin.Reason{State: p.State, Text: p.Name + ": " + p.Text, Href: p.Href})
		}
	}
	slices.SortStableFunc(v.Reasons, func(a, b admin.Reason) int { return a.State.Rank() - b.State.Rank() })
	if len(v.Reasons) > 0 {
		v.State, v.Title = v.Reasons[0].State, "Not all parts do their work"
	}
	if v.State == ui.Unknown {
		v.Title = "Not all is known of the parts yet"
	}
	return v
}

func (s *Server) applianceTiles(now time.Time) []admin.Tile {
	st := s.History.Stats()
	tiles := []admin.Tile{
		{Label: "Running for", Value: ui.Span(now.Sub(s.Started).Round(time.Second)), Hint: "version " + s.Build},
		{Label: "Targets", Value: fmt.Sprint(len(s.Collector.Status())), Hint: "this program among them"},
		{Label: "Series in memory", Value: metric(float64(st.Series)), Hint: metric(float64(st.Appended.Appended)) + " samples since the start"},
	}
	free, least, err := s.History.Room()
	room := admin.Tile{Label: "Free on its disk", Value: "–", Hint: "not known"}
	if err == nil {
		room.Value, room.Hint = ui.Bytes(free), "read-only below "+ui.Bytes(least)
	}
	return append(tiles, room)
}

// parts are all that the program lives by.
func (s *Server) parts(ctx context.Context, now time.Time) []admin.Part {
	out := []admin.Part{s.recordsPart(), s.historyPart(now), s.roomPart(ctx), s.rulesPart(now), s.targetsPart(now), s.jobsPart(now)}
	out = append(out, s.receiverParts()...)
	return append(out, s.ledgerPart(now), s.streamPart(now))
}

func (s *Server) recordsPart() admin.Part {
	p := admin.Part{Name: "Records", State: ui.OK, Text: "Are written", Href: "/admin/about"}
	if s.StateReadOnly == nil {
		return p
	}
	if since, err := s.StateReadOnly(); err != nil {
		p.State, p.Text = ui.Critical, "Nothing is written since "+ui.Stamp(since)+" UTC: "+oneLine(err)
	}
	return p
}

func (s *Server) historyPart(now time.Time) admin.Part {
	v := s.lookAtHistory(now).verdict()
	return admin.Part{Name: "History", State: v.State, Text: v.Title, Href: "/admin/history"}
}

func (s *Server) roomPart(ctx context.Context) admin.Part {
	p := admin.Part{Name: "Disk", State: ui.OK, Text: "Its room does not shrink", Href: "/admin/history"}
	if _, _, err := s.History.Room(); err != nil {
		p.State, p.Text = ui.Unknown, "How much room there is is not known: "+oneLine(err)
		return p
	}
	for _, x := range s.vector(ctx, daysLeft) {
		if p.Text = fmt.Sprintf("Full in %s, if it goes on as in the last hours", days(x.F)); x.F < fewDays {
			p.State = ui.Warning
		}
	}
	return p
}

func days(n float64) string {
	if n > 999 {
		return "years"
	}
	return ui.Count(int(math.Round(n)), "day", "days")
}

func (s *Server) rulesPart(now time.Time) admin.Part {
	p := admin.Part{Name: "Rules", State: ui.OK, Href: "/admin/rules"}
	broken := 0
	all := s.Alerts.Rules()
	for _, rule := range all {
		if rule.Health == "err" {
			broken++
		}
	}
	p.Text = ui.Count(len(all), "rule is", "rules are") + " evaluated in time"
	if fault := s.engineFault(now); fault != "" {
		p.State, p.Text = ui.Critical, after(fault)
		return p
	}
	if broken > 0 {
		p.State, p.Text = ui.Major, ui.Count(broken, "rule has", "rules have")+" an error: what it watches for is not seen"
	}
	if n := len(s.replaced.Load().Faults); n > 0 {
		p.State = ui.Major
		p.Text += "; " + ui.Count(n, "file was", "files were") + " left out at the start"
	}
	return p
}

// after is what stands behind the part's name in a sentence of readiness.
func after(fault string) string {
	_, text, _ := strings.Cut(fault, ": ")
	return text
}

func (s *Server) targetsPart(now time.Time) admin.Part {
	p := admin.Part{Name: "Polling", State: ui.OK, Href: "/admin/targets"}
	unseen, debt := 0, 0
	all := s.Collector.Status()
	for _, t := range all {
		debt += t.Debt
		if now.Sub(t.LastOK) > 3*t.Interval && now.Sub(s.Started) > 3*t.Interval {
			unseen++
		}
	}
	p.Text = ui.Count(len(all), "target is", "targets are") + " polled; " + ui.Count(unseen, "is not seen", "are not seen")
	if debt > 0 {
		p.State = ui.Warning
		p.Text += "; " + ui.Count(debt, "poll", "polls") + " did not begin in time since the start"
	}
	if fault := s.collectorFault(now); fault != "" {
		p.State, p.Text = ui.Critical, after(fault)
	}
	return p
}

func (s *Server) jobsPart(now time.Time) admin.Part {
	p := admin.Part{Name: "Jobs", State: ui.OK, Href: "/jobs"}
	regions, running, _ := s.Jobs.Regions()
	waiting := 0
	for _, r := range regions {
		waiting += r.Waiting
		if !r.Oldest.IsZero() && now.Sub(r.Oldest) > taskLate {
			p.State = ui.Major
			p.Text = fmt.Sprintf("A task of region %s waits for its turn since %s. ", r.Name, ui.Span(now.Sub(r.Oldest).Round(time.Second)))
		}
	}
	p.Text += ui.Count(running, "task runs", "tasks run") + ", " + ui.Count(waiting, "waits", "wait")
	return p
}

func (s *Server) receiverParts() []admin.Part {
	var out []admin.Part
	for _, n := range s.Alerts.Notifiers() {
		p := admin.Part{Name: "Receiver " + n.Name, State: ui.OK, Text: "Has taken all it was told"}
		switch {
		case n.LastError != "":
			p.State, p.Text = ui.Major, n.LastError+"; "+ui.Count(n.Waiting, "incident waits", "incidents wait")
		case n.LastOK.IsZero():
			p.State, p.Text = ui.Unknown, "There was nothing to tell since the start"
		}
		out = append(out, p)
	}
	return out
}

func (s *Server) ledgerPart(now time.Time) admin.Part {
	p := admin.Part{Name: "Ledger", State: ui.OK, Href: "/admin/audit"}
	switch v, ok := s.Ledger.LastVerdict(); {
	case !ok:
		p.State, p.Text = ui.Unknown, "Its chain was not checked since the start; that is done after a minute"
	case v.Err != nil:
		p.State, p.Text = ui.Critical, oneLine(v.Err)
	default:
		p.Text = fmt.Sprintf("%s hold, checked %s", ui.Count(int(v.Entries), "entry", "entries"), ui.Ago(now, v.At))
	}
	return p
}

func (s *Server) streamPart(now time.Time) admin.Part {
	if fault := s.streamFault(now); fault != "" {
		return admin.Part{Name: "Live stream", State: ui.Critical, Text: after(fault)}
	}
	return admin.Part{Name: "Live stream", State: ui.OK, Text: "Is sent to " + ui.Count(int(streams.Get()), "page", "pages")}
}
