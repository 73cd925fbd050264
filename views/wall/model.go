// Package wall draws what hangs on a wall: the rack wall, one rack's
// elevation, and the topology of discovered links. Wall pages run under
// Trusted Types and without animation.
package wall

import (
	"time"

	"nocturne/views/shell"
	"nocturne/views/ui"
)

// RackWall is the model of /racks.
type RackWall struct {
	shell.Page
	Subtitle string // "8 racks · 64 devices"
	Racks    []Rack // in the hall's order: row by row
}

// Rack is one cabinet with its contents.
type Rack struct {
	ID         string // rack/r01
	Name, Href string
	Row        string // row of the hall; racks of one row stand together when rows are known
	Height     int    // in U, 0 means 42
	Power      string // "5.0 kW", "" when unknown
	State      ui.State
	AsOf       time.Time     // newest sample of its contents
	StaleAfter time.Duration // hatched when AsOf is older, 0 means 90 s
	Cells      []Cell
}

// Cell is one device in a rack.
type Cell struct {
	ID     string // device/leaf1
	Name   string
	Href   string
	Target string // polling target: the key of asOf in the live stream
	U      int    // lowest U, from 1
	Height int    // in U, at least 1
	Face   string // front, rear, "" for both (full depth)
	Role   string
	State  ui.State
}

// Elevation is the model of /rack/{id...}.
type Elevation struct {
	shell.Page
	Rack      Rack
	Face      string // front, rear or both, by ?face=
	Highlight string // cells whose name or role contains it are marked, by ?highlight=
	Crumbs    []ui.Ref
	Tally     ui.Tally // of its contents
	Facts     []ui.Property
	Rows      []ElevationRow // the contents from the top, also read without the drawing
	Unplaced  []ui.Ref       // said to be in this rack without a U
	Siblings  []ui.Ref       // racks of the same room
}

// ElevationRow is one device of the rack in words.
type ElevationRow struct {
	Cell
	Detail   string // reason of the state, or its model
	LastSeen time.Time
}

// Topology is the model of /topology. All positions are SVG units inside
// Width x Height; the layout is computed by the caller.
type Topology struct {
	shell.Page
	Subtitle      string
	Width, Height float64
	Blocks        []Block
	Nodes         []Node
	Links         []Link
	Site          string // shown site, "" for all
}

// Block is a site.
type Block struct {
	ID, Label, Href string
	X, Y, W, H      float64
	Tally           ui.Tally
}

// Node is a device; X, Y is its upper left corner.
type Node struct {
	ID         string // device/leaf1
	Label      string
	Href       string
	X, Y, W, H float64
	State      ui.State
	Shape      string // box (switch, router) or dot (host)
	Role       string // spine, leaf, host...
	Block      string // ID of its block
}

// Link joins two nodes.
type Link struct {
	ID    string // link/a|b
	A, B  string // node ids
	Path  []Point
	State ui.State
	Label string // leaf1 Ethernet1 - spine1 Ethernet3
	Wide  bool   // between sites
}

// Point is a position in SVG units.
type Point struct{ X, Y float64 }
