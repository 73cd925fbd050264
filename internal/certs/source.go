package certs

import (
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/VictoriaMetrics/metrics"
	"golang.org/x/crypto/acme"
)

// Kinds of origin.
const (
	Files      = "files"
	SelfSigned = "self-signed"
	ACME       = "acme"
)

// Options say which kind it is, and what that kind needs.
type Options struct {
	Kind string
	// Dir takes what is made here.
	Dir string
	// Host is the name in the address that people use, where it is known:
	// certificates of files are held against it.
	Host string
	// Names are further names and IP addresses of this machine by configuration.
	// A self-signed certificate is made anew when it lacks one, or Host.
	Names []string

	CertFile, KeyFile string        // of files
	Every             time.Duration // between two looks at the files (5 s)

	Authority Authority // of ACME

	Log *slog.Logger
}

// Status is what there is to know of the certificate in use.
type Status struct {
	Kind        string // of its origin, which while ACME has given none yet is self-signed
	Names       []string
	NotAfter    time.Time
	Fingerprint string // SHA-256, as browsers and openssl print it
	Fault       error  // why there is no newer one; nil while all is well
}

// origin is one way to come by a certificate.
type origin interface {
	// next is asked now and then. It returns the certificate to use from now
	// on, or nil where held is still the right one.
	next(ctx context.Context, held *held) (*held, error)
	// wait says how long it is until next is to be asked again; failed counts
	// the errors in a row.
	wait(held *held, failed int) time.Duration
}

// held is a certificate in use.
type held struct {
	*tls.Certificate
	kind string
}

// Source gives the listener its certificate.
type Source struct {
	origin origin
	acme   *authority // nil where that is not the kind
	log    *slog.Logger
	now    atomic.Pointer[held]

	mu     sync.Mutex // guards below
	fault  error
	failed int // errors in a row
}

// New reads the certificate, or makes one that is self-signed. ACME's is asked
// for by Run; until it is there a self-signed one stands in.
func New(o Options) (*Source, error) {
	s := &Source{log: cmp.Or(o.Log, slog.New(slog.DiscardHandler)).With("component", "certs")}
	own := &selfSigned{dir: o.Dir, names: wanted(o.Host, o.Names)}
	switch o.Kind {
	case Files:
		s.origin = &files{cert: o.CertFile, key: o.KeyFile, every: cmp.Or(o.Every, 5*time.Second), host: o.Host}
	case SelfSigned:
		s.origin = own
	case ACME:
		a, err := newAuthority(o.Authority, o.Dir)
		if err != nil {
			return nil, err
		}
		s.origin, s.acme = a, a
	default:
		return nil, fmt.Errorf("certificates: there is no kind %q", o.Kind)
	}
	first, err := s.first(own)
	if err != nil {
		return nil, err
	}
	s.hold(first)
	return s, nil
}

func (s *Source) first(own *selfSigned) (*held, error) {
	if s.acme == nil {
		return s.origin.next(context.Background(), nil)
	}
	h, err := s.acme.stored()
	if h != nil || err != nil {
		return h, err
	}
	return own.next(context.Background(), nil)
}

// wanted are the names that a self-signed certificate must have.
func wanted(host string, more []string) []string {
	if host == "" {
		return more
	}
	return append([]string{host}, more...)
}

// TLSConfig is that of a server with this certificate. least is the lowest
// version, such as tls.VersionTLS12.
func (s *Source) TLSConfig(least uint16) *tls.Config {
	c := &tls.Config{MinVersion: least, GetCertificate: s.GetCertificate, NextProtos: []string{"h2", "http/1.1"}}
	if s.acme != nil {
		c.NextProtos = append(c.NextProtos, acme.ALPNProto)
	}
	return c
}

// GetCertificate implements tls.Config's function of that name.
func (s *Source) GetCertificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	// RFC 8737: the authority offers this protocol alone.
	if s.acme != nil && len(hello.SupportedProtos) == 1 && hello.SupportedProtos[0] == acme.ALPNProto {
		return s.acme.challenges.certificate(hello.ServerName)
	}
	return s.now.Load().Certificate, nil
}

// Challenges answers an ACME authority that asks over plain HTTP; all else goes
// to next.
func (s *Source) Challenges(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.acme != nil && strings.HasPrefix(r.URL.Path, "/.well-known/acme-challenge/") {
			s.acme.challenges.ServeHTTP(w, r)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// Status says what is in use.
func (s *Source) Status() Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.now.Load()
	st := Status{Kind: h.kind, NotAfter: h.Leaf.NotAfter, Fingerprint: fingerprint(h.Leaf.Raw), Fault: s.fault}
	st.Names = append(st.Names, h.Leaf.DNSNames...)
	for _, ip := range h.Leaf.IPAddresses {
		st.Names = append(st.Names, ip.String())
	}
	return st
}

// fingerprint is written as openssl and browsers write it.
func fingerprint(der []byte) string {
	sum := sha256.Sum256(der)
	return strings.ReplaceAll(fmt.Sprintf("% X", sum[:]), " ", ":")
}

// Run keeps the certificate fresh until ctx ends.
func (s *Source) Run(ctx context.Context) error {
	if f, ok := s.origin.(*files); ok { // which is used all the same: there is no other
		if err := f.judge(s.now.Load().Leaf); err != nil {
			s.fail(err)
		}
	}
	for {
		late := time.NewTimer(s.origin.wait(s.now.Load(), s.failures()))
		select {
		case <-ctx.Done():
			late.Stop()
			return nil
		case <-late.C:
		}
		s.turn(ctx)
	}
}

func (s *Source) failures() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failed
}

func (s *Source) turn(ctx context.Context) {
	h, err := s.origin.next(ctx, s.now.Load())
	switch {
	case ctx.Err() != nil:
	case err != nil:
		s.fail(err)
	case h != nil:
		s.hold(h)
		s.well()
		count("taken")
		s.log.Info("certificate taken into use", "kind", h.kind, "not_after", h.Leaf.NotAfter.UTC(), "fingerprint", fingerprint(h.Leaf.Raw))
	default:
		s.well()
	}
}

// well forgets what was wrong.
func (s *Source) well() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault, s.failed = nil, 0
}

// fail keeps what is wrong, and logs it when it is news.
func (s *Source) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failed++
	if s.fault != nil && s.fault.Error() == err.Error() {
		return
	}
	s.fault = err
	count("refused")
	s.log.Error("certificate not renewed, the one in use stays", "err", err, "not_after", s.now.Load().Leaf.NotAfter.UTC())
}

// hold takes a certificate into use. The metric exists only where there is one.
func (s *Source) hold(h *held) {
	s.now.Store(h)
	metrics.GetOrCreateGauge(`nocturne_tls_certificate_expiry_timestamp_seconds`, nil).Set(float64(h.Leaf.NotAfter.Unix()))
}

func count(outcome string) {
	metrics.GetOrCreateCounter(fmt.Sprintf(`nocturne_tls_certificate_renewals_total{outcome=%q}`, outcome)).Inc()
}
