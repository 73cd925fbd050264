package nocturne

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestEveryRunIsARun runs tools/test-all twice on a module whose one test leaves
// a line: a second run that shows what the first found would leave none.
func TestEveryRunIsARun(t *testing.T) {
	dir := t.TempDir()
	trace := filepath.Join(t.TempDir(), "trace")
	script, err := os.ReadFile("tools/test-all")
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"go.mod":         "module one\n\ngo 1.26\n",
		"tools/test-all": string(script),
		"one_test.go": `package one

import (
	"os"
	"testing"
)

func TestTrace(t *testing.T) {
	f, err := os.OpenFile(` + "`" + trace + "`" + `, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err == nil {
		_, err = f.WriteString("ran\n")
	}
	if err != nil {
		t.Fatal(err)
	}
}
`,
	} {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for n := 1; n <= 2; n++ {
		out, err := exec.Command("bash", filepath.Join(dir, "tools/test-all")).CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		b, err := os.ReadFile(trace)
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Count(string(b), "ran"); got != n {
			t.Errorf("after %d runs the test ran %d times:\n%s", n, got, out)
		}
	}
}
