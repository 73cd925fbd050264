package certs

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"nocturne/internal/need"
)

// pebble is a real ACME authority that validates for real: it asks a DNS server
// of the test, which knows only this machine.
type pebble struct {
	directory, roots string // addresses
	caFile           string // whom to believe that it is the authority
	client           *http.Client
	said             *lines
}

// startPebble starts it for a listener on tlsPort and one on httpPort. Its
// certificates live for so many seconds.
func startPebble(t *testing.T, tlsPort, httpPort, seconds int) *pebble {
	t.Helper()
	path, dir, i := need.Pebble(t), t.TempDir(), newIssuer(t)
	cert, key := i.good("127.0.0.1")
	put(t, filepath.Join(dir, "cert.pem"), cert)
	put(t, filepath.Join(dir, "key.pem"), key)
	p := &pebble{caFile: filepath.Join(dir, "ca.pem"), said: &lines{}}
	put(t, p.caFile, i.pem())
	listen, manage := freePort(t), freePort(t)
	config, err := json.Marshal(map[string]any{"pebble": map[string]any{
		"listenAddress": fmt.Sprint("127.0.0.1:", listen), "managementListenAddress": fmt.Sprint("127.0.0.1:", manage),
		"certificate": filepath.Join(dir, "cert.pem"), "privateKey": filepath.Join(dir, "key.pem"),
		"tlsPort": tlsPort, "httpPort": httpPort, "keyAlgorithm": "ecdsa", "retryAfter": map[string]any{"authz": 1, "order": 1},
		"domainBlocklist": []string{"blocked.example"},
		"profiles":        map[string]any{"default": map[string]any{"description": "of a test", "validityPeriod": seconds}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	put(t, filepath.Join(dir, "config.json"), config)
	cmd := exec.Command(path, "-config", filepath.Join(dir, "config.json"), "-dnsserver", startDNS(t), "-strict")
	cmd.Env = append(os.Environ(), "PEBBLE_VA_NOSLEEP=1")
	cmd.Stdout, cmd.Stderr = p.said, p.said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("pebble said:\n%s", p.said)
		}
	})
	p.client = &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: i.pool()}}}
	p.directory, p.roots = fmt.Sprintf("https://127.0.0.1:%d/dir", listen), fmt.Sprintf("https://127.0.0.1:%d/roots/0", manage)
	need.Until(t, "pebble answers", func() bool {
		res, err := p.client.Get(p.directory)
		if err == nil {
			_ = res.Body.Close()
		}
		return err == nil
	})
	return p
}

// root is that of the certificates that it issues.
func (p *pebble) root(t *testing.T) *x509.CertPool {
	t.Helper()
	res, err := p.client.Get(p.roots)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	pool := x509.NewCertPool()
	if err != nil || !pool.AppendCertsFromPEM(text) {
		t.Fatalf("pebble's root: %v\n%s", err, text)
	}
	return pool
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func portOf(t *testing.T, address string) int {
	t.Helper()
	a, err := net.ResolveTCPAddr("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	return a.Port
}

// startDNS answers each question for an IPv4 address with 127.0.0.1 and all
// others with nothing (RFC 1035), over TCP, as Pebble asks.
func startDNS(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() { _ = l.Close(); <-done })
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_ = c.SetDeadline(time.Now().Add(5 * time.Second))
			var size [2]byte
			if _, err := io.ReadFull(c, size[:]); err == nil {
				q := make([]byte, binary.BigEndian.Uint16(size[:]))
				if _, err := io.ReadFull(c, q); err == nil {
					a := answer(q)
					_, _ = c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(a))), a...))
				}
			}
			_ = c.Close()
		}
	}()
	return l.Addr().String()
}

func answer(q []byte) []byte {
	if len(q) < 12 {
		return nil
	}
	end := bytes.IndexByte(q[12:], 0) + 12 + 1 + 4 // of the question: name, type, class
	if end < 17 || end > len(q) {
		return nil
	}
	const typeA = 1
	is := binary.BigEndian.Uint16(q[end-4:]) == typeA
	out := append([]byte{}, q[:2]...)
	out = append(out, 0x85, 0x80, 0, 1, 0, 0, 0, 0, 0, 0) // an answer, one question
	out = append(out, q[12:end]...)
	if is {
		out[7] = 1
		out = append(out, 0xc0, 12, 0, typeA, 0, 1, 0, 0, 0, 60, 0, 4, 127, 0, 0, 1)
	}
	return out
}

// TestACMEOverTLS has a real authority validate this listener, issue, and issue
// again before the certificate is over.
func TestACMEOverTLS(t *testing.T) {
	port := freePort(t)
	p := startPebble(t, port, freePort(t), 12)
	dir := t.TempDir()
	var log lines
	o := Options{Kind: ACME, Dir: dir, Log: slog.New(slog.NewTextHandler(&log, nil)),
		Authority: Authority{Directory: p.directory, CAFile: p.caFile, Email: "noc@noc.example", Domains: []string{"noc.example", "watch.example"}}}
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	if st := s.Status(); st.Kind != SelfSigned {
		t.Errorf("before the first order it is %+v", st)
	}
	address := runningOn(t, s, fmt.Sprint("127.0.0.1:", port))
	root := p.root(t)
	var first *x509.Certificate
	need.Within(t, 30*time.Second, func() (err error) {
		if first, err = served(t, address, "noc.example", root); err != nil {
			return fmt.Errorf("%w; the fault is %v", err, s.Status().Fault)
		}
		return nil
	})
	if _, err := served(t, address, "watch.example", root); err != nil {
		t.Errorf("the second domain: %v", err)
	}
	if st := s.Status(); st.Kind != ACME || st.Fault != nil || !st.NotAfter.Equal(first.NotAfter) {
		t.Errorf("once it is issued the status is %+v", st)
	}
	stored, err := os.Stat(filepath.Join(dir, "acme", "issued.pem"))
	if err != nil || stored.Mode() != 0o600 {
		t.Errorf("the stored certificate: %v, %v", stored, err)
	}
	again, err := New(o)
	if err != nil || again.Status().Kind != ACME {
		t.Errorf("a start now has %+v, %v", again.Status(), err)
	}
	need.Within(t, 30*time.Second, func() error {
		now, err := served(t, address, "noc.example", root)
		if err != nil {
			t.Fatalf("while it is renewed a client is refused: %v", err)
		}
		if now.SerialNumber.Cmp(first.SerialNumber) == 0 {
			return fmt.Errorf("the certificate is not renewed; it ends %s", first.NotAfter)
		}
		return nil
	})
	if said := log.String(); strings.Contains(said, "not renewed") {
		t.Errorf("it was not well all the time:\n%s", said)
	}
	if said := p.said.String(); !strings.Contains(said, "set VALID by completed challenge") {
		t.Errorf("pebble did not validate:\n%s", said)
	}
}

// TestACMEOverHTTP has it ask on a plain listener.
func TestACMEOverHTTP(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := startPebble(t, freePort(t), portOf(t, l.Addr().String()), 3600)
	s, err := New(Options{Kind: ACME, Dir: t.TempDir(), Authority: Authority{Directory: p.directory, CAFile: p.caFile, Domains: []string{"noc.example"}, OverHTTP: true}})
	if err != nil {
		t.Fatal(err)
	}
	plain := &httptest.Server{Listener: l, Config: &http.Server{Handler: s.Challenges(http.NotFoundHandler())}}
	plain.Start()
	defer plain.Close()
	address, root := running(t, s), p.root(t)
	need.Within(t, 30*time.Second, func() error {
		if _, err := served(t, address, "noc.example", root); err != nil {
			return fmt.Errorf("%w; the fault is %v", err, s.Status().Fault)
		}
		return nil
	})
	res, err := http.Get(plain.URL + "/.well-known/acme-challenge/guess")
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if res.StatusCode != http.StatusNotFound {
		t.Errorf("a guessed challenge is answered with %d", res.StatusCode)
	}
}

// TestACMEFaults asks authorities that do not issue: each says why, and the
// listener goes on with what it has.
func TestACMEFaults(t *testing.T) {
	nobody := freePort(t) // listens on it
	p := startPebble(t, nobody, nobody, 3600)
	f := func(a Authority, want ...string) {
		t.Helper()
		s, err := New(Options{Kind: ACME, Dir: t.TempDir(), Authority: a})
		if err != nil {
			t.Fatal(err)
		}
		address := running(t, s)
		need.Within(t, 30*time.Second, func() error {
			fault := s.Status().Fault
			for _, w := range want {
				if fault == nil || !strings.Contains(fault.Error(), w) {
					return fmt.Errorf("the fault is %v, want %q in it", fault, w)
				}
			}
			return nil
		})
		if _, err := served(t, address, "noc.example", nil); err == nil || !strings.Contains(err.Error(), "certificate") {
			t.Errorf("the self-signed certificate is not served: %v", err)
		}
	}
	domains := []string{"noc.example"}
	f(Authority{Directory: p.directory, CAFile: p.caFile, Domains: domains}, "tls.acme: prove noc.example by tls-alpn-01", "onnect")
	f(Authority{Directory: p.directory, CAFile: p.caFile, Domains: []string{"blocked.example"}}, `order a certificate for ["blocked.example"]`)
	f(Authority{Directory: p.directory, Domains: domains}, "register at "+p.directory, "certificate")
	f(Authority{Directory: fmt.Sprintf("https://127.0.0.1:%d/dir", nobody), CAFile: p.caFile, Domains: domains}, "connection refused")
}
