// Package dash draws the overview: what is wrong now, what the machine does
// about it, and how fresh the picture is.
package dash

import (
	"time"

	"nocturne/views/alerts"
	"nocturne/views/jobs"
	"nocturne/views/shell"
	"nocturne/views/ui"
)

// Overview is the model of the first page.
type Overview struct {
	shell.Page
	Alerts    []alerts.Row   // the worst open ones, a dozen at most
	Incidents []Incident     // newest first: open ones and the last closed
	Jobs      []jobs.Row     // newest first
	Kinds     []Kind         // counted items by kind
	Racks     []Rack         // state of each rack, in the hall's order
	Tiles     []Tile         // key figures with a line of history
	Charts    []ui.Chart     // of this machine, or of what matters most
	Sources   []Source       // freshness per source
	Report    *ReportSummary // the last inspection, nil when none ran
}

// Incident is one line of the incident list.
type Incident struct {
	ID, Href string
	Title    string
	Item     ui.Ref
	State    ui.State // of the item now
	Phase    string   // open, repairing, verifying, resolved, escalated
	Opened   time.Time
	Closed   time.Time     // zero while open
	Took     time.Duration // from fault to closed loop, 0 while open
}

// Kind counts the items of one kind.
type Kind struct {
	Name, Href string
	Tally      ui.Tally
}

// Rack is one rack of the small hall.
type Rack struct {
	ID, Name, Href string
	State          ui.State // the worst of its contents
	Tally          ui.Tally
}

// Tile is one figure.
type Tile struct {
	Label, Value, Unit, Hint string
	Href                     string
	Spark                    *ui.Spark
}

// Source is how fresh one source of data is.
type Source struct {
	Name    string // SNMP, Linux, OpenStack
	Href    string
	Targets int
	Failing int
	Debt    int // polls that were due and could not start in time
	Last    time.Time
	Stale   bool
}

// ReportSummary is the last inspection in one line.
type ReportSummary struct {
	Title, Href               string
	At                        time.Time
	Pass, Warn, Fail, NotSeen int
}
