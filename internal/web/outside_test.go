package web

import (
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"
)

// TestOutside says what a request looks like from where its client is.
func TestOutside(t *testing.T) {
	t.Parallel()
	s := &Server{Options: Options{TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32"), netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("2001:db8:1::/48")}}}
	f := func(remoteAddr, headers, address, host string, https bool) {
		t.Helper()
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Host, r.RemoteAddr = "inner:8080", remoteAddr
		for line := range strings.SplitSeq(headers, "\n") {
			if name, value, ok := strings.Cut(line, ": "); ok {
				r.Header.Add(name, value)
			}
		}
		s.outside(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			if remote(r) != address || r.Host != host || secure(r) != https {
				t.Errorf("%s with %q: %s, %s, https %v; want %s, %s, %v", remoteAddr, headers, remote(r), r.Host, secure(r), address, host, https)
			}
		})).ServeHTTP(httptest.NewRecorder(), r)
	}
	// Nobody behind a trusted address.
	f("192.0.2.7:999", "", "192.0.2.7", "inner:8080", false)
	f("192.0.2.7:999", "X-Forwarded-For: 1.2.3.4\nX-Forwarded-Proto: https\nX-Forwarded-Host: evil.example", "192.0.2.7", "inner:8080", false)
	f("[2001:db8:2::1]:999", "X-Forwarded-For: 1.2.3.4", "2001:db8:2::1", "inner:8080", false)
	// One proxy, and what its client had forged before.
	f("127.0.0.1:999", "X-Forwarded-For: 192.0.2.7\nX-Forwarded-Proto: https\nX-Forwarded-Host: noc.example:8443", "192.0.2.7", "noc.example:8443", true)
	f("127.0.0.1:999", "X-Forwarded-For: 6.6.6.6, 192.0.2.7\nX-Forwarded-Proto: http", "192.0.2.7", "inner:8080", false)
	f("127.0.0.1:999", "X-Forwarded-For: 6.6.6.6\nX-Forwarded-For: 192.0.2.7\nX-Forwarded-Proto: http, https", "192.0.2.7", "inner:8080", true)
	// Two of them, and one in the midst that is not trusted.
	f("127.0.0.1:999", "X-Forwarded-For: 6.6.6.6, 192.0.2.7, 10.1.2.3", "192.0.2.7", "inner:8080", false)
	f("127.0.0.1:999", "X-Forwarded-For: 192.0.2.7, 10.2.2.3, 10.1.2.3", "10.2.2.3", "inner:8080", false)
	f("127.0.0.1:999", "X-Forwarded-For: 10.1.9.9, 10.1.2.3", "10.1.9.9", "inner:8080", false)
	// What cannot be read ends the way.
	f("127.0.0.1:999", "X-Forwarded-For: 192.0.2.7, unknown", "127.0.0.1", "inner:8080", false)
	f("127.0.0.1:999", "X-Forwarded-For: ", "127.0.0.1", "inner:8080", false)
	f("127.0.0.1:999", "X-Forwarded-Host: evil.example/path?", "127.0.0.1", "inner:8080", false)
	// Ports, IPv6 and IPv4 in it.
	f("127.0.0.1:999", "X-Forwarded-For: 192.0.2.7:5555", "192.0.2.7", "inner:8080", false)
	f("[2001:db8:1::5]:999", "X-Forwarded-For: [2001:db8:9::7]:443", "2001:db8:9::7", "inner:8080", false)
	f("[::ffff:127.0.0.1]:999", "X-Forwarded-For: 2001:db8:9::7", "2001:db8:9::7", "inner:8080", false)
	f("pipe", "X-Forwarded-For: 192.0.2.7", "pipe", "inner:8080", false)
}

// behind is a request as a proxy on this machine passes it on.
func behind(method, path, client, proto string, kv ...string) *http.Request {
	form := url.Values{}
	for i := 0; i < len(kv); i += 2 {
		form.Add(kv[i], kv[i+1])
	}
	r := httptest.NewRequest(method, path, strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.RemoteAddr, r.Host = "127.0.0.1:40000", "127.0.0.1:8080"
	r.Header.Set(forwardedFor, client)
	r.Header.Set(forwardedProto, proto)
	r.Header.Set(forwardedHost, "noc.example")
	return r
}

// TestSessionBehindAProxy signs in over a proxy that speaks HTTPS, over one
// that does not, and as somebody who only says that he is one.
func TestSessionBehindAProxy(t *testing.T) {
	t.Parallel()
	e := openEstate(t, plan{people: true})
	e.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}
	signIn := func(r *http.Request) *http.Cookie {
		t.Helper()
		w := e.do("", r)
		for _, c := range w.Result().Cookies() {
			if strings.HasSuffix(c.Name, sessionCookie) {
				return c
			}
		}
		t.Fatalf("no session: %d %s", w.Code, w.Body)
		return nil
	}
	form := []string{"name", "vic", "password", "stapled to the wall"}
	c := signIn(behind(http.MethodPost, "/login", "192.0.2.9", "https", form...))
	if c.Name != "__Host-nocturne_session" || !c.Secure || !c.HttpOnly || c.Path != "/" || c.Domain != "" {
		t.Errorf("over HTTPS the session's cookie is %s", c.Raw)
	}
	last, err := e.Ledger.Latest(1, "")
	if err != nil || len(last) != 1 || !strings.Contains(string(last[0].Data), `"192.0.2.9"`) {
		t.Errorf("the ledger says %+v, %v", last, err)
	}
	page := func(proto, name string) int {
		r := behind(http.MethodGet, "/devices", "192.0.2.9", proto)
		r.AddCookie(&http.Cookie{Name: name, Value: c.Value})
		return e.do("", r).Code
	}
	if a, b, d := page("https", c.Name), page("https", sessionCookie), page("http", c.Name); a != ok || b != other || d != other {
		t.Errorf("the cookie is taken with %d; without its prefix %d, over HTTP %d", a, b, d)
	}
	out := behind(http.MethodPost, "/logout", "192.0.2.9", "https")
	out.AddCookie(&http.Cookie{Name: c.Name, Value: c.Value})
	if gone := e.do("", out).Result().Cookies(); len(gone) != 1 || gone[0].Name != c.Name || !gone[0].Secure || gone[0].MaxAge >= 0 {
		t.Errorf("signing out sets %v", gone)
	}
	if code := page("https", c.Name); code != other {
		t.Errorf("after signing out the cookie is answered with %d", code)
	}
	if c := signIn(behind(http.MethodPost, "/login", "192.0.2.9", "http", form...)); c.Name != sessionCookie || c.Secure {
		t.Errorf("over HTTP the session's cookie is %s", c.Raw)
	}
	forger := behind(http.MethodPost, "/login", "192.0.2.9", "https", form...)
	forger.RemoteAddr = "192.0.2.66:5"
	if c := signIn(forger); c.Name != sessionCookie || c.Secure {
		t.Errorf("a forger's cookie is %s", c.Raw)
	}
	if last, err := e.Ledger.Latest(1, ""); err != nil || !strings.Contains(string(last[0].Data), `"192.0.2.66"`) {
		t.Errorf("the ledger says of a forger %+v, %v", last, err)
	}
}

// TestSignInLocksByClient guesses through a proxy: who guesses is locked, not
// the proxy.
func TestSignInLocksByClient(t *testing.T) {
	t.Parallel()
	e := openEstate(t, plan{people: true})
	e.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}
	try := func(client, password string) int {
		return e.do("", behind(http.MethodPost, "/login", client, "https", "name", "vic", "password", password)).Code
	}
	for range 5 {
		if code := try("192.0.2.66", "a guess at it"); code != who {
			t.Fatalf("a guess is answered with %d", code)
		}
	}
	if a, b := try("192.0.2.66", "stapled to the wall"), try("192.0.2.9", "stapled to the wall"); a != http.StatusTooManyRequests || b != other {
		t.Errorf("who guessed gets %d, another client %d", a, b)
	}
}

// TestCrossSiteBehindAProxy posts from this site's pages and from another's,
// with a browser that sends no Sec-Fetch-Site.
func TestCrossSiteBehindAProxy(t *testing.T) {
	t.Parallel()
	e := openEstate(t, plan{})
	e.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}
	post := func(peer, origin string) int {
		r := behind(http.MethodPost, "/theme", "192.0.2.9", "https", "theme", "light", "back", "/")
		r.RemoteAddr = peer
		r.Header.Set("Origin", origin)
		return e.do("", r).Code
	}
	if a, b, c := post("127.0.0.1:4", "https://noc.example"), post("127.0.0.1:4", "https://evil.example"), post("192.0.2.66:4", "https://noc.example"); a != other || b != no || c != no {
		t.Errorf("from our page %d, from another site %d, with a forged host %d", a, b, c)
	}
}

func TestHSTS(t *testing.T) {
	t.Parallel()
	f := func(hsts time.Duration, over *tls.ConnectionState, want string) {
		t.Helper()
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.TLS = over
		w := httptest.NewRecorder()
		(&Server{Options: Options{HSTS: hsts}}).outside(http.NotFoundHandler()).ServeHTTP(w, r)
		if got := w.Header().Get("Strict-Transport-Security"); got != want {
			t.Errorf("%s: %q, want %q", hsts, got, want)
		}
	}
	f(24*time.Hour, &tls.ConnectionState{}, "max-age=86400")
	f(24*time.Hour, nil, "")
	f(0, &tls.ConnectionState{}, "")
}
