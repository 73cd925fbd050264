package lab

import (
	"fmt"
	"math"
	"sync/atomic"
	"time"
)

// port is one interface of an agent.
type port struct {
	agent       *agent
	index       uint32 // ifIndex
	local       uint32 // lldpLocPortNum
	remoteIndex uint32
	name        string
	mac         [6]byte
	speed       uint64 // Mbit/s
	load        load
	peer        *peer

	down      atomic.Bool
	changedAt atomic.Int64 // nanoseconds of uptime at the last change of state
}

// peer is the other end of a cable: a port of an agent or a card of a host.
type peer struct {
	agent *agent
	host  *host
	port  string
}

type neighbour struct {
	chassis           [6]byte
	portSubtype       int
	portID, portDescr string
	sysName, sysDescr string
}

func (p *peer) lldp() neighbour {
	if p.host != nil {
		return neighbour{p.host.mac, 5, p.port, p.port, p.host.name, "Debian GNU/Linux 12 (lab)"}
	}
	remote := p.agent.portNamed(p.port)
	subtype, id := remote.lldpID(p.agent.portSubtype)
	return neighbour{p.agent.mac, subtype, id, remote.name, p.agent.name, "nocturne lab " + p.agent.role}
}

func (a *agent) portNamed(name string) *port {
	for _, p := range a.ports {
		if p.name == name {
			return p
		}
	}
	return nil
}

// lldpID spells the port as LLDP's subtypes do: 1 interfaceAlias, 3
// macAddress, 5 interfaceName, 7 local.
func (p *port) lldpID(subtype int) (int, string) {
	switch subtype {
	case 1:
		return 1, p.alias()
	case 3:
		return 3, string(p.mac[:])
	case 7:
		return 7, fmt.Sprint(p.index)
	}
	return 5, p.name
}

func (p *port) alias() string {
	switch {
	case p.peer == nil:
		return fmt.Sprintf("free %s", p.name)
	case p.peer.host != nil:
		return fmt.Sprintf("to %s %s", p.peer.host.name, p.peer.port)
	}
	return fmt.Sprintf("to %s %s", p.peer.agent.name, p.peer.port)
}

func (p *port) admin() int {
	if p.peer == nil {
		return 2
	}
	return 1
}

// oper is ifOperStatus: 1 up, 2 down.
func (p *port) oper() int {
	if p.peer == nil || p.down.Load() {
		return 2
	}
	return 1
}

func (p *port) changed() time.Duration { return time.Duration(p.changedAt.Load()) }

func (p *port) setDown(down bool) {
	if p.down.Swap(down) != down {
		p.changedAt.Store(int64(p.agent.uptime()))
	}
}

type counter int

const (
	inOctets counter = iota
	outOctets
	inUnicast
	outUnicast
	inErrors
	outErrors
	inDiscards
	outDiscards
)

// load is a rate that swings around its mean; its integral is exact, so
// that counters never fall.
type load struct {
	rate   float64 // bytes/s
	period time.Duration
	phase  float64
}

// total is the integral of rate*(1+0.6*sin) from the hall's start.
func (l load) total(t time.Duration) float64 {
	w := 2 * math.Pi / l.period.Seconds()
	s, f := t.Seconds(), 2*math.Pi*l.phase
	return l.rate * (s + 0.6/w*(math.Cos(f)-math.Cos(w*s+f)))
}

func (p *port) count(c counter) uint64 {
	if p.peer == nil {
		return 0
	}
	t := p.agent.uptime()
	if p.down.Load() {
		t = p.changed()
	}
	bytes := p.load.total(t)
	switch c {
	case inOctets:
		return uint64(bytes)
	case outOctets:
		return uint64(bytes * 0.6)
	case inUnicast:
		return uint64(bytes / 700)
	case outUnicast:
		return uint64(bytes * 0.6 / 700)
	}
	return 0
}

// LinkDown takes the cable of an agent's port out, or puts it back; both ends
// see it.
func (l *Lab) LinkDown(name, portName string, down bool) error {
	a, err := l.agent(name)
	if err != nil {
		return err
	}
	p := a.portNamed(portName)
	if p == nil || p.peer == nil {
		return fmt.Errorf("agent %s has no cabled port %q", name, portName)
	}
	p.setDown(down)
	if p.peer.agent != nil {
		p.peer.agent.portNamed(p.peer.port).setDown(down)
	}
	return nil
}
