// Package lab simulates a data centre hall on loopback, all in this process:
// SNMP agents that form a leaf-spine with LLDP neighbours, racks with power
// distribution units, SSH hosts whose services have a state that systemctl
// reads and changes, an OpenStack API that replays recorded true answers, and
// a timeline of faults. It is wired at random from a seed, so that the same
// seed gives the same hall and another seed another.
//
// The demo and the tests use it; nothing else imports it. Its Journal is the
// witness of what ran on its hosts, and its Links are the truth that a
// discovered topology is held against.
//
// Addresses: agents on 127.20.R.N, hosts on 127.31.0.N, 127.32.0.N and
// 127.33.0.N (three regions), each on a port of its own.
package lab

import (
	"cmp"
	"context"
	"crypto/ed25519"
	"encoding/pem"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sync/errgroup"

	"nocturne/internal/secret"
)

// Options size a hall. Zero values are the demo's: 8 racks, 40 agents, 24 hosts.
type Options struct {
	Seed   uint64
	Racks  int // each with two leaves and two PDUs
	Spines int
	Hosts  int // spread over the racks
	Log    *slog.Logger
}

// Lab is one simulated hall.
type Lab struct {
	opts  Options
	log   *slog.Logger
	start time.Time
	ready chan struct{}

	racks  []Rack
	agents []*agent
	hosts  []*host
	links  []Link
	cloud  *cloud

	clientKey ssh.PublicKey
	keyPEM    secret.Text
	journal   journal

	mu     sync.Mutex
	remedy RemedyMode // mu guards it
}

// Rack is a cabinet of the hall.
type Rack struct {
	Name  string
	Row   string
	Units int
}

// Place says where in which rack something stands; U is the lowest unit, 1 at
// the floor, and 0 for what hangs at the side.
type Place struct {
	Rack   string
	U      int
	Height int
	Face   string
}

// Link is one cable of the fabric between two agents' ports, or between a
// host's and an agent's.
type Link struct {
	A, APort, B, BPort string
}

// maxPerRack is how many hosts a rack's units and its leaves' ports have room
// for, with every spine cabled.
const maxPerRack = 12

// New wires a hall from the seed and opens its sockets on loopback, so that
// every address is known; Run answers on them.
func New(o Options) (*Lab, error) {
	o.Racks = cmp.Or(o.Racks, 8)
	o.Spines = cmp.Or(o.Spines, 4)
	o.Hosts = cmp.Or(o.Hosts, 24)
	if o.Racks < 1 || o.Racks > 120 || o.Hosts < 1 || o.Hosts > 720 || o.Spines < 2 {
		return nil, fmt.Errorf("lab of %d racks, %d spines, %d hosts: wants 1-120 racks, at least 2 spines, 1-720 hosts", o.Racks, o.Spines, o.Hosts)
	}
	if perRack := (o.Hosts + o.Racks - 1) / o.Racks; perRack > maxPerRack || o.Spines > 12 {
		return nil, fmt.Errorf("lab of %d racks, %d spines, %d hosts: at most %d hosts a rack and 12 spines fit its switches", o.Racks, o.Spines, o.Hosts, maxPerRack)
	}
	l := &Lab{opts: o, log: cmp.Or(o.Log, slog.New(slog.DiscardHandler)), start: time.Now(), ready: make(chan struct{})}
	r := rand.New(rand.NewPCG(o.Seed, 0x6e6f637475726e65))
	if err := l.makeClientKey(r); err != nil {
		return nil, err
	}
	l.wire(r)
	c, err := newCloud()
	if err != nil {
		return nil, err
	}
	l.cloud = c
	if err := l.listen(); err != nil {
		l.closeAll()
		return nil, err
	}
	return l, nil
}

func (l *Lab) makeClientKey(r *rand.Rand) error {
	pub, priv := keyFrom(r)
	block, err := ssh.MarshalPrivateKey(priv, "lab")
	if err != nil {
		return fmt.Errorf("encode the lab's client key: %w", err)
	}
	l.keyPEM = secret.Text(pem.EncodeToMemory(block))
	l.clientKey, err = ssh.NewPublicKey(pub)
	return err
}

// keyFrom derives a key from the hall's random source: the same seed gives the
// same keys. They open nothing but this simulation.
func keyFrom(r *rand.Rand) (ed25519.PublicKey, ed25519.PrivateKey) {
	seed := make([]byte, ed25519.SeedSize)
	for i := range seed {
		seed[i] = byte(r.Uint32())
	}
	priv := ed25519.NewKeyFromSeed(seed)
	return priv.Public().(ed25519.PublicKey), priv
}

func (l *Lab) listen() error {
	for _, a := range l.agents {
		if err := a.listen(); err != nil {
			return err
		}
	}
	for _, h := range l.hosts {
		if err := h.listen(); err != nil {
			return err
		}
	}
	return l.cloud.listen()
}

func (l *Lab) closeAll() {
	for _, a := range l.agents {
		a.close()
	}
	for _, h := range l.hosts {
		h.close()
	}
	l.cloud.close()
}

// Run answers until ctx ends.
func (l *Lab) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, a := range l.agents {
		g.Go(a.serve)
	}
	for _, h := range l.hosts {
		g.Go(h.serve)
	}
	g.Go(l.cloud.serve)
	g.Go(func() error {
		<-ctx.Done()
		l.closeAll()
		return nil
	})
	close(l.ready)
	return g.Wait()
}

// Ready is closed once Run answers.
func (l *Lab) Ready() <-chan struct{} { return l.ready }

// Seed is what the hall was wired from.
func (l *Lab) Seed() uint64 { return l.opts.Seed }

// Racks returns the cabinets by name.
func (l *Lab) Racks() []Rack { return l.racks }

// Links returns every cable: the truth for a topology.
func (l *Lab) Links() []Link { return l.links }

// SSHKey is the private key, in OpenSSH's PEM, that opens every host.
func (l *Lab) SSHKey() secret.Text { return l.keyPEM }

// Region is a part of the hall's network with hosts in it.
type Region struct {
	Name   string
	Prefix string
}

var regions = []Region{{"north", "127.31.0.0/16"}, {"east", "127.32.0.0/16"}, {"south", "127.33.0.0/16"}}

// Regions returns the three regions that the hosts' addresses fall into.
func (l *Lab) Regions() []Region { return regions }

// Agent is what a collector needs to know of one SNMP agent.
type Agent struct {
	Name, Address, Community, Role string // Role: spine, leaf, border, management, pdu
	Place                          Place
}

// Agents returns the SNMP agents.
func (l *Lab) Agents() []Agent {
	out := make([]Agent, len(l.agents))
	for i, a := range l.agents {
		out[i] = Agent{Name: a.name, Address: a.addr.String(), Community: a.community, Role: a.role, Place: a.place}
	}
	return out
}

// Host is what a collector and an executor need to know of one SSH host.
type Host struct {
	Name, Address, Region, User string
	Place                       Place
	Services                    []string // units worth watching
}

// Hosts returns the SSH hosts.
func (l *Lab) Hosts() []Host {
	out := make([]Host, len(l.hosts))
	for i, h := range l.hosts {
		out[i] = Host{Name: h.name, Address: h.addr.String(), Region: h.region, User: "ops", Place: h.place, Services: h.services}
	}
	return out
}

// KnownHosts is every host's key in OpenSSH's known_hosts format.
func (l *Lab) KnownHosts() []byte {
	var out []byte
	for _, h := range l.hosts {
		out = fmt.Appendf(out, "[%s]:%d %s", h.addr.Addr(), h.addr.Port(), ssh.MarshalAuthorizedKey(h.key.PublicKey()))
	}
	return out
}

func (l *Lab) host(name string) (*host, error) {
	for _, h := range l.hosts {
		if h.name == name {
			return h, nil
		}
	}
	return nil, fmt.Errorf("the lab has no host %q", name)
}

func (l *Lab) agent(name string) (*agent, error) {
	for _, a := range l.agents {
		if a.name == name {
			return a, nil
		}
	}
	return nil, fmt.Errorf("the lab has no agent %q", name)
}
