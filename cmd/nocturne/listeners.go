package main

import (
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"syscall"

	"nocturne/internal/certs"
	"nocturne/internal/listen"
)

// openListeners opens the pages' listener, with its certificate, and the plain
// one beside it where an ACME authority asks there. A port in use is told
// before anything runs.
func (h *house) openListeners() (err error) {
	o := listen.Options{Address: h.cfg.Listen, Handler: h.web.Handler(), Limits: h.limits(), Shared: h.cfg.trustsProxy, Drain: drainPages, Log: h.log}
	if h.cfg.tlsMode() != tlsOff {
		from := h.cfg.certificates()
		from.Log = h.log
		if h.certs, err = certs.New(from); err != nil {
			return fmt.Errorf("tls: %w", err)
		}
		o.TLS = h.certs.TLSConfig(h.cfg.TLS.version())
	}
	if h.listener, err = listen.Open(o); err != nil {
		return err
	}
	h.onClose("listener", h.listener.Close)
	if at := h.cfg.TLS.ACME.HTTPListen; at != "" && h.certs != nil {
		o.Address, o.TLS = at, nil
		o.Handler = h.certs.Challenges(http.HandlerFunc(h.toHTTPS))
		if h.redirect, err = listen.Open(o); err != nil {
			return fmt.Errorf("tls.acme.http_listen: %w", err)
		}
		h.onClose("plain listener", h.redirect.Close)
	}
	return nil
}

// limits are those of the configuration, and no more connections than half of
// the files that this process may open: the stores need theirs.
func (h *house) limits() listen.Limits {
	c := h.cfg.HTTP
	l := listen.Limits{
		HeaderBytes: int(c.MaxHeader), HeaderTime: c.HeaderTimeout, ReadTime: c.ReadTimeout, WriteTime: c.WriteTimeout, IdleTime: c.IdleTimeout,
		Connections: c.MaxConnections, PerAddress: c.MaxConnectionsPerAddress,
	}
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil {
		h.log.Warn("limit of open files not known", "component", "nocturne", "err", err)
		return l
	}
	if half := int(min(files.Cur/2, 1<<30)); l.Connections > half {
		h.log.Warn("http.max_connections is more than half of the open files allowed; fewer are taken", "component", "nocturne",
			"max_connections", l.Connections, "open_files", files.Cur, "taken", half)
		l.Connections = half
	}
	return l
}

func (c *Config) trustsProxy(a netip.Addr) bool {
	return slices.ContainsFunc(c.TrustedProxies, func(p netip.Prefix) bool { return p.Contains(a) })
}

// toHTTPS sends a browser to the pages.
func (h *house) toHTTPS(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		http.Error(w, "this address speaks HTTP; use HTTPS", http.StatusBadRequest)
		return
	}
	base := strings.TrimSuffix(h.cfg.ExternalURL, "/")
	if base == "" {
		// From outside the pages are on port 443 of the first domain.
		base = "https://" + h.cfg.TLS.ACME.Domains[0]
	}
	http.Redirect(w, r, base+r.URL.RequestURI(), http.StatusFound)
}

// address is where the pages are.
func (h *house) address() string { return h.cfg.addressOf(h.listener.Addr().String()) }

// announceCertificate says what people check before they believe a certificate
// that no authority has signed.
func (h *house) announceCertificate(out io.Writer) {
	if h.certs == nil {
		return
	}
	if st := h.certs.Status(); st.Kind == certs.SelfSigned {
		fmt.Fprintf(out, "Its certificate is self-signed; browsers warn of it. SHA-256 fingerprint:\n  %s\n", st.Fingerprint)
	}
}
