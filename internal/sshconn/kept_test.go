package sshconn

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"nocturne/internal/sshconn/fleet"
)

func mustExec(t *testing.T, p *Pool, h Host) {
	t.Helper()
	if exit, err := p.Exec(t.Context(), h, "true", ExecOptions{}); err != nil || exit != 0 {
		t.Errorf("exit %d, %v", exit, err)
	}
}

func TestOneConnectionServesMany(t *testing.T) {
	r := startFleet(t, "127.83.0.1", fleet.Config{Latency: 20 * time.Millisecond})
	p := newPool(t, r.known, nil)
	h := r.host(r.Hosts()[0], "")
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() { mustExec(t, p, h) })
	}
	wg.Wait()
	for range 20 {
		mustExec(t, p, h)
	}
	if s, f := p.Stats(), r.Stats(); s.Opened != 1 || s.Reused != 27 || s.InUse != 0 || f.Accepted != 1 || f.MaxRunning < 2 {
		t.Errorf("%+v, %+v", s, f)
	}
}

// TestSessionsPerConnection opens a second connection when the first one has
// all the sessions it may have.
func TestSessionsPerConnection(t *testing.T) {
	r := startFleet(t, "127.83.1.1", fleet.Config{})
	p := newPool(t, r.known, func(o *Options) { o.SessionsPerConn = 2 })
	h := r.host(r.Hosts()[0], "")
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for range 5 {
		wg.Go(func() {
			_, err := p.Exec(ctx, h, "sleep 60", ExecOptions{})
			wantLost(t, err)
		})
	}
	eventually(t, "five commands run", func() bool { return r.Stats().Running == 5 })
	if n := r.Stats().Accepted; n != 3 {
		t.Errorf("%d connections for 5 sessions of 2", n)
	}
	cancel()
	wg.Wait()
	eventually(t, "connections with lost commands are not kept", func() bool { return r.Stats().Open == 0 })
}

func wantLost(t *testing.T, err error) {
	t.Helper()
	if e, ok := errors.AsType[*Error](err); !ok || !e.Sent() {
		t.Errorf("want a lost command, got %v", err)
	}
}

func TestLeastRecentlyUsedAreClosed(t *testing.T) {
	r := startFleet(t, "127.83.2.1+20", fleet.Config{})
	p := newPool(t, r.known, func(o *Options) { o.MaxKept = 5 })
	for i, a := range r.Hosts() {
		mustExec(t, p, r.host(a, ""))
		mustExec(t, p, r.host(r.Hosts()[0], "")) // stays the most recently used but one
		if s := p.Stats(); s.Kept > 5 || s.Opened != uint64(i+1) {
			t.Fatalf("after %d hosts: %+v", i+1, s)
		}
	}
	eventually(t, "five connections are open", func() bool { return r.Stats().Open == 5 })
}

func TestIdleAreClosed(t *testing.T) {
	r := startFleet(t, "127.83.3.1+2", fleet.Config{})
	p := newPool(t, r.known, func(o *Options) { o.IdleTime = 100 * time.Millisecond })
	stop := run(t, p)
	mustExec(t, p, r.host(r.Hosts()[0], ""))
	sent := make(chan struct{})
	done := make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		_, err := p.Exec(ctx, r.host(r.Hosts()[1], ""), "sleep 60", ExecOptions{BeforeSend: func(context.Context) error { close(sent); return nil }})
		done <- err
	}()
	<-sent
	eventually(t, "the idle one is closed and the used one is not", func() bool { return r.Stats().Open == 1 && p.Stats().InUse == 1 })
	cancel()
	wantLost(t, <-done)
	stop()
}

// run runs the pool until stop, which waits for it.
func run(t *testing.T, p *Pool) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	return func() {
		t.Helper()
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// TestBrokenConnectionIsReplacedUnseen resets kept connections under the pool.
func TestBrokenConnectionIsReplacedUnseen(t *testing.T) {
	r := startFleet(t, "127.83.4.1", fleet.Config{})
	p := newPool(t, r.known, nil)
	h := r.host(r.Hosts()[0], "")
	before := 0
	for range 20 {
		_, err := p.Exec(t.Context(), h, "true", ExecOptions{BeforeSend: func(context.Context) error { before++; return nil }})
		if err != nil {
			t.Fatal(err)
		}
		r.DropConnections() // at once: the pool may not know yet
	}
	if n := r.journal.starts(t)["127.83.4.1"]; before != 20 || n != 20 || p.Stats().Opened != 20 {
		t.Errorf("20 Execs: %d before, %d started, %+v", before, n, p.Stats())
	}
}

// proxy stands between the pool and a host, and can fall silent on the
// connections it has.
type proxy struct {
	net.Listener
	to string

	mu     sync.Mutex // guards below
	silent []*atomic.Bool
	conns  []net.Conn
}

func startProxy(t *testing.T, r *rig) (*proxy, Host) {
	t.Helper()
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h := r.host(r.Hosts()[0], "")
	x := &proxy{Listener: ln, to: h.Address}
	go x.serve()
	t.Cleanup(func() {
		ln.Close()
		x.mu.Lock()
		defer x.mu.Unlock()
		for _, c := range x.conns {
			c.Close()
		}
	})
	h.Address = ln.Addr().String()
	if err := r.known.Pin(h.Address, r.HostKey(r.Hosts()[0])); err != nil {
		t.Fatal(err)
	}
	return x, h
}

func (x *proxy) serve() {
	for {
		a, err := x.Accept()
		if err != nil {
			return
		}
		b, err := net.Dial("tcp4", x.to)
		if err != nil {
			a.Close()
			continue
		}
		silent := new(atomic.Bool)
		x.mu.Lock()
		x.silent, x.conns = append(x.silent, silent), append(x.conns, a, b)
		x.mu.Unlock()
		for _, d := range [][2]net.Conn{{a, b}, {b, a}} {
			go func() {
				buf := make([]byte, 4096)
				for {
					n, err := d[0].Read(buf)
					if err != nil {
						d[1].Close()
						return
					}
					if !silent.Load() {
						_, _ = d[1].Write(buf[:n])
					}
				}
			}()
		}
	}
}

// hush silences the connections that stand now.
func (x *proxy) hush() {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, s := range x.silent {
		s.Store(true)
	}
}

// TestSilentConnectionIsReplacedUnseen has a kept connection fall silent
// without an end: the session's deadline finds out, a new one serves.
func TestSilentConnectionIsReplacedUnseen(t *testing.T) {
	r := startFleet(t, "127.83.5.1", fleet.Config{})
	p := newPool(t, r.known, func(o *Options) { o.Session = 300 * time.Millisecond })
	x, h := startProxy(t, r)
	mustExec(t, p, h)
	x.hush()
	mustExec(t, p, h)
	if n := r.journal.starts(t)["127.83.5.1"]; n != 2 || p.Stats().Opened != 2 || p.Stats().Kept != 1 {
		t.Errorf("%d started, %+v", n, p.Stats())
	}
}

// TestKeepAliveDropsTheDead lets one of two kept connections fall silent.
func TestKeepAliveDropsTheDead(t *testing.T) {
	r := startFleet(t, "127.83.6.1+2", fleet.Config{})
	p := newPool(t, r.known, func(o *Options) { o.KeepAlive, o.KeepAliveWait = 50*time.Millisecond, 300*time.Millisecond })
	x, h := startProxy(t, r)
	mustExec(t, p, h)
	mustExec(t, p, r.host(r.Hosts()[1], ""))
	stop := run(t, p)
	x.hush()
	eventually(t, "the silent one is dropped, the other kept", func() bool { return p.Stats().Kept == 1 && r.Stats().Open == 1 })
	stop()
}

// TestChangedCredentialAndPin: what was logged in with another credential, or
// against a key that is no longer pinned, is not used again.
func TestChangedCredentialAndPin(t *testing.T) {
	r := startFleet(t, "127.83.7.1", fleet.Config{})
	cred := testKey(t)
	p := newPool(t, r.known, func(o *Options) { o.Credential = func(string) (Credential, error) { return cred, nil } })
	h := r.host(r.Hosts()[0], "")
	mustExec(t, p, h)
	cred = testKey(t)
	mustExec(t, p, h)
	if n := p.Stats().Opened; n != 2 {
		t.Errorf("%d connections opened", n)
	}
	r.known.mu.Lock()
	clear(r.known.plain)
	r.known.mu.Unlock()
	_, err := p.Exec(t.Context(), h, "true", ExecOptions{})
	wantClass(t, err, HostKeyUnknown)
}

// TestOpeningBounds lets many hosts hang in the handshake, where the fleet
// counts them: no region has more than its openings, nor a host more than one.
func TestOpeningBounds(t *testing.T) {
	r := startFleet(t, "127.84.0.1+40,127.85.0.1+40", fleet.Config{Faults: []fleet.Rule{{Mode: fleet.HangKex, Percent: 100}}})
	p := newPool(t, r.known, func(o *Options) {
		o.OpeningsPerRegion, o.Handshake, o.OpeningRate = 4, time.Minute, 1000
	})
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for _, a := range r.Hosts() {
		for range 2 {
			wg.Go(func() {
				_, err := p.Exec(ctx, r.host(a, fmt.Sprint(a.As4()[1])), "true", ExecOptions{})
				if e, ok := errors.AsType[*Error](err); !ok || e.Class != Canceled {
					t.Error(err)
				}
			})
		}
	}
	waiting := func(s *slots) (n int) {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, sl := range s.m {
			n += sl.users
		}
		return n
	}
	eventually(t, "all are at their bounds", func() bool {
		return waiting(p.hosts) == 160 && waiting(p.regions) == 80 && r.Stats().Open == 8
	})
	// The fleet sees a connection go some time after it was let go, so it is
	// asked before.
	f := r.Stats()
	cancel()
	wg.Wait()
	s := p.Stats()
	if s.MaxOpening != 8 || s.MaxOpeningRegion != 4 || f.MaxOpen != 8 || f.MaxOpenPerHost != 1 || f.Execs != 0 {
		t.Errorf("%+v\n%+v", s, f)
	}
	if len(p.hosts.m)+len(p.regions.m) != 0 {
		t.Errorf("slots left behind: %v %v", p.hosts.m, p.regions.m)
	}
}

func TestOpeningRate(t *testing.T) {
	r := startFleet(t, "127.84.1.1+20", fleet.Config{})
	p := newPool(t, r.known, func(o *Options) { o.OpeningRate, o.OpeningsPerRegion = 40, 2 })
	start := time.Now()
	var wg sync.WaitGroup
	for _, a := range r.Hosts() {
		wg.Go(func() { mustExec(t, p, r.host(a, "slow")) })
	}
	wg.Wait()
	if d := time.Since(start); d < 440*time.Millisecond { // 2 at once, 18 at 40 a second
		t.Errorf("20 openings at 40 a second took %s", d)
	}
}

// TestDeadRegionStarvesNobody has as many callers in a hanging region as in a
// healthy one.
func TestDeadRegionStarvesNobody(t *testing.T) {
	dead := netip.MustParseAddr("127.87.0.1")
	r := startFleet(t, "127.86.0.1+100,127.87.0.1+100", fleet.Config{Faults: []fleet.Rule{{Mode: fleet.HangKex, From: dead, To: netip.MustParseAddr("127.87.0.100")}}})
	p := newPool(t, r.known, func(o *Options) { o.Handshake, o.OpeningRate = time.Minute, 1000 })
	ctx, cancel := context.WithCancel(t.Context())
	var healthy, hanging sync.WaitGroup
	for _, a := range r.Hosts() {
		if !a.Less(dead) {
			hanging.Go(func() {
				if _, err := p.Exec(ctx, r.host(a, "dead"), "true", ExecOptions{}); err == nil {
					t.Errorf("%s answered", a)
				}
			})
		}
	}
	eventually(t, "the dead region's openings are taken", func() bool { return r.Stats().Open == 8 })
	start := time.Now()
	for _, a := range r.Hosts() {
		if a.Less(dead) {
			healthy.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second) // far less than the dead region's minute
				defer cancel()
				if exit, err := p.Exec(ctx, r.host(a, "healthy"), "true", ExecOptions{}); err != nil || exit != 0 {
					t.Errorf("exit %d, %v", exit, err)
				}
			})
		}
	}
	healthy.Wait()
	t.Logf("100 healthy hosts took %s beside 100 hanging ones", time.Since(start))
	if n := r.Stats().Open; n != 108 {
		t.Errorf("%d connections are open: the dead region was not hanging all the while", n)
	}
	cancel()
	hanging.Wait()
}
