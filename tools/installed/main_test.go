// The tests of this folder install what `make packages` makes, and run it as
// its unit and its container would.
package installed

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// TestMain is the tests, or one of the two programs that run in a cage.
func TestMain(m *testing.M) {
	switch {
	case os.Getenv(cageVariable) != "":
		fmt.Fprintln(os.Stderr, "cage:", enterCage(os.Getenv(cageVariable), os.Args[1:]))
		os.Exit(125)
	case len(os.Args) > 1 && os.Args[1] == probeArgument:
		os.Exit(probe(os.Stdout))
	}
	code := m.Run()
	if products.dir != "" {
		if err := os.RemoveAll(products.dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// The versions that the tests pack: two before a first release, in the form
// that `make packages` gives them.
const (
	older = "0.1.0~dev.9+g00000000000a"
	newer = "0.1.0~dev.10+g00000000000b"
	epoch = "1790000000"
)

// products are made once for all tests.
var products struct {
	once sync.Once
	dir  string
	err  error
}

// whole marks what builds and installs, which takes minutes.
func whole(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("builds and installs the packages: left to the run without -short")
	}
}

// made returns the folder with what `make packages` makes of this tree, in the
// version older.
func made(t *testing.T) string {
	t.Helper()
	whole(t)
	products.once.Do(func() {
		if products.dir, products.err = os.MkdirTemp("", "nocturne-installed-"); products.err != nil {
			return
		}
		tool := exec.Command("go", "build", "-o", filepath.Join(products.dir, "packaging"), ".")
		tool.Dir = filepath.Join(root(), "tools", "packaging")
		tool.Env = append(os.Environ(), "GOWORK=off")
		if out, err := tool.CombinedOutput(); err != nil {
			products.err = fmt.Errorf("build the packaging tool: %w\n%s", err, out)
			return
		}
		products.err = pack(root(), filepath.Join(products.dir, "older"), "--version", older)
	})
	if products.err != nil {
		t.Fatal(products.err)
	}
	return filepath.Join(products.dir, "older")
}

// pack runs the packaging tool on a tree.
func pack(tree, out string, args ...string) error {
	cmd := exec.Command(filepath.Join(products.dir, "packaging"), append([]string{"--root", tree, "--out", out}, args...)...)
	cmd.Env = append(os.Environ(), "SOURCE_DATE_EPOCH="+epoch)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("pack %s: %w\n%s", tree, err, out)
	}
	return nil
}

func root() string {
	dir, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		panic(err) // there is no working folder
	}
	return dir
}

// sums reads a SHA256SUMS: the sum of each file.
func sums(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	for line := range strings.Lines(read(t, filepath.Join(dir, "SHA256SUMS"))) {
		sum, name, ok := strings.Cut(strings.TrimSpace(line), "  ")
		if !ok {
			t.Fatalf("%q", line)
		}
		out[name] = sum
	}
	return out
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func write(t *testing.T, path, text string, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
}

// output runs a program that must end well.
func output(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}
