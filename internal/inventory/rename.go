package inventory

import (
	"slices"
	"strings"
)

// rename moves all that is known of an item to another ID and turns the
// relations that lead to it. An item that another source has seen as well is
// not this one's to rename; what a person planned under the new ID counts more
// than what was said under the old one.
func (e *edit) rename(source, old, id string) {
	n := e.g.nodes[old]
	if n == nil || old == id || len(n.rec.Seers) == 0 {
		return
	}
	for seer := range n.rec.Seers {
		if !strings.HasPrefix(seer, source+"/") {
			return
		}
	}
	// With seers at the new ID this was done before, but for the end.
	if have := e.g.nodes[id]; have == nil || len(have.rec.Seers) == 0 {
		r := n.rec.clone()
		r.ID = id
		for i := range r.Relations {
			r.Relations[i].From = id
		}
		for i := range r.Bindings {
			r.Bindings[i].Item = id
		}
		if have != nil {
			r.absorb(have.rec)
		}
		r.LastSeen = n.lastSeen
		e.changed[id] = r
	}
	for from := range e.g.into[old] {
		if from == old || slices.Contains(e.gone, from) {
			continue
		}
		r := e.item(from)
		for i := range r.Relations {
			if r.Relations[i].To == old {
				r.Relations[i].To = id
			}
		}
	}
	delete(e.changed, old)
	e.gone = append(e.gone, old)
}

// absorb takes over what is said in another record of the same item.
func (r *record) absorb(o *record) {
	for _, s := range o.Sources {
		r.addSource(s)
	}
	for _, f := range o.Names {
		r.name(f)
	}
	for name, claims := range o.Claims {
		for _, f := range claims {
			r.field(name, f)
		}
	}
	for _, rel := range o.Relations {
		if rel.current() {
			r.relate(rel.Source, []Relation{rel}, false, rel.Since)
		}
	}
}

// uninstall takes an item out of every index. mu is held.
func (g *Graph) uninstall(id string) {
	n := g.nodes[id]
	if n == nil {
		return
	}
	g.unindex(n)
	delete(g.nodes, id)
	kind := kindOf(id)
	g.kinds[kind] = slices.DeleteFunc(slices.Clone(g.kinds[kind]), func(other string) bool { return other == id })
}
