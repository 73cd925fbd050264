// Package snmp polls network devices, PDUs and whatever else speaks SNMP: the
// system group (RFC 3418), the interfaces (IF-MIB, RFC 2863) and the
// neighbours that each interface hears (LLDP-MIB of IEEE 802.1AB-2005, or
// LLDP-V2-MIB where there is only that).
//
// Samples bear the names and labels of snmp_exporter's if_mib module; counters
// are stored as the agent counts. An interface is known by its name: an
// ifIndex may change with each boot. What names things is read more seldom
// than what counts, and again as soon as the agent restarts, its interface
// table changes or an interface turns up that is not known yet; facts are part
// of those polls only, and what they did not see remains unseen until the next.
package snmp

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"nocturne/collector"
	"nocturne/internal/snmpconn"
)

const (
	// identityAge is how old names and neighbours may get.
	identityAge = time.Minute
	// forgetAfter is how long a target that is not polled is remembered.
	forgetAfter = time.Hour
)

// Source polls targets of kind "snmp".
type Source struct {
	pool       *snmpconn.Pool
	credential func(name string) (snmpconn.Credential, error)

	mu      sync.Mutex // guards below
	devices map[string]*device
	swept   time.Time
}

// device is what is remembered of one target between polls. The scheduler
// polls a target once at a time, so busy is never waited for long.
type device struct {
	busy    sync.Mutex // guards below
	used    time.Time  // guarded by Source.mu
	address string
	known
}

// known is what a device said of itself.
type known struct {
	named    time.Time // when ifaces was last read as a whole
	uptime   uint64
	ifNumber string
	ifChange string
	ifaces   map[uint32]*iface
	narrow   bool    // some interfaces have no 64-bit counters
	unnamed  []error // what was not seen when names and neighbours were last read
}

// New returns a Source. credential finds what a target's Credential names.
func New(pool *snmpconn.Pool, credential func(name string) (snmpconn.Credential, error)) *Source {
	return &Source{pool: pool, credential: credential, devices: map[string]*device{}}
}

// Poll reads one device. Without an answer to the system group it is an error;
// tables that could not be read whole are parts that were not seen.
func (s *Source) Poll(ctx context.Context, t collector.Target) (collector.Result, error) {
	cred, err := s.credential(t.Credential)
	if err != nil {
		return collector.Result{}, fmt.Errorf("credential %q: %w", t.Credential, err)
	}
	session, err := s.pool.Open(ctx, t.Address, cred)
	if err != nil {
		return collector.Result{}, err
	}
	defer session.Close()
	d := s.device(t.Name)
	d.busy.Lock()
	defer d.busy.Unlock()
	if d.address != t.Address { // another device of the same name
		d.address, d.known = t.Address, known{}
	}
	p := &poll{t: t, d: d, session: session}
	if err := p.run(ctx); err != nil {
		return collector.Result{}, err
	}
	return p.res, nil
}

func (s *Source) device(name string) *device {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if now.Sub(s.swept) > forgetAfter {
		for n, d := range s.devices {
			if now.Sub(d.used) > forgetAfter {
				delete(s.devices, n)
			}
		}
		s.swept = now
	}
	d := s.devices[name]
	if d == nil {
		d = &device{}
		s.devices[name] = d
	}
	d.used = now
	return d
}

// poll is one poll under way.
type poll struct {
	t       collector.Target
	d       *device
	session *snmpconn.Session
	sys     system
	res     collector.Result
}

func (p *poll) run(ctx context.Context) error {
	sys, err := readSystem(ctx, p.session)
	if err != nil {
		return err
	}
	p.sys = sys
	p.addScalars()
	counters := p.readCounters(ctx)
	if p.stale(counters) {
		p.identify(ctx)
	} else {
		p.res.Remains = p.d.unnamed
	}
	p.addCounters(counters)
	if len(p.res.Samples) == 0 && len(p.res.Facts) == 0 && len(p.res.Partial) > 0 {
		return errors.Join(p.res.Partial...)
	}
	return nil
}

// stale reports whether names and neighbours must be read again, and notes
// what that was decided on.
func (p *poll) stale(counters *table) bool {
	d := p.d
	again := time.Since(d.named) >= identityAge ||
		p.sys.uptime < d.uptime || // restarted, or wrapped after 497 days
		p.sys.ifNumber != d.ifNumber || p.sys.ifChange != d.ifChange
	for index := range counters.rows {
		if d.ifaces[index] == nil {
			again = true
			break
		}
	}
	if p.sys.uptime < d.uptime {
		d.ifaces = nil // an ifIndex may mean another interface now
	}
	d.uptime, d.ifNumber, d.ifChange = p.sys.uptime, p.sys.ifNumber, p.sys.ifChange
	return again
}

// identify reads what names interfaces and neighbours, and makes the facts.
func (p *poll) identify(ctx context.Context) {
	before := len(p.res.Partial)
	whole := p.readInterfaces(ctx)
	neighbours := p.readNeighbours(ctx)
	p.d.unnamed = slices.Clone(p.res.Partial[before:])
	if whole {
		p.d.named = time.Now()
	}
	p.addFacts(neighbours, whole)
}

// missed notes a part that was not seen.
func (p *poll) missed(what string, err error) {
	p.res.Partial = append(p.res.Partial, fmt.Errorf("%s: %w", what, err))
}

// system is the system group and what says whether names may have changed.
type system struct {
	descr, objectID, contact, name, location string
	uptime                                   uint64
	hasUptime                                bool
	ifNumber, ifChange                       string
	chassisID                                string
}

var (
	sysDescr          = snmpconn.MustOID("1.3.6.1.2.1.1.1.0")
	sysObjectID       = snmpconn.MustOID("1.3.6.1.2.1.1.2.0")
	sysUpTime         = snmpconn.MustOID("1.3.6.1.2.1.1.3.0")
	sysContact        = snmpconn.MustOID("1.3.6.1.2.1.1.4.0")
	sysName           = snmpconn.MustOID("1.3.6.1.2.1.1.5.0")
	sysLocation       = snmpconn.MustOID("1.3.6.1.2.1.1.6.0")
	ifNumber          = snmpconn.MustOID("1.3.6.1.2.1.2.1.0")
	ifTableLastChange = snmpconn.MustOID("1.3.6.1.2.1.31.1.5.0")
	lldpLocChassisSub = snmpconn.MustOID("1.0.8802.1.1.2.1.3.1.0")
	lldpLocChassis    = snmpconn.MustOID("1.0.8802.1.1.2.1.3.2.0")
)

func readSystem(ctx context.Context, s *snmpconn.Session) (system, error) {
	v, err := s.Get(ctx, sysDescr, sysObjectID, sysUpTime, sysContact, sysName, sysLocation,
		ifNumber, ifTableLastChange, lldpLocChassisSub, lldpLocChassis)
	if err != nil {
		return system{}, fmt.Errorf("read system group: %w", err)
	}
	sys := system{
		descr: clean(v[0].Text()), objectID: v[1].Text(), contact: clean(v[3].Text()),
		name: clean(v[4].Text()), location: clean(v[5].Text()),
		ifNumber: v[6].Text(), ifChange: v[7].Text(),
	}
	sys.uptime, sys.hasUptime = v[2].Uint()
	sub, _ := v[8].Uint()
	id, _ := v[9].Bytes()
	_, sys.chassisID = chassisID(sub, id)
	return sys, nil
}

// addScalars adds the samples that are one a device. More of them go here.
func (p *poll) addScalars() {
	if p.sys.hasUptime {
		p.res.Samples = append(p.res.Samples, collector.Sample{
			Labels: deviceLabels("sysUpTime", p.t.Name), V: float64(p.sys.uptime),
		})
	}
}

// addFacts adds the device and its interfaces as facts. Unless the interfaces
// were read whole, a port that is none of them may be one that was not seen,
// and what it hears is left out.
func (p *poll) addFacts(neighbours map[string]*collector.Neighbour, whole bool) {
	p.res.Facts = append(p.res.Facts, collector.Fact{
		Kind: "device", Key: p.t.Name, Name: p.t.Name,
		Fields: fields(
			"sysName", p.sys.name, "sysDescr", p.sys.descr, "sysObjectID", p.sys.objectID,
			"sysContact", p.sys.contact, "sysLocation", p.sys.location, "chassisID", p.sys.chassisID,
			"address", p.t.Address, "site", p.t.Site),
		Binding: map[string]string{"job": collector.Job(p.t.Kind), "instance": p.t.Name},
	})
	seen := map[string]int{}
	for _, i := range p.d.ifaces {
		seen[i.name]++
	}
	for _, i := range sorted(p.d.ifaces) {
		f := p.interfaceFact(i.key(seen[i.name] > 1), i.name)
		f.Fields = i.fields()
		f.Binding["ifName"] = i.name
		if seen[i.name] > 1 {
			f.Binding["ifIndex"] = i.indexText()
		}
		f.Neighbour = neighbours[i.name]
		delete(neighbours, i.name)
		p.res.Facts = append(p.res.Facts, f)
	}
	if !whole {
		return
	}
	for name, n := range neighbours { // ports that IF-MIB does not show
		f := p.interfaceFact(name, name)
		f.Binding, f.Neighbour = nil, n
		p.res.Facts = append(p.res.Facts, f)
	}
}

func (p *poll) interfaceFact(key, name string) collector.Fact {
	return collector.Fact{
		Kind: "interface", Key: p.t.Name + "/" + key, Name: name,
		Relations: []collector.Relation{{Type: "part-of", Kind: "device", Key: p.t.Name}},
		Binding:   map[string]string{"job": collector.Job(p.t.Kind), "instance": p.t.Name},
	}
}

// fields makes a map of pairs, without those that are empty.
func fields(pairs ...string) map[string]string {
	m := make(map[string]string, len(pairs)/2)
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			m[pairs[i]] = pairs[i+1]
		}
	}
	return m
}

// walkColumns walks the columns of a table and returns what it found, by the
// root's arc. what names the table where a part was not seen.
func (p *poll) walkColumns(ctx context.Context, what string, table snmpconn.OID, arcs []uint32) (map[uint32]snmpconn.Column, bool) {
	roots := make([]snmpconn.OID, len(arcs))
	for i, a := range arcs {
		roots[i] = table.Plus(a)
	}
	cols, err := p.session.Walk(ctx, roots...)
	if err != nil {
		p.missed(cmp.Or(what, table.String()), err)
	}
	out := make(map[uint32]snmpconn.Column, len(cols))
	for i, c := range cols {
		out[arcs[i]] = c
	}
	return out, err == nil
}
