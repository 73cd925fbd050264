package listen

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"nocturne/internal/certs"
	"nocturne/internal/need"
)

func TestMain(m *testing.M) {
	if os.Getenv(childLimit) != "" {
		os.Exit(child())
	}
	os.Exit(m.Run())
}

// lines is a log that a test reads.
type lines struct {
	mu sync.Mutex // guards b
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// site is a running server, and how to reach it.
type site struct {
	t      *testing.T
	addr   string
	url    string
	client *http.Client
	log    *lines
	server *Server
	stop   func() error
}

// idle counts the connections that wait for a request.
func (x *site) idle() int {
	b := x.server.bounded
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.idle.Len()
}

// serve runs h within limits; over is "http", "https" (HTTP/1.1 over TLS) or "h2".
func serve(t *testing.T, over string, l Limits, h http.HandlerFunc) *site {
	t.Helper()
	x := &site{t: t, log: &lines{}}
	o := Options{Address: "127.0.0.1:0", Handler: h, Limits: l, Log: slog.New(slog.NewTextHandler(x.log, nil))}
	transport := &http.Transport{}
	x.client = &http.Client{Transport: transport, Timeout: 20 * time.Second}
	if over != "http" {
		c, err := certs.New(certs.Options{Kind: certs.SelfSigned, Dir: t.TempDir()})
		if err != nil {
			t.Fatal(err)
		}
		o.TLS = c.TLSConfig(tls.VersionTLS12)
		own, err := c.GetCertificate(&tls.ClientHelloInfo{})
		if err != nil {
			t.Fatal(err)
		}
		roots := x509.NewCertPool()
		roots.AddCert(own.Leaf)
		transport.TLSClientConfig = &tls.Config{RootCAs: roots}
		transport.ForceAttemptHTTP2 = over == "h2"
	}
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	x.server, x.addr = s, s.Addr().String()
	x.url = "https://" + x.addr
	if over == "http" {
		x.url = "http://" + x.addr
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	x.stop = sync.OnceValue(func() error { cancel(); return <-ended })
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		if err := errors.Join(x.stop(), s.Close()); err != nil {
			t.Error(err)
		}
	})
	return x
}

// dial opens a connection from a loopback address.
func (x *site) dial(from string) net.Conn {
	x.t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}, Timeout: 10 * time.Second}
	c, err := d.Dial("tcp", x.addr)
	if err != nil {
		x.t.Fatal(err)
	}
	x.t.Cleanup(func() { _ = c.Close() })
	return c
}

func (x *site) get(path string) (string, error) {
	res, err := x.client.Get(x.url + path)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	return string(b), err
}

func hello(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") }

// ends waits until the server has closed a connection, and returns what came.
func ends(t *testing.T, c net.Conn, within time.Duration) string {
	t.Helper()
	if err := c.SetReadDeadline(time.Now().Add(within)); err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(c)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("after %s the connection is still open", within)
	}
	return string(b)
}

func TestLargeHeader(t *testing.T) {
	x := serve(t, "http", Limits{HeaderBytes: 4 << 10}, hello)
	c := x.dial("127.0.0.1")
	if _, err := fmt.Fprintf(c, "GET / HTTP/1.1\r\nHost: x\r\nX-Large: %s\r\n\r\n", strings.Repeat("a", 64<<10)); err != nil && !strings.Contains(err.Error(), "reset") {
		t.Fatal(err)
	}
	if got := ends(t, c, 5*time.Second); !strings.HasPrefix(got, "HTTP/1.1 431 ") {
		t.Errorf("it is answered %.60q", got)
	}
}

// kept is a connection that has had one answer and stays, one more of so many.
func (x *site) kept(from string, idle int) net.Conn {
	x.t.Helper()
	c := x.dial(from)
	if err := ask(c); err != nil {
		x.t.Fatal(err)
	}
	need.Until(x.t, "it is idle", func() bool { return x.idle() == idle })
	return c
}

// ask sends a request on a plain connection and reads the answer.
func ask(c net.Conn) error {
	if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return err
	}
	if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		return err
	}
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	_, err = io.Copy(io.Discard, res.Body)
	return err
}

// TestBounds opens one connection more than may be: in all, and of one address;
// with idle ones, and with none.
func TestBounds(t *testing.T) {
	working, goOn := make(chan struct{}, 2), make(chan struct{})
	x := serve(t, "http", Limits{Connections: 6, PerAddress: 4, HeaderTime: time.Minute, IdleTime: time.Minute}, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/work" {
			working <- struct{}{}
			<-goOn
		}
		hello(w, r)
	})
	defer close(goOn)
	open, refused, made := connections.Get(), refusedOne.Get(), idleClosed.Get()
	for range 4 {
		x.dial("127.0.0.2") // silent: nothing idle is closed for it
	}
	need.Until(t, "four are open", func() bool { return connections.Get() == open+4 })
	ends(t, x.dial("127.0.0.2"), 5*time.Second)
	if got := refusedOne.Get() - refused; got != 1 {
		t.Errorf("%d refused of one address, want 1", got)
	}
	first := x.kept("127.0.0.3", 1)
	second := x.kept("127.0.0.3", 2)
	third := x.kept("127.0.0.4", 2) // makes six again: the longest idle goes
	ends(t, first, 5*time.Second)
	if err := ask(second); err != nil {
		t.Errorf("the second was closed: %v", err)
	}
	if err := ask(third); err != nil {
		t.Errorf("the third was closed: %v", err)
	}
	if got := idleClosed.Get() - made; got != 1 {
		t.Errorf("%d idle ones closed, want 1", got)
	}
	full := refusedAll.Get()
	for _, c := range []net.Conn{second, third} {
		if _, err := io.WriteString(c, "GET /work HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		<-working
	}
	ends(t, x.dial("127.0.0.5"), 5*time.Second)
	if got := refusedAll.Get() - full; got != 1 {
		t.Errorf("%d refused while all are busy, want 1", got)
	}
	if got := connections.Get() - open; got > 6 {
		t.Errorf("%v connections, want 6 at most", got)
	}
}

// TestPlaces gives every place back: many come and go, and as many may come
// again.
func TestPlaces(t *testing.T) {
	x := serve(t, "https", Limits{Connections: 8, PerAddress: 8}, hello)
	open := connections.Get()
	for range 5 {
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				c, err := tls.Dial("tcp", x.addr, &tls.Config{InsecureSkipVerify: true})
				if err != nil {
					t.Error(err)
					return
				}
				defer c.Close()
				if err := ask(c); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		need.Until(t, "all are gone", func() bool { return connections.Get() == open })
	}
}

// TestHandshakes fail for who scans ports, and for who speaks plain HTTP, who is
// told. The log is not filled by them.
func TestHandshakes(t *testing.T) {
	x := serve(t, "https", Limits{}, hello)
	before := handshakeErrors.Get()
	scan := x.dial("127.0.0.1")
	if _, err := io.WriteString(scan, "\x00\x01\x02 anybody there?\r\n"); err != nil {
		t.Fatal(err)
	}
	ends(t, scan, 5*time.Second)
	plain := x.dial("127.0.0.1")
	if _, err := io.WriteString(plain, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if got := ends(t, plain, 5*time.Second); !strings.Contains(got, " 400 ") || !strings.Contains(got, "HTTP request to an HTTPS server") {
		t.Errorf("plain HTTP is answered %q", got)
	}
	need.Until(t, "both are counted", func() bool { return handshakeErrors.Get() == before+2 })
	if said := x.log.String(); said != "" {
		t.Errorf("the log says %s", said)
	}
}

// TestShutdownLetsAnswersEnd ends while an answer is under way.
func TestShutdownLetsAnswersEnd(t *testing.T) {
	under, goOn := make(chan struct{}), make(chan struct{})
	x := serve(t, "https", Limits{}, func(w http.ResponseWriter, r *http.Request) {
		close(under)
		<-r.Context().Done()
		<-goOn
		hello(w, r)
	})
	type answer struct {
		text string
		err  error
	}
	got := make(chan answer, 1)
	go func() { text, err := x.get("/"); got <- answer{text, err} }()
	<-under
	ended := make(chan error, 1)
	go func() { ended <- x.stop() }()
	need.Until(t, "nobody is let in any more", func() bool {
		c, err := net.Dial("tcp", x.addr)
		if err == nil {
			_ = c.Close()
		}
		return err != nil
	})
	select {
	case err := <-ended:
		t.Fatalf("it ended before the answer did: %v", err)
	default:
	}
	close(goOn)
	if a := <-got; a.err != nil || a.text != "hello" {
		t.Errorf("the answer is %q, %v", a.text, a.err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestAddressInUse(t *testing.T) {
	x := serve(t, "http", Limits{}, hello)
	if _, err := Open(Options{Address: x.addr}); err == nil || !strings.Contains(err.Error(), "listen on "+x.addr) {
		t.Errorf("it says %v", err)
	}
}
