package inventory

import (
	"cmp"
	"slices"
	"time"
)

// install puts a record in the place of its former self and keeps every index
// in step, but for the order of kinds, which order restores. mu is held.
func (g *Graph) install(r *record, lastSeen time.Time) {
	n := &node{rec: r, item: r.item(), lastSeen: lastSeen}
	if old := g.nodes[r.ID]; old != nil {
		g.unindex(old)
		n.linkSeen = old.linkSeen
	} else {
		kind := kindOf(r.ID)
		g.kinds[kind] = append(g.kinds[kind], r.ID)
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

// order sorts the kinds that grew: what was installed since was appended to
// what is sorted up to had.
func (g *Graph) order(had map[string]int) {
	for kind, ids := range g.kinds {
		if n := had[kind]; n < len(ids) {
			slices.Sort(ids[n:])
			if n > 0 && ids[n] < ids[n-1] {
				g.kinds[kind] = merge(ids[:n], ids[n:])
			}
		}
	}
}

// sizes tells how much of each kind is sorted.
func (g *Graph) sizes() map[string]int {
	had := make(map[string]int, len(g.kinds))
	for kind, ids := range g.kinds {
		had[kind] = len(ids)
	}
	return had
}

func merge(a, b []string) []string {
	out := make([]string, 0, len(a)+len(b)+len(b)/2)
	for len(a) > 0 && len(b) > 0 {
		if a[0] < b[0] {
			out, a = append(out, a[0]), a[1:]
		} else {
			out, b = append(out, b[0]), b[1:]
		}
	}
	return append(append(out, a...), b...)
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

// pairedWith tells whether to is the one end that the neighbour is resolved to.
func (r *record) pairedWith(to string) bool {
	found := false
	for _, rel := range r.Relations {
		if rel.Source == sourceLLDP && rel.current() {
			if rel.Missing || rel.To != to {
				return false
			}
			found = true
		}
	}
	return found
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
