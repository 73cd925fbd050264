package web

import (
	"cmp"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"nocturne/automation/inspection"
	"nocturne/views/reports"
	"nocturne/views/ui"
)

func (s *Server) reports(w http.ResponseWriter, r *http.Request) error {
	m := reports.List{Page: s.page(r, "Reports"), CanRun: actorOf(r.Context()).May("run")}
	for _, in := range s.Inspections.Inspections() {
		m.Inspections = append(m.Inspections, reports.Inspection{Name: in.Name, Title: in.Title, Schedule: in.Schedule, Next: in.Next, Checks: in.Checks})
	}
	for _, rep := range s.Inspections.Reports() {
		m.Rows = append(m.Rows, reports.Row{ID: rep.ID, Href: reportHref(rep.ID), Title: rep.Title, At: rep.At, Verdict: reports.Verdict(rep.Verdict), Counts: countsOf(rep.Counts)})
	}
	s.render(w, r, http.StatusOK, reports.ListPage(m))
	return nil
}

func reportHref(id string) string { return "/reports/" + url.PathEscape(id) }

func countsOf(counts map[inspection.Verdict]int) reports.Counts {
	out := reports.Counts{}
	for v, n := range counts {
		out[reports.Verdict(v)] = n
	}
	return out
}

func (s *Server) report(w http.ResponseWriter, r *http.Request) error {
	id := r.PathValue("id")
	rep, err := s.Inspections.Report(id)
	if errors.Is(err, inspection.ErrUnknown) {
		return notFound{"report " + id}
	}
	if err != nil {
		return err
	}
	evidence, err := s.Inspections.Evidence(id)
	if err != nil {
		return err
	}
	m := reports.Report{
		Page: s.page(r, rep.Title), ID: rep.ID, Heading: rep.Title, Inspection: rep.Inspection, At: rep.At, By: rep.By, Took: rep.Took,
		Verdict: reports.Verdict(rep.Verdict), Counts: countsOf(rep.Counts), Sequence: evidence.Seq, Hash: evidence.Hash,
	}
	m.Notice = rep.Note
	for _, c := range rep.Checks {
		m.Checks = append(m.Checks, s.checkModel(c, rep.At))
	}
	s.render(w, r, http.StatusOK, reports.ReportPage(m))
	return nil
}

func (s *Server) checkModel(c inspection.CheckResult, at time.Time) reports.Check {
	out := reports.Check{
		Name: c.Name, Title: c.Title, Text: c.Text, Query: c.Query, Unit: c.Unit, Warn: c.Warn, Fail: c.Fail, Verdict: reports.Verdict(c.Verdict),
		Reason: c.Reason, Expected: c.Expected, Seen: c.Seen, Counts: countsOf(c.Counts), Err: c.Err,
	}
	for _, row := range c.Rows {
		item := ui.Ref{Label: cmp.Or(row.Labels.Get("instance"), row.Labels.String())}
		if id, ok := s.Graph.Resolve(row.Labels, at); ok {
			item = ui.Ref{ID: id, Label: s.label(id), Href: itemHref(id)}
		}
		if row.Verdict == inspection.NotSeen && row.Value == nil {
			out.Missing = append(out.Missing, item)
			continue
		}
		line := reports.CheckRow{Item: item, Labels: row.Labels.String(), Value: row.Text, Ratio: -1, Verdict: reports.Verdict(row.Verdict)}
		if strings.HasPrefix(c.Fail, ">") && c.FailAt != nil && *c.FailAt > 0 && row.Value != nil {
			line.Ratio = *row.Value / *c.FailAt
		}
		out.Rows = append(out.Rows, line)
	}
	if c.Cut > 0 {
		out.Reason = strings.TrimPrefix(out.Reason+"; "+ui.Count(c.Cut, "more series is not listed", "more series are not listed"), "; ")
	}
	return out
}

func (s *Server) runInspection(w http.ResponseWriter, r *http.Request) error {
	name := r.PostFormValue("inspection")
	rep, err := s.Inspections.NowBy(r.Context(), name, actorOf(r.Context()).String())
	if errors.Is(err, inspection.ErrUnknown) {
		return notFound{"inspection " + name}
	}
	if err != nil {
		return err
	}
	return done(w, r, reportHref(rep.ID))
}
