package listen

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"time"

	"github.com/VictoriaMetrics/metrics"
)

// Options say where, what and how much.
type Options struct {
	Address string
	Handler http.Handler
	TLS     *tls.Config // nil is plain HTTP
	Limits  Limits
	// Shared tells the addresses that many clients stand behind, such as a
	// proxy's: they are not bounded by Limits.PerAddress.
	Shared func(netip.Addr) bool
	Drain  time.Duration // for answers under way when Run ends (5 s)
	Log    *slog.Logger
}

// Limits bound what clients may cost. Zero is the default.
type Limits struct {
	HeaderBytes int           // of a request (64 KiB)
	HeaderTime  time.Duration // for the TLS handshake, and for a header to come (5 s)
	ReadTime    time.Duration // for a request to come whole (1 min)
	WriteTime   time.Duration // for each 64 KiB of an answer to be taken (30 s)
	IdleTime    time.Duration // between two requests of a connection (2 min)
	Connections int           // in all (4,000)
	PerAddress  int           // of one address (1,000)
}

func (l Limits) withDefaults() Limits {
	return Limits{
		HeaderBytes: cmp.Or(l.HeaderBytes, 64<<10),
		HeaderTime:  cmp.Or(l.HeaderTime, 5*time.Second),
		ReadTime:    cmp.Or(l.ReadTime, time.Minute),
		WriteTime:   cmp.Or(l.WriteTime, 30*time.Second),
		IdleTime:    cmp.Or(l.IdleTime, 2*time.Minute),
		Connections: cmp.Or(l.Connections, 4000),
		PerAddress:  cmp.Or(l.PerAddress, 1000),
	}
}

const (
	maxStreams   = 128 // of one HTTP/2 connection
	defaultDrain = 5 * time.Second
)

// Server answers HTTP on one address.
type Server struct {
	o       Options
	log     *slog.Logger
	bounded *bounded
}

// Open listens, so that an address in use is told before anything runs.
func Open(o Options) (*Server, error) {
	o.Limits = o.Limits.withDefaults()
	s := &Server{o: o, log: cmp.Or(o.Log, slog.New(slog.DiscardHandler)).With("component", "listen")}
	l, err := net.Listen("tcp", o.Address)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", o.Address, err)
	}
	s.bounded = newBounded(l, o, s.log)
	return s, nil
}

// Addr is where it listens.
func (s *Server) Addr() net.Addr { return s.bounded.Addr() }

// Close stops listening, where Run has not.
func (s *Server) Close() error {
	if err := s.bounded.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

// Run answers until ctx ends, and then lets answers under way end.
func (s *Server) Run(ctx context.Context) error {
	srv := s.server(ctx)
	down := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(down)
		// Streams end with ctx.
		late, cancel := context.WithTimeout(context.WithoutCancel(ctx), cmp.Or(s.o.Drain, defaultDrain))
		defer cancel()
		if err := srv.Shutdown(late); err != nil {
			_ = srv.Close()
		}
	})
	serve := srv.Serve
	if s.o.TLS != nil {
		serve = func(l net.Listener) error { return srv.ServeTLS(l, "", "") }
	}
	if err := serve(s.bounded); !errors.Is(err, http.ErrServerClosed) {
		stop()
		return err
	}
	// Serve returns when the shutdown begins; the stores may close after it.
	<-down
	return nil
}

func (s *Server) server(ctx context.Context) *http.Server {
	l := s.o.Limits
	return &http.Server{
		Handler: paced(s.o.Handler, l.WriteTime), TLSConfig: s.o.TLS,
		// No WriteTimeout: it would end an answer that takes long and a stream
		// that is read well. paced bounds each write instead.
		ReadHeaderTimeout: l.HeaderTime, ReadTimeout: l.ReadTime, IdleTimeout: l.IdleTime, MaxHeaderBytes: l.HeaderBytes,
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams: maxStreams, WriteByteTimeout: l.WriteTime,
			SendPingTimeout: l.WriteTime, PingTimeout: 15 * time.Second,
		},
		ConnState: s.bounded.state, ErrorLog: log.New(serverLog{s.log}, "", 0),
		BaseContext: func(net.Listener) context.Context { return ctx },
	}
}

// serverLog sorts what net/http says. Handshakes fail all day where a port is
// scanned: they are counted, and for who looks for them.
type serverLog struct{ log *slog.Logger }

var handshakeErrors = metrics.GetOrCreateCounter(`nocturne_http_tls_handshake_errors_total`)

func (l serverLog) Write(p []byte) (int, error) {
	text := string(bytes.TrimSpace(p))
	if bytes.HasPrefix(p, []byte("http: TLS handshake error")) {
		handshakeErrors.Inc()
		l.log.Debug("TLS handshake failed", "err", text)
		return len(p), nil
	}
	l.log.Warn("HTTP server", "err", text)
	return len(p), nil
}
