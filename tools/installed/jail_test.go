package installed

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"nocturne/internal/need"
)

// jail is a Debian in a folder.
type jail struct {
	t   *testing.T
	dir string
}

// newJail unpacks one, with the test's own program in it for cage and probe.
func newJail(t *testing.T) *jail {
	t.Helper()
	archive := need.Debian(t)
	j := &jail{t, filepath.Join(t.TempDir(), "root")}
	if err := os.Mkdir(j.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	output(t, "tar", "-C", j.dir, "--numeric-owner", "-xpf", archive)
	own, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	write(t, j.path("/cage"), read(t, own), 0o755)
	return j
}

// path is where a path of the jail stands.
func (j *jail) path(p string) string { return filepath.Join(j.dir, p) }

// enter is a shell's way into the jail, with mounts that go with it.
const enter = `set -e
root=$1; shift
mount -t proc proc "$root/proc"
exec chroot "$root" "$@"`

var jailEnvironment = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", "DEBIAN_FRONTEND=noninteractive", "HOME=/root", "TMPDIR=/tmp"}

// try runs a program in the jail, as root.
func (j *jail) try(args ...string) (string, error) {
	j.t.Helper()
	cmd := exec.Command("unshare", append([]string{"--mount", "--propagation", "private", "sh", "-c", enter, "sh", j.dir}, args...)...)
	cmd.Env = jailEnvironment
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// run is try, which must end well.
func (j *jail) run(args ...string) string {
	j.t.Helper()
	out, err := j.try(args...)
	if err != nil {
		j.t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// put copies a file into the jail's /tmp.
func (j *jail) put(path string) string {
	j.t.Helper()
	to := "/tmp/" + filepath.Base(path)
	write(j.t, j.path(to), read(j.t, path), 0o644)
	return to
}

// state is mode, owner and group of a path, "" where there is none.
func (j *jail) state(path string) string {
	j.t.Helper()
	out, err := j.try("stat", "-c", "%a %U %G", path)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(out)
}

// sandbox is the unit's view of the file system: all is read-only but the data,
// and /tmp and /dev are its own.
const sandbox = `set -e
root=$1; shift
[ -z "$OWN_NETWORK" ] || ip link set lo up
mount --bind "$root" "$root"
mount -t proc -o hidepid=invisible proc "$root/proc"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
mount --bind "$root/var/lib/nocturne" "$root/var/lib/nocturne"
mount -o remount,bind,ro "$root"
exec chroot "$root" "$@"`

// asUnit is a program in the jail as the unit would start it.
func (j *jail) asUnit(u unit, args ...string) *exec.Cmd {
	j.t.Helper()
	spec, err := json.Marshal(u.cage(j.t))
	if err != nil {
		j.t.Fatal(err)
	}
	if u.one(j.t, "NoNewPrivileges") != "yes" || u.one(j.t, "ProtectSystem") != "strict" || u.one(j.t, "PrivateTmp") != "yes" {
		j.t.Fatal("the unit does not ask for what this test does")
	}
	capabilities := func(key string) string {
		var list strings.Builder
		list.WriteString("-all")
		for c := range strings.FieldsSeq(u.one(j.t, key)) {
			list.WriteString(",+" + strings.ToLower(strings.TrimPrefix(c, "CAP_")))
		}
		return list.String()
	}
	ambient := capabilities("AmbientCapabilities")
	cmd := exec.Command("unshare", append([]string{"--mount", "--propagation", "private", "sh", "-c", sandbox, "sh", j.dir,
		"setpriv", "--reuid", u.one(j.t, "User"), "--regid", u.one(j.t, "Group"), "--clear-groups", "--inh-caps", ambient, "--ambient-caps", ambient,
		"--bounding-set", capabilities("CapabilityBoundingSet"), "--no-new-privs", "/cage"}, args...)...)
	cmd.Env = append(jailEnvironment, cageVariable+"="+string(spec))
	return cmd
}

// service is the program running as the unit would run it.
type service struct {
	*jail
	cmd   *exec.Cmd
	words chan string // what the service manager hears
	gone  chan error

	mu  sync.Mutex // guards out
	out bytes.Buffer
}

func (s *service) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.out.Write(b)
}

func (s *service) said() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.out.String()
}

// start runs the unit's ExecStart and waits until it says that it is ready.
func (j *jail) start(u unit) *service {
	j.t.Helper()
	s := &service{jail: j, cmd: j.asUnit(u, strings.Fields(u.one(j.t, "ExecStart"))...), words: make(chan string, 1000), gone: make(chan error, 1)}
	s.listen()
	s.cmd.Env = append(s.cmd.Env, "NOTIFY_SOCKET=/run/notify", "WATCHDOG_USEC=60000000")
	s.cmd.Stdout, s.cmd.Stderr = s, s
	if err := s.cmd.Start(); err != nil {
		j.t.Fatal(err)
	}
	go func() { s.gone <- s.cmd.Wait() }()
	j.t.Cleanup(func() { _ = s.cmd.Process.Kill() }) // where it has not ended
	s.hears("READY=1")
	return s
}

// listen is the service manager's socket, in the jail's /run.
func (s *service) listen() {
	t := s.t
	t.Helper()
	path := s.path("/run/notify")
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := os.Chmod(path, 0o777); err != nil {
		t.Fatal(err)
	}
	go func() {
		b := make([]byte, 4096)
		for {
			n, err := conn.Read(b)
			if err != nil {
				return
			}
			s.words <- string(b[:n])
		}
	}()
}

func (s *service) hears(prefix string) {
	s.t.Helper()
	late := time.NewTimer(time.Minute)
	defer late.Stop()
	for {
		select {
		case w := <-s.words:
			if strings.HasPrefix(w, prefix) {
				return
			}
		case err := <-s.gone:
			s.gone <- err
			s.t.Fatalf("it ended before %s: %v\n%s", prefix, err, s.said())
		case <-late.C:
			s.t.Fatalf("no %s within a minute:\n%s", prefix, s.said())
		}
	}
}

// stop ends it as systemd does, and wants it to say so and to end well.
func (s *service) stop() {
	s.t.Helper()
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		s.t.Fatal(err)
	}
	select {
	case err := <-s.gone:
		if err != nil {
			s.t.Errorf("it ended with %v:\n%s", err, s.said())
		}
	case <-time.After(30 * time.Second):
		s.t.Fatalf("it does not end within the unit's TimeoutStopSec:\n%s", s.said())
	}
	s.hearsLeft("STOPPING=1")
}

func (s *service) hearsLeft(want string) {
	s.t.Helper()
	need.Until(s.t, "it says "+want, func() bool {
		select {
		case w := <-s.words:
			return w == want
		default:
			return false
		}
	})
}

// free is a port of loopback that nobody listens on.
func free(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// inFolders lists what a package put into the jail, for a message.
func inFolders(t *testing.T, j *jail, globs ...string) string {
	t.Helper()
	var out strings.Builder
	for _, g := range globs {
		names, err := filepath.Glob(j.path(g))
		if err != nil {
			t.Fatal(err)
		}
		out.WriteString(fmt.Sprintln(g, names))
	}
	return out.String()
}
