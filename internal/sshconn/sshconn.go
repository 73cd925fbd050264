// Package sshconn reaches hosts over SSH: one pool for whoever reads
// (collector/linux) and whoever acts (automation/sshexec).
//
// A Pool logs in with keys only, accepts pinned host keys only, keeps
// connections in an LRU bounded in count and idle time, and bounds how many it
// opens at once: per target address, and per region, which stands for the jump
// host or firewall that all its hosts lie behind. sshd's MaxStartups
// (10:30:100 by default) resets what comes beyond; such a reset has its own
// class and is retried, since nothing was sent.
//
// Every phase has its own deadline: dial, handshake (key exchange and login),
// opening a session, silence in the output, and the command as a whole.
//
// Exec's one promise: whatever fails before BeforeSend returned nil was never
// sent; whatever fails after it without an exit status is class Lost, whose
// outcome nobody knows. All methods are safe for concurrent use.
package sshconn

import (
	"cmp"
	"container/list"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/VictoriaMetrics/metrics"
	"golang.org/x/crypto/ssh"
	"golang.org/x/time/rate"

	"nocturne/internal/secret"
)

// Credential is how to log in: a user and a private key in PEM or OpenSSH's
// format, with its passphrase when it is encrypted.
type Credential struct {
	User       string      `json:"user"`
	PrivateKey secret.Text `json:"privateKey"`
	Passphrase secret.Text `json:"passphrase,omitempty"`
}

// Host is whom to reach. Address is host:port (port 22 when it has none),
// Credential a name that Options.Credential knows, Region the name whose
// opening bounds apply.
type Host struct {
	Name, Address, Credential, Region string
}

// Options of a Pool. Zero values take the defaults named.
type Options struct {
	Credential func(name string) (Credential, error) // required; asked at every Exec
	HostKeys   HostKeys                              // required; asked at every Exec
	TrustFirst bool                                  // pin an unknown host's first key instead of refusing it
	Pinned     func(h Host, fingerprint string)      // told of each key pinned by TrustFirst; may be nil

	MaxKept         int           // connections kept (512); one in use is never closed, but not kept beyond the bound
	IdleTime        time.Duration // an unused connection is closed after it (5m)
	KeepAlive       time.Duration // a kept connection is asked for a sign of life this often (30s)
	KeepAliveWait   time.Duration // and dropped without an answer within this (45s)
	SessionsPerConn int           // sessions at once on a connection (8; OpenSSH's MaxSessions is 10)

	OpeningsPerHost   int           // openings at once to one address (1)
	OpeningsPerRegion int           // openings at once in a region (8; MaxStartups begins to refuse at 10)
	OpeningRate       float64       // openings a second in a region (50)
	RetryFor          time.Duration // how long a reset opening is retried, with backoff (15s)

	Dial      time.Duration // TCP connect (5s)
	Handshake time.Duration // key exchange and login (10s)
	Session   time.Duration // opening a session (5s)
	Silence   time.Duration // no output, ExecOptions' default (2m)
	Total     time.Duration // exec request to exit status, ExecOptions' default (10m)
	MaxOutput int64         // bytes kept of a command's output, ExecOptions' default (1 MiB)

	Log *slog.Logger
}

func (o *Options) setDefaults() error {
	if o.Credential == nil || o.HostKeys == nil {
		return errors.New("sshconn: Options.Credential and Options.HostKeys are required")
	}
	o.MaxKept = cmp.Or(o.MaxKept, 512)
	o.IdleTime = cmp.Or(o.IdleTime, 5*time.Minute)
	o.KeepAlive = cmp.Or(o.KeepAlive, 30*time.Second)
	o.KeepAliveWait = cmp.Or(o.KeepAliveWait, 45*time.Second)
	o.SessionsPerConn = cmp.Or(o.SessionsPerConn, 8)
	o.OpeningsPerHost = cmp.Or(o.OpeningsPerHost, 1)
	o.OpeningsPerRegion = cmp.Or(o.OpeningsPerRegion, 8)
	o.OpeningRate = cmp.Or(o.OpeningRate, 50)
	o.RetryFor = cmp.Or(o.RetryFor, 15*time.Second)
	o.Dial = cmp.Or(o.Dial, 5*time.Second)
	o.Handshake = cmp.Or(o.Handshake, 10*time.Second)
	o.Session = cmp.Or(o.Session, 5*time.Second)
	o.Silence = cmp.Or(o.Silence, 2*time.Minute)
	o.Total = cmp.Or(o.Total, 10*time.Minute)
	o.MaxOutput = cmp.Or(o.MaxOutput, 1<<20)
	o.Log = cmp.Or(o.Log, slog.Default())
	least := min(float64(o.MaxKept), float64(o.SessionsPerConn), float64(o.OpeningsPerHost), float64(o.OpeningsPerRegion),
		float64(o.IdleTime), float64(o.KeepAlive), float64(o.KeepAliveWait), float64(o.RetryFor), float64(o.Dial),
		float64(o.Handshake), float64(o.Session), float64(o.Silence), float64(o.Total), float64(o.MaxOutput), o.OpeningRate)
	if least < 0 {
		return errors.New("sshconn: a bound or deadline in Options is negative")
	}
	return nil
}

// Pool holds the kept connections and the bounds on opening more.
type Pool struct {
	o       Options
	hosts   *slots // openings by address
	regions *slots // openings by region
	signers signers

	mu     sync.Mutex // guards below
	kept   map[key][]*conn
	lru    *list.List // of *conn, most recently used first
	rates  map[string]*rate.Limiter
	execs  map[uint64]context.CancelCauseFunc
	nextID uint64
	closed bool
	stats  Stats

	wg sync.WaitGroup // Execs, and a watcher for each connection
}

// Stats is what a pool holds and has done.
type Stats struct {
	Kept, InUse                  int    // connections held; of them with a session
	Opened, Reused, Resets       uint64 // connections opened; Execs on a kept one; openings reset and retried
	MaxOpening, MaxOpeningRegion int    // most openings at once, in all and in one region
}

var errClosed = errors.New("the SSH pool is closed")

// New checks the options; it opens nothing.
func New(o Options) (*Pool, error) {
	if err := o.setDefaults(); err != nil {
		return nil, err
	}
	return &Pool{
		o:       o,
		hosts:   newSlots(o.OpeningsPerHost),
		regions: newSlots(o.OpeningsPerRegion),
		kept:    map[key][]*conn{},
		lru:     list.New(),
		rates:   map[string]*rate.Limiter{},
		execs:   map[uint64]context.CancelCauseFunc{},
	}, nil
}

// Stats counts.
func (p *Pool) Stats() Stats {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.stats
	s.Kept = p.lru.Len()
	for e := p.lru.Front(); e != nil; e = e.Next() {
		if e.Value.(*conn).active > 0 {
			s.InUse++
		}
	}
	s.MaxOpening, s.MaxOpeningRegion = p.regions.marks()
	return s
}

// Run closes what is idle and asks kept connections for signs of life until
// ctx ends.
func (p *Pool) Run(ctx context.Context) error {
	tick := time.NewTicker(min(p.o.KeepAlive, p.o.IdleTime))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			p.closeIdle(time.Now())
			p.keepAlive(ctx)
		}
	}
}

// Close ends every connection and returns when every Exec has: those whose
// command was sent get class Lost.
func (p *Pool) Close() error {
	p.mu.Lock()
	p.closed = true
	for _, cancel := range p.execs {
		cancel(errClosed)
	}
	for e := p.lru.Front(); e != nil; e = e.Next() {
		e.Value.(*conn).nc.Close()
	}
	p.mu.Unlock()
	p.wg.Wait()
	return nil
}

// begin registers an Exec, so that Close can end it.
func (p *Pool) begin(ctx context.Context) (context.Context, func(), error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, nil, errClosed
	}
	ctx, cancel := context.WithCancelCause(ctx)
	p.nextID++
	id := p.nextID
	p.execs[id] = cancel
	p.wg.Add(1)
	return ctx, func() {
		cancel(nil)
		p.mu.Lock()
		delete(p.execs, id)
		p.mu.Unlock()
		p.wg.Done()
	}, nil
}

// limiter returns the region's opening rate.
func (p *Pool) limiter(region string) *rate.Limiter {
	p.mu.Lock()
	defer p.mu.Unlock()
	l := p.rates[region]
	if l == nil {
		l = rate.NewLimiter(rate.Limit(p.o.OpeningRate), p.o.OpeningsPerRegion)
		p.rates[region] = l
	}
	return l
}

func count(what, result string) {
	metrics.GetOrCreateCounter(fmt.Sprintf("nocturne_sshconn_%s_total{result=%q}", what, result)).Inc()
}

// address completes host:port with SSH's port.
func (h Host) address() string {
	if _, _, err := net.SplitHostPort(h.Address); err != nil && h.Address != "" {
		return net.JoinHostPort(h.Address, "22")
	}
	return h.Address
}

// Fingerprint is a key's SHA256 fingerprint as ssh-keygen prints it, with its
// type.
func Fingerprint(k ssh.PublicKey) string { return k.Type() + " " + ssh.FingerprintSHA256(k) }
