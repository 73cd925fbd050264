package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"nocturne/internal/need"
)

// TestThousandIdleConnections leaves 1,000 open, half of them silent from the
// start, and asks for pages beside them.
func TestThousandIdleConnections(t *testing.T) {
	whole(t)
	h := startReal(t, func(c *Config) { c.Collector.Local = true })
	c := trusting(t, "127.0.0.1")
	h.setUp(t, c, h.address())
	page := func() time.Duration {
		t.Helper()
		start := time.Now()
		res, err := c.Get(h.address() + "/devices")
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		if _, err := io.Copy(io.Discard, res.Body); err != nil || res.StatusCode != http.StatusOK {
			t.Fatalf("%s, %v", res.Status, err)
		}
		return time.Since(start)
	}
	page()
	alone := page()
	d := net.Dialer{Timeout: 10 * time.Second, LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 5)}}
	for n := range 1000 {
		k, err := d.Dial("tcp", h.listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = k.Close() })
		if n%2 == 0 {
			continue
		}
		if _, err := io.WriteString(k, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		res, err := http.ReadResponse(bufio.NewReader(k), nil)
		if err != nil {
			t.Fatalf("connection %d: %v", n, err)
		}
		_, _ = io.Copy(io.Discard, res.Body)
	}
	worst := time.Duration(0)
	for range 20 {
		worst = max(worst, page())
	}
	t.Logf("a page took %s alone, %s at worst beside 1,000 idle connections", alone, worst)
	if worst > 2*time.Second {
		t.Errorf("a page takes %s beside 1,000 idle connections, %s alone", worst, alone)
	}
}

// TestOutOfFileDescriptors takes them from the running product: its limit is
// lowered to what it has open and a few, and connections fill those. It stays,
// says so, and afterwards the pages are there and it does its work.
func TestOutOfFileDescriptors(t *testing.T) {
	whole(t)
	dir := t.TempDir()
	name := writeConfig(t, fmt.Sprintf("data: %s\nlisten: 127.0.0.1:0\ncollector: {interval: 1s, timeout: 800ms}\n", filepath.Join(dir, "data")))
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childConfig+"="+name)
	p, _ := startProcess(t, cmd, true)
	ready := func() error {
		res, err := p.client.Get(p.url + "/readyz")
		if err != nil {
			return err
		}
		defer res.Body.Close()
		if text, _ := io.ReadAll(res.Body); res.StatusCode != http.StatusOK {
			return fmt.Errorf("%s: %s", res.Status, text)
		}
		return nil
	}
	need.Within(t, 30*time.Second, ready)
	pid := cmd.Process.Pid
	open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		t.Fatal(err)
	}
	var before unix.Rlimit
	few := unix.Rlimit{Cur: uint64(len(open) + 20), Max: uint64(len(open) + 20)}
	if err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, &few, &before); err != nil {
		t.Fatal(err)
	}
	var crowd []net.Conn
	for range 100 {
		c, err := net.Dial("tcp", strings.TrimPrefix(p.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		crowd = append(crowd, c)
	}
	need.Until(t, "the log names it", func() bool {
		return strings.Contains(p.stderr.String(), "connections wait") && strings.Contains(p.stderr.String(), "too many open files")
	})
	for _, c := range crowd {
		_ = c.Close()
	}
	need.Within(t, 30*time.Second, ready)
	if p.dies(3 * time.Second) {
		t.Fatalf("it ended: %v\n%s", p.err, p.stderr)
	}
	p.stop()
}
