// Package fleet simulates thousands of SSH hosts on loopback addresses
// (127.0.0.0/8) in one process, with scripted answers, fault modes, and a
// journal of every command that ran, so that a test can prove that a command
// ran at most once per host and that concurrency bounds were kept. Only tests
// import it.
package fleet

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ssh"
)

// Config describes a fleet. The zero value of every optional field is usable.
type Config struct {
	Hosts []netip.Addr // loopback addresses to serve (see ParseHosts)
	Port  int          // TCP port on every address
	Seed  string       // host keys and percentage faults derive from it, so runs repeat

	HostKeys   []string        // "ed25519" (default), "rsa" (one shared 3072-bit key)
	Authorized []ssh.PublicKey // accepted user keys; none and no Password: any key is accepted
	Password   string          // accepted password, if set
	Crypto     ssh.Config      // key exchanges, ciphers, MACs offered

	Latency time.Duration // wait before each command's answer
	Answers []Answer      // tried before the built-in answers, first match wins
	Faults  []Rule        // last match wins

	SlowChunk  int           // SlowOutput: bytes per write (default 64)
	SlowEvery  time.Duration // SlowOutput: pause between writes (default 200ms)
	SlowChunks int           // SlowOutput: writes (default 50)
	HugeBytes  int64         // HugeOutput: total bytes (default 64 MiB)
	DropAfter  int           // DropOutput: bytes before the connection is reset (default 4096)
	ExitCode   int           // ExitNonZero: the status (default 3)

	Journal io.Writer // JSON lines, one per start and end of a command; may be nil
}

// Fleet is a running simulator.
type Fleet struct {
	cfg   Config
	hosts map[netip.Addr]*host
	rules atomic.Pointer[[]Rule]
	rsa   ssh.Signer
	lns   []net.Listener
	done  chan struct{}
	wg    sync.WaitGroup

	jmu   sync.Mutex
	seq   atomic.Int64
	conns sync.Map // net.Conn -> struct{}

	stats counters
}

type counters struct {
	Accepted, Handshakes, AuthFailed, Execs, Completed, Dropped atomic.Int64
	open, maxOpen, running, maxRunning                          atomic.Int64
}

type host struct {
	addr                                       netip.Addr
	once                                       sync.Once
	key                                        ssh.Signer
	conns, execs, open, maxOpen, running, maxR atomic.Int64
}

// Start opens the listeners and serves until Close.
func Start(cfg Config) (*Fleet, error) {
	setDefaults(&cfg)
	f := &Fleet{cfg: cfg, done: make(chan struct{}), hosts: make(map[netip.Addr]*host, len(cfg.Hosts))}
	for _, a := range cfg.Hosts {
		if !a.Is4() || !a.IsLoopback() {
			return nil, fmt.Errorf("fleet: %s is not an IPv4 loopback address", a)
		}
		f.hosts[a] = &host{addr: a}
	}
	f.SetFaults(cfg.Faults)
	for i := range cfg.Answers {
		if err := cfg.Answers[i].compile(); err != nil {
			return nil, err
		}
	}
	for _, k := range cfg.HostKeys {
		if k == "rsa" {
			pk, err := rsa.GenerateKey(rand.Reader, 3072)
			if err != nil {
				return nil, err
			}
			if f.rsa, err = ssh.NewSignerFromKey(pk); err != nil {
				return nil, err
			}
		}
	}
	if err := f.listen(); err != nil {
		f.Close()
		return nil, err
	}
	for _, ln := range f.lns {
		f.wg.Add(1)
		go f.accept(ln)
	}
	return f, nil
}

func setDefaults(c *Config) {
	if len(c.HostKeys) == 0 {
		c.HostKeys = []string{"ed25519"}
	}
	def := func(p *int, v int) {
		if *p == 0 {
			*p = v
		}
	}
	def(&c.SlowChunk, 64)
	def(&c.SlowChunks, 50)
	def(&c.DropAfter, 4096)
	def(&c.ExitCode, 3)
	if c.SlowEvery == 0 {
		c.SlowEvery = 200 * time.Millisecond
	}
	if c.HugeBytes == 0 {
		c.HugeBytes = 64 << 20
	}
}

func (f *Fleet) listen() error {
	for _, a := range f.cfg.Hosts {
		if f.ModeOf(a) == Refuse {
			continue
		}
		ln, err := net.Listen("tcp4", netip.AddrPortFrom(a, uint16(f.cfg.Port)).String())
		if err != nil {
			return err
		}
		f.lns = append(f.lns, ln)
	}
	return nil
}

// Close stops the listeners and resets every open connection.
func (f *Fleet) Close() {
	close(f.done)
	for _, ln := range f.lns {
		ln.Close()
	}
	f.conns.Range(func(k, _ any) bool { k.(net.Conn).Close(); return true })
	f.wg.Wait()
}

// SetFaults replaces the fault rules; open connections keep the mode they had
// when they were accepted.
func (f *Fleet) SetFaults(rules []Rule) {
	r := append([]Rule(nil), rules...)
	f.rules.Store(&r)
}

// ModeOf tells which mode an address is in now.
func (f *Fleet) ModeOf(a netip.Addr) Mode {
	m := OK
	for _, r := range *f.rules.Load() {
		if r.matches(a, f.cfg.Seed) {
			m = r.Mode
		}
	}
	return m
}

// HostKey returns the ed25519 public key that the address is supposed to have
// (a ChangedKey host presents another one).
func (f *Fleet) HostKey(a netip.Addr) ssh.PublicKey {
	return deriveKey(f.cfg.Seed, a, "").PublicKey()
}

func deriveKey(seed string, a netip.Addr, salt string) ssh.Signer {
	sum := sha256.Sum256([]byte("fleet host key|" + seed + "|" + a.String() + "|" + salt))
	s, err := ssh.NewSignerFromKey(ed25519.NewKeyFromSeed(sum[:]))
	if err != nil {
		panic(err) // an ed25519 key always makes a signer
	}
	return s
}

// KnownHosts writes one OpenSSH known_hosts line per host.
func (f *Fleet) KnownHosts(w io.Writer) error {
	for _, a := range f.cfg.Hosts {
		name := a.String()
		if f.cfg.Port != 22 {
			name = fmt.Sprintf("[%s]:%d", a, f.cfg.Port)
		}
		if _, err := fmt.Fprintf(w, "%s %s", name, ssh.MarshalAuthorizedKey(f.HostKey(a))); err != nil {
			return err
		}
	}
	return nil
}

func (f *Fleet) accept(ln net.Listener) {
	defer f.wg.Done()
	for {
		c, err := ln.Accept()
		if err != nil {
			if ne, ok := err.(net.Error); ok && ne.Timeout() {
				continue
			}
			if strings.Contains(err.Error(), "too many open files") {
				time.Sleep(10 * time.Millisecond)
				continue
			}
			return
		}
		f.wg.Go(func() {
			f.conns.Store(c, struct{}{})
			defer func() { f.conns.Delete(c); c.Close() }()
			f.serve(c.(*net.TCPConn))
		})
	}
}

func reset(c *net.TCPConn) {
	c.SetLinger(0)
	c.Close()
}

func (f *Fleet) serve(c *net.TCPConn) {
	peer := c.RemoteAddr().(*net.TCPAddr).AddrPort().Addr().Unmap()
	local := c.LocalAddr().(*net.TCPAddr).AddrPort().Addr().Unmap()
	h := f.hosts[local]
	if h == nil || !peer.IsLoopback() {
		reset(c)
		return
	}
	f.stats.Accepted.Add(1)
	up(&f.stats.open, &f.stats.maxOpen)
	defer f.stats.open.Add(-1)
	h.conns.Add(1)
	up(&h.open, &h.maxOpen)
	defer h.open.Add(-1)

	mode := f.ModeOf(local)
	switch mode {
	case HangConnect: // the TCP connection opens, no byte is ever sent
		io.Copy(io.Discard, c)
		return
	case HangKex: // a version line, then silence
		io.WriteString(c, "SSH-2.0-OpenSSH_9.2p1\r\n")
		io.Copy(io.Discard, c)
		return
	case Garbage: // something that is not SSH listens there
		io.WriteString(c, "HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
		return
	}
	sc, chans, reqs, err := ssh.NewServerConn(c, f.serverConfig(h, mode))
	if err != nil {
		return
	}
	f.stats.Handshakes.Add(1)
	defer sc.Close()
	go ssh.DiscardRequests(reqs)
	var wg sync.WaitGroup
	for nc := range chans {
		if nc.ChannelType() != "session" {
			nc.Reject(ssh.UnknownChannelType, "only sessions")
			continue
		}
		if mode == HangSession {
			continue // neither accepted nor rejected
		}
		ch, rq, err := nc.Accept()
		if err != nil {
			break
		}
		wg.Go(func() {
			(&session{f: f, h: h, mode: mode, tcp: c, ch: ch, user: sc.User()}).serve(rq)
		})
	}
	wg.Wait()
}

func (f *Fleet) serverConfig(h *host, mode Mode) *ssh.ServerConfig {
	sc := &ssh.ServerConfig{Config: f.cfg.Crypto, MaxAuthTries: 6, ServerVersion: "SSH-2.0-OpenSSH_9.2p1"}
	if mode == HangAuth {
		hang := func() {
			select {
			case <-f.done:
			case <-time.After(10 * time.Minute):
			}
		}
		sc.PublicKeyCallback = func(ssh.ConnMetadata, ssh.PublicKey) (*ssh.Permissions, error) {
			hang()
			return nil, fmt.Errorf("denied")
		}
	} else {
		sc.PublicKeyCallback = func(_ ssh.ConnMetadata, k ssh.PublicKey) (*ssh.Permissions, error) {
			if mode != AuthReject && f.authorized(k) {
				return nil, nil
			}
			f.stats.AuthFailed.Add(1)
			return nil, fmt.Errorf("denied")
		}
		if f.cfg.Password != "" {
			sc.PasswordCallback = func(_ ssh.ConnMetadata, p []byte) (*ssh.Permissions, error) {
				if mode != AuthReject && subtle.ConstantTimeCompare(p, []byte(f.cfg.Password)) == 1 {
					return nil, nil
				}
				f.stats.AuthFailed.Add(1)
				return nil, fmt.Errorf("denied")
			}
		}
	}
	h.once.Do(func() { h.key = deriveKey(f.cfg.Seed, h.addr, "") })
	for _, k := range f.cfg.HostKeys {
		switch {
		case k == "rsa":
			sc.AddHostKey(f.rsa)
		case mode == ChangedKey:
			sc.AddHostKey(deriveKey(f.cfg.Seed, h.addr, "changed"))
		default:
			sc.AddHostKey(h.key)
		}
	}
	return sc
}

func (f *Fleet) authorized(k ssh.PublicKey) bool {
	if len(f.cfg.Authorized) == 0 {
		return f.cfg.Password == ""
	}
	for _, a := range f.cfg.Authorized {
		if string(a.Marshal()) == string(k.Marshal()) {
			return true
		}
	}
	return false
}
