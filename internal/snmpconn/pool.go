package snmpconn

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/gosnmp/gosnmp"
)

const (
	defaultTimeout = time.Second
	defaultRetries = 2
	defaultMaxRows = 20000
	defaultColumns = 8
	startReps      = 10
	maxReps        = 25
	// forget is how long what was learnt of an unused agent is kept, and how
	// long an agent counts as one that ignores GetBulk.
	forget = time.Hour
	spare  = 64 // clients kept for their buffers of 64 KiB
)

// Options bound what a Pool does to an agent. Zero values mean the defaults.
type Options struct {
	// Timeout is how long one message waits for its answer; 1 s.
	Timeout time.Duration
	// Retries is how often a message is sent again; 2, negative for none. An
	// answer to an earlier one counts, so slow agents are not asked for ever.
	Retries int
	// MaxRows bounds the rows read of one column; 20,000.
	MaxRows int
	// Columns is how many columns are asked for in a message; 8.
	Columns int
}

// Pool keeps what is known of each agent, and the buffers to talk to them.
type Pool struct {
	o     Options
	spare chan *gosnmp.GoSNMP

	mu     sync.Mutex // guards below
	agents map[agentKey]*agent
	swept  time.Time
}

type agentKey struct {
	address string
	cred    Credential
}

// agent is what was learnt of one agent. busy guards the fields after it.
type agent struct {
	busy    chan struct{} // capacity 1: held by the session that is open
	used    time.Time     // guarded by Pool.mu
	waiting int           // guarded by Pool.mu: sessions open or waiting

	usm     *gosnmp.UsmSecurityParameters
	ready   bool // usm has been prepared by gosnmp
	spoke   bool // has answered with this credential
	reps    int  // rows asked for in a message
	maxReps int  // what reps may grow to
	columns int
	bulk    bulkState
}

// bulkState is what is known about GetBulk at an agent.
type bulkState struct {
	proven   bool
	strikes  int       // walks in a row in which GetNext was answered and GetBulk was not
	banUntil time.Time // not tried before
}

// New returns a Pool.
func New(o Options) *Pool {
	o.Timeout = cmp.Or(o.Timeout, defaultTimeout)
	o.Retries = max(cmp.Or(o.Retries, defaultRetries), 0)
	o.MaxRows = cmp.Or(o.MaxRows, defaultMaxRows)
	o.Columns = min(cmp.Or(o.Columns, defaultColumns), gosnmp.MaxOids)
	return &Pool{o: o, spare: make(chan *gosnmp.GoSNMP, spare), agents: map[agentKey]*agent{}}
}

// Open starts a session with the agent at host or host:port, waiting for any
// other session with it to be closed. It sends nothing.
func (p *Pool) Open(ctx context.Context, address string, c Credential) (*Session, error) {
	fail := func(class Class, err error) error { return &Error{Class: class, Address: address, Err: err} }
	if err := c.Validate(); err != nil {
		return nil, fail(Config, err)
	}
	host, port, err := splitAddress(address)
	if err != nil {
		return nil, fail(Config, err)
	}
	a := p.agent(agentKey{address, c})
	select {
	case a.busy <- struct{}{}:
	case <-ctx.Done():
		p.leave(a)
		return nil, fail(Timeout, fmt.Errorf("wait for an earlier session: %w", ctx.Err()))
	}
	s := &Session{pool: p, agent: a, address: address, cred: c}
	if err := s.connect(ctx, host, port); err != nil {
		<-a.busy
		p.leave(a)
		return nil, fail(Timeout, fmt.Errorf("open socket: %w", err))
	}
	return s, nil
}

func (p *Pool) agent(k agentKey) *agent {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if now.Sub(p.swept) > forget {
		for k, a := range p.agents {
			if a.waiting == 0 && now.Sub(a.used) > forget {
				delete(p.agents, k)
			}
		}
		p.swept = now
	}
	a := p.agents[k]
	if a == nil {
		a = &agent{busy: make(chan struct{}, 1), usm: k.cred.usm(), reps: startReps, maxReps: maxReps, columns: p.o.Columns}
		p.agents[k] = a
	}
	a.used = now
	a.waiting++
	return a
}

func (p *Pool) leave(a *agent) {
	p.mu.Lock()
	defer p.mu.Unlock()
	a.waiting--
}

// client returns a GoSNMP that nobody uses, with its buffer when known is set.
func (p *Pool) client() (g *gosnmp.GoSNMP, used bool) {
	select {
	case g = <-p.spare:
		return g, true
	default:
		return &gosnmp.GoSNMP{}, false
	}
}

func (p *Pool) giveBack(g *gosnmp.GoSNMP) {
	g.Community, g.ContextName, g.ContextEngineID = "", "", ""
	g.SecurityParameters, g.Context = nil, nil
	select {
	case p.spare <- g:
	default:
	}
}

func splitAddress(address string) (host string, port uint16, err error) {
	host, sport, err := net.SplitHostPort(address)
	if err != nil {
		return address, 161, nilIfHost(address)
	}
	n, err := strconv.ParseUint(sport, 10, 16)
	if err != nil || n == 0 || host == "" {
		return "", 0, fmt.Errorf("address %q is not host or host:port", address)
	}
	return host, uint16(n), nil
}

// nilIfHost takes a name or an IP address without a port.
func nilIfHost(s string) error {
	if s == "" {
		return fmt.Errorf("address is empty")
	}
	if net.ParseIP(s) == nil {
		for _, r := range s {
			if r == ':' || r == '[' || r == ']' || r == '/' || r == ' ' {
				return fmt.Errorf("address %q is not host or host:port", s)
			}
		}
	}
	return nil
}
