// Package admin draws what administrators look after: people, tokens,
// credentials, the audit record, targets, rules, and what is running here.
//
// Forms: POST /admin/people (name, role, password), /admin/people/{name}/role
// (role), /admin/people/{name}/password (password), /admin/people/{name}/disable
// (disabled=yes|no); POST /admin/tokens (name, role, days),
// /admin/tokens/{name}/revoke; POST /admin/credentials (name, kind and the
// kind's fields), /admin/credentials/{name}/delete; POST /poll (target);
// POST /admin/audit/verify; POST /admin/configuration/reload.
package admin

import (
	"time"

	"nocturne/views/shell"
	"nocturne/views/ui"
)

// People is the model of /admin/people.
type People struct {
	shell.Page
	Rows  []Person
	Fault string // of the form
	Name  string // kept after a fault
	New   string // role chosen in the form
}

// Person is one account.
type Person struct {
	Name, Role string
	Created    time.Time
	Disabled   bool
	Self       bool // the reader's own: cannot be disabled or demoted here
}

// Tokens is the model of /admin/tokens.
type Tokens struct {
	shell.Page
	Rows   []Token
	Fault  string
	Name   string // kept after a fault, as the next two
	Role   string
	Days   string
	Secret string // the new token, shown this once
}

// Token is one API token.
type Token struct {
	Name, Role, By            string
	Created, Expires, LastUse time.Time // Expires zero: never; LastUse zero: not used
	Revoked                   bool
}

// Credentials is the model of /admin/credentials.
type Credentials struct {
	shell.Page
	Rows   []Credential
	Kind   string // snmp, ssh, openstack: which form is open
	Fields []ui.Field
	Fault  string
	Key    MasterKey
}

// MasterKey is what may be shown of the key that seals them.
type MasterKey struct {
	ID, Source string
	Since      time.Time
	Others     int    // sealed by another
	To         string // the key of a rotation that is not finished
	Fault      string // why it is not
	Asks       bool   // a rotation wants a new passphrase, which no page takes
}

// Credential is one sealed secret: never its content.
type Credential struct {
	Name, Kind, By string
	Updated        time.Time
	UsedBy         int // targets
}

// Audit is the model of /admin/audit. Filters in the URL: kind, q.
type Audit struct {
	shell.Page
	Query    ui.Query
	Pager    ui.Pager
	Rows     []Entry
	Length   uint64 // of the whole chain
	Checked  time.Time
	Broken   string // "" when the chain is whole: else what is wrong and where
	Verified uint64 // entries checked, 0 when not checked yet
}

// Entry is one record of the ledger.
type Entry struct {
	Seq                          uint64
	At                           time.Time
	Kind, Actor, Action, Subject string
	Incident                     string
	Hash                         string
	Data                         string // JSON as text
}

// Targets is the model of /admin/targets. Filters: q, kind, state.
type Targets struct {
	shell.Page
	Query ui.Query
	Pager ui.Pager
	Rows  []Target
	Known int
	Debt  int // in all
}

// Target is one polled target.
type Target struct {
	Name, Kind, Address, Site, Credential string
	Item                                  ui.Ref
	Interval, Took                        time.Duration
	Last, LastOK                          time.Time
	Err                                   string
	Debt                                  int
	Polls, Failures                       uint64
	Running                               bool
	State                                 ui.State
}

// Rules is the model of /admin/rules.
type Rules struct {
	shell.Page
	Groups []Group
	Faults []string // rule files that did not load: file, line, what
}

// Group is one rule group.
type Group struct {
	Name, File string
	Interval   time.Duration
	Rules      []Rule
}

// Rule is one alerting rule.
type Rule struct {
	Name, Query string
	Severity    ui.State
	For         time.Duration
	Health      string // ok, error, unknown
	Err         string
	Last        time.Time
	Took        time.Duration
	Firing      int
	Pending     int
	Remedy      string // runbook that repairs it, "" when none
}

// Configuration is the model of /admin/configuration.
type Configuration struct {
	shell.Page
	File    string // "" when the program runs without one
	Faults  []string
	Changes []Change
	Restart []string // fields that are changed and cannot be while it runs
	Applied []Change // by the reload that led here
	Done    bool     // a reload led here
}

// Change is a field whose value in the files is not the one that runs.
type Change struct {
	Field, Was, Is string
	Restart        bool // it cannot be applied while the program runs
}

// About is the model of /admin/about.
type About struct {
	shell.Page
	Facts    []ui.Property // version, uptime, memory, series...
	Settings []ui.Property // where data and configuration are
	Vendors  []Vendor
}

// Vendor is one vendored asset with its licence.
type Vendor struct{ Name, Version, Licence, Source string }
