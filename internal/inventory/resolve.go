package inventory

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/prometheus/prometheus/model/labels"
)

// seriesIndex finds bindings by their labels: one shape for each set of label
// names in use (few), most specific first; in a shape, one hash look-up.
type seriesIndex struct {
	shapes []*shape
}

type shape struct {
	names []string // sorted
	bound map[string][]Binding
}

func (x *seriesIndex) add(b Binding) {
	names := slices.Sorted(maps.Keys(b.Labels))
	i := slices.IndexFunc(x.shapes, func(s *shape) bool { return slices.Equal(s.names, names) })
	if i < 0 {
		x.shapes = append(x.shapes, &shape{names: names, bound: map[string][]Binding{}})
		slices.SortFunc(x.shapes, func(a, b *shape) int {
			return cmp.Or(cmp.Compare(len(b.names), len(a.names)), slices.Compare(a.names, b.names))
		})
		i = slices.IndexFunc(x.shapes, func(s *shape) bool { return slices.Equal(s.names, names) })
	}
	s := x.shapes[i]
	key := s.key(b.Labels)
	s.bound[key] = append(s.bound[key], b)
}

func (x *seriesIndex) remove(b Binding) {
	names := slices.Sorted(maps.Keys(b.Labels))
	for _, s := range x.shapes {
		if !slices.Equal(s.names, names) {
			continue
		}
		key := s.key(b.Labels)
		s.bound[key] = slices.DeleteFunc(s.bound[key], func(o Binding) bool { return o.Item == b.Item && o.Since.Equal(b.Since) })
		if len(s.bound[key]) == 0 {
			delete(s.bound, key)
		}
	}
}

func (s *shape) key(ls map[string]string) string {
	var key []byte
	for _, name := range s.names {
		key = append(append(key, ls[name]...), 0xff)
	}
	return string(key)
}

// find returns the item that ls named at t by this shape; of several, the one
// bound last.
func (s *shape) find(ls labels.Labels, t time.Time) (string, bool) {
	var buf [256]byte
	key := buf[:0]
	for _, name := range s.names {
		v := ls.Get(name)
		if v == "" {
			return "", false
		}
		key = append(append(key, v...), 0xff)
	}
	var found Binding
	for _, b := range s.bound[string(key)] {
		if b.holds(t) && (found.Item == "" || b.Since.After(found.Since) || b.Since.Equal(found.Since) && b.Item < found.Item) {
			found = b
		}
	}
	return found.Item, found.Item != ""
}

// targetKinds are the kinds of item that a target of a job is, so that a
// target which never answered, and so was never bound, is still found.
var targetKinds = map[string][]string{
	"snmp":      {"device", "host"},
	"linux":     {"host", "device"},
	"openstack": {"cloud"},
}

// Resolve returns the item that a series with these labels belonged to at t:
// by the most specific binding that held then, else the item that bears the
// target's name.
func (g *Graph) Resolve(ls labels.Labels, t time.Time) (id string, ok bool) {
	g.mu.RLock()
	defer g.mu.RUnlock()
	for _, s := range g.series.shapes {
		if id, ok := s.find(ls, t); ok {
			return id, true
		}
	}
	instance := ls.Get("instance")
	if instance == "" {
		return "", false
	}
	for _, kind := range targetKinds[ls.Get("job")] {
		if id := kind + "/" + instance; g.nodes[id] != nil {
			return id, true
		}
	}
	return "", false
}

// Bindings returns which labels named an item's series and when, oldest first.
func (g *Graph) Bindings(id string) []Binding {
	g.mu.RLock()
	defer g.mu.RUnlock()
	n := g.nodes[id]
	if n == nil {
		return nil
	}
	return slices.Clone(n.rec.Bindings)
}
