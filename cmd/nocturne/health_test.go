package main

import (
	"bytes"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// cli runs a command as the shell would.
func cli(args ...string) (string, error) {
	c := command()
	var out bytes.Buffer
	c.SetOut(&out)
	c.SetErr(&out)
	c.SetArgs(args)
	err := c.Execute()
	return out.String(), err
}

// TestHealth asks the product itself, with and without TLS before it.
func TestHealth(t *testing.T) {
	h := startReal(t, func(*Config) {})
	plain := h.listener.Addr().String()
	secure := httptest.NewTLSServer(h.web.Handler()) // a certificate that nobody vouches for
	defer secure.Close()
	for _, listen := range []string{plain, secure.Listener.Addr().String()} {
		for question, want := range map[string]string{"": "ready\n", "--live": "ok\n"} {
			args := []string{"health", "--listen", listen}
			if question != "" {
				args = append(args, question)
			}
			if out, err := cli(args...); err != nil || out != want {
				t.Errorf("%v: %q, %v", args, out, err)
			}
		}
	}
}

func TestHealthTellsFaults(t *testing.T) {
	answer := func(status int, body string) string {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			_, _ = w.Write([]byte(body))
		}))
		t.Cleanup(srv.Close)
		return srv.Listener.Addr().String()
	}
	nobody, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := nobody.Close(); err != nil {
		t.Fatal(err)
	}
	mute, err := net.Listen("tcp", "127.0.0.1:0") // takes connections and says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer mute.Close()
	for listen, want := range map[string]string{
		answer(503, `{"status":"not ready","faults":["history: a","collector: b"]}`): "not ready: history: a; collector: b",
		answer(200, "<html>"):    "none of nocturne's",
		nobody.Addr().String():   "refused",
		mute.Addr().String():     "deadline exceeded",
		"nonsense":               "no address:port",
		answer(500, `{"x":"y"}`): ":",
	} {
		start := time.Now()
		out, err := cli("health", "--timeout", "1s", "--listen", listen)
		if err == nil || !strings.Contains(err.Error(), want) || out != "" {
			t.Errorf("%s: %q, %v; want an error with %q", listen, out, err, want)
		}
		if took := time.Since(start); took > 10*time.Second {
			t.Errorf("%s took %v", listen, took)
		}
	}
}

func TestHereOf(t *testing.T) {
	for listen, want := range map[string]string{
		"127.0.0.1:8080": "127.0.0.1:8080", ":8443": "127.0.0.1:8443", "0.0.0.0:1": "127.0.0.1:1", "[::]:1": "[::1]:1",
		"[2001:db8::1]:1": "[2001:db8::1]:1", "localhost:1": "localhost:1", "10.0.0.7:1": "10.0.0.7:1",
	} {
		if got, err := hereOf(listen); err != nil || got != want {
			t.Errorf("%s: %q, %v; want %q", listen, got, err, want)
		}
	}
}

func TestTokensGoNowhereInTheClear(t *testing.T) {
	for server, fault := range map[string]string{
		"http://192.0.2.1:8080": "in the clear", "http://nocturne.example": "in the clear", "ftp://127.0.0.1": "no http", "127.0.0.1:80": "no http",
		"https://u:p@nocturne.example": "no http", "https://nocturne.example": "", "http://127.0.0.1:8080": "", "http://localhost:1": "", "http://[::1]:1": "",
	} {
		_, err := newThere(server, "")
		if (err == nil) != (fault == "") || err != nil && !strings.Contains(err.Error(), fault) {
			t.Errorf("%s: %v, want %q", server, err, fault)
		}
	}
	if _, err := newThere("https://x.example", "/no/such/file"); err == nil {
		t.Error("a CA file that is not there is taken")
	}
}

// TestManPage wants each command in it and no line that roff takes for one of
// its own by mistake.
func TestManPage(t *testing.T) {
	page, err := cli("man")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{".TH NOCTURNE 1", ".SS nocturne serve", ".SS nocturne tsdb backup", ".SS nocturne support", `\-\-token\-file`} {
		if !strings.Contains(page, want) {
			t.Errorf("%q is not in the page", want)
		}
	}
	known := map[string]bool{".TH": true, ".SH": true, ".SS": true, ".TP": true, ".PP": true, ".B": true, ".I": true}
	for line := range strings.Lines(page) {
		if word, _, _ := strings.Cut(strings.TrimSpace(line), " "); strings.HasPrefix(line, ".") && !known[word] || strings.HasPrefix(line, "'") {
			t.Errorf("%q", line)
		}
	}
}
