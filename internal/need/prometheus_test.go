package need

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestPrometheusRuns(t *testing.T) {
	out, err := exec.Command(Prometheus(t), "--version").CombinedOutput()
	if err != nil || !strings.HasPrefix(string(out), "prometheus, version") {
		t.Fatalf("%v\n%s", err, out)
	}
}

// TestPinnedPrometheus holds the name under which a built server is kept to
// the version that is built.
func TestPinnedPrometheus(t *testing.T) {
	mod, err := os.ReadFile(filepath.Join("..", "..", "tools", "peers", "prometheus", "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	if want := "github.com/prometheus/prometheus " + prometheusModule; !strings.Contains(string(mod), want) {
		t.Errorf("tools/peers/prometheus/go.mod does not require %s", want)
	}
}
