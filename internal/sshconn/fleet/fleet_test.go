package fleet

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
	"os"
	"path/filepath"
)

func start(t *testing.T, cfg Config) (*Fleet, int) {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0") // find a free port
	if err != nil {
		t.Fatal(err)
	}
	cfg.Port = l.Addr().(*net.TCPAddr).Port
	l.Close()
	f, err := Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Close)
	return f, cfg.Port
}

func hosts(t *testing.T, s string) []netip.Addr {
	t.Helper()
	h, err := ParseHosts(s)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func do(a netip.Addr, port int, cb ssh.HostKeyCallback, cmd string, limit time.Duration) (string, error) {
	_, k, _ := ed25519.GenerateKey(nil)
	s, _ := ssh.NewSignerFromKey(k)
	nc, err := net.DialTimeout("tcp", net.JoinHostPort(a.String(), strconv.Itoa(port)), limit)
	if err != nil {
		return "", err
	}
	defer nc.Close()
	nc.SetDeadline(time.Now().Add(limit))
	c, ch, rq, err := ssh.NewClientConn(nc, nc.RemoteAddr().String(), &ssh.ClientConfig{User: "u", Auth: []ssh.AuthMethod{ssh.PublicKeys(s)}, HostKeyCallback: cb})
	if err != nil {
		return "", err
	}
	ss, err := ssh.NewClient(c, ch, rq).NewSession()
	if err != nil {
		return "", err
	}
	out, err := ss.Output(cmd)
	return string(out), err
}

func TestModes(t *testing.T) {
	hs := hosts(t, "127.77.0.1+16")
	var rules []Rule
	for i, m := range Modes {
		rules = append(rules, Rule{Mode: m, From: hs[i], To: hs[i]})
	}
	var j bytes.Buffer
	var jmu sync.Mutex
	f, port := start(t, Config{Hosts: hs, Faults: rules, Journal: lockedWriter{&jmu, &j}, HugeBytes: 1 << 20, SlowEvery: time.Millisecond})
	kh := filepath.Join(t.TempDir(), "known_hosts")
	w, err := os.Create(kh)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.KnownHosts(w); err != nil {
		t.Fatal(err)
	}
	w.Close()
	cb, err := knownhosts.New(kh)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for i, m := range Modes {
		wg.Go(func() {
			out, err := do(hs[i], port, cb, "echo hi", time.Second)
			var ee *ssh.ExitError
			var em *ssh.ExitMissingError
			var ke *knownhosts.KeyError
			bad := func() { t.Errorf("%s: out %d bytes, err %v", m, len(out), err) }
			switch m {
			case OK:
				if err != nil || out != "hi\n" {
					bad()
				}
			case ExitNonZero:
				if !errors.As(err, &ee) || ee.ExitStatus() != 3 {
					bad()
				}
			case HugeOutput:
				if err != nil || len(out) != 1<<20 {
					bad()
				}
			case SlowOutput:
				if err != nil || strings.Count(out, "\n") != 50 {
					bad()
				}
			case NoStatus:
				if !errors.As(err, &em) {
					bad()
				}
			case ChangedKey:
				if !errors.As(err, &ke) || len(ke.Want) != 1 {
					bad()
				}
			default:
				if err == nil {
					bad()
				}
			}
		})
	}
	wg.Wait()
	jmu.Lock()
	defer jmu.Unlock()
	// the seven modes that reach a command, and drop-exec among them
	if n := strings.Count(j.String(), `"event":"start"`); n != 8 {
		t.Errorf("journal has %d starts", n)
	}
}

type lockedWriter struct {
	mu *sync.Mutex
	b  *bytes.Buffer
}

func (w lockedWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.Write(p)
}

func TestRefusedForReal(t *testing.T) {
	hs := hosts(t, "127.78.0.1+4")
	_, port := start(t, Config{Hosts: hs, Faults: []Rule{{Mode: Refuse, From: hs[1], To: hs[1]}}})
	if _, err := do(hs[0], port, ssh.InsecureIgnoreHostKey(), "true", time.Second); err != nil {
		t.Error(err)
	}
	if _, err := do(hs[1], port, ssh.InsecureIgnoreHostKey(), "true", time.Second); err == nil || !strings.Contains(err.Error(), "refused") {
		t.Errorf("want a refusal, got %v", err)
	}
}

func TestParse(t *testing.T) {
	for _, s := range []string{"", "127.0.0.1-", "127.0.0.9-127.0.0.1", "10.0.0.0/1", "127.0.0.1+0", "x"} {
		if h, err := ParseHosts(s); err == nil {
			t.Errorf("%q gave %d hosts", s, len(h))
		}
	}
	if n := len(hosts(t, "127.1.0.0/24,127.1.0.128+256")); n != 384 {
		t.Errorf("overlap: %d hosts", n)
	}
	if _, err := Start(Config{Hosts: []netip.Addr{netip.MustParseAddr("10.0.0.1")}}); err == nil {
		t.Error("a non-loopback address was accepted")
	}
	r, err := ParseRule("hang-exec=127.1.0.0/16@10%")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, a := range hosts(t, "127.1.0.0+10000") {
		if r.matches(a, "s") {
			n++
		}
	}
	if n < 850 || n > 1150 || r.matches(netip.MustParseAddr("127.2.0.1"), "s") {
		t.Errorf("10%% of 10000 gave %d", n)
	}
	if _, err := ParseRule("nonsense=1%"); err == nil {
		t.Error("unknown mode accepted")
	}
}
