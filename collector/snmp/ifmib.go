package snmp

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strconv"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"

	"nocturne/collector"
	"nocturne/internal/snmpconn"
)

var (
	ifEntry  = snmpconn.MustOID("1.3.6.1.2.1.2.2.1")
	ifXEntry = snmpconn.MustOID("1.3.6.1.2.1.31.1.1.1")
)

// metric is one column that is stored as samples.
type metric struct {
	name  string
	entry snmpconn.OID
	arc   uint32
}

// always are the columns that every poll reads.
var always = []metric{
	{"ifAdminStatus", ifEntry, 7},
	{"ifOperStatus", ifEntry, 8},
	{"ifLastChange", ifEntry, 9},
	{"ifInDiscards", ifEntry, 13},
	{"ifInErrors", ifEntry, 14},
	{"ifOutDiscards", ifEntry, 19},
	{"ifOutErrors", ifEntry, 20},
	{"ifHighSpeed", ifXEntry, 15},
	{"ifHCInOctets", ifXEntry, 6},
	{"ifHCInUcastPkts", ifXEntry, 7},
	{"ifHCInMulticastPkts", ifXEntry, 8},
	{"ifHCInBroadcastPkts", ifXEntry, 9},
	{"ifHCOutOctets", ifXEntry, 10},
	{"ifHCOutUcastPkts", ifXEntry, 11},
	{"ifHCOutMulticastPkts", ifXEntry, 12},
	{"ifHCOutBroadcastPkts", ifXEntry, 13},
}

// narrow are the 32-bit counters, read where an interface has no others.
var narrow = []metric{
	{"ifInOctets", ifEntry, 10},
	{"ifInUcastPkts", ifEntry, 11},
	{"ifOutOctets", ifEntry, 16},
	{"ifOutUcastPkts", ifEntry, 17},
}

// hcInOctets is the position in always that tells whether there are 64 bits.
const hcInOctets = 8

var metrics = slices.Concat(always, narrow)

// table is what one poll read of the interfaces: by ifIndex, and within a row
// by the position in metrics.
type table struct {
	rows map[uint32]*row
}

type row struct {
	v   [20]float64
	has [20]bool
}

// readCounters reads the columns that are stored as samples.
func (p *poll) readCounters(ctx context.Context) *table {
	t := &table{rows: map[uint32]*row{}}
	whole := p.fill(ctx, t, 0, len(always))
	lacking := false
	for _, r := range t.rows {
		lacking = lacking || !r.has[hcInOctets]
	}
	if whole { // what was not seen is not what is not there
		p.d.narrow = lacking
	}
	if p.d.narrow {
		p.fill(ctx, t, len(always), len(metrics))
	}
	return t
}

// fill walks metrics[from:to] into t.
func (p *poll) fill(ctx context.Context, t *table, from, to int) (whole bool) {
	roots := make([]snmpconn.OID, 0, to-from)
	for _, m := range metrics[from:to] {
		roots = append(roots, m.entry.Plus(m.arc))
	}
	cols, err := p.session.Walk(ctx, roots...)
	if err != nil {
		p.missed("interface counters", err)
	}
	for i, c := range cols {
		for _, v := range c.Rows {
			index := v.Index(c.Root)
			n, ok := v.Number()
			if len(index) != 1 || !ok {
				continue
			}
			r := t.rows[index[0]]
			if r == nil {
				r = &row{}
				t.rows[index[0]] = r
			}
			r.v[from+i], r.has[from+i] = n, true
		}
	}
	return err == nil
}

// addCounters adds the samples of all interfaces that have a name. An
// interface with 64-bit counters is not stored twice.
func (p *poll) addCounters(t *table) {
	for index, r := range t.rows {
		i := p.d.ifaces[index]
		if i == nil {
			continue // its names could not be read, which has been noted
		}
		for m := range metrics {
			if !r.has[m] || m >= len(always) && r.has[hcInOctets] {
				continue
			}
			p.res.Samples = append(p.res.Samples, collector.Sample{Labels: i.labels(p.t.Name, m), V: r.v[m]})
		}
	}
}

// iface is what names one interface.
type iface struct {
	index             uint32
	name              string // ifName, else ifDescr, else made of the index
	descr, alias, mac string
	ifType            string
	speed             string // bit/s
	cached            [20]labels.Labels
}

func (i *iface) indexText() string { return strconv.FormatUint(uint64(i.index), 10) }

// key is the interface's key within its device. Where two bear one name, the
// index tells them apart.
func (i *iface) key(ambiguous bool) string {
	if ambiguous {
		return i.name + "#" + i.indexText()
	}
	return i.name
}

func (i *iface) fields() map[string]string {
	return fields("ifIndex", i.indexText(), "ifDescr", i.descr, "ifAlias", i.alias,
		"ifType", i.ifType, "physAddress", i.mac, "speed", i.speed)
}

// labels returns the labels of one metric of the interface, made once.
func (i *iface) labels(instance string, m int) labels.Labels {
	if i.cached[m].IsEmpty() {
		i.cached[m] = labels.FromStrings(model.MetricNameLabel, metrics[m].name, "job", "snmp", "instance", instance,
			"ifIndex", i.indexText(), "ifName", i.name, "ifAlias", i.alias, "ifDescr", i.descr)
	}
	return i.cached[m]
}

func (i *iface) same(j *iface) bool {
	return i.name == j.name && i.descr == j.descr && i.alias == j.alias
}

func deviceLabels(name, instance string) labels.Labels {
	return labels.FromStrings(model.MetricNameLabel, name, "job", "snmp", "instance", instance)
}

// readInterfaces reads what names the interfaces. Labels made of half a name
// would be new series: without every column that makes labels, what was known
// stays as it was.
func (p *poll) readInterfaces(ctx context.Context) (whole bool) {
	a, okA := p.walkColumns(ctx, "interface names (ifTable)", ifEntry, []uint32{2, 3, 5, 6})
	b, okB := p.walkColumns(ctx, "interface names (ifXTable)", ifXEntry, []uint32{1, 15, 18})
	if a[2].Err != nil || b[1].Err != nil || b[18].Err != nil {
		return false
	}
	found := map[uint32]*iface{}
	each := func(c snmpconn.Column, set func(*iface, snmpconn.Var)) {
		for _, v := range c.Rows {
			index := v.Index(c.Root)
			if len(index) != 1 {
				continue
			}
			i := found[index[0]]
			if i == nil {
				i = &iface{index: index[0]}
				found[index[0]] = i
			}
			set(i, v)
		}
	}
	each(a[2], func(i *iface, v snmpconn.Var) { i.descr = clean(v.Text()) })
	each(a[3], func(i *iface, v snmpconn.Var) { i.ifType = v.Text() })
	each(a[5], func(i *iface, v snmpconn.Var) { i.speed = v.Text() })
	each(a[6], func(i *iface, v snmpconn.Var) { i.mac = physAddress(v) })
	each(b[1], func(i *iface, v snmpconn.Var) { i.name = clean(v.Text()) })
	each(b[15], func(i *iface, v snmpconn.Var) {
		if mega, ok := v.Uint(); ok && mega > 0 {
			i.speed = strconv.FormatUint(mega*1_000_000, 10)
		}
	})
	each(b[18], func(i *iface, v snmpconn.Var) { i.alias = clean(v.Text()) })
	for index, i := range found {
		i.name = cmp.Or(i.name, i.descr, "if"+i.indexText())
		if old := p.d.ifaces[index]; old != nil && old.same(i) {
			i.cached = old.cached
			i.mac, i.ifType, i.speed = cmp.Or(i.mac, old.mac), cmp.Or(i.ifType, old.ifType), cmp.Or(i.speed, old.speed)
		}
	}
	p.d.ifaces = found
	return okA && okB
}

func sorted(m map[uint32]*iface) []*iface {
	return slices.SortedFunc(maps.Values(m), func(a, b *iface) int { return cmp.Compare(a.index, b.index) })
}
