package web

import (
	"context"
	"errors"
	"time"

	"nocturne/automation/inspection"
	"nocturne/internal/access"
)

// reportJSON is what an inspection found.
type reportJSON struct {
	ID         string                     `json:"id"`
	Inspection string                     `json:"inspection"`
	Title      string                     `json:"title"`
	At         time.Time                  `json:"at"`
	By         string                     `json:"by"`
	Late       bool                       `json:"late"`
	Note       string                     `json:"note,omitempty"`
	Verdict    inspection.Verdict         `json:"verdict" enum:"pass,warn,fail,not seen"`
	Counts     map[inspection.Verdict]int `json:"counts"`
	Checks     []checkJSON                `json:"checks,omitempty"`
	Sequence   uint64                     `json:"sequence,omitempty" doc:"Of its entry in the ledger"`
	Hash       string                     `json:"hash,omitempty"`
}

type checkJSON struct {
	Name     string                     `json:"name"`
	Title    string                     `json:"title"`
	Query    string                     `json:"query"`
	Unit     string                     `json:"unit,omitempty"`
	Verdict  inspection.Verdict         `json:"verdict" enum:"pass,warn,fail,not seen"`
	Reason   string                     `json:"reason,omitempty"`
	Expected int                        `json:"expected"`
	Seen     int                        `json:"seen"`
	Counts   map[inspection.Verdict]int `json:"counts"`
	Rows     []rowJSON                  `json:"rows"`
	Cut      int                        `json:"cut" doc:"Rows left out"`
	Error    string                     `json:"error,omitempty"`
}

type rowJSON struct {
	Labels  map[string]string  `json:"labels"`
	Value   *float64           `json:"value,omitempty"`
	Text    string             `json:"text"`
	Verdict inspection.Verdict `json:"verdict" enum:"pass,warn,fail,not seen"`
}

type inspectionJSON struct {
	Name     string     `json:"name"`
	Title    string     `json:"title"`
	Schedule string     `json:"schedule"`
	Next     *time.Time `json:"next,omitempty"`
	Checks   int        `json:"checks"`
}

// addReporting adds inspections and their reports.
func (a *apiMux) addReporting() {
	s := a.s
	add(a, op{id: "list-inspections", method: "GET", path: "/inspections", tag: "reports", summary: "Inspections and when they are due", right: access.View}, s.apiInspections)
	add(a, op{id: "list-reports", method: "GET", path: "/reports", tag: "reports", summary: "The newest reports", right: access.View}, s.apiReports)
	add(a, op{id: "run-inspection", method: "POST", path: "/reports", tag: "reports", summary: "Make an inspection now", right: access.Run, status: 201}, s.apiInspect)
	add(a, op{id: "get-report", method: "GET", path: "/reports/{id}", tag: "reports", summary: "One report with its checks", right: access.View}, s.apiReport)
}

func (s *Server) apiInspections(context.Context, *struct{}) (*body[list[inspectionJSON]], error) {
	out := []inspectionJSON{}
	for _, in := range s.Inspections.Inspections() {
		out = append(out, inspectionJSON{in.Name, in.Title, in.Schedule, when(in.Next), in.Checks})
	}
	return reply(list[inspectionJSON]{out, len(out)}), nil
}

func reportAnswer(r inspection.Report) reportJSON {
	return reportJSON{
		ID: r.ID, Inspection: r.Inspection, Title: r.Title, At: r.At, By: r.By, Late: r.Late, Note: r.Note, Verdict: r.Verdict, Counts: r.Counts,
	}
}

func (s *Server) apiReports(_ context.Context, in *Cut) (*body[list[reportJSON]], error) {
	var out []reportJSON
	for _, r := range s.Inspections.Reports() {
		out = append(out, reportAnswer(r))
	}
	return cutOut(out, *in), nil
}

func (s *Server) apiInspect(ctx context.Context, in *struct {
	Body struct {
		Inspection string `json:"inspection" minLength:"1"`
	}
}) (*body[reportJSON], error) {
	r, err := s.Inspections.NowBy(ctx, in.Body.Inspection, actorOf(ctx).String())
	if errors.Is(err, inspection.ErrUnknown) {
		return nil, notFound{"inspection " + in.Body.Inspection}
	}
	if err != nil {
		return nil, err
	}
	return s.apiReport(ctx, &byReport{r.ID})
}

type byReport struct {
	ID string `path:"id"`
}

func (s *Server) apiReport(_ context.Context, in *byReport) (*body[reportJSON], error) {
	r, err := s.Inspections.Report(in.ID)
	if errors.Is(err, inspection.ErrUnknown) {
		return nil, notFound{"report " + in.ID}
	}
	if err != nil {
		return nil, err
	}
	evidence, err := s.Inspections.Evidence(in.ID)
	if err != nil {
		return nil, err
	}
	out := reportAnswer(r)
	out.Sequence, out.Hash = evidence.Seq, evidence.Hash
	for _, c := range r.Checks {
		check := checkJSON{
			Name: c.Name, Title: c.Title, Query: c.Query, Unit: c.Unit, Verdict: c.Verdict, Reason: c.Reason, Expected: c.Expected, Seen: c.Seen,
			Counts: c.Counts, Rows: []rowJSON{}, Cut: c.Cut, Error: c.Err,
		}
		for _, row := range c.Rows {
			check.Rows = append(check.Rows, rowJSON{row.Labels.Map(), row.Value, row.Text, row.Verdict})
		}
		out.Checks = append(out.Checks, check)
	}
	return reply(out), nil
}
