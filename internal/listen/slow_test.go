package listen

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"
)

// drip writes a byte every 50 ms until the connection is closed.
func drip(c net.Conn, b byte) {
	for {
		if _, err := c.Write([]byte{b}); err != nil {
			return
		}
		<-time.After(50 * time.Millisecond)
	}
}

// TestSlowClientsCostOthersNothing holds slow clients of each kind for as long
// as they like; whoever is answered beside them did not wait for them.
func TestSlowClientsCostOthersNothing(t *testing.T) {
	for _, over := range []string{"http", "https", "h2"} {
		x := serve(t, over, Limits{HeaderTime: time.Hour, ReadTime: time.Hour, WriteTime: time.Hour}, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/much" {
				_, _ = w.Write(make([]byte, 16<<20))
				return
			}
			_, _ = io.Copy(io.Discard, r.Body)
			hello(w, r)
		})
		for n := range 30 {
			c := x.dial("127.0.0.1")
			if over != "http" && n < 20 {
				c = tls.Client(c, &tls.Config{InsecureSkipVerify: true})
			}
			begin := []string{"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n", "GET /much HTTP/1.1\r\nHost: x\r\n\r\n"}[n%3]
			if over != "http" && n >= 20 {
				begin = "\x16\x03\x01" // of a handshake
			}
			if _, err := io.WriteString(c, begin); err != nil {
				t.Fatal(err)
			}
		}
		for range 5 {
			if got, err := x.get("/"); err != nil || got != "hello" {
				t.Errorf("%s: another client gets %q, %v", over, got, err)
			}
		}
	}
}

func TestSlowHeader(t *testing.T) {
	for _, over := range []string{"http", "https"} {
		x := serve(t, over, Limits{HeaderTime: 400 * time.Millisecond}, hello)
		var slow net.Conn = x.dial("127.0.0.1")
		if over == "https" {
			slow = tls.Client(slow, &tls.Config{InsecureSkipVerify: true})
		}
		start := time.Now()
		if _, err := io.WriteString(slow, "GET / HTTP/1.1\r\nHost: x\r\nX-Slow: "); err != nil {
			t.Fatal(err)
		}
		go drip(slow, 'a')
		if ends(t, slow, 5*time.Second); time.Since(start) < 300*time.Millisecond {
			t.Errorf("%s: it was closed after %s already", over, time.Since(start))
		}
	}
}

// TestSlowHandshake sends the TLS handshake a byte at a time.
func TestSlowHandshake(t *testing.T) {
	x := serve(t, "https", Limits{HeaderTime: 400 * time.Millisecond}, hello)
	slow := x.dial("127.0.0.1")
	go drip(slow, 0x16)
	ends(t, slow, 5*time.Second)
}

func TestSlowBody(t *testing.T) {
	read := make(chan error, 1)
	x := serve(t, "http", Limits{ReadTime: 500 * time.Millisecond}, func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			_, err := io.Copy(io.Discard, r.Body)
			read <- err
		}
		hello(w, r)
	})
	slow := x.dial("127.0.0.1")
	if _, err := io.WriteString(slow, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	go drip(slow, 'a')
	ends(t, slow, 5*time.Second)
	if err := <-read; !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the handler's read ended with %v", err)
	}
}

// TestReaderThatNeverReads asks for much and takes none of it.
func TestReaderThatNeverReads(t *testing.T) {
	const within = 500 * time.Millisecond
	for _, over := range []string{"http", "https", "h2"} {
		wrote := make(chan error, 1)
		x := serve(t, over, Limits{WriteTime: within}, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/much" {
				hello(w, r)
				return
			}
			_, err := w.Write(make([]byte, 64<<20))
			wrote <- err
		})
		if over == "h2" {
			res, err := x.client.Get(x.url + "/much")
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			if res.ProtoMajor != 2 {
				t.Fatalf("it speaks %s", res.Proto)
			}
		} else {
			var lazy net.Conn = x.dial("127.0.0.1")
			if over == "https" {
				lazy = tls.Client(lazy, &tls.Config{InsecureSkipVerify: true})
			}
			if _, err := io.WriteString(lazy, "GET /much HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
				t.Fatal(err)
			}
		}
		select {
		case err := <-wrote:
			if err == nil {
				t.Errorf("%s: 64 MiB went to who reads nothing", over)
			}
		case <-time.After(10 * time.Second):
			t.Errorf("%s: the handler still writes after 10 s", over)
		}
	}
}

// TestLongAnswers are taken well and last several times as long as any bound:
// nothing of them is lost.
func TestLongAnswers(t *testing.T) {
	for _, over := range []string{"http", "https", "h2"} {
		x := serve(t, over, Limits{ReadTime: 200 * time.Millisecond, WriteTime: 200 * time.Millisecond, IdleTime: 200 * time.Millisecond}, func(w http.ResponseWriter, r *http.Request) {
			for n := range 4 {
				select {
				case <-r.Context().Done():
					return
				case <-time.After(500 * time.Millisecond):
				}
				fmt.Fprintf(w, "%d%s", n, strings.Repeat("x", 100<<10))
				_ = http.NewResponseController(w).Flush()
			}
		})
		got, err := x.get("/")
		if want := 4 * (1 + 100<<10); err != nil || len(got) != want {
			t.Errorf("%s: %d bytes of %d, %v", over, len(got), want, err)
		}
	}
}

// TestOwnDeadlines leaves the pace to a handler that sets one, as streams do.
func TestOwnDeadlines(t *testing.T) {
	for _, over := range []string{"http", "h2"} {
		wrote := make(chan time.Duration, 1)
		x := serve(t, over, Limits{WriteTime: time.Hour}, func(w http.ResponseWriter, r *http.Request) {
			rc, start := http.NewResponseController(w), time.Now()
			for {
				if err := rc.SetWriteDeadline(time.Now().Add(300 * time.Millisecond)); err != nil {
					t.Error(err)
				}
				if _, err := w.Write(make([]byte, 1<<20)); err != nil {
					break
				}
			}
			wrote <- time.Since(start)
		})
		res, err := x.client.Get(x.url)
		if err != nil {
			t.Fatal(err)
		}
		select {
		case <-wrote:
		case <-time.After(10 * time.Second):
			t.Errorf("%s: the handler's deadline did not hold", over)
		}
		_ = res.Body.Close()
	}
}
