// Package reports draws the list of inspections and their reports. A report
// prints on paper as it stands.
//
// Forms: POST /reports with inspection=NAME runs one now.
package reports

import (
	"time"

	"nocturne/views/shell"
	"nocturne/views/ui"
)

// Verdict is the outcome of a check. What was not seen never passes.
type Verdict string

// The verdicts.
const (
	Pass    Verdict = "pass"
	Warn    Verdict = "warn"
	Fail    Verdict = "fail"
	NotSeen Verdict = "not seen"
)

// State maps a verdict to the shape and colour of the state it resembles.
func (v Verdict) State() ui.State {
	switch v {
	case Pass:
		return ui.OK
	case Warn:
		return ui.Warning
	case Fail:
		return ui.Critical
	}
	return ui.Unknown
}

// Verdicts lists them, worst first.
func Verdicts() []Verdict { return []Verdict{Fail, NotSeen, Warn, Pass} }

// Counts says how many checks or items had each verdict.
type Counts map[Verdict]int

// List is the model of /reports.
type List struct {
	shell.Page
	Inspections []Inspection
	Rows        []Row
	CanRun      bool
}

// Inspection is one configured inspection.
type Inspection struct {
	Name, Title string
	Schedule    string // cron expression
	Next        time.Time
	Checks      int
}

// Row is one report in the list.
type Row struct {
	ID, Href, Title string
	At              time.Time
	Verdict         Verdict
	Counts          Counts // of checks
}

// Report is the model of /reports/{id}.
type Report struct {
	shell.Page
	ID         string
	Heading    string
	Inspection string
	At         time.Time
	By         string // schedule, or person:x
	Took       time.Duration
	Verdict    Verdict
	Counts     Counts // of checks
	Checks     []Check
	Sequence   uint64 // in the ledger
	Hash       string // of the ledger's entry
}

// Check is one check of a report.
type Check struct {
	Name, Title, Text string
	Query             string
	Unit              string
	Warn, Fail        string // "> 80", "> 90"
	Verdict           Verdict
	Reason            string
	Expected, Seen    int
	Counts            Counts // of items
	Rows              []CheckRow
	Missing           []ui.Ref // expected, not seen
	Err               string   // of the query
}

// CheckRow is one series of a check.
type CheckRow struct {
	Item    ui.Ref
	Labels  string
	Value   string
	Ratio   float64 // of the fail threshold, 0 to 1 and beyond; negative draws no bar
	Verdict Verdict
}
