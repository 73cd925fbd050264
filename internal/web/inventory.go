package web

import (
	"cmp"
	"maps"
	"net/http"
	"slices"
	"strings"

	"nocturne/internal/inventory"
	invview "nocturne/views/inventory"
	"nocturne/views/ui"
)

// kindsKnown are the kinds of items, in the order of their reading.
var kindsKnown = []string{"site", "room", "rack", "device", "interface", "link", "host", "hypervisor", "instance", "application", "appliance"}

func (s *Server) inventory(w http.ResponseWriter, r *http.Request) error {
	m := invview.List{
		Page: s.page(r, "Inventory"), Query: ui.ParseQuery("/inventory", r.URL.Query(), "kind", "source", "missing"), CanImport: actorOf(r.Context()).May("configure"),
	}
	all := append(s.Graph.Items(""), s.Graph.Items("link")...)
	m.Known, m.Kinds = len(all), countKinds(all)
	found := slices.DeleteFunc(all, func(it inventory.Item) bool { return !itemMatches(it, m.Query) })
	sortItems(found, m.Query)
	found, m.Pager = paged(found, &m.Query)
	for _, it := range found {
		m.Rows = append(m.Rows, s.itemRow(it))
	}
	s.render(w, r, http.StatusOK, invview.ListPage(m))
	return nil
}

// countKinds counts items by kind, in the order of kindsKnown; what an import
// or a source calls otherwise comes behind.
func countKinds(items []inventory.Item) []invview.Kind {
	counts := map[string]int{}
	for _, it := range items {
		counts[it.Kind]++
	}
	var out []invview.Kind
	for _, kind := range slices.SortedFunc(maps.Keys(counts), compareKinds) {
		out = append(out, invview.Kind{Name: kind, Count: counts[kind]})
	}
	return out
}

func compareKinds(a, b string) int {
	return cmp.Or(cmp.Compare(kindRank(a), kindRank(b)), cmp.Compare(a, b))
}

func kindRank(kind string) int {
	if i := slices.Index(kindsKnown, kind); i >= 0 {
		return i
	}
	return len(kindsKnown)
}

func itemMatches(it inventory.Item, q ui.Query) bool {
	return (q.Text == "" || strings.Contains(strings.ToLower(it.Name+" "+it.ID), strings.ToLower(q.Text))) &&
		(q.Filter["kind"] == "" || it.Kind == q.Filter["kind"]) &&
		(q.Filter["source"] == "" || slices.Contains(it.Sources, q.Filter["source"])) &&
		(q.Filter["missing"] != "yes" || it.Missing)
}

func sortItems(items []inventory.Item, q ui.Query) {
	slices.SortStableFunc(items, func(a, b inventory.Item) int {
		c := 0
		switch q.Sort {
		case "name":
			c = naturally(a.Name, b.Name)
		case "first":
			c = b.FirstSeen.Compare(a.FirstSeen)
		case "seen":
			c = b.LastSeen.Compare(a.LastSeen)
		default:
			c = compareKinds(a.Kind, b.Kind)
		}
		c = cmp.Or(c, naturally(a.ID, b.ID), cmp.Compare(a.ID, b.ID))
		if q.Desc {
			return -c
		}
		return c
	})
}

func (s *Server) itemRow(it inventory.Item) invview.Row {
	row := invview.Row{
		ID: it.ID, Name: cmp.Or(it.Name, it.Key()), Href: "/inventory/" + ui.Path(it.ID), Kind: it.Kind, FirstSeen: it.FirstSeen, LastSeen: it.LastSeen,
		Missing: it.Missing, Sources: it.Sources, State: stateOf(s.Alerts.Status(it.ID).State),
	}
	if parents := s.Graph.Parents(it.ID); len(parents) > 0 {
		row.Place = s.label(parents[0])
	}
	return row
}

func (s *Server) item(w http.ResponseWriter, r *http.Request) error {
	id := r.PathValue("id")
	it, ok := s.Graph.Item(id)
	if !ok {
		return notFound{"item " + id}
	}
	m := invview.Detail{Page: s.page(r, cmp.Or(it.Name, it.ID)), Row: s.itemRow(it), Crumbs: s.crumbs(id), Fields: fieldsOf(it)}
	for _, rel := range s.Graph.Relations(id) {
		line := invview.Relation{Type: rel.Type, Source: rel.Source, Outgoing: rel.From == id, Detail: pairs(rel.Fields), From: rel.Since, To: rel.Until}
		other := rel.From
		if line.Outgoing {
			other = rel.To
		}
		line.Other = ui.Ref{ID: other, Label: s.label(other)}
		if _, ok := s.Graph.Item(other); ok {
			line.Other.Href = "/inventory/" + ui.Path(other)
		}
		m.Relations = append(m.Relations, line)
	}
	for _, b := range s.Graph.Bindings(id) {
		var parts []string
		for _, p := range properties(b.Labels) {
			parts = append(parts, p.Name+"="+`"`+p.Value+`"`)
		}
		m.Bindings = append(m.Bindings, invview.Binding{Labels: "{" + strings.Join(parts, ", ") + "}", From: b.Since, To: b.Until})
	}
	s.render(w, r, http.StatusOK, invview.DetailPage(m))
	return nil
}
