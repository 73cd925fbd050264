package lab

import (
	"fmt"
	"slices"
	"time"
)

// object is one leaf of an agent's tree; its value is made when it is asked for.
type object struct {
	oid oid
	get func() value
}

// tree is an agent's objects in the order of their names.
type tree []object

func (t tree) find(o oid) (int, bool) {
	return slices.BinarySearchFunc(t, o, func(e object, o oid) int { return e.oid.compare(o) })
}

// next returns the first object after o.
func (t tree) next(o oid) (object, bool) {
	i, exact := t.find(o)
	if exact {
		i++
	}
	if i >= len(t) {
		return object{}, false
	}
	return t[i], true
}

type treeBuilder struct{ t tree }

func (b *treeBuilder) add(v func() value, base oid, more ...uint32) {
	b.t = append(b.t, object{append(slices.Clone(base), more...), v})
}

func fixed(v value) func() value { return func() value { return v } }

var (
	oidSystem  = oid{1, 3, 6, 1, 2, 1, 1}               // SNMPv2-MIB, RFC 3418
	oidIfNum   = oid{1, 3, 6, 1, 2, 1, 2, 1, 0}         // IF-MIB, RFC 2863
	oidIf      = oid{1, 3, 6, 1, 2, 1, 2, 2, 1}         // ifEntry
	oidIfX     = oid{1, 3, 6, 1, 2, 1, 31, 1, 1, 1}     // ifXEntry
	oidLLDPLoc = oid{1, 0, 8802, 1, 1, 2, 1, 3}         // LLDP-MIB, IEEE 802.1AB-2005: lldpLocalSystemData
	oidLLDPRem = oid{1, 0, 8802, 1, 1, 2, 1, 4, 1, 1}   // lldpRemEntry
	oidProduct = oid{1, 3, 6, 1, 4, 1, 8072, 3, 2, 255} // net-snmp's "unknown": the lab is no real product
)

// build makes the agent's tree: system, interfaces, LLDP.
func (a *agent) build() {
	b := &treeBuilder{}
	a.addSystem(b)
	a.addInterfaces(b)
	a.addLLDP(b)
	slices.SortFunc(b.t, func(x, y object) int { return x.oid.compare(y.oid) })
	a.tree = b.t
}

func (a *agent) addSystem(b *treeBuilder) {
	b.add(fixed(octets(fmt.Sprintf("nocturne lab %s %s", a.role, a.model))), oidSystem, 1, 0)
	b.add(fixed(objectID(oidProduct)), oidSystem, 2, 0)
	b.add(func() value { return timeTicks(uint64(a.uptime() / (10 * time.Millisecond))) }, oidSystem, 3, 0)
	b.add(fixed(octets("noc@lab.example")), oidSystem, 4, 0)
	b.add(fixed(octets(a.name)), oidSystem, 5, 0)
	b.add(fixed(octets(fmt.Sprintf("lab, hall, rack %s, U%d", a.place.Rack, a.place.U))), oidSystem, 6, 0)
	b.add(fixed(integer(78)), oidSystem, 7, 0)
}

func (a *agent) addInterfaces(b *treeBuilder) {
	b.add(fixed(integer(len(a.ports))), oidIfNum)
	for _, p := range a.ports {
		ifE := func(col uint32, v func() value) { b.add(v, oidIf, col, p.index) }
		ifX := func(col uint32, v func() value) { b.add(v, oidIfX, col, p.index) }
		ifE(1, fixed(integer(int(p.index))))
		ifE(2, fixed(octets(p.name)))
		ifE(3, fixed(integer(6))) // ethernetCsmacd
		ifE(4, fixed(integer(9216)))
		ifE(5, fixed(gauge32(p.speed*1_000_000)))
		ifE(6, fixed(octets(string(p.mac[:]))))
		ifE(7, func() value { return integer(p.admin()) })
		ifE(8, func() value { return integer(p.oper()) })
		ifE(9, func() value { return timeTicks(uint64(p.changed() / (10 * time.Millisecond))) })
		for col, c := range map[uint32]counter{10: inOctets, 11: inUnicast, 13: inDiscards, 14: inErrors, 16: outOctets, 17: outUnicast, 19: outDiscards, 20: outErrors} {
			ifE(col, func() value { return counter32(p.count(c)) })
		}
		ifX(1, fixed(octets(p.name)))
		for col, c := range map[uint32]counter{6: inOctets, 7: inUnicast, 10: outOctets, 11: outUnicast} {
			ifX(col, func() value { return counter64(p.count(c)) })
		}
		ifX(15, fixed(gauge32(p.speed)))
		ifX(18, fixed(octets(p.alias())))
	}
}

func (a *agent) addLLDP(b *treeBuilder) {
	b.add(fixed(integer(4)), oidLLDPLoc, 1, 0) // lldpLocChassisIdSubtype: macAddress
	b.add(fixed(octets(string(a.mac[:]))), oidLLDPLoc, 2, 0)
	b.add(fixed(octets(a.name)), oidLLDPLoc, 3, 0)
	b.add(fixed(octets(fmt.Sprintf("nocturne lab %s", a.role))), oidLLDPLoc, 4, 0)
	for _, p := range a.ports {
		subtype, id := p.lldpID(a.portSubtype)
		b.add(fixed(integer(subtype)), oidLLDPLoc, 7, 1, 2, p.local)
		b.add(fixed(octets(id)), oidLLDPLoc, 7, 1, 3, p.local)
		b.add(fixed(octets(p.name)), oidLLDPLoc, 7, 1, 4, p.local)
		if p.peer != nil {
			a.addNeighbour(b, p)
		}
	}
}

// addNeighbour adds one row of lldpRemTable; its index is timeMark, local
// port, remote index. The row is gone while the link is down.
func (a *agent) addNeighbour(b *treeBuilder, p *port) {
	index := []uint32{a.timeMark, p.local, p.remoteIndex}
	add := func(col uint32, v value) {
		b.t = append(b.t, object{append(append(slices.Clone(oidLLDPRem), col), index...), func() value {
			if p.oper() != 1 {
				return exception(tagNoSuchIns)
			}
			return v
		}})
	}
	n := p.peer.lldp()
	add(4, integer(4))
	add(5, octets(string(n.chassis[:])))
	add(6, integer(n.portSubtype))
	add(7, octets(n.portID))
	add(8, octets(n.portDescr))
	add(9, octets(n.sysName))
	add(10, octets(n.sysDescr))
}
