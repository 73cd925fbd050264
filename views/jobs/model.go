// Package jobs draws the list of jobs, one run with its live output, and the
// form that starts a runbook.
//
// Forms: POST /jobs with runbook, host (repeated) and p.NAME per parameter;
// POST /jobs/{id}/cancel. The form of a runbook is GET /jobs/new?runbook=NAME.
package jobs

import (
	"time"

	"nocturne/views/shell"
	"nocturne/views/ui"
)

// List is the model of /jobs. Filters in the URL: q, phase, runbook; orders:
// created, runbook, phase.
type List struct {
	shell.Page
	Query    ui.Query
	Pager    ui.Pager
	Rows     []Row
	Runbooks []Runbook // that may be started here; empty for viewers
	Known    int       // jobs known before filtering
}

// Row is one job in one line.
type Row struct {
	ID, Href string
	Title    string // the runbook's title
	Runbook  string
	Phase    string // queued running verifying succeeded failed unknown canceled
	Reason   string
	By       string // person:x, remedy:x
	Hosts    []string
	Created  time.Time
	Started  time.Time
	Ended    time.Time
	Incident ui.Ref
}

// Runbook is one that can be started.
type Runbook struct {
	Name, Title, Description, Href string
	Steps                          int
}

// Run is the model of /jobs/{id}.
type Run struct {
	shell.Page
	Row
	Parameters []ui.Property
	Revision   string
	Tasks      []Task
	Lines      []Line // what was printed so far; later lines come live
	Dropped    int    // lines before Lines that are not shown
	CanCancel  bool
	Proof      *Proof
}

// Task is the work on one host.
type Task struct {
	Host   ui.Ref
	Region string
	Steps  []Step
}

// Step is one step on one host.
type Step struct {
	Name    string
	Phase   string // ready leased connecting sent ok failed unknown skipped
	Exit    *int   // nil while there is no exit status
	Started time.Time
	Ended   time.Time
	Err     string
}

// Line is one line of output.
type Line struct {
	Seq        int64
	At         time.Time
	Host, Step string
	Text       string
}

// Proof is what the alert's own rule said afterwards.
type Proof struct {
	Verdict string // waiting, cleared, not cleared, not seen
	Reason  string
	Rule    string
	At      time.Time
	Until   time.Time // end of the window
	Alert   ui.Ref
}

// Form is the model of /jobs/new.
type Form struct {
	shell.Page
	Key        string // of this form: sending it twice starts one job
	Runbook    string
	Heading    string
	Text       string
	Parameters []ui.Field
	Hosts      []ui.Option
	Steps      []FormStep
	Fault      string
}

// FormStep shows what will run.
type FormStep struct {
	Name, Shell string
	Timeout     time.Duration
	Idempotent  bool
}
