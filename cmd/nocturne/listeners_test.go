package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"nocturne/internal/certs"
	"nocturne/internal/need"
)

const nightPassword = "a hall of racks at night"

// trusting is a client that believes the certificates in the files, from a
// loopback address.
func trusting(t *testing.T, from string, files ...string) *http.Client {
	t.Helper()
	roots := x509.NewCertPool()
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil || !roots.AppendCertsFromPEM(text) {
			t.Fatalf("certificate %s: %v", f, err)
		}
	}
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true, DialContext: d.DialContext}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Timeout: time.Minute, Transport: tr, Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// setUp makes the first administrator over base, and returns the session's
// cookie as it was set.
func (h *hall) setUp(t *testing.T, c *http.Client, base string) *http.Cookie {
	t.Helper()
	token, _, err := h.access.SetupToken()
	if err != nil {
		t.Fatal(err)
	}
	res, err := c.PostForm(base+"/setup", url.Values{"token": {token}, "name": {"ada"}, "password": {nightPassword}, "again": {nightPassword}})
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	for _, k := range res.Cookies() {
		if strings.HasSuffix(k.Name, "nocturne_session") {
			return k
		}
	}
	text, _ := io.ReadAll(res.Body)
	t.Fatalf("set-up: %s, no session:\n%s", res.Status, text)
	return nil
}

// lastLogin is where the newest sign-in came from, by the ledger.
func (h *hall) lastLogin(t *testing.T) string {
	t.Helper()
	all, err := h.ledger.Latest(20, "")
	if err != nil {
		t.Fatal(err)
	}
	var from, seq = "", uint64(0)
	for _, e := range all {
		if e.Action == "login" && e.Seq > seq {
			var data struct{ From string }
			if err := json.Unmarshal(e.Data, &data); err != nil {
				t.Fatal(err)
			}
			from, seq = data.From, e.Seq
		}
	}
	return from
}

// TestServesTLS runs the product over its self-signed certificate: what it
// announces is what clients see, by HTTP/2, with no version below 1.2.
func TestServesTLS(t *testing.T) {
	whole(t)
	h := startReal(t, func(c *Config) { c.TLS.Mode = tlsSelfSigned })
	base := h.address()
	if !strings.HasPrefix(base, "https://127.0.0.1:") || h.cfg.externalURL() != "https://127.0.0.1:0" {
		t.Errorf("it is on %s, and says %s", base, h.cfg.externalURL())
	}
	var said bytes.Buffer
	if err := h.announce(&said); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(h.cfg.Data, "tls", "self-signed.pem")
	c := trusting(t, "127.0.0.1", file)
	cookie := h.setUp(t, c, base)
	if cookie.Name != "__Host-nocturne_session" || !cookie.Secure {
		t.Errorf("the session's cookie is %s", cookie.Raw)
	}
	res, err := c.Get(base + "/devices")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK || res.ProtoMajor != 2 || res.Header.Get("Strict-Transport-Security") != "" {
		t.Errorf("a page over TLS: %s %s, HSTS %q", res.Proto, res.Status, res.Header.Get("Strict-Transport-Security"))
	}
	h.streamsThrough(t, c, base)
	scrape, err := c.Get(base + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer scrape.Body.Close()
	text, err := io.ReadAll(scrape.Body)
	want := fmt.Sprintf("nocturne_tls_certificate_expiry_timestamp_seconds %d\n", h.certs.Status().NotAfter.Unix())
	if err != nil || !strings.Contains(string(text), want) {
		t.Errorf("the metrics have no %q, %v", want, err)
	}

	openssl := need.Binary(t, "openssl", "openssl")
	client := func(args ...string) string {
		cmd := exec.Command(openssl, append([]string{"s_client", "-connect", h.listener.Addr().String(), "-CAfile", file}, args...)...)
		out, _ := cmd.CombinedOutput() // a refused handshake is no success
		return string(out)
	}
	if out := client("-tls1_1", "-cipher", "ALL:@SECLEVEL=0"); strings.Contains(out, "BEGIN CERTIFICATE") || !strings.Contains(out, "alert protocol version") {
		t.Errorf("TLS 1.1 is not refused:\n%s", out)
	}
	for _, v := range []string{"-tls1_2", "-tls1_3"} {
		if out := client(v, "-alpn", "h2,http/1.1"); !strings.Contains(out, "ALPN protocol: h2") || !strings.Contains(out, "Verify return code: 0 (ok)") {
			t.Errorf("%s: openssl says\n%s", v, out)
		}
	}
	printed, err := exec.Command(openssl, "x509", "-in", file, "-noout", "-fingerprint", "-sha256").Output()
	if _, fingerprint, _ := strings.Cut(strings.TrimSpace(string(printed)), "="); err != nil || fingerprint == "" || !strings.Contains(said.String(), fingerprint) {
		t.Errorf("the announcement %q does not hold the fingerprint %s, %v", said.String(), fingerprint, err)
	}
}

// TestPlainListener stands beside a listener whose authority is not there: it
// sends browsers to HTTPS.
func TestPlainListener(t *testing.T) {
	whole(t)
	h := startReal(t, func(c *Config) {
		c.TLS.Mode = tlsACME
		c.TLS.ACME = ACMEConfig{Domains: []string{"noc.example"}, Directory: "https://127.0.0.1:1/dir", HTTPListen: "127.0.0.1:0"}
	})
	c := trusting(t, "127.0.0.1", filepath.Join(h.cfg.Data, "tls", "self-signed.pem"))
	ask := func(method, url string) *http.Response {
		t.Helper()
		q, err := http.NewRequestWithContext(t.Context(), method, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := c.Do(q)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		return res
	}
	plain := "http://" + h.redirect.Addr().String()
	if res := ask(http.MethodGet, plain+"/racks?x=1"); res.StatusCode != http.StatusFound || res.Header.Get("Location") != "https://noc.example/racks?x=1" {
		t.Errorf("a page is answered %s to %s", res.Status, res.Header.Get("Location"))
	}
	if res := ask(http.MethodPost, plain+"/login"); res.StatusCode != http.StatusBadRequest {
		t.Errorf("a form is answered %s", res.Status)
	}
	if res := ask(http.MethodGet, plain+"/.well-known/acme-challenge/x"); res.StatusCode != http.StatusNotFound {
		t.Errorf("a challenge that is none is answered %s", res.Status)
	}
	if res := ask(http.MethodGet, h.address()+"/healthz"); res.StatusCode != http.StatusOK {
		t.Errorf("until a certificate is issued the pages answer %s", res.Status)
	}
	need.Until(t, "the fault is told", func() bool { return h.certs.Status().Fault != nil })
}

const nginxConfig = `
daemon off;
master_process off;
pid %[1]s/pid;
error_log stderr warn;
events {}
http {
	access_log off;
	client_body_temp_path %[1]s/body; proxy_temp_path %[1]s/proxy; fastcgi_temp_path %[1]s/f; uwsgi_temp_path %[1]s/u; scgi_temp_path %[1]s/s;
	ssl_certificate %[2]s; ssl_certificate_key %[2]s;
	proxy_bind 127.0.0.44;
	server { # keeps the host
		listen 127.0.0.1:%[3]d ssl;
		location / { proxy_pass http://%[5]s; proxy_set_header Host $http_host;
			proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; proxy_set_header X-Forwarded-Proto $scheme; }
	}
	server { # replaces it, and names it beside
		listen 127.0.0.1:%[4]d ssl;
		location / { proxy_pass http://%[5]s; proxy_set_header X-Forwarded-Host $http_host;
			proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; proxy_set_header X-Forwarded-Proto $scheme; }
	}
}
`

// startNginx ends TLS before upstream; its two servers differ in what they do
// with the host.
func startNginx(t *testing.T, pair, upstream string) (keeping, replacing string) {
	t.Helper()
	dir := t.TempDir()
	a, b := unusedPort(t), unusedPort(t)
	config := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(config, fmt.Appendf(nil, nginxConfig, dir, pair, a, b, upstream), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(need.Binary(t, "nginx", "nginx"), "-c", config, "-p", dir, "-e", "stderr")
	said := &lockedBuffer{}
	cmd.Stderr = said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("nginx said:\n%s", said)
		}
	})
	keeping, replacing = fmt.Sprintf("https://127.0.0.1:%d", a), fmt.Sprintf("https://127.0.0.1:%d", b)
	need.Within(t, 20*time.Second, func() error {
		c, err := net.Dial("tcp", strings.TrimPrefix(replacing, "https://"))
		if err != nil {
			return fmt.Errorf("nginx: %w\n%s", err, said)
		}
		return c.Close()
	})
	return keeping, replacing
}

func unusedPort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// TestBehindNginx puts a real proxy that ends TLS before the product.
func TestBehindNginx(t *testing.T) {
	whole(t)
	h := startReal(t, func(c *Config) {
		c.Collector.Local = true
		c.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.44/32")}
	})
	pair := selfSignedPair(t)
	keeping, replacing := startNginx(t, pair, h.listener.Addr().String())
	c := trusting(t, "127.0.0.9", pair)
	cookie := h.setUp(t, c, keeping)
	if cookie.Name != "__Host-nocturne_session" || !cookie.Secure || !cookie.HttpOnly {
		t.Errorf("the session's cookie is %s", cookie.Raw)
	}
	if from := h.lastLogin(t); from != "127.0.0.9" {
		t.Errorf("the ledger says that somebody came from %q, not from the client's 127.0.0.9", from)
	}
	login := func(base, origin, forged string) int {
		t.Helper()
		form := url.Values{"name": {"ada"}, "password": {nightPassword}}
		q, err := http.NewRequestWithContext(t.Context(), http.MethodPost, base+"/login", strings.NewReader(form.Encode()))
		if err != nil {
			t.Fatal(err)
		}
		q.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		q.Header.Set("Origin", origin) // as a browser that knows no Sec-Fetch-Site
		if forged != "" {
			q.Header.Set("X-Forwarded-For", forged)
		}
		res, err := c.Do(q)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		return res.StatusCode
	}
	for _, base := range []string{keeping, replacing} {
		if own, other := login(base, base, ""), login(base, "https://evil.example", ""); own != http.StatusSeeOther || other != http.StatusForbidden {
			t.Errorf("%s: a form of our page is answered %d, one of another site %d", base, own, other)
		}
	}
	if login(keeping, keeping, "198.51.100.7, 203.0.113.9"); h.lastLogin(t) != "127.0.0.9" {
		t.Errorf("a forged header moves a client to %s", h.lastLogin(t))
	}
	direct, plain := h.address(), trusting(t, "127.0.0.7")
	q, err := http.NewRequestWithContext(t.Context(), http.MethodPost, direct+"/login", strings.NewReader(url.Values{"name": {"ada"}, "password": {nightPassword}}.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	q.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	q.Header.Set("X-Forwarded-For", "198.51.100.7")
	q.Header.Set("X-Forwarded-Proto", "https")
	res, err := plain.Do(q)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if set := res.Cookies(); h.lastLogin(t) != "127.0.0.7" || len(set) != 1 || set[0].Secure {
		t.Errorf("who says that it is a proxy comes from %s and gets %v", h.lastLogin(t), set)
	}
	h.streamsThrough(t, c, keeping)
}

// streamsThrough wants events of the live stream one after the other, not in
// one piece at the end.
func (h *hall) streamsThrough(t *testing.T, c *http.Client, base string) {
	t.Helper()
	forever := *c
	forever.Timeout = 0
	q, err := http.NewRequestWithContext(t.Context(), http.MethodGet, base+"/live?topics=status", nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := forever.Do(q)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		t.Fatalf("the stream is answered %s", res.Status)
	}
	events := make(chan time.Time, 100)
	go func() {
		defer close(events)
		for in := bufio.NewScanner(res.Body); in.Scan(); {
			if strings.HasPrefix(in.Text(), "event: ") {
				events <- time.Now()
			}
		}
	}()
	start := time.Now()
	late := time.After(30 * time.Second)
	var last time.Time
	for n := range 3 {
		select {
		case at, open := <-events:
			if !open {
				t.Fatalf("the stream ended after %d events", n)
			}
			last = at
		case <-late:
			t.Fatalf("%d events in 30 s: a proxy keeps them back, or nobody sends", n)
		}
	}
	// The third is a beat of 5 s or a change; it came in its own time.
	if took := last.Sub(start); took > 25*time.Second {
		t.Errorf("three events took %s", took)
	}
}

// TestReloadsItsCertificate replaces the files of the configuration while the
// product runs.
func TestReloadsItsCertificate(t *testing.T) {
	whole(t)
	first, second := selfSignedPair(t), selfSignedPair(t)
	file := filepath.Join(t.TempDir(), "tls.pem")
	move := func(pair string) {
		t.Helper()
		text, err := os.ReadFile(pair)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file+"~", text, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(file+"~", file); err != nil {
			t.Fatal(err)
		}
	}
	move(first)
	h := startReal(t, func(c *Config) { c.TLS = defaultTLS; c.TLS.Mode, c.TLS.CertFile, c.TLS.KeyFile = tlsFiles, file, file })
	asks := func(pair string) error {
		res, err := trusting(t, "127.0.0.1", pair).Get(h.address() + "/healthz")
		if err != nil {
			return err
		}
		defer res.Body.Close()
		if res.Header.Get("Strict-Transport-Security") != "max-age=15552000" {
			return fmt.Errorf("HSTS %q", res.Header.Get("Strict-Transport-Security"))
		}
		return nil
	}
	if err := asks(first); err != nil {
		t.Error(err)
	}
	if err := asks(second); err == nil {
		t.Error("who trusts another certificate believes this one")
	}
	move(second)
	need.Within(t, 20*time.Second, func() error { return asks(second) })
	if st := h.certs.Status(); st.Kind != certs.Files || st.Fault != nil {
		t.Errorf("status %+v", st)
	}
}
