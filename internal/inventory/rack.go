package inventory

import (
	"cmp"
	"slices"
	"strconv"
)

// RackView is a rack with what stands in it.
type RackView struct {
	ID, Name, Row string
	Room, Site    string // IDs, "" where unknown
	Units         int
	Contents      []Placement // from the top down, zero-U last
}

// Placement is where an item stands in a rack.
type Placement struct {
	Item, Kind, Name string
	U, Height        float64 // U: lowest unit from 1, in half steps; 0: zero-U, at the side
	Face             string  // front, rear
	Missing          bool
	Conflict         string // what is wrong with the place: overlaps ID, outside the rack
}

// defaultUnits is the height of a rack that does not say its own.
const defaultUnits = 42

// Racks returns all racks, by room, row and name.
func (g *Graph) Racks() []RackView {
	g.mu.RLock()
	defer g.mu.RUnlock()
	var out []RackView
	for _, id := range g.kinds["rack"] {
		out = append(out, g.rack(id))
	}
	slices.SortStableFunc(out, func(a, b RackView) int {
		return cmp.Or(cmp.Compare(a.Room, b.Room), cmp.Compare(a.Row, b.Row), cmp.Compare(a.ID, b.ID))
	})
	return out
}

// Rack returns one rack.
func (g *Graph) Rack(id string) (RackView, bool) {
	g.mu.RLock()
	defer g.mu.RUnlock()
	if g.nodes[id] == nil || kindOf(id) != "rack" {
		return RackView{}, false
	}
	return g.rack(id), true
}

func (g *Graph) rack(id string) RackView {
	it := g.nodes[id].item
	v := RackView{ID: id, Name: it.Name, Row: it.Value("row"), Units: defaultUnits}
	if n, err := strconv.Atoi(it.Value("units")); err == nil && n > 0 {
		v.Units = n
	}
	for up := id; v.Site == ""; {
		r, ok := best(g.nodes[up].rec.Relations, PartOf)
		if !ok || g.nodes[r.To] == nil || r.To == id {
			break
		}
		switch kindOf(r.To) {
		case "room":
			v.Room = r.To
		case "site":
			v.Site = r.To
		}
		up = r.To
	}
	for from := range g.into[id] {
		if r, ok := best(g.nodes[from].rec.Relations, PlacedIn); ok && r.To == id {
			v.Contents = append(v.Contents, g.placement(from, r))
		}
	}
	slices.SortFunc(v.Contents, func(a, b Placement) int {
		return cmp.Or(cmp.Compare(b.U, a.U), cmp.Compare(a.Face, b.Face), cmp.Compare(a.Item, b.Item))
	})
	flagConflicts(v.Contents, v.Units)
	return v
}

func (g *Graph) placement(id string, r Relation) Placement {
	it := g.nodes[id].item
	p := Placement{Item: id, Kind: it.Kind, Name: it.Name, Face: cmp.Or(r.Fields["face"], "front"), Missing: it.Missing}
	p.U, _ = strconv.ParseFloat(r.Fields["u"], 64)
	p.Height, _ = strconv.ParseFloat(r.Fields["height"], 64)
	if p.U > 0 && p.Height <= 0 {
		p.Height = 1
	}
	return p
}

// flagConflicts marks what overlaps on the same face, and what does not fit.
func flagConflicts(ps []Placement, units int) {
	for i := range ps {
		a := &ps[i]
		if a.U == 0 {
			continue
		}
		if a.U < 1 || a.U+a.Height > float64(units)+1 {
			a.Conflict = "outside the rack"
		}
		for j := range ps {
			b := ps[j]
			if i != j && b.U != 0 && a.Face == b.Face && a.U < b.U+b.Height && b.U < a.U+a.Height {
				a.Conflict = "overlaps " + b.Item
				break
			}
		}
	}
}
