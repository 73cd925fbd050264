package lab

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
)

// rackPlan is a rack while it is being filled.
type rackPlan struct {
	name string
	top  int // highest U still free, filled downwards by switches
	low  int // lowest U still free, filled upwards by servers
}

// wire draws the hall: racks, switches, PDUs, hosts and every cable.
func (l *Lab) wire(r *rand.Rand) {
	plans := l.wireRacks(r)
	spines := l.addSwitches(r, "spine", "spine", l.opts.Spines, plans, 2)
	borders := l.addSwitches(r, "border", "border", 2, plans, 1)
	mgmt := l.addSwitches(r, "mgmt", "management", 2, plans, 1)
	var leaves []*agent
	for _, p := range plans {
		for side := range 2 {
			a := newAgent(l, r, fmt.Sprintf("leaf-%s%c", p.name, 'a'+side), "leaf")
			a.place = p.takeTop(1)
			leaves = append(leaves, a)
			l.addAgent(a)
		}
		for side := range 2 {
			a := newAgent(l, r, fmt.Sprintf("pdu-%s%c", p.name, 'a'+side), "pdu")
			a.place = Place{Rack: p.name, Face: "rear"}
			l.addAgent(a)
			l.cable(r, a, pick(r, mgmt))
		}
	}
	for _, leaf := range leaves {
		// Each leaf takes at least two of the spines, at random, in random order.
		n := 2 + r.IntN(len(spines)-1)
		for _, i := range r.Perm(len(spines))[:n] {
			l.cable(r, leaf, spines[i])
		}
	}
	for _, b := range borders {
		for _, i := range r.Perm(len(spines))[:2] {
			l.cable(r, b, spines[i])
		}
	}
	for _, m := range mgmt {
		l.cable(r, m, pick(r, borders))
	}
	l.wireHosts(r, plans, leaves)
	for _, a := range l.agents {
		a.finish(r)
	}
}

func pick[T any](r *rand.Rand, s []T) T { return s[r.IntN(len(s))] }

func (l *Lab) wireRacks(r *rand.Rand) []*rackPlan {
	var plans []*rackPlan
	perRow := max(4, (l.opts.Racks+3)/4)
	for i := range l.opts.Racks {
		name := fmt.Sprintf("%c%02d", 'a'+i/perRow, i%perRow+1)
		l.racks = append(l.racks, Rack{Name: name, Row: string(rune('A' + i/perRow)), Units: 42})
		plans = append(plans, &rackPlan{name: name, top: 42 - r.IntN(2), low: 1 + r.IntN(6)})
	}
	return plans
}

func (p *rackPlan) takeTop(height int) Place {
	p.top -= height
	return Place{Rack: p.name, U: p.top + 1, Height: height, Face: "front"}
}

// takeLow stands something above what is there, with a gap of up to slack units.
func (p *rackPlan) takeLow(r *rand.Rand, height, slack int) Place {
	u := p.low + r.IntN(slack+1)
	if u+height > p.top {
		u = min(p.low, p.top-height)
	}
	p.low = u + height
	return Place{Rack: p.name, U: u, Height: height, Face: "front"}
}

func (l *Lab) addSwitches(r *rand.Rand, prefix, role string, n int, plans []*rackPlan, height int) []*agent {
	var out []*agent
	at := r.Perm(len(plans))
	for i := range n {
		a := newAgent(l, r, fmt.Sprintf("%s-%d", prefix, i+1), role)
		a.place = plans[at[i%len(at)]].takeTop(height)
		l.addAgent(a)
		out = append(out, a)
	}
	return out
}

func (l *Lab) addAgent(a *agent) {
	n := len(l.agents)
	a.addr = netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 20, byte(n / 200), byte(n%200 + 1)}), 0)
	l.agents = append(l.agents, a)
}

// cable joins a free port of each.
func (l *Lab) cable(r *rand.Rand, a, b *agent) {
	pa, pb := a.freePort(r), b.freePort(r)
	pa.peer, pb.peer = &peer{b, nil, pb.name}, &peer{a, nil, pa.name}
	l.links = append(l.links, Link{a.name, pa.name, b.name, pb.name})
}

// The recorded cloud's compute nodes are hosts of the hall, so that a VM hangs
// on a machine in a rack.
var computeNames = []string{"rack1-node1", "rack1-node2", "rack1-node3", "rack2-node1", "rack2-node2", "rack2-node3"}

var roles = []struct {
	prefix   string
	services []string
}{
	{"pay", []string{"payment-gateway.service", "nginx.service"}},
	{"auth", []string{"card-auth.service", "redis-server.service"}},
	{"db", []string{"postgresql.service"}},
	{"msg", []string{"rabbitmq-server.service"}},
	{"web", []string{"nginx.service"}},
	{"settle", []string{"settlement.service", "postgresql.service"}},
}

func (l *Lab) wireHosts(r *rand.Rand, plans []*rackPlan, leaves []*agent) {
	perRack := (l.opts.Hosts + len(plans) - 1) / len(plans)
	slack := max(0, 30/perRack-2)
	counts := map[string]int{}
	perRegion := map[int]int{}
	for i := range l.opts.Hosts {
		name, services := "", []string{"nova-compute.service", "openvswitch-switch.service"}
		if i < len(computeNames) {
			name = computeNames[i]
		} else {
			role := pick(r, roles)
			counts[role.prefix]++
			name = fmt.Sprintf("%s-%02d", role.prefix, counts[role.prefix])
			services = role.services
		}
		p := plans[i%len(plans)]
		h := newHost(l, r, name, slices.Clone(services))
		h.place = p.takeLow(r, 1+r.IntN(2), slack)
		// Three regions, each with hosts even in the smallest hall.
		at := i % len(regions)
		if i >= len(regions) {
			at = r.IntN(len(regions))
		}
		perRegion[at]++
		n := perRegion[at]
		h.region = regions[at].Name
		h.addr = netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, byte(31 + at), byte(n / 200), byte(n%200 + 1)}), 0)
		l.hosts = append(l.hosts, h)
		for _, leaf := range leaves {
			if leaf.place.Rack == p.name {
				nic := h.addNIC()
				port := leaf.freePort(r)
				port.peer = &peer{nil, h, nic}
				l.links = append(l.links, Link{h.name, nic, leaf.name, port.name})
			}
		}
	}
}
