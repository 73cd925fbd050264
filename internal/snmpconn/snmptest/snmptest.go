// Package snmptest starts SNMP agents for tests on loopback: Debian's snmpd,
// and the simulator of the shared test material, which serves recorded walks
// and misbehaves on demand. Only tests import it.
package snmptest

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// What Snmpd and Simulator accept.
const (
	Community = "nightwatch"
	User      = "monitor"
	AuthPass  = "authpass123"
	PrivPass  = "privpass123"
)

// startTime is how long an agent may take to come up on a busy machine.
const startTime = 30 * time.Second

// Snmpd starts Debian's snmpd with a community for v1 and v2c, and a v3 user
// with SHA and AES, and returns its address. bin is the program.
func Snmpd(t testing.TB, bin string, extra ...string) string {
	t.Helper()
	dir := t.TempDir()
	conf := []string{
		"rocommunity " + Community + " 127.0.0.0/8",
		fmt.Sprintf("createUser %s SHA %q AES %q", User, AuthPass, PrivPass),
		"rouser " + User + " priv",
		"sysName nocturne-test", "sysLocation row 7", "sysContact night@example.org",
	}
	file := filepath.Join(dir, "snmpd.conf")
	if err := os.WriteFile(file, []byte(strings.Join(append(conf, extra...), "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var port int
	start(t, func(port int) (*exec.Cmd, string) {
		cmd := exec.Command(bin, "-f", "-Lo", "-C", "-c", file, "udp:127.0.0.1:"+strconv.Itoa(port))
		cmd.Env = append(os.Environ(), "SNMP_PERSISTENT_DIR="+dir, "SNMPCONFPATH="+dir)
		return cmd, "NET-SNMP version"
	}, &port)
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
}

// Agents is a running simulator.
type Agents struct {
	Port  int
	first [4]byte
}

// Address returns the address of the simulator's device i.
func (a Agents) Address(i int) string {
	n := int(a.first[2])<<8 + int(a.first[3]) + i
	return fmt.Sprintf("%d.%d.%d.%d:%d", a.first[0], a.first[1], n>>8&255, n&255, a.Port)
}

// Simulator builds the simulator whose source is in the folder src and starts
// it on a folder of walks; args are its further flags.
func Simulator(t testing.TB, src, walks string, args ...string) (a Agents) {
	t.Helper()
	base := append([]string{"-walks", walks, "-listen", "127.41.0.1", "-community", Community,
		"-v3-user", User, "-v3-auth", "SHA:" + AuthPass, "-v3-priv", "AES:" + PrivPass}, args...)
	start(t, func(port int) (*exec.Cmd, string) {
		return exec.Command(simulator(t, src), append(base, "-port", strconv.Itoa(port))...), " devices, "
	}, &a.Port)
	a.first = [4]byte{127, 41, 0, 1}
	return a
}

var build struct {
	once      sync.Once
	dir, path string
	err       error
}

// Main runs the tests of a package that uses Simulator, and removes the
// program that was built for them.
func Main(m *testing.M) int {
	defer func() { _ = os.RemoveAll(build.dir) }()
	return m.Run()
}

// simulator returns the simulator's program, built once a test binary.
func simulator(t testing.TB, src string) string {
	t.Helper()
	build.once.Do(func() {
		if build.dir, build.err = os.MkdirTemp("", "nocturne-snmpsim-"); build.err != nil {
			return
		}
		build.path = filepath.Join(build.dir, "snmpsim")
		cmd := exec.Command("go", "build", "-o", build.path, ".")
		cmd.Dir = src
		if out, err := cmd.CombinedOutput(); err != nil {
			build.err = fmt.Errorf("build simulator: %w\n%s", err, out)
		}
	})
	if build.err != nil {
		t.Fatal(build.err)
	}
	return build.path
}

// start starts a program on a free port, again where another one takes the
// port between the look and the start, and ends it with the test. command
// makes it for a port, with what it says once it is up.
func start(t testing.TB, command func(port int) (*exec.Cmd, string), port *int) {
	t.Helper()
	var said string
	for range 5 {
		*port = freePort(t)
		cmd, ready := command(*port)
		up := false
		if up, said = run(t, cmd, ready); up {
			return
		}
		if !strings.Contains(said, "in use") && !strings.Contains(said, "Error opening") {
			break
		}
	}
	t.Fatalf("agent has not started: %s", said)
}

// run starts a program and waits until it says ready or has ended.
func run(t testing.TB, cmd *exec.Cmd, ready string) (ok bool, said string) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = w, w
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = w.Close()
	up, done := make(chan struct{}), make(chan struct{})
	var once sync.Once
	var out strings.Builder // read only after done
	go func() {
		defer close(done)
		for sc := bufio.NewScanner(r); sc.Scan(); {
			if strings.Contains(sc.Text(), ready) {
				once.Do(func() { close(up) })
			}
			if out.Len() < 1<<16 {
				out.WriteString(sc.Text() + "\n")
			}
		}
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		<-done
		_ = r.Close()
	})
	select {
	case <-up:
		return true, ""
	case <-done:
		return false, out.String()
	case <-time.After(startTime):
		t.Fatalf("%s did not start in %v", cmd.Path, startTime)
		return false, ""
	}
}

func freePort(t testing.TB) int {
	t.Helper()
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	return c.LocalAddr().(*net.UDPAddr).Port
}

// Walks lists the walks of a folder in the order in which Simulator gives
// them to its devices.
func Walks(t testing.TB, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.snmprec"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no walks in %s: %v", dir, err)
	}
	return files
}
