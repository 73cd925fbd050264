package glob

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestInOddlyNamedFolders(t *testing.T) {
	for _, name := range []string{"plain", "dc[1]", "dc[", "a*b?", `back\slash`} {
		dir := filepath.Join(t.TempDir(), name)
		var want []string
		for _, n := range []string{"a.mem", "b.mem"} {
			path := filepath.Join(dir, "sub", n)
			if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			want = append(want, path)
		}
		got, err := In(dir, "s*", "*.mem")
		if d := cmp.Diff(want, got); err != nil || d != "" {
			t.Errorf("%s: %v\n%s", name, err, d)
		}
		if got, err := In(dir, "*.sst"); err != nil || len(got) > 0 {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
}
