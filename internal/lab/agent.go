package lab

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync/atomic"
	"time"
)

// agent answers SNMP v2c for one device.
type agent struct {
	lab       *Lab
	name      string
	role      string
	model     string
	community string
	place     Place
	mac       [6]byte
	ports     []*port
	tree      tree

	// How this device spells LLDP: which subtype names a port, where local
	// port numbers start, what its time marks are. Real devices differ so.
	portSubtype int
	localBase   uint32
	timeMark    uint32

	addr   netip.AddrPort
	conn   *net.UDPConn
	silent atomic.Bool
}

var portCounts = map[string]int{"spine": 64, "border": 32, "leaf": 24, "management": 64, "pdu": 1}

func newAgent(l *Lab, r *rand.Rand, name, role string) *agent {
	a := &agent{lab: l, name: name, role: role, community: fmt.Sprintf("lab-%08x", r.Uint32()), mac: newMAC(r),
		portSubtype: pick(r, []int{5, 5, 5, 3, 7, 1}), timeMark: pick(r, []uint32{0, 0, r.Uint32N(1 << 20)}),
		localBase: pick(r, []uint32{0, 0, 500}), model: pick(r, []string{"N1", "N2", "K7"})}
	n := portCounts[role]
	if role == "spine" || role == "management" {
		n = max(n, 2*l.opts.Racks+8)
	}
	pattern := map[string]string{"spine": "Ethernet1/%d", "border": "xe-0/0/%d", "leaf": "Ethernet%d", "management": "Gi1/0/%d", "pdu": "eth%d"}[role]
	first := pick(r, []uint32{1, 1, 10001})
	for i := range n {
		p := &port{agent: a, index: first + uint32(i), name: fmt.Sprintf(pattern, i+1), mac: newMAC(r), speed: speeds[role]}
		p.local = a.localBase + uint32(i) + 1
		p.remoteIndex = 1 + r.Uint32N(40)
		a.ports = append(a.ports, p)
	}
	return a
}

var speeds = map[string]uint64{"spine": 100_000, "border": 100_000, "leaf": 25_000, "management": 1_000, "pdu": 100} // Mbit/s

func newMAC(r *rand.Rand) [6]byte {
	x := r.Uint64()
	return [6]byte{0x02, byte(x >> 32), byte(x >> 24), byte(x >> 16), byte(x >> 8), byte(x)}
}

// freePort draws a port that has no cable yet.
func (a *agent) freePort(r *rand.Rand) *port {
	for _, i := range r.Perm(len(a.ports)) {
		if p := a.ports[i]; p.peer == nil {
			return p
		}
	}
	panic("lab: " + a.name + " has no free port; the hall is larger than its switches")
}

// finish gives each cabled port its load and builds the tree.
func (a *agent) finish(r *rand.Rand) {
	for _, p := range a.ports {
		p.load = load{rate: (0.02 + 0.4*r.Float64()) * float64(p.speed) * 125_000, period: time.Duration(60+r.IntN(600)) * time.Second, phase: r.Float64()}
	}
	a.build()
}

func (a *agent) uptime() time.Duration { return time.Since(a.lab.start) + 40*24*time.Hour }

func (a *agent) listen() error {
	c, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(a.addr))
	if err != nil {
		return fmt.Errorf("listen for agent %s: %w", a.name, err)
	}
	a.conn = c
	a.addr = c.LocalAddr().(*net.UDPAddr).AddrPort()
	return nil
}

func (a *agent) close() {
	if a.conn != nil {
		_ = a.conn.Close()
	}
}

func (a *agent) serve() error {
	buf := make([]byte, 65536)
	for {
		n, from, err := a.conn.ReadFromUDPAddrPort(buf)
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("agent %s: %w", a.name, err)
		}
		if a.silent.Load() {
			continue
		}
		// What cannot be parsed gets no answer, as RFC 3412 has it.
		if answer, err := a.answer(buf[:n]); err == nil && answer != nil {
			_, _ = a.conn.WriteToUDPAddrPort(answer, from)
		}
	}
}

// SilenceAgent makes an agent answer nothing, or answer again.
func (l *Lab) SilenceAgent(name string, silent bool) error {
	a, err := l.agent(name)
	if err == nil {
		a.silent.Store(silent)
	}
	return err
}
