package ui

import "time"

// Ref is a link to an item, a page or a record. An empty Href prints as text.
type Ref struct {
	ID    string // item id such as device/leaf1; live status updates reach the badge
	Label string
	Href  string
	State State // "" draws no badge
}

// Property is one line of a property list.
type Property struct {
	Name, Value string
	Href        string
	Source      string    // where the value comes from (snmp, import, openstack...)
	At          time.Time // when it was seen
	Mono        bool      // draw in the fixed-width type: addresses, hashes, OIDs
}

// Option is one choice of a select or a check list.
type Option struct {
	Value, Label string
	Selected     bool
	State        State // "" draws no badge
	Hint         string
}

// Field is one input of a form with its fault, if it has one.
type Field struct {
	Name, Label, Value string
	Hint               string // below the input
	Error              string // beside the input, announced
	Pattern            string
	Required           bool
}

// Entry is one line of a timeline, oldest first.
type Entry struct {
	At     time.Time
	Kind   string // alert, job, proof, audit, report, note
	State  State  // "" draws a plain dot
	Title  string
	Detail string
	Actor  string // person:x, remedy:x, system
	Href   string
	Seq    uint64 // sequence in the ledger; 0 when it has none
}

// Chart is one panel with lines over time. The history comes from Src, the
// last seconds from the live topic chart:Item.
type Chart struct {
	ID    string // element id, unique in the page
	Title string
	Unit  string // bit/s, percent, bytes, seconds, or free text
	Src   string // answers {series:[{key,label,unit,pts:[[t,v]]}],from,to}; t in unix seconds
	Item  string // item id for live points; "" for none
	Panel string // sent as panel in live points; "" takes every series of the item
	Empty string // said when there is no series
}

// Spark is a small line of history. Values that were not seen are NaN.
type Spark struct {
	Points []float64
	Label  string // for readers who do not see the line
	Last   string // the newest value, written out
}
