// Package inventory draws the items of the graph: the list, one item with
// what each source says of it, and import and export.
//
// Forms: POST /inventory/import with file or text; GET /inventory/export
// answers the YAML.
package inventory

import (
	"time"

	"nocturne/views/shell"
	"nocturne/views/ui"
)

// List is the model of /inventory. Filters in the URL: q, kind, source,
// missing (yes); orders: name, kind, first, seen.
type List struct {
	shell.Page
	Query     ui.Query
	Pager     ui.Pager
	Kinds     []Kind
	Rows      []Row
	Known     int
	CanImport bool
}

// Kind counts the items of one kind.
type Kind struct {
	Name  string
	Count int
}

// Row is one item.
type Row struct {
	ID, Name, Href string
	Kind           string
	State          ui.State // "" where the kind has none
	Place          string
	FirstSeen      time.Time
	LastSeen       time.Time
	Missing        bool
	Sources        []string
}

// Detail is the model of /inventory/{id...}.
type Detail struct {
	shell.Page
	Row
	Crumbs    []ui.Ref
	Fields    []ui.Property // Source and At say who saw it and when
	Relations []Relation
	Bindings  []Binding
}

// Relation is one edge with its validity; To is zero while it holds.
type Relation struct {
	Type, Source string
	Outgoing     bool
	Other        ui.Ref
	Detail       string
	From, To     time.Time
}

// Binding is which series belong to the item, and when.
type Binding struct {
	Labels   string // {job="snmp", instance="leaf1"}
	From, To time.Time
}

// Import is the model of /inventory/import.
type Import struct {
	shell.Page
	Name   string // of the file
	Text   string // kept after faults
	Faults []Fault
	Result *Result // of an import that worked
}

// Fault is one fault of an imported file.
type Fault struct {
	File string
	Line int
	Path string // racks[3].devices[0].u
	Text string
}

// Result is what an import changed.
type Result struct {
	Added, Changed, Unchanged int // items
}
