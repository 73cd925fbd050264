package web

import (
	"cmp"
	"strings"

	"nocturne/alerting"
	"nocturne/internal/inventory"
	"nocturne/views/ui"
)

func (s *Server) tally() ui.Tally {
	return tallyOf(s.Alerts.Tally(s.walledIDs()))
}

// walled are the kinds that the counters on top of every page count: the boxes
// that somebody would walk to.
var walled = []string{"device", "host", "hypervisor", "instance"}

func (s *Server) walledIDs() []string {
	var ids []string
	for _, kind := range walled {
		for _, it := range s.Graph.Items(kind) {
			ids = append(ids, it.ID)
		}
	}
	return ids
}

func tallyOf(counts map[alerting.State]int) ui.Tally {
	t := ui.Tally{}
	for st, n := range counts {
		t[stateOf(st)] += n
	}
	return t
}

// itemHref is the page of an item of the inventory.
func itemHref(id string) string {
	kind, _, _ := strings.Cut(id, "/")
	switch kind {
	case "device", "host", "instance", "hypervisor", "interface", "appliance":
		return "/device/" + ui.Path(id)
	case "rack":
		return "/rack/" + ui.Path(id)
	case "":
		return ""
	}
	return "/inventory/" + ui.Path(id)
}

// ref links to an item with its state. What is not in the inventory has no
// page.
func (s *Server) ref(id string) ui.Ref {
	if id == "" {
		return ui.Ref{}
	}
	out := ui.Ref{ID: id, Label: s.label(id), State: stateOf(s.Alerts.Status(id).State)}
	if _, ok := s.Graph.Item(id); ok {
		out.Href = itemHref(id)
	}
	return out
}

// refs links to items, their states from one time.
func (s *Server) refs(ids []string) []ui.Ref {
	states := s.Alerts.Statuses(ids)
	var out []ui.Ref
	for _, id := range ids {
		out = append(out, ui.Ref{ID: id, Label: s.label(id), Href: itemHref(id), State: stateOf(states[id].State)})
	}
	return out
}

// label is an item's name; an interface's says whose it is.
func (s *Server) label(id string) string {
	it, ok := s.Graph.Item(id)
	if !ok {
		_, key, _ := strings.Cut(id, "/")
		return cmp.Or(key, id)
	}
	return nameOf(it)
}

func nameOf(it inventory.Item) string {
	if it.Kind == "interface" {
		return it.Key()
	}
	return cmp.Or(it.Name, it.Key())
}

// place is a rack and the unit in it; 0 is beside the units.
type place struct {
	rack, name string
	u          float64
	order      float64 // rack by rack, from the top down
}

// places is where everything stands, read once a page.
type places struct {
	s    *Server
	held map[string]place
}

func (s *Server) places() places {
	out := places{s, map[string]place{}}
	for i, k := range s.Graph.Racks() {
		for j, c := range k.Contents {
			out.held[c.Item] = place{k.ID, k.Name, c.U, float64(i) + float64(j)/1000}
		}
	}
	return out
}

// of returns the place of an item, or of what carries it.
func (p places) of(id string) place {
	if at, ok := p.held[id]; ok {
		return at
	}
	for _, up := range p.s.Graph.Parents(id) {
		if at, ok := p.held[up]; ok {
			return at
		}
	}
	return place{}
}

// targetOf is the polling target whose series are the item's: the value of
// "instance" in its binding.
func (s *Server) targetOf(id string) string {
	for _, b := range s.Graph.Bindings(id) {
		if t := b.Labels["instance"]; t != "" && b.Until.IsZero() {
			return t
		}
	}
	return ""
}
