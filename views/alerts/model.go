// Package alerts draws the list of alerts, one alert with its history, and
// the incident that ties alert, job, proof and resolve together.
//
// Forms: POST /alerts/{fingerprint}/ack with note and back.
package alerts

import (
	"time"

	"nocturne/views/shell"
	"nocturne/views/ui"
)

// List is the model of /alerts. Filters in the URL: q, state (severity),
// phase (firing, pending, resolved; "" is firing and pending), ack (yes, no);
// orders: since, severity, rule, item.
type List struct {
	shell.Page
	Query ui.Query
	Pager ui.Pager
	Rows  []Row
	Open  int // alerts firing now, before filtering
}

// Row is one alert in one line.
type Row struct {
	Fingerprint, Href string
	Severity          ui.State
	Phase             string // pending, firing, resolved
	Rule              string
	Summary           string
	Item              ui.Ref
	Since             time.Time // active since
	Resolved          time.Time // zero while open
	Value             string
	Stale             bool // kept firing, its series are not seen
	Ack               *Ack
	Incident          ui.Ref
	Job               ui.Ref // the remedy at work, State "" and Label its phase
}

// Ack is who took an alert.
type Ack struct {
	By, Note string
	At       time.Time
}

// Detail is the model of /alerts/{fingerprint}.
type Detail struct {
	shell.Page
	Row
	Episode     string
	Description string
	Query       string // the rule's expression
	For         time.Duration
	Labels      []ui.Property
	Annotations []ui.Property
	Timeline    []ui.Entry
	Jobs        []ui.Ref
	Chart       *ui.Chart
	CanAck      bool
	AckFault    string
	AckNote     string
	CanClose    bool // its series are not seen, and who looks may end it
	CloseFault  string
	CloseNote   string
}

// Incident is the model of /incidents/{id}.
type Incident struct {
	shell.Page
	ID       string
	Headline string
	Item     ui.Ref
	Phase    string // open, repairing, verifying, resolved, escalated
	Opened   time.Time
	Closed   time.Time // zero while open
	Stages   []Stage   // the loop: fault, alert, job, proof, resolve
	Timeline []ui.Entry
	Alerts   []Row
	Jobs     []JobLine
	Affected []ui.Ref // what hangs on the item
	Verified string   // of the ledger's chain: "entries 12-31 unbroken", "" when not checked
}

// Stage is one arrow of the loop.
type Stage struct {
	Name   string    // Seen, Alert, Job, Proof, Resolved
	State  string    // done, active, waiting, failed, skipped
	At     time.Time // zero when not reached
	After  time.Duration
	Detail string
	Href   string
}

// JobLine is one job of an incident.
type JobLine struct {
	ID, Href string
	Title    string
	Phase    string
	Hosts    string
	Started  time.Time
	Ended    time.Time
	Reason   string
}
