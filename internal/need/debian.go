package need

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// Root says that the test needs to be root: it mounts, and changes the root
// folder. With CI=true it fails elsewhere.
func Root(t testing.TB) {
	t.Helper()
	if os.Geteuid() == 0 {
		return
	}
	if os.Getenv("CI") == "true" {
		t.Fatal("needs to be root")
	}
	t.Skip("needs the rights of root, which are not set")
}

// Debian returns a tar of a minimal Debian of this machine's release, made once
// by debootstrap from where this machine has its packages from, and kept in the
// user's cache folder: that takes a minute or two.
func Debian(t testing.TB) string {
	t.Helper()
	Root(t)
	debootstrap := Binary(t, "debootstrap", "debootstrap")
	path, err := buildDebian(debootstrap)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func buildDebian(debootstrap string) (_ string, err error) {
	suite, mirror, err := debianMirror()
	if err != nil {
		return "", err
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("needs a folder to keep a Debian in: %w", err)
	}
	dir := filepath.Join(cache, "nocturne", "peers")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	lock, err := os.OpenFile(filepath.Join(dir, "debian.lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return "", err
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return "", fmt.Errorf("lock %s: %w", lock.Name(), err)
	}
	path := filepath.Join(dir, "debian-"+suite+".tar")
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	root, err := os.MkdirTemp("", "nocturne-debian-")
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, os.Remove(root)) }()
	// In memory, for dpkg syncs each file.
	if err := syscall.Mount("tmpfs", root, "tmpfs", 0, "size=1g,mode=0755"); err != nil {
		return "", fmt.Errorf("mount %s: %w", root, err)
	}
	defer func() { err = errors.Join(err, syscall.Unmount(root, syscall.MNT_DETACH)) }()
	for _, c := range [][]string{
		{debootstrap, "--variant=minbase", suite, root, mirror},
		{"tar", "-C", root, "--numeric-owner", "--exclude=./var/cache/apt/*", "--exclude=./var/lib/apt/lists/*", "--exclude=./proc/*", "--exclude=./sys/*", "-cf", path + ".new", "."},
	} {
		if out, err := exec.Command(c[0], c[1:]...).CombinedOutput(); err != nil {
			return "", fmt.Errorf("make a Debian: %s: %w\n%s", c[0], err, tail(out, 2000))
		}
	}
	return path, os.Rename(path+".new", path)
}

func tail(b []byte, n int) []byte { return b[max(0, len(b)-n):] }

// debianMirror asks apt where the packages of this machine's release are.
func debianMirror() (suite, mirror string, err error) {
	release, err := os.ReadFile("/etc/os-release")
	if err != nil {
		return "", "", fmt.Errorf("needs a Debian: %w", err)
	}
	for line := range strings.Lines(string(release)) {
		if v, ok := strings.CutPrefix(strings.TrimSpace(line), "VERSION_CODENAME="); ok {
			suite = strings.Trim(v, `"`)
		}
	}
	out, err := exec.Command("apt-get", "indextargets", "--format", "$(RELEASE) $(REPO_URI)", "Created-By: Packages", "Component: main").Output()
	if err != nil {
		return "", "", fmt.Errorf("ask apt for its sources: %w", err)
	}
	for line := range strings.Lines(string(out)) {
		if name, uri, _ := strings.Cut(strings.TrimSpace(line), " "); name == suite && suite != "" {
			return suite, uri, nil
		}
	}
	return "", "", fmt.Errorf("apt has no source for %q, component main", suite)
}
