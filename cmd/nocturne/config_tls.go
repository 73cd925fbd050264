package main

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/common/model"

	"nocturne/internal/certs"
)

// What tls.mode may be.
const (
	tlsOff        = "off"
	tlsSelfSigned = certs.SelfSigned
	tlsFiles      = certs.Files
	tlsACME       = certs.ACME
)

// TLSConfig says whether the pages are served over HTTPS, and with which
// certificate.
type TLSConfig struct {
	// Mode is off, self-signed, files or acme. By default it is off on loopback
	// and self-signed elsewhere; off is refused elsewhere.
	Mode       string         `yaml:"mode"`
	CertFile   string         `yaml:"cert_file"`   // PEM, the leaf first; read again when it changes
	KeyFile    string         `yaml:"key_file"`    // PEM
	ACME       ACMEConfig     `yaml:"acme"`        // for mode acme
	MinVersion string         `yaml:"min_version"` // "1.2" or "1.3"
	HSTS       model.Duration `yaml:"hsts"`        // how long browsers insist on HTTPS, with files and acme; 0s is not at all
}

// ACMEConfig names the authority that issues the certificate. Who configures it
// agrees to its terms.
type ACMEConfig struct {
	Domains   []string `yaml:"domains"`   // that the certificate is for
	Email     string   `yaml:"email"`     // where the authority may write to
	Directory string   `yaml:"directory"` // its address; default is Let's Encrypt
	CAFile    string   `yaml:"ca_file"`   // PEM; whom to believe that it is the authority, beside the system's
	// HTTPListen is an address:port, reached from outside on port 80, where the
	// authority asks and all else is sent on to HTTPS. Without it the authority
	// asks the pages' own listener, reached from outside on port 443.
	HTTPListen string `yaml:"http_listen"`
}

// HTTPConfig bounds what clients may cost.
type HTTPConfig struct {
	MaxHeader     Bytes         `yaml:"max_header"`     // of a request
	MaxBody       Bytes         `yaml:"max_body"`       // of a form or a request of the API; remote write has its own
	HeaderTimeout time.Duration `yaml:"header_timeout"` // for the TLS handshake and for a header to come
	ReadTimeout   time.Duration `yaml:"read_timeout"`   // for a request to come whole
	WriteTimeout  time.Duration `yaml:"write_timeout"`  // for each 64 KiB of an answer to be taken
	IdleTimeout   time.Duration `yaml:"idle_timeout"`   // between two requests on a connection

	MaxConnections           int `yaml:"max_connections"`
	MaxConnectionsPerAddress int `yaml:"max_connections_per_address"` // trusted proxies are not bounded
}

var defaultHTTP = HTTPConfig{
	MaxHeader: 64 << 10, MaxBody: 4 << 20,
	HeaderTimeout: 5 * time.Second, ReadTimeout: time.Minute, WriteTimeout: 30 * time.Second, IdleTimeout: 2 * time.Minute,
	MaxConnections: 4000, MaxConnectionsPerAddress: 1000,
}

var defaultTLS = TLSConfig{MinVersion: "1.2", HSTS: model.Duration(180 * 24 * time.Hour)}

func (c HTTPConfig) validate(f *faults) {
	if c.MaxHeader < 4<<10 || c.MaxHeader > 1<<20 {
		f.add("http.max_header", "must be from 4KiB to 1MiB")
	}
	if c.MaxBody < 64<<10 || c.MaxBody > 1<<30 {
		f.add("http.max_body", "must be from 64KiB to 1GiB")
	}
	for _, d := range []struct {
		name string
		time.Duration
	}{{"header_timeout", c.HeaderTimeout}, {"read_timeout", c.ReadTimeout}, {"write_timeout", c.WriteTimeout}, {"idle_timeout", c.IdleTimeout}} {
		if d.Duration < time.Second {
			f.add("http."+d.name, "%s is under a second", d.Duration)
		}
	}
	if c.ReadTimeout < c.HeaderTimeout {
		f.add("http.read_timeout", "%s is shorter than header_timeout of %s", c.ReadTimeout, c.HeaderTimeout)
	}
	if c.MaxConnections < 10 {
		f.add("http.max_connections", "must be at least 10")
	}
	if c.MaxConnectionsPerAddress < 1 {
		f.add("http.max_connections_per_address", "must be at least 1")
	}
}

// tlsMode is what mode says, or where the pages are.
func (c *Config) tlsMode() string {
	if c.TLS.Mode == "" && c.onLoopback() {
		return tlsOff
	}
	return cmp.Or(c.TLS.Mode, tlsSelfSigned)
}

func (c *Config) onLoopback() bool {
	host, _, err := net.SplitHostPort(c.Listen)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.Unmap().IsLoopback()
}

// validateListen keeps passwords and tokens off networks without TLS.
func (c *Config) validateListen(f *faults) {
	if _, _, err := net.SplitHostPort(c.Listen); err != nil {
		f.add("listen", "%q is no address:port", c.Listen)
		return
	}
	if c.tlsMode() == tlsOff && !c.onLoopback() {
		f.add("listen", "%q is off loopback, which is refused with tls.mode off; a proxy that ends TLS on this machine reaches the pages on loopback", c.Listen)
	}
}

func (c *Config) validateTLS(f *faults) {
	t, mode := c.TLS, c.tlsMode()
	if !slices.Contains([]string{tlsOff, tlsSelfSigned, tlsFiles, tlsACME}, mode) {
		f.add("tls.mode", "%q is none of off, self-signed, files, acme", t.Mode)
		return
	}
	if t.MinVersion != "1.2" && t.MinVersion != "1.3" {
		f.add("tls.min_version", "%q is neither 1.2 nor 1.3", t.MinVersion)
	}
	for _, p := range []struct{ field, value string }{{"cert_file", t.CertFile}, {"key_file", t.KeyFile}} {
		switch {
		case mode == tlsFiles && p.value == "":
			f.add("tls."+p.field, "is missing")
		case mode != tlsFiles && p.value != "":
			f.add("tls."+p.field, "has no effect with tls.mode %s; it wants files", mode)
		}
	}
	if mode == tlsFiles && t.CertFile != "" && t.KeyFile != "" {
		unusable, _ := certs.Check(t.CertFile, t.KeyFile, "")
		for _, u := range unusable {
			f.add("tls."+u.Field, "%s: %v", u.File, u.Err)
		}
	}
	if mode == tlsACME {
		t.ACME.validate(f)
	} else if len(t.ACME.Domains) > 0 {
		f.add("tls.acme", "has no effect with tls.mode %s; it wants acme", mode)
	}
}

func (c *Config) validateProxies(f *faults) {
	for i, p := range c.TrustedProxies {
		if p.Bits() == 0 {
			f.add(fmt.Sprintf("trusted_proxies[%d]", i), "%s is everybody", p)
		}
	}
}

func (a ACMEConfig) validate(f *faults) {
	if len(a.Domains) == 0 {
		f.add("tls.acme.domains", "is missing")
	}
	for i, d := range a.Domains {
		if !domainName(d) {
			f.add(fmt.Sprintf("tls.acme.domains[%d]", i), "%q is no domain in lower case with a dot, without a wildcard", d)
		}
	}
	if strings.ContainsAny(a.Email, " \t\r\n,?") || a.Email != "" && !strings.Contains(a.Email, "@") {
		f.add("tls.acme.email", "%q is no address", a.Email)
	}
	if u, err := url.Parse(a.Directory); a.Directory != "" && (err != nil || u.Scheme != "https" || u.Host == "") {
		f.add("tls.acme.directory", "is no https address")
	}
	if _, _, err := net.SplitHostPort(a.HTTPListen); a.HTTPListen != "" && err != nil {
		f.add("tls.acme.http_listen", "%q is no address:port", a.HTTPListen)
	}
	if a.CAFile == "" {
		return
	}
	if text, err := os.ReadFile(a.CAFile); err != nil {
		f.add("tls.acme.ca_file", "%v", err)
	} else if !x509.NewCertPool().AppendCertsFromPEM(text) {
		f.add("tls.acme.ca_file", "%s holds no certificate in PEM", a.CAFile)
	}
}

func domainName(d string) bool {
	_, err := netip.ParseAddr(d)
	return err != nil && strings.Contains(strings.Trim(d, "."), ".") && !strings.ContainsFunc(d, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' && r != '.'
	})
}

// unfit says what browsers would refuse in a certificate that a listener can
// be started with.
func (c *Config) unfit(file string) []string {
	if c.tlsMode() != tlsFiles {
		return nil
	}
	f := &faults{file: cmp.Or(file, "the configuration")}
	_, unfit := certs.Check(c.TLS.CertFile, c.TLS.KeyFile, c.externalHost())
	for _, u := range unfit {
		f.add("tls."+u.Field, "%s: %v", u.File, u.Err)
	}
	out := make([]string, len(f.errs))
	for i, e := range f.errs {
		out[i] = e.Error()
	}
	return out
}

// externalHost is the name in external_url, where that is set.
func (c *Config) externalHost() string {
	u, err := url.Parse(c.ExternalURL)
	if err != nil {
		return ""
	}
	return u.Hostname()
}

// certificates is where the certificate comes from.
func (c *Config) certificates() certs.Options {
	o := certs.Options{
		Kind: c.tlsMode(), Dir: filepath.Join(c.Data, "tls"), Host: c.externalHost(), CertFile: c.TLS.CertFile, KeyFile: c.TLS.KeyFile,
		Authority: certs.Authority{Directory: c.TLS.ACME.Directory, CAFile: c.TLS.ACME.CAFile, Email: c.TLS.ACME.Email,
			Domains: c.TLS.ACME.Domains, OverHTTP: c.TLS.ACME.HTTPListen != ""},
	}
	host, _, err := net.SplitHostPort(c.Listen)
	if ip, bad := netip.ParseAddr(host); err == nil && host != "" && (bad != nil || !ip.IsUnspecified()) {
		o.Names = append(o.Names, host)
	}
	return o
}

func (t TLSConfig) version() uint16 {
	if t.MinVersion == "1.3" {
		return tls.VersionTLS13
	}
	return tls.VersionTLS12
}

// hsts is how long browsers are told to insist on HTTPS: not on a certificate
// that they were never meant to believe.
func (c *Config) hsts() time.Duration {
	if mode := c.tlsMode(); mode == tlsFiles || mode == tlsACME {
		return time.Duration(c.TLS.HSTS)
	}
	return 0
}

// addressOf is where people find the pages that listen at host:port.
func (c *Config) addressOf(listen string) string {
	scheme := "https"
	if c.tlsMode() == tlsOff {
		scheme = "http"
	}
	host, port, err := net.SplitHostPort(listen)
	if ip, bad := netip.ParseAddr(host); err == nil && (host == "" || bad == nil && ip.IsUnspecified()) {
		if name, err := os.Hostname(); err == nil {
			listen = net.JoinHostPort(name, port)
		}
	}
	return scheme + "://" + listen
}
