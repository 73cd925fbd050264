package inventory

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"
)

func linkID(a, b string) string { return "link/" + min(a, b) + "|" + max(a, b) }

// Links returns all links, by ID.
func (g *Graph) Links() []Link {
	g.mu.RLock()
	defer g.mu.RUnlock()
	found := map[string]Link{}
	for from := range g.linked {
		g.linksFrom(from, found)
	}
	return byID(found)
}

// LinksOf returns the links that end at an item or at one of its interfaces.
func (g *Graph) LinksOf(id string) []Link {
	g.mu.RLock()
	defer g.mu.RUnlock()
	ends := map[string]struct{}{}
	g.ends(id, ends)
	for part := range g.into[id] {
		if g.owner(part) == id {
			g.ends(part, ends)
		}
	}
	found := map[string]Link{}
	for end := range ends {
		if _, linked := g.linked[end]; linked {
			g.linksFrom(end, found)
		}
	}
	maps.DeleteFunc(found, func(_ string, l Link) bool {
		return l.A != id && l.B != id && l.DeviceA != id && l.DeviceB != id
	})
	return byID(found)
}

// ends adds an item and all that it is related to in either direction.
func (g *Graph) ends(id string, ends map[string]struct{}) {
	ends[id] = struct{}{}
	for from := range g.into[id] {
		ends[from] = struct{}{}
	}
	if n := g.nodes[id]; n != nil {
		for _, r := range n.rec.Relations {
			ends[r.To] = struct{}{}
		}
	}
}

func byID(found map[string]Link) []Link {
	return slices.SortedFunc(maps.Values(found), func(a, b Link) int { return cmp.Compare(a.ID, b.ID) })
}

// Link returns one link by its ID.
func (g *Graph) Link(id string) (Link, bool) {
	a, _, _ := strings.Cut(keyOf(id), "|")
	for _, l := range g.LinksOf(a) {
		if l.ID == id {
			return l, true
		}
	}
	return Link{}, false
}

// linksFrom adds the links that one end states to found, where the other end
// may have been before.
func (g *Graph) linksFrom(from string, found map[string]Link) {
	n := g.nodes[from]
	for _, r := range n.rec.Relations {
		if r.Type != ConnectedTo || !r.current() {
			continue
		}
		seen := time.Time{}
		if r.Source == sourceLLDP {
			seen = n.linkSeen
			if r.Missing {
				seen = r.LastSeen
			}
		}
		id := linkID(r.From, r.To)
		l, other := found[id]
		if !other {
			l = Link{ID: id, A: min(r.From, r.To), B: max(r.From, r.To), Missing: true, Evidence: Stated}
			l.DeviceA, l.DeviceB = g.end(l.A), g.end(l.B)
		}
		if r.Source == sourceLLDP {
			l.Evidence = heard(l.Evidence)
		}
		l.Missing = l.Missing && r.Missing
		if seen.After(l.LastSeen) {
			l.LastSeen = seen
		}
		found[id] = l
	}
}

// heard is the evidence after one more end was heard of.
func heard(evidence string) string {
	if evidence == Stated {
		return OneEnd
	}
	return BothEnds
}

// end is the device of an interface, or the item itself.
func (g *Graph) end(id string) string {
	return cmp.Or(g.owner(id), id)
}

// item shows a link as an item.
func (l Link) item() Item {
	field := func(v string) Field { return Field{Value: v, Source: sourceLLDP, At: l.LastSeen} }
	return Item{
		ID: l.ID, Kind: "link", Name: keyOf(l.A) + " - " + keyOf(l.B), LastSeen: l.LastSeen, Missing: l.Missing,
		Fields:  map[string]Field{"a": field(l.A), "b": field(l.B), "evidence": field(l.Evidence)},
		Sources: []string{sourceLLDP},
	}
}

// Unpaired returns the interfaces that hear a neighbour which is not in the
// inventory, and what they hear.
func (g *Graph) Unpaired() map[string]Neighbour {
	g.mu.RLock()
	defer g.mu.RUnlock()
	out := map[string]Neighbour{}
	for id := range g.unpaired {
		out[id] = *g.nodes[id].rec.Neighbour
	}
	return out
}

// Neighbour returns what an interface hears of its other end.
func (g *Graph) Neighbour(id string) (Neighbour, bool) {
	g.mu.RLock()
	defer g.mu.RUnlock()
	n := g.nodes[id]
	if n == nil || n.rec.Neighbour == nil {
		return Neighbour{}, false
	}
	return *n.rec.Neighbour, true
}
