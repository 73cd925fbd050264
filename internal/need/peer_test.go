package need

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestPrometheusRuns(t *testing.T) { runs(t, Prometheus(t), "--version", "prometheus, version") }

func TestPebbleRuns(t *testing.T) { runs(t, Pebble(t), "-version", "Pebble version") }

func TestVersitygwRuns(t *testing.T) { runs(t, Versitygw(t), "--version", "Version") }

func runs(t *testing.T, path, arg, says string) {
	t.Helper()
	out, err := exec.Command(path, arg).CombinedOutput()
	if err != nil || !strings.HasPrefix(string(out), says) {
		t.Fatalf("%v\n%s", err, out)
	}
}

// TestPinnedPeers holds the name under which a built program is kept to the
// version that is built.
func TestPinnedPeers(t *testing.T) {
	for _, p := range []peer{prometheus, pebble, versitygw} {
		mod, err := os.ReadFile(filepath.Join("..", "..", "tools", "peers", p.name, "go.mod"))
		if err != nil {
			t.Fatal(err)
		}
		if want := p.module + " " + p.version; !strings.Contains(string(mod), want) {
			t.Errorf("tools/peers/%s/go.mod does not require %s", p.name, want)
		}
	}
}
