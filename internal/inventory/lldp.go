package inventory

import (
	"context"
	"slices"
	"strings"
	"time"
)

// sourceLLDP is the source of relations found by pairing neighbours.
const sourceLLDP = "lldp"

// nameIndex finds devices, hosts and interfaces by what a neighbour says of
// itself. The keys carry a prefix for what they are: "name ", "chassis ",
// "mac " (of an interface).
type nameIndex map[string]map[string]struct{}

func (x nameIndex) add(it Item) {
	for _, k := range nameKeys(it) {
		put(x, k, it.ID)
	}
}

func (x nameIndex) remove(it Item) {
	for _, k := range nameKeys(it) {
		drop(x, k, it.ID)
	}
}

func nameKeys(it Item) []string {
	var keys []string
	name := func(s string) {
		if s = strings.ToLower(strings.TrimSuffix(s, ".")); s == "" {
			return
		}
		keys = append(keys, "name "+s)
		if short, _, ok := strings.Cut(s, "."); ok {
			keys = append(keys, "short "+short)
		} else {
			keys = append(keys, "short "+s)
		}
	}
	switch it.Kind {
	case "device", "host":
		name(it.Key())
		name(it.Value("sysName"))
		name(it.Value("hostname"))
		if id := chassis(it.Value("chassisID")); id != "" {
			keys = append(keys, "chassis "+id)
		}
	case "interface":
		if mac := mac(it.Value("physAddress")); mac != "" {
			keys = append(keys, "mac "+mac)
		}
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}

// mac normalises a MAC address in any of the usual spellings to 12 hex digits;
// what is none, or all zero, gives "".
func mac(s string) string {
	s = strings.ToLower(strings.TrimPrefix(s, "0x"))
	s = strings.NewReplacer(":", "", "-", "", ".", "", " ", "").Replace(s)
	if len(s) != 12 || strings.Trim(s, "0123456789abcdef") != "" || strings.Trim(s, "0") == "" {
		return ""
	}
	return s
}

// chassis normalises a chassis ID: a MAC address where it is one.
func chassis(s string) string {
	if m := mac(s); m != "" {
		return m
	}
	return strings.ToLower(strings.TrimSpace(s))
}

// pair resolves the neighbours that the observed interfaces heard, and tries
// again those that could not be resolved before. write is held.
func (g *Graph) pair(ctx context.Context, o Observation, at time.Time) error {
	todo := map[string]bool{}
	for _, f := range o.Facts {
		if f.Kind == "interface" && f.Key != "" {
			todo["interface/"+f.Key] = !o.Partial
		}
	}
	for id := range g.unpaired {
		if _, own := todo[id]; !own {
			todo[id] = false
		}
	}
	e := g.edit(at)
	var heard []string
	for id, complete := range todo {
		n := g.nodes[id]
		switch {
		case n.rec.Neighbour != nil:
			if to, ok := g.peer(id, *n.rec.Neighbour); ok && n.rec.pairedWith(to) {
				heard = append(heard, id)
			} else if ok {
				e.item(id).relate(sourceLLDP, []Relation{{Type: ConnectedTo, To: to}}, true, at)
				heard = append(heard, id)
			} else {
				e.ageLinks(e.item(id))
			}
		case complete && g.hasLink(id):
			e.ageLinks(e.item(id))
		}
	}
	if _, _, err := e.commit(ctx, nil); err != nil {
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, id := range heard {
		g.nodes[id].linkSeen = at
	}
	return nil
}

func (g *Graph) hasLink(id string) bool {
	_, ok := g.linked[id]
	return ok
}

// ageLinks marks the links that an interface's neighbour had shown as no
// longer seen.
func (e *edit) ageLinks(r *record) {
	for i := range r.Relations {
		rel := &r.Relations[i]
		if rel.Source != sourceLLDP || !rel.current() || rel.Missing {
			continue
		}
		rel.Missing = true
		if n := e.g.nodes[r.ID]; n != nil {
			rel.LastSeen = n.linkSeen
		}
	}
}

// peer finds the interface at the other end, or the host where the host's
// ports are not known.
func (g *Graph) peer(self string, n Neighbour) (string, bool) {
	node, ok := g.peerNode(n)
	if !ok {
		return "", false
	}
	port, ok := g.peerPort(node, n)
	if !ok && kindOf(node) == "host" {
		return node, true
	}
	return port, ok && port != self
}

// peerNode finds the one device or host that calls itself by the chassis ID or
// the name; where one of the two is ambiguous the other decides.
func (g *Graph) peerNode(n Neighbour) (string, bool) {
	byChassis := map[string]struct{}{}
	if id := chassis(n.ChassisID); id != "" {
		for node := range g.names["chassis "+id] {
			byChassis[node] = struct{}{}
		}
		if m := mac(n.ChassisID); len(byChassis) == 0 && m != "" {
			for iface := range g.names["mac "+m] {
				if node := g.owner(iface); node != "" {
					byChassis[node] = struct{}{}
				}
			}
		}
	}
	name := strings.ToLower(strings.TrimSuffix(n.SysName, "."))
	byName := g.names["name "+name]
	if len(byName) == 0 && name != "" {
		short, _, _ := strings.Cut(name, ".")
		byName = g.names["short "+short]
	}
	if id, ok := only(byName, byChassis); ok {
		return id, true
	}
	if id, ok := only(byChassis, nil); ok {
		return id, true
	}
	return only(byName, nil)
}

// only returns the one element of a, or of what a and b share.
func only(a, b map[string]struct{}) (string, bool) {
	var found string
	n := 0
	for id := range a {
		if _, both := b[id]; b != nil && !both {
			continue
		}
		found = id
		n++
	}
	return found, n == 1
}

// owner is what an interface is part of.
func (g *Graph) owner(iface string) string {
	n := g.nodes[iface]
	if n == nil {
		return ""
	}
	r, _ := best(n.rec.Relations, PartOf)
	return r.To
}

// peerPort finds the interface of node that the port ID names by its subtype,
// or else the port's description.
func (g *Graph) peerPort(node string, n Neighbour) (string, bool) {
	by := func(want string, fields ...string) (string, bool) { return g.port(node, want, fields...) }
	var id string
	var ok bool
	switch n.PortIDSubtype {
	case "interfaceAlias", "1": // LldpPortIdSubtype, LLDP-MIB
		id, ok = by(n.PortID, "ifAlias", "", "ifDescr")
	case "macAddress", "3":
		id, ok = by(mac(n.PortID), "physAddress")
	case "local", "7":
		id, ok = by(n.PortID, "", "ifIndex", "ifDescr", "ifAlias")
	default: // interfaceName(5), and agents that leave the subtype out
		id, ok = by(n.PortID, "", "ifDescr", "ifAlias")
	}
	if !ok {
		id, ok = by(n.PortDescr, "", "ifDescr", "ifAlias")
	}
	return id, ok
}

// port finds the one interface of node of which a field is want, trying the
// fields in turn; "" stands for the interface's name.
func (g *Graph) port(node, want string, fields ...string) (string, bool) {
	if want == "" {
		return "", false
	}
	for _, field := range fields {
		if field == "" {
			if id := "interface/" + keyOf(node) + "/" + want; g.nodes[id] != nil {
				return id, true
			}
			continue
		}
		found := map[string]struct{}{}
		for id := range g.into[node] {
			if kindOf(id) != "interface" || g.nodes[id].item.Missing {
				continue
			}
			v := g.nodes[id].item.Value(field)
			if field == "physAddress" {
				v = mac(v)
			}
			if v == want {
				found[id] = struct{}{}
			}
		}
		if id, ok := only(found, nil); ok {
			return id, true
		}
	}
	return "", false
}
