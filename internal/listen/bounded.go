package listen

import (
	"container/list"
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"

	"github.com/VictoriaMetrics/metrics"
)

var (
	connections  = metrics.GetOrCreateGauge(`nocturne_http_connections`, nil)
	refusedAll   = metrics.GetOrCreateCounter(`nocturne_http_connections_refused_total{reason="connections"}`)
	refusedOne   = metrics.GetOrCreateCounter(`nocturne_http_connections_refused_total{reason="connections_per_address"}`)
	idleClosed   = metrics.GetOrCreateCounter(`nocturne_http_idle_connections_closed_total`)
	acceptErrors = metrics.GetOrCreateCounter(`nocturne_http_accept_errors_total`)
)

// bounded is a listener that knows its connections, and which are idle.
type bounded struct {
	net.Listener
	most, perAddress int
	shared           func(netip.Addr) bool
	drought          drought
	closed           chan struct{}
	close            sync.Once

	mu   sync.Mutex // guards below
	open int
	by   map[netip.Addr]int
	idle *list.List // of *conn, the longest idle first
}

func newBounded(l net.Listener, o Options, log *slog.Logger) *bounded {
	b := &bounded{
		Listener: l, most: o.Limits.Connections, perAddress: o.Limits.PerAddress, shared: o.Shared,
		closed: make(chan struct{}), by: map[netip.Addr]int{}, idle: list.New(),
	}
	b.drought = drought{log: log}
	return b
}

// conn is a connection that gives its place back when it is closed.
type conn struct {
	net.Conn
	from    *bounded
	address netip.Addr

	// Guarded by from.mu.
	gone bool
	idle *list.Element // nil while a request is under way
}

func (c *conn) Close() error {
	c.from.mu.Lock()
	c.from.forget(c)
	c.from.mu.Unlock()
	return c.Conn.Close()
}

// Accept returns the next connection that there is room for.
func (b *bounded) Accept() (net.Conn, error) {
	for {
		nc, err := b.Listener.Accept()
		if err != nil {
			if !starved(err) {
				return nil, err
			}
			b.drought.suffer(err, b.thin(thinOut), b.closed)
			continue
		}
		b.drought.taken()
		c := &conn{Conn: nc, from: b, address: addressOf(nc)}
		victims, why := b.place(c)
		for _, v := range victims {
			idleClosed.Inc()
			_ = v.Conn.Close()
		}
		if why == nil {
			return c, nil
		}
		why.Inc()
		_ = nc.Close()
	}
}

func addressOf(nc net.Conn) netip.Addr {
	if a, ok := nc.RemoteAddr().(*net.TCPAddr); ok {
		return a.AddrPort().Addr().Unmap().WithZone("")
	}
	return netip.Addr{}
}

// place counts c in, and says whose idle connections go for it. Where there is
// no room it returns the counter of why.
func (b *bounded) place(c *conn) (victims []*conn, why *metrics.Counter) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.by[c.address] >= b.perAddress && (b.shared == nil || !b.shared(c.address)) {
		v := b.longestIdle(func(o *conn) bool { return o.address == c.address })
		if v == nil {
			return nil, refusedOne
		}
		victims = append(victims, v)
	}
	if b.open >= b.most {
		v := b.longestIdle(func(*conn) bool { return true })
		if v == nil {
			return victims, refusedAll
		}
		victims = append(victims, v)
	}
	b.open++
	b.by[c.address]++
	connections.Inc()
	return victims, nil
}

// longestIdle takes the connection that was idle longest out; it needs mu.
func (b *bounded) longestIdle(fits func(*conn) bool) *conn {
	for e := b.idle.Front(); e != nil; e = e.Next() {
		if c := e.Value.(*conn); fits(c) {
			b.forget(c)
			return c
		}
	}
	return nil
}

// forget gives a connection's place back, once; it needs mu.
func (b *bounded) forget(c *conn) {
	if c.gone {
		return
	}
	c.gone = true
	b.busy(c)
	b.open--
	if b.by[c.address]--; b.by[c.address] == 0 {
		delete(b.by, c.address)
	}
	connections.Dec()
}

// busy takes a connection from the idle ones; it needs mu.
func (b *bounded) busy(c *conn) {
	if c.idle != nil {
		b.idle.Remove(c.idle)
		c.idle = nil
	}
}

// state is told by net/http what a connection does.
func (b *bounded) state(nc net.Conn, st http.ConnState) {
	if t, ok := nc.(*tls.Conn); ok {
		nc = t.NetConn()
	}
	c, ok := nc.(*conn)
	if !ok {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.busy(c)
	if st == http.StateIdle && !c.gone {
		c.idle = b.idle.PushBack(c)
	}
}

// thin closes up to n idle connections and says how many.
func (b *bounded) thin(n int) int {
	var victims []*conn
	b.mu.Lock()
	for len(victims) < n {
		v := b.longestIdle(func(*conn) bool { return true })
		if v == nil {
			break
		}
		victims = append(victims, v)
	}
	b.mu.Unlock()
	for _, v := range victims {
		idleClosed.Inc()
		_ = v.Conn.Close()
	}
	return len(victims)
}

// Close ends Accept, also while it waits for descriptors.
func (b *bounded) Close() error {
	b.close.Do(func() { close(b.closed) })
	return b.Listener.Close()
}
