package installed

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"nocturne/internal/need"
)

// image is one that was built, unpacked.
type image struct {
	User                   string
	Entrypoint, Cmd        []string
	Volumes                map[string]struct{}
	Healthcheck            struct{ Test []string }
	StopSignal, WorkingDir string

	root string
}

// buildImage builds the image of a folder, and unpacks it where a container's
// root file system is to be.
func buildImage(t *testing.T, folder string) image {
	t.Helper()
	binary, storage := need.Binary(t, "buildah", "buildah"), t.TempDir()
	engine := func(args ...string) string {
		t.Helper()
		return output(t, binary, append([]string{"--root", filepath.Join(storage, "root"), "--runroot", filepath.Join(storage, "run"), "--storage-driver", "vfs"}, args...)...)
	}
	engine("build", "--isolation", "chroot", "--format", "docker", "--quiet", "-t", "nocturne", folder)
	var about struct {
		Docker struct{ Config image }
	}
	if err := json.Unmarshal([]byte(engine("inspect", "--type", "image", "nocturne")), &about); err != nil {
		t.Fatal(err)
	}
	im := about.Docker.Config
	container := strings.TrimSpace(engine("from", "--pull-never", "localhost/nocturne"))
	im.root = strings.TrimSpace(engine("mount", container))
	t.Cleanup(func() {
		engine("umount", container)
		engine("rm", container)
	})
	for _, d := range []string{"proc", "dev"} { // mount points, which a runtime makes
		if err := os.MkdirAll(filepath.Join(im.root, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return im
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

// TestContainer builds the image and runs it as its user on a read-only root.
// buildah builds it; what a runtime does to run it is done here.
func TestContainer(t *testing.T) {
	need.Root(t)
	need.Binary(t, "ip", "iproute2")
	im := buildImage(t, filepath.Join(made(t), "container"))
	if _, volume := im.Volumes["/data"]; im.User != "65532:65532" || !volume || im.StopSignal != "SIGTERM" || im.WorkingDir != "/data" || len(im.Healthcheck.Test) < 2 || im.Healthcheck.Test[0] != "CMD" {
		t.Fatalf("the image is %+v", im)
	}
	if st, err := os.Stat(filepath.Join(im.root, "nocturne")); err != nil || st.Mode().Perm() != 0o755 {
		t.Errorf("the binary in the image: %v", err)
	}
	if _, err := os.Stat(filepath.Join(im.root, "bin")); err == nil {
		t.Error("there is more in the image than the one binary and its files")
	}
	dir := im.root
	cmd := exec.Command("unshare", append([]string{"--mount", "--net", "--propagation", "private", "sh", "-c", contained, "sh", dir}, append(im.Entrypoint, im.Cmd...)...)...)
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
		args := append([]string{"-t", fmt.Sprint(cmd.Process.Pid), "--net", "--mount", "--root", "--setgid", "65532", "--setuid", "65532"}, im.Healthcheck.Test[1:]...)
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
