package inventory

import (
	"strings"
	"time"
)

// speaksFor is how long after its last complete observation a seer's word
// counts more than that of others.
const speaksFor = 10 * time.Minute

// speaks tells whether a seer's word counts, of an item that it is not alone in
// seeing: two credentials of one cloud may show the same instance. If each of
// them spoke, the item would be another one after every poll. One that sees
// without limits comes first, then the first by name.
func (g *Graph) speaks(r *record, o Observation, seer string, at time.Time) bool {
	for other, sees := range r.Seers {
		if !sees || other == seer || !strings.HasPrefix(other, o.Source+"/") || at.Sub(g.complete[other]) > speaksFor {
			continue
		}
		if limited := g.limited[other]; limited != o.Limited && !limited || limited == o.Limited && other < seer {
			return false
		}
	}
	return true
}

// attend notes that a seer whose word does not count sees an item too, and
// which of its series are the item's.
func (e *edit) attend(n *node, seer string, f Fact) {
	if n.rec.Seers[seer] && n.rec.saysBinding(f) {
		return
	}
	r := e.item(n.rec.ID)
	r.Seers[seer] = true
	if len(f.Binding) > 0 {
		r.bind(f.Binding, e.at)
	}
}

// ofSeer tells whether a binding is to series of a seer's target.
func (b Binding) ofSeer(seer string) bool { return b.Labels["job"]+"/"+b.Labels["instance"] == seer }

// sameTarget tells whether two sets of labels name series of one target.
func sameTarget(a, b map[string]string) bool {
	return a["job"] == b["job"] && a["instance"] == b["instance"]
}
