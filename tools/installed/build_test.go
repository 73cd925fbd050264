package installed

import (
	"debug/elf"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"nocturne/internal/need"
)

// TestSameBytes builds this tree twice: in its place, and from a copy in another
// folder, at another time, with other file times, time zone, umask, and without
// a repository.
func TestSameBytes(t *testing.T) {
	first := made(t)
	tree := copyTree(t)
	defer syscall.Umask(syscall.Umask(0o077))
	t.Setenv("TZ", "Pacific/Kiritimati")
	t.Setenv("LANG", "tr_TR.UTF-8")
	t.Setenv("HOSTNAME", "elsewhere")
	second := filepath.Join(t.TempDir(), "another", "dist")
	if err := pack(tree, second, "--version", older); err != nil {
		t.Fatal(err)
	}
	want := sums(t, first)
	if len(want) != 5 {
		t.Errorf("%d files are made: %v", len(want), want)
	}
	if diff := cmp.Diff(want, sums(t, second)); diff != "" {
		t.Errorf("not the same bytes (-here +there):\n%s", diff)
	}
	check := exec.Command("sha256sum", "-c", "SHA256SUMS")
	check.Dir = second
	if out, err := check.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// copyTree copies what git would commit.
func copyTree(t *testing.T) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "elsewhere", "nocturne")
	list := strings.Split(strings.TrimSuffix(output(t, "git", "-C", root(), "ls-files", "-co", "--exclude-standard", "-z"), "\x00"), "\x00")
	long := time.Date(2001, 2, 3, 4, 5, 6, 0, time.UTC)
	for _, name := range list {
		from, into := filepath.Join(root(), name), filepath.Join(to, name)
		st, err := os.Lstat(from)
		if os.IsNotExist(err) {
			continue // removed and not committed yet
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(filepath.Dir(into), 0o755); err != nil {
			t.Fatal(err)
		}
		write(t, into, read(t, from), st.Mode().Perm())
		if err := os.Chtimes(into, long, long); err != nil {
			t.Fatal(err)
		}
	}
	return to
}

func TestBinaryIsStatic(t *testing.T) {
	f, err := elf.Open(filepath.Join(made(t), "nocturne"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	libraries, err := f.ImportedLibraries()
	if err == nil && len(libraries) > 0 {
		t.Errorf("it wants %v", libraries)
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP || p.Type == elf.PT_DYNAMIC {
			t.Errorf("it has a segment %v", p.Type)
		}
	}
}

// bill is what the tests read of a CycloneDX document.
type bill struct {
	BOMFormat    string
	SpecVersion  string
	SerialNumber string
	Metadata     struct {
		Component struct {
			Version string
			Hashes  []struct{ Alg, Content string }
		}
	}
	Components []struct {
		Name, Version, Purl string
		Licenses            []struct{ Expression string }
		Properties          []struct{ Name, Value string }
	}
}

// TestBillIsWhatTheBinarySays holds the bill of materials against what `go
// version -m` reads from the binary, and against vendor.json.
func TestBillIsWhatTheBinarySays(t *testing.T) {
	dir := made(t)
	var b bill
	if err := json.Unmarshal([]byte(read(t, filepath.Join(dir, "nocturne.cdx.json"))), &b); err != nil {
		t.Fatal(err)
	}
	if b.BOMFormat != "CycloneDX" || b.SpecVersion != "1.5" || !strings.HasPrefix(b.SerialNumber, "urn:uuid:") || b.Metadata.Component.Version != older {
		t.Errorf("%s %s %s of version %s", b.BOMFormat, b.SpecVersion, b.SerialNumber, b.Metadata.Component.Version)
	}
	if h := b.Metadata.Component.Hashes; len(h) != 1 || h[0].Content != sums(t, dir)["nocturne"] {
		t.Errorf("the binary's sum is %v", h)
	}
	want := map[string]string{}
	for line := range strings.Lines(output(t, "go", "version", "-m", filepath.Join(dir, "nocturne"))) {
		if f := strings.Split(strings.TrimSpace(line), "\t"); f[0] == "dep" {
			want[f[1]] = f[2] + " " + f[3]
		}
	}
	if len(want) < 50 {
		t.Fatalf("the binary tells of %d modules", len(want))
	}
	got, licences := map[string]string{}, read(t, filepath.Join(dir, "LICENSES.txt"))
	for _, c := range b.Components {
		if len(c.Licenses) != 1 || c.Licenses[0].Expression == "" || strings.Contains(strings.ToUpper(c.Licenses[0].Expression), "GPL") {
			t.Errorf("%s has the licence %v", c.Name, c.Licenses)
		}
		if !strings.Contains(licences, "\n"+c.Name+" "+c.Version+": ") {
			t.Errorf("%s %s has no licence text", c.Name, c.Version)
		}
		if strings.HasPrefix(c.Purl, "pkg:golang/") && c.Name != "std" {
			got[c.Name] = c.Version + " " + c.Properties[0].Value
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the binary and its bill (-binary +bill):\n%s", diff)
	}
	b.hasBorrowed(t)
}

func (b *bill) hasBorrowed(t *testing.T) {
	t.Helper()
	var list []struct{ Name, Version string }
	if err := json.Unmarshal([]byte(read(t, filepath.Join(root(), "views", "static", "vendor", "vendor.json"))), &list); err != nil {
		t.Fatal(err)
	}
	in := map[string]bool{}
	for _, c := range b.Components {
		in[c.Name+" "+c.Version] = true
	}
	for _, v := range list {
		if !in[v.Name+" "+v.Version] {
			t.Errorf("%s %s, which the pages borrow, is not in the bill", v.Name, v.Version)
		}
	}
}

// TestVersionsAreOrdered asks dpkg and rpm what comes after what.
func TestVersionsAreOrdered(t *testing.T) {
	whole(t)
	rpm := need.Binary(t, "rpm", "rpm")
	order := []string{older, newer, "0.1.0~rc.1", "0.1.0", "0.1.0+3.gabcdef0", "0.1.0+12.gabcdef0", "0.1.1~rc.1", "0.1.1", "0.10.0"}
	for i := range len(order) - 1 {
		output(t, "dpkg", "--compare-versions", order[i], "lt", order[i+1])
		if got := output(t, rpm, "--eval", `%{lua: print(rpm.vercmp("`+order[i]+`", "`+order[i+1]+`"))}`); strings.TrimSpace(got) != "-1" {
			t.Errorf("rpm: %s against %s is %s", order[i], order[i+1], got)
		}
	}
}
