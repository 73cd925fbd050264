package inventory

import (
	"slices"
	"strings"
	"time"
)

// Item is one thing in the graph. Its maps and slices are shared between
// readers and must not be changed.
type Item struct {
	ID        string // kind/key
	Kind      string
	Name      string
	Fields    map[string]Field
	FirstSeen time.Time // zero for an item nobody has seen yet
	LastSeen  time.Time // likewise
	Missing   bool      // all who saw it no longer do
	Sources   []string  // who knows it, sorted; only "import": planned
}

// Key is the ID without the kind.
func (i Item) Key() string { return keyOf(i.ID) }

// Value returns the value of a field, or "".
func (i Item) Value(field string) string { return i.Fields[field].Value }

// Field is what is believed of one field of an item.
type Field struct {
	Value  string    `json:"value"`
	Source string    `json:"source"`       // snmp, linux, openstack, import, person...
	By     string    `json:"by,omitempty"` // the person behind an import
	At     time.Time `json:"at"`           // since when the source says so
}

// The types of a relation. Those of a place (placed-in, part-of, runs-on) hold
// once an item and source.
const (
	PlacedIn    = "placed-in"    // item -> rack, room; Fields u, height, face
	PartOf      = "part-of"      // interface -> device, room -> site
	ConnectedTo = "connected-to" // interface -> interface
	RunsOn      = "runs-on"      // instance -> hypervisor
	MemberOf    = "member-of"
	DependsOn   = "depends-on" // application -> host
	PoweredBy   = "powered-by"
)

// relationTypes are those an import may use.
var relationTypes = []string{ConnectedTo, DependsOn, MemberOf, PartOf, PlacedIn, PoweredBy, RunsOn}

// upward are the types that lead from an item to what carries it, in the order
// in which Parents follows them.
var upward = []string{PartOf, RunsOn, PlacedIn}

// Relation says that From stands in a relation to To during [Since, Until).
type Relation struct {
	From   string            `json:"from"`
	Type   string            `json:"type"`
	To     string            `json:"to"`
	Fields map[string]string `json:"fields,omitempty"`
	Source string            `json:"source"`
	Since  time.Time         `json:"since"`
	Until  time.Time         `json:"until,omitzero"` // zero: it holds now
	// Missing tells that a link's source no longer sees it; LastSeen is when it
	// last did. A link is not closed for being down.
	Missing  bool      `json:"missing,omitempty"`
	LastSeen time.Time `json:"last_seen,omitzero"`
}

// current tells whether the relation holds now.
func (r Relation) current() bool { return r.Until.IsZero() }

// Binding says that during [Since, Until) the series that carry all of Labels
// belong to Item.
type Binding struct {
	Item   string            `json:"item"`
	Labels map[string]string `json:"labels"`
	Since  time.Time         `json:"since"`
	Until  time.Time         `json:"until,omitzero"`
}

func (b Binding) holds(t time.Time) bool {
	return !t.Before(b.Since) && (b.Until.IsZero() || t.Before(b.Until))
}

// Neighbour is what an interface heard of its other end (LLDP-MIB, IEEE
// 802.1AB). The subtypes are the words or the numbers of LldpChassisIdSubtype
// and LldpPortIdSubtype.
type Neighbour struct {
	ChassisID        string `json:"chassis_id,omitempty"`
	ChassisIDSubtype string `json:"chassis_id_subtype,omitempty"`
	PortID           string `json:"port_id,omitempty"`
	PortIDSubtype    string `json:"port_id_subtype,omitempty"`
	PortDescr        string `json:"port_descr,omitempty"`
	SysName          string `json:"sys_name,omitempty"`
	SysDescr         string `json:"sys_descr,omitempty"`
}

// Fact is what one source saw of one item.
type Fact struct {
	Kind, Key string
	Formerly  string // the key under which the item stood before, if another
	Name      string
	Fields    map[string]string
	Relations []FactRelation
	Binding   map[string]string // label equalities that name the item's series
	Neighbour *Neighbour
}

// FactRelation is one relation of the item a Fact is about.
type FactRelation struct {
	Type, Kind, Key string // the other end is Kind/Key
}

// Observation is what one poll of one target saw.
type Observation struct {
	Source  string // snmp, linux, openstack
	Target  string
	At      time.Time // now when zero
	Facts   []Fact
	Partial bool // something was not seen: what is absent may still be there
	// Limited says that the target shows only a part of what there is. What it
	// showed before and lacks now is gone; where an item leads to may be hidden.
	Limited bool
}

// whole tells whether all that there is would have been seen.
func (o Observation) whole() bool { return !o.Partial && !o.Limited }

// Link is a connection of two interfaces.
type Link struct {
	ID               string // link/<A>|<B>
	A, B             string // interface IDs (or a host's, where its port is unknown), A < B
	DeviceA, DeviceB string // what the ends are part of
	Evidence         string // both ends, one end, stated
	LastSeen         time.Time
	Missing          bool // neither end sees it any more
}

// Kinds of evidence for a link.
const (
	BothEnds = "both ends"
	OneEnd   = "one end"
	Stated   = "stated" // by a person or an import
)

// Source names of statements by people.
const (
	SourceImport = "import"
	SourcePerson = "person"
)

// rank orders sources: people before machines.
func rank(source string) int {
	if source == SourceImport || source == SourcePerson {
		return 1
	}
	return 0
}

func kindOf(id string) string { kind, _, _ := strings.Cut(id, "/"); return kind }
func keyOf(id string) string  { _, key, _ := strings.Cut(id, "/"); return key }

// validID tells whether id has the form kind/key.
func validID(id string) bool {
	kind, key, ok := strings.Cut(id, "/")
	return ok && key != "" && validKind(kind)
}

func validKind(kind string) bool {
	return kind != "" && !strings.ContainsFunc(kind, func(r rune) bool { return (r < 'a' || r > 'z') && r != '-' })
}

// single tells the relation types that an item has once a source.
func single(typ string) bool { return slices.Contains(upward, typ) }
