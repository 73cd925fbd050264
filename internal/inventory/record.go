package inventory

import (
	"cmp"
	"maps"
	"reflect"
	"slices"
	"time"
)

// record is the aggregate of one item as it is stored. A record that has been
// installed in the graph is never changed; edits work on clones.
type record struct {
	ID        string                      `json:"id"`
	FirstSeen time.Time                   `json:"first_seen,omitzero"`
	LastSeen  time.Time                   `json:"last_seen,omitzero"` // as of the last write
	Names     map[string]Field            `json:"names,omitempty"`    // source -> claim
	Claims    map[string]map[string]Field `json:"claims,omitempty"`   // field -> source -> claim
	Seers     map[string]bool             `json:"seers,omitempty"`    // source/target -> sees it still
	Sources   []string                    `json:"sources"`
	Relations []Relation                  `json:"relations,omitempty"`
	Bindings  []Binding                   `json:"bindings,omitempty"`
	Neighbour *Neighbour                  `json:"neighbour,omitempty"`
}

// past is how many closed relations and bindings an item keeps.
const past = 64

func (r *record) clone() *record {
	c := *r
	c.Names = maps.Clone(r.Names)
	c.Claims = maps.Clone(r.Claims)
	for f, claims := range c.Claims {
		c.Claims[f] = maps.Clone(claims)
	}
	c.Seers = maps.Clone(r.Seers)
	c.Sources = slices.Clone(r.Sources)
	c.Relations = slices.Clone(r.Relations)
	c.Bindings = slices.Clone(r.Bindings)
	return &c
}

// same compares all but LastSeen, which alone is no reason to write.
func (r *record) same(o *record) bool {
	a, b := *r, *o
	a.LastSeen, b.LastSeen = time.Time{}, time.Time{}
	return reflect.DeepEqual(a, b)
}

func (r *record) missing() bool {
	if len(r.Seers) == 0 {
		return false
	}
	for _, sees := range r.Seers {
		if sees {
			return false
		}
	}
	return true
}

func (r *record) addSource(source string) {
	if i, found := slices.BinarySearch(r.Sources, source); !found {
		r.Sources = slices.Insert(r.Sources, i, source)
	}
}

// claim sets what a source says of a field, and leaves the time alone where it
// says what it said before.
func claim(claims map[string]Field, f Field) map[string]Field {
	if claims == nil {
		claims = map[string]Field{}
	}
	if old, ok := claims[f.Source]; !ok || old.Value != f.Value {
		claims[f.Source] = f
	}
	return claims
}

func (r *record) name(f Field) { r.Names = claim(r.Names, f) }

func (r *record) field(name string, f Field) {
	if r.Claims == nil {
		r.Claims = map[string]map[string]Field{}
	}
	r.Claims[name] = claim(r.Claims[name], f)
}

// unclaim forgets what a source said of fields that it no longer mentions.
func (r *record) unclaim(source string, mentioned map[string]string) {
	for name, claims := range r.Claims {
		if _, still := mentioned[name]; still {
			continue
		}
		delete(claims, source)
		if len(claims) == 0 {
			delete(r.Claims, name)
		}
	}
}

// winner picks the claim to believe.
func winner(claims map[string]Field) (best Field) {
	first := true
	for _, f := range claims {
		if first || stronger(f, best) {
			best, first = f, false
		}
	}
	return best
}

func stronger(a, b Field) bool {
	return cmp.Or(cmp.Compare(rank(a.Source), rank(b.Source)), a.At.Compare(b.At), cmp.Compare(a.Source, b.Source)) > 0
}

// item derives what readers see.
func (r *record) item() Item {
	it := Item{
		ID: r.ID, Kind: kindOf(r.ID), Name: winner(r.Names).Value, FirstSeen: r.FirstSeen,
		Missing: r.missing(), Sources: r.Sources, Fields: make(map[string]Field, len(r.Claims)),
	}
	it.Name = cmp.Or(it.Name, keyOf(r.ID))
	for name, claims := range r.Claims {
		it.Fields[name] = winner(claims)
	}
	return it
}

// relate makes the relations of one source hold from at on. With all set,
// those that it does not mention end; without, only those that another of the
// same single type replaces do.
func (r *record) relate(source string, want []Relation, all bool, at time.Time) {
	types := map[string]bool{}
	for _, w := range want {
		types[w.Type] = true
	}
	for i := range r.Relations {
		have := &r.Relations[i]
		if have.Source != source || !have.current() {
			continue
		}
		j := slices.IndexFunc(want, func(w Relation) bool { return w.Type == have.Type && w.To == have.To })
		switch {
		case j >= 0:
			have.Fields, have.Missing, have.LastSeen = want[j].Fields, false, time.Time{}
			want = slices.Delete(slices.Clone(want), j, j+1)
		case all || single(have.Type) && types[have.Type]:
			have.Until = at
		}
	}
	for _, w := range want {
		w.From, w.Source, w.Since = r.ID, source, at
		r.Relations = append(r.Relations, w)
	}
	r.Relations = forget(r.Relations, func(x Relation) bool { return !x.current() })
}

// bind makes ls name the item's series of its target from at on; nil ends all
// bindings.
func (r *record) bind(ls map[string]string, at time.Time) {
	for i := range r.Bindings {
		b := &r.Bindings[i]
		if !b.Until.IsZero() {
			continue
		}
		if len(ls) > 0 && maps.Equal(b.Labels, ls) {
			return
		}
		if len(ls) > 0 && !sameTarget(b.Labels, ls) {
			continue
		}
		b.Until = at
	}
	if len(ls) > 0 {
		r.Bindings = append(r.Bindings, Binding{Item: r.ID, Labels: maps.Clone(ls), Since: at})
	}
	r.Bindings = forget(r.Bindings, func(x Binding) bool { return !x.Until.IsZero() })
}

// forget drops the oldest closed entries above the limit.
func forget[T any](s []T, closed func(T) bool) []T {
	over := -past
	for _, x := range s {
		if closed(x) {
			over++
		}
	}
	if over <= 0 {
		return s
	}
	return slices.DeleteFunc(s, func(x T) bool {
		if over > 0 && closed(x) {
			over--
			return true
		}
		return false
	})
}
