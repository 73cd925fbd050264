package inventory

import (
	"cmp"
	"slices"
	"time"
)

// install puts a record in the place of its former self and keeps every index
// in step. bulk leaves sorting the kinds to the caller. mu is held.
func (g *Graph) install(r *record, lastSeen time.Time, bulk bool) {
	n := &node{rec: r, item: r.item(), lastSeen: lastSeen}
	if old := g.nodes[r.ID]; old != nil {
		g.unindex(old)
		n.linkSeen = old.linkSeen
	} else if kind := kindOf(r.ID); bulk {
		g.kinds[kind] = append(g.kinds[kind], r.ID)
	} else if i, found := slices.BinarySearch(g.kinds[kind], r.ID); !found {
		g.kinds[kind] = slices.Insert(g.kinds[kind], i, r.ID)
	}
	g.nodes[r.ID] = n
	for _, rel := range r.Relations {
		put(g.into, rel.To, r.ID)
		if rel.Type == ConnectedTo && rel.current() {
			g.linked[r.ID] = struct{}{}
		}
	}
	for seer, sees := range r.Seers {
		if sees {
			put(g.seers, seer, r.ID)
		}
	}
	for _, b := range r.Bindings {
		g.series.add(b)
	}
	if r.Neighbour != nil && !paired(r) {
		g.unpaired[r.ID] = struct{}{}
	}
	g.names.add(n.item)
}

func (g *Graph) unindex(n *node) {
	id := n.rec.ID
	for _, rel := range n.rec.Relations {
		drop(g.into, rel.To, id)
	}
	for seer := range n.rec.Seers {
		drop(g.seers, seer, id)
	}
	for _, b := range n.rec.Bindings {
		g.series.remove(b)
	}
	delete(g.linked, id)
	delete(g.unpaired, id)
	g.names.remove(n.item)
}

// paired tells whether the interface's neighbour is resolved.
func paired(r *record) bool {
	return slices.ContainsFunc(r.Relations, func(rel Relation) bool {
		return rel.Source == sourceLLDP && rel.current() && !rel.Missing
	})
}

func put(m map[string]map[string]struct{}, key, id string) {
	if m[key] == nil {
		m[key] = map[string]struct{}{}
	}
	m[key][id] = struct{}{}
}

func drop(m map[string]map[string]struct{}, key, id string) {
	delete(m[key], id)
	if len(m[key]) == 0 {
		delete(m, key)
	}
}

func compareRelations(a, b Relation) int {
	return cmp.Or(cmp.Compare(a.From, b.From), cmp.Compare(a.Type, b.Type), cmp.Compare(a.To, b.To),
		cmp.Compare(a.Source, b.Source), a.Since.Compare(b.Since))
}
