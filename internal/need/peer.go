package need

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
)

// peer is a program that tests are held against. It is built once, from the
// module under tools/peers that pins it, and kept in the user's cache folder.
type peer struct {
	name    string // of the program, and of the folder under tools/peers
	module  string // that has it
	version string // of the module, as pinned
	pkg     string
	tags    string
}

var (
	// Prometheus 3.15, without service discovery: its first build takes about
	// two minutes.
	prometheus = peer{"prometheus", "github.com/prometheus/prometheus", "v0.315.0", "github.com/prometheus/prometheus/cmd/prometheus", "remove_all_sd,netgo"}
	pebble     = peer{"pebble", "github.com/letsencrypt/pebble/v2", "v2.10.3", "github.com/letsencrypt/pebble/v2/cmd/pebble", "netgo"}
)

// Prometheus returns the path of a current Prometheus server.
func Prometheus(t testing.TB) string { return prometheus.path(t) }

// Pebble returns the path of Pebble, an ACME authority for tests.
func Pebble(t testing.TB) string { return pebble.path(t) }

// path is that of the built program. Where it cannot be built the test fails
// with CI=true, else it is skipped.
func (p peer) path(t testing.TB) string {
	t.Helper()
	path, err := p.build()
	switch {
	case err == nil:
		return path
	case os.Getenv("CI") == "true":
		t.Fatal(err)
	}
	t.Skip(err)
	return ""
}

func (p peer) build() (_ string, err error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("needs a folder to build %s in: %w", p.name, err)
	}
	dir := filepath.Join(cache, "nocturne", "peers")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return "", err
	}
	defer lock.Close()
	// Test processes run side by side; one builds, the others wait.
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return "", fmt.Errorf("lock %s: %w", lock.Name(), err)
	}
	path := filepath.Join(dir, p.name+"-"+p.version)
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	_, here, _, _ := runtime.Caller(0)
	cmd := exec.Command("go", "build", "-trimpath", "-tags", p.tags, "-o", path+".new", p.pkg)
	cmd.Dir = filepath.Join(filepath.Dir(here), "..", "..", "tools", "peers", p.name)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-mod=readonly", "GOWORK=off")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build %s %s in %s: %w\n%s", p.name, p.version, cmd.Dir, err, out)
	}
	return path, os.Rename(path+".new", path)
}
