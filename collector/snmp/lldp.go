package snmp

import (
	"context"
	"strconv"

	"nocturne/collector"
	"nocturne/internal/snmpconn"
)

// lldpTables says where one edition of the LLDP MIB has its tables. The
// columns of a neighbour follow each other in the same order in both.
type lldpTables struct {
	remote   snmpconn.OID // lldpRemEntry
	first    uint32       // its column ChassisIdSubtype
	indexLen int
	local    snmpconn.OID // lldpLocPortEntry; nil: ports are ifIndexes
}

var (
	// lldpV1: index timeMark, localPortNum, remIndex.
	lldpV1 = lldpTables{
		remote: snmpconn.MustOID("1.0.8802.1.1.2.1.4.1.1"), first: 4, indexLen: 3,
		local: snmpconn.MustOID("1.0.8802.1.1.2.1.3.7.1"),
	}
	// lldpV2: index timeMark, ifIndex, destination MAC's index, remIndex.
	lldpV2 = lldpTables{remote: snmpconn.MustOID("1.3.111.2.802.1.1.13.1.4.1.1"), first: 5, indexLen: 4}
)

// heard is one neighbour as the agent lists it.
type heard struct {
	timeMark, port, remote uint32
	chassisSub, portSub    uint64
	chassis, portID        []byte
	n                      collector.Neighbour
}

// newer prefers what was heard later, and of equals the one listed later.
func (h *heard) newer(o *heard) bool {
	if h.timeMark != o.timeMark {
		return h.timeMark > o.timeMark
	}
	return h.remote > o.remote
}

// localPort is a row of lldpLocPortTable.
type localPort struct {
	sub         uint64
	id          []byte
	text, descr string
}

// readNeighbours returns the neighbours by the name of the local interface.
// An interface that hears several has the one heard last. With any of it
// missing there are none: half an identifier, or a port taken for an ifIndex,
// would be a link that is not there.
func (p *poll) readNeighbours(ctx context.Context) map[string]*collector.Neighbour {
	tables := lldpV1
	list, ok := p.walkNeighbours(ctx, lldpV1)
	if ok && len(list) == 0 {
		tables = lldpV2
		list, ok = p.walkNeighbours(ctx, lldpV2)
	}
	if !ok || len(list) == 0 {
		return nil
	}
	var ports map[uint32]*localPort
	if tables.local != nil {
		if ports, ok = p.walkLocalPorts(ctx, tables.local); !ok {
			return nil
		}
	}
	names := p.d.names()
	best := map[string]*heard{}
	for _, h := range list {
		name := names.of(h.port, ports[h.port])
		if old := best[name]; old == nil || h.newer(old) {
			best[name] = h
		}
	}
	out := make(map[string]*collector.Neighbour, len(best))
	for name, h := range best {
		out[name] = &h.n
	}
	return out
}

func (p *poll) walkNeighbours(ctx context.Context, t lldpTables) ([]*heard, bool) {
	arcs := make([]uint32, 7)
	for i := range arcs {
		arcs[i] = t.first + uint32(i)
	}
	cols, ok := p.walkColumns(ctx, "neighbours (LLDP)", t.remote, arcs)
	rows := map[string]*heard{}
	var list []*heard
	for i, arc := range arcs {
		for _, v := range cols[arc].Rows {
			index := v.Index(cols[arc].Root)
			if len(index) != t.indexLen {
				continue
			}
			h := rows[index.String()]
			if h == nil {
				h = &heard{timeMark: index[0], port: index[1], remote: index[len(index)-1]}
				rows[index.String()] = h
				list = append(list, h)
			}
			h.set(i, v)
		}
	}
	whole := list[:0]
	for _, h := range list {
		h.n.ChassisIDSubtype, h.n.ChassisID = chassisID(h.chassisSub, h.chassis)
		h.n.PortIDSubtype, h.n.PortID = portID(h.portSub, h.portID)
		if h.n.ChassisID != "" || h.n.PortID != "" || h.n.SysName != "" { // else nothing says who it is
			whole = append(whole, h)
		}
	}
	return whole, ok
}

// set takes over one column, counted from ChassisIdSubtype.
func (h *heard) set(column int, v snmpconn.Var) {
	b, _ := v.Bytes()
	switch column {
	case 0:
		h.chassisSub, _ = v.Uint()
	case 1:
		h.chassis = b
	case 2:
		h.portSub, _ = v.Uint()
	case 3:
		h.portID = b
	case 4:
		h.n.PortDescr = clean(v.Text())
	case 5:
		h.n.SysName = clean(v.Text())
	case 6:
		h.n.SysDescr = clean(v.Text())
	}
}

func (p *poll) walkLocalPorts(ctx context.Context, entry snmpconn.OID) (map[uint32]*localPort, bool) {
	cols, ok := p.walkColumns(ctx, "local ports (LLDP)", entry, []uint32{2, 3, 4})
	out := map[uint32]*localPort{}
	for arc, c := range cols {
		for _, v := range c.Rows {
			index := v.Index(c.Root)
			if len(index) != 1 {
				continue
			}
			l := out[index[0]]
			if l == nil {
				l = &localPort{}
				out[index[0]] = l
			}
			switch arc {
			case 2:
				l.sub, _ = v.Uint()
			case 3:
				l.id, _ = v.Bytes()
			case 4:
				l.descr = clean(v.Text())
			}
		}
	}
	for _, l := range out {
		_, l.text = portID(l.sub, l.id)
	}
	return out, ok
}

// ifNames finds interfaces by whatever an agent calls them. A text that two
// interfaces share names neither.
type ifNames struct {
	byIndex                       map[uint32]*iface
	byName, byDescr, byAlias, mac map[string]*iface
}

func (d *device) names() ifNames {
	n := ifNames{d.ifaces, map[string]*iface{}, map[string]*iface{}, map[string]*iface{}, map[string]*iface{}}
	add := func(m map[string]*iface, key string, i *iface) {
		if key == "" {
			return
		}
		if _, twice := m[key]; twice {
			i = nil
		}
		m[key] = i
	}
	for _, i := range d.ifaces {
		add(n.byName, i.name, i)
		add(n.byDescr, i.descr, i)
		add(n.byAlias, i.alias, i)
		add(n.mac, i.mac, i)
	}
	return n
}

// of returns the name of the interface behind a local port number, which the
// standard does not make an ifIndex: first by what lldpLocPortTable calls it,
// then as an ifIndex after all, last by the table's own word for it.
func (n ifNames) of(port uint32, l *localPort) string {
	if l == nil {
		l = &localPort{}
	}
	if i := n.byLocal(l); i != nil {
		return i.name
	}
	if i := n.byIndex[port]; i != nil {
		return i.name
	}
	if l.sub == subPortInterfaceName && l.text != "" {
		return l.text
	}
	if l.descr != "" {
		return l.descr
	}
	return "port " + strconv.FormatUint(uint64(port), 10)
}

func (n ifNames) byLocal(l *localPort) *iface {
	first := func(maps ...map[string]*iface) *iface {
		for _, key := range []string{l.text, l.descr} {
			for _, m := range maps {
				if i := m[key]; i != nil {
					return i
				}
			}
		}
		return nil
	}
	switch l.sub {
	case subPortMAC:
		if i := n.mac[l.text]; i != nil {
			return i
		}
	case subPortLocal: // as often a number as a name
		if index, err := strconv.ParseUint(l.text, 10, 32); err == nil {
			if i := n.byIndex[uint32(index)]; i != nil {
				return i
			}
		}
	case subPortInterfaceAlias:
		return first(n.byAlias, n.byName, n.byDescr)
	}
	return first(n.byName, n.byDescr, n.byAlias)
}
