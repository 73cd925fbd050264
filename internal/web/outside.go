package web

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// The headers of a proxy. What anybody else sends under these names is not
// believed.
const (
	forwardedFor   = "X-Forwarded-For"
	forwardedProto = "X-Forwarded-Proto"
	forwardedHost  = "X-Forwarded-Host"
)

// secureKey marks a request whose client speaks HTTPS, to us or to a proxy.
type secureKey struct{}

func secure(r *http.Request) bool {
	is, _ := r.Context().Value(secureKey{}).(bool)
	return is
}

// outside turns a request that came through trusted proxies into what its
// client sent: its address, its scheme and the host it asked for. All that
// follows sees RemoteAddr and Host as the client has them.
func (s *Server) outside(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		https := r.TLS != nil
		if https && s.HSTS > 0 {
			w.Header().Set("Strict-Transport-Security", fmt.Sprintf("max-age=%d", s.HSTS/time.Second))
		}
		peer := peerOf(r)
		trusted := s.trusts(peer)
		if proto := lastOf(r, forwardedProto); trusted && proto != "" {
			https = strings.EqualFold(proto, "https")
		}
		r = r.WithContext(context.WithValue(r.Context(), secureKey{}, https))
		if trusted {
			r.RemoteAddr = netip.AddrPortFrom(s.client(peer, r.Header.Values(forwardedFor)), 0).String()
			if host := lastOf(r, forwardedHost); plausible(host) {
				r.Host = host
			}
		}
		next.ServeHTTP(w, r)
	})
}

// peerOf is the address at the other end of the connection.
func peerOf(r *http.Request) netip.Addr {
	ap, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{} // trusted by nobody
	}
	return ap.Addr().Unmap().WithZone("")
}

func (s *Server) trusts(a netip.Addr) bool {
	return slices.ContainsFunc(s.TrustedProxies, func(p netip.Prefix) bool { return p.Contains(a) })
}

// client follows the hops from the last to the first, each named by the one
// after it, as far as those that name them are trusted.
func (s *Server) client(at netip.Addr, header []string) netip.Addr {
	hops := strings.Split(strings.Join(header, ","), ",")
	for _, hop := range slices.Backward(hops) {
		named, ok := hopOf(strings.TrimSpace(hop))
		if !ok || !s.trusts(at) {
			break
		}
		at = named
	}
	return at
}

// hopOf reads an address with or without its port.
func hopOf(text string) (netip.Addr, bool) {
	if ap, err := netip.ParseAddrPort(text); err == nil {
		return ap.Addr().Unmap().WithZone(""), true
	}
	a, err := netip.ParseAddr(strings.Trim(text, "[]"))
	return a.Unmap().WithZone(""), err == nil
}

// lastOf is what the proxy next to us wrote: it stands last.
func lastOf(r *http.Request, header string) string {
	all := strings.Split(strings.Join(r.Header.Values(header), ","), ",")
	return strings.TrimSpace(all[len(all)-1])
}

// plausible holds a host name of a header to what one can be.
func plausible(host string) bool {
	return host != "" && !strings.ContainsFunc(host, func(c rune) bool {
		return (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && !strings.ContainsRune(".-_:[]", c)
	})
}

// sessionName is the name of the session's cookie. Over HTTPS its prefix keeps
// browsers from taking one that a neighbour or plain HTTP has set.
func sessionName(r *http.Request) string {
	if secure(r) {
		return "__Host-" + sessionCookie
	}
	return sessionCookie
}
