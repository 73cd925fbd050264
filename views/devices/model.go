// Package devices draws the list of devices and hosts and the page of one.
//
// Forms of a device page: POST /maintenance with item, minutes and note;
// POST /maintenance/end with item; POST /poll with target.
package devices

import (
	"time"

	"nocturne/views/alerts"
	"nocturne/views/jobs"
	"nocturne/views/shell"
	"nocturne/views/ui"
)

// List is the model of /devices. Filters in the URL: q, state, kind, rack;
// orders: name, state, kind, rack, address, seen.
type List struct {
	shell.Page
	Query ui.Query
	Pager ui.Pager
	Rows  []Row
	Kinds []ui.Option
	Racks []ui.Option
	Known int // devices known before filtering: tells "nothing yet" from "no match"
}

// Row is one device.
type Row struct {
	ID, Name, Href string
	State          ui.State
	Since          time.Time // of the state
	Kind           string    // device, host, instance...
	Role           string    // leaf, spine, pdu...
	Address        string
	Rack           ui.Ref
	U              int
	Model          string
	LastSeen       time.Time
	Load           *ui.Spark
	Alerts         int
}

// Device is the model of /device/{id...}: switches, hosts, instances alike.
type Device struct {
	shell.Page
	ID, Name   string
	Kind       string
	State      ui.State
	Reasons    []string
	Since      time.Time // of the state
	LastSeen   time.Time
	Crumbs     []ui.Ref // site, room, rack
	Target     string   // polling target, "" when it has none
	PollError  string   // of the last poll, "" when it worked
	Properties []ui.Property
	Charts     []ui.Chart
	Range      string   // hour, day, week: chosen by ?range=
	Ranges     []ui.Ref // links to the ranges
	Interfaces []Interface
	Services   []Service
	Disks      []Disk
	Alerts     []alerts.Row
	Jobs       []jobs.Row
	Links      []Link
	Relations  []Relation // what it stands in, runs on, powers
	Runbooks   []ui.Ref   // runbooks that can run on it; empty when none may

	MaintenanceUntil time.Time // zero when not in maintenance
	MaintenanceNote  string
	Typed            Maintenance // of a refused form
}

// Maintenance is what was typed into the form, kept after a fault.
type Maintenance struct{ Minutes, Note, Fault string }

// Interface is one port.
type Interface struct {
	ID, Name, Alias string
	State           ui.State
	Admin, Oper     string // up, down, testing...
	Speed           string
	InRate, OutRate string // written out with unit, "" when not seen
	Load            *ui.Spark
	Errors          string
	Neighbour       ui.Ref
	NeighbourPort   string
}

// Service is one systemd unit.
type Service struct {
	ID, Name string
	Active   string // active, failed, inactive...
	State    ui.State
}

// Disk is one file system; Percent is 0 to 100, negative when not seen.
type Disk struct {
	Mount, Device, Used, Size string
	Percent                   float64
	State                     ui.State
}

// Link is one discovered connection of the device.
type Link struct {
	Port      string
	Neighbour ui.Ref
	FarPort   string
	Evidence  string // lldp both ends, lldp one end, import
	LastSeen  time.Time
	State     ui.State
}

// Relation is one edge of the graph at the device.
type Relation struct {
	Type   string // placed-in, runs-on, powered-by...
	Other  ui.Ref
	Detail string
}
