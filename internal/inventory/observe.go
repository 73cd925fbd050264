package inventory

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"nocturne/internal/state"
)

// edit collects changed clones of records until they are committed together.
type edit struct {
	g       *Graph
	at      time.Time
	changed map[string]*record
	gone    []string // renamed: what was known of them is under another ID
	whole   bool     // all of it is to be there after any end, or nothing
}

func (g *Graph) edit(at time.Time) *edit {
	return &edit{g: g, at: at, changed: map[string]*record{}}
}

// item returns the record to change, a new one where there is none.
func (e *edit) item(id string) *record {
	if r := e.changed[id]; r != nil {
		return r
	}
	r := &record{ID: id}
	if n := e.g.nodes[id]; n != nil {
		r = n.rec.clone()
	}
	e.changed[id] = r
	return r
}

// commit writes what differs, then shows it to readers. seen are the items to
// be marked as seen at the edit's time. It tells which items changed.
func (e *edit) commit(ctx context.Context, seen map[string]bool) (created, changed []string, err error) {
	if err := ctx.Err(); err != nil {
		return nil, nil, err
	}
	g := e.g
	var recs []state.Record[record]
	for id, r := range e.changed {
		old := g.nodes[id]
		if old != nil && old.rec.same(r) {
			continue
		}
		if old == nil {
			created = append(created, id)
		} else {
			changed = append(changed, id)
			r.LastSeen = old.lastSeen
		}
		if seen[id] {
			r.LastSeen = e.at
		}
		recs = append(recs, state.Record[record]{ID: id, Value: *r})
	}
	if len(recs)+len(e.gone) > 0 {
		if err := g.finish(); err != nil {
			return nil, nil, fmt.Errorf("write out an earlier import: %w", err)
		}
	}
	if len(recs) > 0 {
		put := g.records.PutMany
		if e.whole {
			put = g.putWhole
		}
		if err := put(recs); err != nil {
			return nil, nil, fmt.Errorf("write %d items of the inventory: %w", len(recs), err)
		}
	}
	for _, id := range e.gone { // what it was is written; after a crash here it is found and removed again
		if err := g.records.Delete(id, 0); err != nil && !errors.Is(err, state.ErrNotFound) {
			return nil, nil, fmt.Errorf("remove renamed %s: %w", id, err)
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, id := range e.gone {
		g.uninstall(id)
	}
	had := g.sizes()
	for i := range recs {
		g.install(&recs[i].Value, recs[i].Value.LastSeen)
	}
	g.order(had)
	for id := range seen {
		if n := g.nodes[id]; n != nil && e.at.After(n.lastSeen) {
			n.lastSeen = e.at
		}
	}
	if len(recs)+len(e.gone) > 0 {
		g.rev++
		close(g.changed)
		g.changed = make(chan struct{})
	}
	return created, changed, nil
}

// Observe takes in what one poll saw. Facts that cannot be taken are named in
// the error; the others are stored. On any other error nothing is.
func (g *Graph) Observe(ctx context.Context, o Observation) error {
	if o.Source == "" || o.Target == "" || rank(o.Source) > 0 {
		return fmt.Errorf("observe %q of %q: wants a source that discovers and a target", o.Target, o.Source)
	}
	at := o.At
	if at.IsZero() {
		at = time.Now()
	}
	at = at.UTC().Truncate(time.Millisecond)
	seer := o.Source + "/" + o.Target

	g.write.Lock()
	defer g.write.Unlock()
	e := g.edit(at)
	seen := map[string]bool{}
	var faults []error
	for _, f := range o.Facts {
		id := f.Kind + "/" + f.Key
		if !validID(id) {
			faults = append(faults, fmt.Errorf("observe %s: fact of %q: wants a kind of lower-case letters and a key", seer, id))
			continue
		}
		seen[id] = true
		if f.Formerly != "" {
			e.rename(o.Source, f.Kind+"/"+f.Formerly, id)
		}
		switch n := g.nodes[id]; {
		case n == nil || e.changed[id] != nil:
			e.observe(o, seer, id, f)
		case !g.speaks(n.rec, o, seer, at):
			e.attend(n, seer, f)
		case !n.rec.says(o, seer, f):
			e.observe(o, seer, id, f)
		}
	}
	if !o.Partial && len(faults) == 0 {
		for id := range g.seers[seer] {
			if !seen[id] && !slices.Contains(e.gone, id) {
				e.lose(id, seer)
			}
		}
	}
	_, _, err := e.commit(ctx, seen)
	if err != nil {
		return fmt.Errorf("observe %s: %w", seer, err)
	}
	if !o.Partial {
		g.mu.Lock()
		g.complete[seer], g.dirty[seer], g.limited[seer] = at, true, o.Limited
		g.mu.Unlock()
	}
	if err := g.pair(ctx, o, at); err != nil {
		return fmt.Errorf("observe %s: %w", seer, err)
	}
	return errors.Join(faults...)
}

// observe takes one fact into its item.
func (e *edit) observe(o Observation, seer, id string, f Fact) {
	r := e.item(id)
	if r.FirstSeen.IsZero() {
		r.FirstSeen = e.at
	}
	r.addSource(o.Source)
	if r.Seers == nil {
		r.Seers = map[string]bool{}
	}
	r.Seers[seer] = true
	if f.Name != "" {
		r.name(Field{Value: f.Name, Source: o.Source, At: e.at})
	}
	for name, v := range f.Fields {
		r.field(name, Field{Value: v, Source: o.Source, At: e.at})
	}
	if !o.Partial {
		r.unclaim(o.Source, f.Fields)
	}
	var rels []Relation
	for _, rel := range f.Relations {
		if to := rel.Kind + "/" + rel.Key; rel.Type != "" && validID(to) {
			rels = append(rels, Relation{Type: rel.Type, To: to})
		}
	}
	r.relate(o.Source, rels, o.whole(), e.at)
	if len(f.Binding) > 0 {
		r.bind(f.Binding, e.at)
	}
	if f.Neighbour != nil || !o.Partial {
		r.Neighbour = f.Neighbour
	}
}

// says tells whether the record holds all that a fact would change, which is
// so for nearly every fact of nearly every poll.
func (r *record) says(o Observation, seer string, f Fact) bool {
	if !r.Seers[seer] || f.Name != "" && r.Names[o.Source].Value != f.Name {
		return false
	}
	claims := 0
	for _, bySource := range r.Claims {
		if _, ok := bySource[o.Source]; ok {
			claims++
		}
	}
	if !o.Partial && claims != len(f.Fields) {
		return false
	}
	for name, v := range f.Fields {
		if c, ok := r.Claims[name][o.Source]; !ok || c.Value != v {
			return false
		}
	}
	if f.Neighbour == nil && !o.Partial && r.Neighbour != nil || f.Neighbour != nil && (r.Neighbour == nil || *f.Neighbour != *r.Neighbour) {
		return false
	}
	return r.saysRelations(o, f) && r.saysBinding(f)
}

func (r *record) saysRelations(o Observation, f Fact) bool {
	held := 0
	for _, rel := range r.Relations {
		if rel.Source != o.Source || !rel.current() {
			continue
		}
		held++
		if rel.Missing || len(rel.Fields) > 0 {
			return false
		}
	}
	if held != len(f.Relations) && (o.whole() || len(f.Relations) > 0) {
		return false
	}
	for _, want := range f.Relations {
		if !slices.ContainsFunc(r.Relations, func(rel Relation) bool {
			kind, key, _ := strings.Cut(rel.To, "/")
			return rel.Source == o.Source && rel.current() && rel.Type == want.Type && kind == want.Kind && key == want.Key
		}) {
			return false
		}
	}
	return true
}

func (r *record) saysBinding(f Fact) bool {
	if len(f.Binding) == 0 {
		return true
	}
	return slices.ContainsFunc(r.Bindings, func(b Binding) bool { return b.Until.IsZero() && maps.Equal(b.Labels, f.Binding) })
}

// lose notes that a seer no longer sees an item.
func (e *edit) lose(id, seer string) {
	r := e.item(id)
	r.Seers[seer] = false
	if !r.missing() {
		for i := range r.Bindings {
			if b := &r.Bindings[i]; b.Until.IsZero() && b.ofSeer(seer) {
				b.Until = e.at
			}
		}
		return
	}
	r.bind(nil, e.at)
	r.Neighbour = nil
	e.ageLinks(r)
}
