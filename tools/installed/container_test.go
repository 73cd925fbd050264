package installed

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"nocturne/internal/need"
)

// image is what a Containerfile says.
type image struct {
	from, user string
	copies     []copied
	volumes    []string
	entrypoint []string
	cmd        []string
	health     []string
}

type copied struct{ from, to, owner string }

// readImage reads the instructions that our Containerfile uses; another one is
// an error, so that none goes unlooked at.
func readImage(t *testing.T, path string) image {
	t.Helper()
	var im image
	for n, line := range strings.Split(read(t, path), "\n") {
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		word, rest, _ := strings.Cut(line, " ")
		exec := func(text string) (args []string) {
			if err := json.Unmarshal([]byte(text), &args); err != nil {
				t.Errorf("line %d: %s wants its exec form: there is no shell in the image: %v", n+1, word, err)
			}
			return args
		}
		switch word {
		case "FROM":
			im.from += rest
		case "COPY":
			im.copies = append(im.copies, copyOf(t, n+1, rest))
		case "USER":
			im.user = rest
		case "VOLUME":
			im.volumes = exec(rest)
		case "ENTRYPOINT":
			im.entrypoint = exec(rest)
		case "CMD":
			im.cmd = exec(rest)
		case "HEALTHCHECK":
			_, args, _ := strings.Cut(rest, " CMD ")
			im.health = exec(args)
		case "WORKDIR", "STOPSIGNAL":
		default:
			t.Errorf("line %d: %s is not known to this test", n+1, word)
		}
	}
	return im
}

func copyOf(t *testing.T, line int, rest string) copied {
	t.Helper()
	c := copied{owner: "0:0"}
	f := strings.Fields(rest)
	if owner, ok := strings.CutPrefix(f[0], "--chown="); ok {
		c.owner, f = owner, f[1:]
	}
	if len(f) != 2 || strings.Contains(f[0], "*") || !strings.HasPrefix(f[1], "/") {
		t.Fatalf("line %d: COPY %s", line, rest)
	}
	c.from, c.to = f[0], f[1]
	return c
}

// contained is what a runtime does with --read-only: all is read-only but the
// volume; the network is the container's own.
const contained = `set -e
root=$1; shift
ip link set lo up
mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
mount -t tmpfs -o mode=0755 tmpfs "$root/dev"
for d in null zero full random urandom; do : >"$root/dev/$d"; mount --bind "/dev/$d" "$root/dev/$d"; done
mount --bind "$root/data" "$root/data"
mount -o remount,bind,ro "$root"
exec setpriv --no-new-privs chroot --userspec=65532:65532 --groups= "$root" "$@"`

// TestContainer runs what the Containerfile copies, and nothing else, as its
// user on a read-only root. There is no container engine here: the engine's own
// part is not tried.
func TestContainer(t *testing.T) {
	need.Root(t)
	need.Binary(t, "ip", "iproute2")
	folder := filepath.Join(made(t), "container")
	im := readImage(t, filepath.Join(folder, "Containerfile"))
	if im.from != "scratch" || im.user != "65532:65532" || !slices.Equal(im.volumes, []string{"/data"}) {
		t.Errorf("from %q, user %q, volumes %v", im.from, im.user, im.volumes)
	}
	dir := im.unpack(t, folder)
	cmd := exec.Command("unshare", append([]string{"--mount", "--net", "--propagation", "private", "sh", "-c", contained, "sh", dir}, append(im.entrypoint, im.cmd...)...)...)
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	gone := make(chan error, 1)
	go func() { gone <- cmd.Wait() }()
	defer func() { _ = cmd.Process.Kill() }()
	health := func() error {
		args := append([]string{"-t", fmt.Sprint(cmd.Process.Pid), "--net", "--mount", "--root", "--setgid", "65532", "--setuid", "65532"}, im.health...)
		if out, err := exec.Command("nsenter", args...).CombinedOutput(); err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	}
	need.Within(t, time.Minute, health)
	hangs(t, cmd.Process, health)
	if _, err := os.Stat(filepath.Join(dir, "data", "state")); err != nil {
		t.Errorf("nothing is stored in the volume: %v", err)
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := <-gone; err != nil {
		t.Errorf("it ended with %v:\n%s", err, said.String())
	}
	if strings.Contains(said.String(), "level=ERROR") {
		t.Errorf("it complains:\n%s", said.String())
	}
}

// hangs stops the process for a while: the health check has to notice both.
func hangs(t *testing.T, p *os.Process, health func() error) {
	t.Helper()
	if err := p.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	if err := health(); err == nil {
		t.Error("a process that hangs is healthy")
	}
	if err := p.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	need.Within(t, time.Minute, health)
}

// unpack makes the image's file system, and the mount points that a runtime
// makes.
func (im image) unpack(t *testing.T, folder string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "root")
	for _, d := range []string{"", "proc", "dev"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range im.copies {
		to := filepath.Join(dir, c.to)
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			t.Fatal(err)
		}
		output(t, "cp", "-a", filepath.Join(folder, c.from), to)
		output(t, "chown", "-R", c.owner, to)
	}
	if st, err := os.Stat(filepath.Join(dir, "nocturne")); err != nil || st.Mode().Perm() != 0o755 {
		t.Errorf("the binary in the image: %v", err)
	}
	return dir
}
