package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// heard is a word that the service manager got.
type heard struct {
	word string
	at   time.Time
}

// serviceManager listens as systemd does.
func serviceManager(t *testing.T) (path string, words <-chan heard) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	out := make(chan heard, 100)
	go func() {
		defer close(out)
		b := make([]byte, 4096)
		for {
			n, err := conn.Read(b)
			if err != nil {
				return
			}
			out <- heard{string(b[:n]), time.Now()}
		}
	}()
	return path, out
}

// waitFor returns the next word that begins so, and fails for the words of
// others in forbidden before it.
func waitFor(t *testing.T, words <-chan heard, prefix string, forbidden ...string) heard {
	t.Helper()
	late := time.NewTimer(30 * time.Second)
	defer late.Stop()
	for {
		select {
		case h, open := <-words:
			if !open {
				t.Fatalf("no %s came", prefix)
			}
			for _, f := range forbidden {
				if strings.HasPrefix(h.word, f) {
					t.Errorf("%q came before %s", h.word, prefix)
				}
			}
			if strings.HasPrefix(h.word, prefix) {
				return h
			}
		case <-late.C:
			t.Fatalf("no %s within 30 s", prefix)
		}
	}
}

// TestServiceManagerIsTold runs the product as a service: ready once it can be
// asked, signs of life within half the time, and the end.
func TestServiceManagerIsTold(t *testing.T) {
	whole(t)
	socket, words := serviceManager(t)
	dir := t.TempDir()
	config := filepath.Join(dir, "nocturne.yaml")
	if err := os.WriteFile(config, fmt.Appendf(nil, "data: %s\nlisten: 127.0.0.1:0\ncollector: {interval: 1s, timeout: 900ms}\n", filepath.Join(dir, "data")), 0o600); err != nil {
		t.Fatal(err)
	}
	const watchdog = 6 * time.Second
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childConfig+"="+config, "NOTIFY_SOCKET="+socket, fmt.Sprintf("WATCHDOG_USEC=%d", watchdog.Microseconds()))
	p, _ := startProcess(t, cmd, true)
	waitFor(t, words, "READY=1", "STOPPING=1")
	last := waitFor(t, words, "WATCHDOG=1", "STOPPING=1")
	for range 3 {
		next := waitFor(t, words, "WATCHDOG=1", "STOPPING=1")
		if gap := next.at.Sub(last.at); gap >= watchdog/2 {
			t.Errorf("%v between two signs of life, with a watchdog of %v", gap, watchdog)
		}
		last = next
	}
	p.stop()
	waitFor(t, words, "STOPPING=1")
}

// TestStatusSaysWhere reads the line of `systemctl status`.
func TestStatusSaysWhere(t *testing.T) {
	socket, words := serviceManager(t)
	t.Setenv("NOTIFY_SOCKET", socket)
	h := startReal(t, func(*Config) {})
	waitFor(t, words, "READY=1")
	if got := waitFor(t, words, "STATUS="); got.word != "STATUS=ready on "+h.address() {
		t.Errorf("said %q", got.word)
	}
}
