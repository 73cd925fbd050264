// Package sshdtest runs a real OpenSSH server on loopback for a test, with its
// own configuration, host keys and one authorised key. Only tests import it.
package sshdtest

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

// Server is a running sshd. It ends with its test.
type Server struct {
	Address string // 127.0.0.1:port
	User    string // whose login it takes: the one running the test
	Key     string // the private key that is authorised, in OpenSSH's format
	HostKey ssh.PublicKey
	Log     *Log
}

// Start runs the sshd at path binary. config lines come first, and sshd_config
// takes the first value of a keyword: they override those here. Sessions have
// an empty home unless a SetEnv line names another: bash reads ~/.bashrc for
// every command over SSH, and what stands there is not part of a test.
func Start(t testing.TB, binary string, config ...string) *Server {
	t.Helper()
	dir := t.TempDir()
	me, err := user.Current()
	check(t, err)
	if me.Uid == "0" { // where sshd separates its privileges
		check(t, os.MkdirAll("/run/sshd", 0o755))
	}
	key, pub := newKey(t)
	hostKey, hostPub := newKey(t)
	write := func(name, text string) string {
		p := filepath.Join(dir, name)
		check(t, os.WriteFile(p, []byte(text), 0o600))
		return p
	}
	s := &Server{Address: freeAddress(t), User: me.Username, Key: key, HostKey: hostPub, Log: &Log{}}
	host, port, err := net.SplitHostPort(s.Address)
	check(t, err)
	lines := append(withHome(config, t.TempDir()),
		"ListenAddress "+host, "Port "+port,
		"HostKey "+write("host_key", hostKey),
		"AuthorizedKeysFile "+write("authorized_keys", string(ssh.MarshalAuthorizedKey(pub))),
		"PidFile none", "UsePAM no", "StrictModes no", "PermitRootLogin prohibit-password",
		"PasswordAuthentication no", "KbdInteractiveAuthentication no", "PrintMotd no", "LogLevel VERBOSE")
	cmd := exec.Command(binary, "-D", "-e", "-f", write("sshd_config", strings.Join(lines, "\n")+"\n"))
	cmd.Stderr = s.Log
	check(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("sshd said:\n%s", s.Log)
		}
	})
	s.await(t)
	return s
}

// withHome has the SetEnv line of config, of which sshd takes the first alone,
// set HOME.
func withHome(config []string, home string) []string {
	for i, line := range config {
		if env, ok := strings.CutPrefix(line, "SetEnv "); ok {
			if strings.Contains(" "+env, " HOME=") {
				return config
			}
			out := slices.Clone(config)
			out[i] = line + " HOME=" + home
			return out
		}
	}
	return append([]string{"SetEnv HOME=" + home}, config...)
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func newKey(t testing.TB) (private string, public ssh.PublicKey) {
	t.Helper()
	pub, priv, err := ed25519.GenerateKey(nil)
	check(t, err)
	block, err := ssh.MarshalPrivateKey(priv, "")
	check(t, err)
	public, err = ssh.NewPublicKey(pub)
	check(t, err)
	return string(pem.EncodeToMemory(block)), public
}

func freeAddress(t testing.TB) string {
	t.Helper()
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	check(t, err)
	defer ln.Close()
	return ln.Addr().String()
}

// await returns when sshd answers.
func (s *Server) await(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if strings.Contains(s.Log.String(), "Server listening") {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("sshd does not listen on %s:\n%s", s.Address, s.Log)
		case <-tick.C:
		}
	}
}

// KnownHosts is the server's known_hosts line.
func (s *Server) KnownHosts() []byte {
	host, port, _ := net.SplitHostPort(s.Address)
	return fmt.Appendf(nil, "[%s]:%s %s", host, port, ssh.MarshalAuthorizedKey(s.HostKey))
}

// Log is what sshd wrote, safe to read while it writes.
type Log struct {
	mu sync.Mutex // guards b
	b  bytes.Buffer
}

func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
