package alerting

import (
	"slices"

	"nocturne/internal/inventory"
)

// target is what a series up{job, instance} is about.
type target struct{ job, instance string }

// node is what states are computed from, for one item.
type node struct {
	item     inventory.Item
	targets  []target // named by its bindings
	named    bool     // its binding names it among other things of its target
	integral bool     // it is part of another item
	byFact   bool     // bound to series that name no target: LastSeen tells
	contents []string // what stands in it or makes it up
	parts    []string // interfaces
	above    []string // what carries it, nearest first
}

// tree is the inventory as the states need it, at one revision.
type tree struct {
	rev   uint64
	nodes map[string]*node
}

// notMonitored is a field by which a person says that an item (a patch panel)
// is not to be seen at all; it then does not count in what it stands in.
const notMonitored = "monitored"

func (n *node) excluded() bool { return n.item.Value(notMonitored) == "no" }

func buildTree(g *inventory.Graph) *tree {
	t := &tree{rev: g.Rev(), nodes: map[string]*node{}}
	items := g.Items("")
	for _, it := range items {
		n := &node{item: it, above: g.Parents(it.ID)}
		for _, b := range g.Bindings(it.ID) {
			if !b.Until.IsZero() {
				continue
			}
			switch tg := (target{b.Labels["job"], b.Labels["instance"]}); {
			case tg.instance == "":
				n.byFact = true
			case !slices.Contains(n.targets, tg):
				n.targets = append(n.targets, tg)
				n.named = n.named || len(b.Labels) > 2
			}
		}
		t.nodes[it.ID] = n
	}
	for _, it := range items {
		for _, r := range g.Relations(it.ID) {
			if r.From == it.ID {
				t.relate(r)
			}
		}
	}
	return t
}

func (t *tree) relate(r inventory.Relation) {
	from, to := t.nodes[r.From], t.nodes[r.To]
	if from == nil || to == nil {
		return
	}
	switch r.Type {
	case inventory.PartOf:
		from.integral = true
		if from.item.Kind == "interface" {
			to.parts = append(to.parts, r.From)
		} else {
			to.contents = append(to.contents, r.From)
		}
	case inventory.PlacedIn, inventory.MemberOf:
		to.contents = append(to.contents, r.From)
	case inventory.DependsOn:
		from.contents = append(from.contents, r.To)
	}
}
