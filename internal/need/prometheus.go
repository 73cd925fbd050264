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

// prometheusModule is the version of Prometheus' Go module that
// tools/peers/prometheus pins: Prometheus 3.15.
const prometheusModule = "v0.315.0"

// Prometheus returns the path of a current Prometheus server, built once from
// the module that tools/peers/prometheus pins, without service discovery, and
// kept in the user's cache folder: the first build takes about two minutes.
// Where it cannot be built the test fails with CI=true, else it is skipped.
func Prometheus(t testing.TB) string {
	t.Helper()
	path, err := buildPrometheus()
	switch {
	case err == nil:
		return path
	case os.Getenv("CI") == "true":
		t.Fatal(err)
	}
	t.Skip(err)
	return ""
}

func buildPrometheus() (_ string, err error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("needs a folder to build Prometheus in: %w", err)
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
	path := filepath.Join(dir, "prometheus-"+prometheusModule)
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	_, here, _, _ := runtime.Caller(0)
	cmd := exec.Command("go", "build", "-trimpath", "-tags", "remove_all_sd,netgo", "-o", path+".new", "github.com/prometheus/prometheus/cmd/prometheus")
	cmd.Dir = filepath.Join(filepath.Dir(here), "..", "..", "tools", "peers", "prometheus")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-mod=readonly", "GOWORK=off")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build Prometheus %s in %s: %w\n%s", prometheusModule, cmd.Dir, err, out)
	}
	return path, os.Rename(path+".new", path)
}
