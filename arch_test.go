package nocturne

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// leaves are imported by everybody and import nothing of ours.
var leaves = []string{"internal/secret", "internal/strictyaml", "internal/glob", "internal/resident", "internal/need"}

// arrows says, for each package, what of ours it may import besides the
// leaves. The longest matching folder decides; a package under no entry fails.
// The reasons stand in docs/decisions/0002-arrows.md.
var arrows = map[string][]string{
	"internal/secret":     {},
	"internal/strictyaml": {},
	"internal/resident":   {},
	"internal/glob":       {},
	"internal/need":       {},

	"tsdb":             {"tsdb/folder", "tsdb/live", "tsdb/rollup", "tsdb/remotequery"},
	"tsdb/folder":      {},
	"tsdb/live":        {},
	"tsdb/conformance": {},
	"tsdb/rollup":      {"tsdb/folder"},
	"tsdb/remotewrite": {},
	"tsdb/forward":     {"tsdb/folder"},
	"tsdb/remotequery": {},
	"tsdb/openmetrics": {},
	"tsdb/archive":     {"tsdb/folder"},
	"tsdb/analysis":    {},
	"views":            {"views"},
	"collector":        {},
	"internal/state":   {},
	"internal/notify":  {},
	"internal/support": {},

	"internal/certs":     {},
	"internal/listen":    {},
	"internal/sshconn":   {},
	"internal/snmpconn":  {},
	"internal/cloudconn": {},

	"internal/ledger":           {"internal/state"},
	"internal/access":           {"internal/state", "internal/ledger"},
	"internal/upgrade":          {"internal/state", "tsdb/folder"},
	"internal/backup":           {"internal/state", "internal/ledger", "internal/upgrade", "tsdb/archive"},
	"internal/backup/disk":      {"internal/backup"},
	"internal/backup/sshfolder": {"internal/backup"},
	"internal/backup/bucket":    {"internal/backup"},
	"internal/backup/storetest": {"internal/backup"},
	"internal/inventory":        {"internal/state", "internal/inventory/layout"},
	"internal/inventory/layout": {},

	"collector/snmp":      {"collector", "internal/snmpconn"},
	"collector/self":      {"collector"},
	"collector/linux":     {"collector", "internal/sshconn"},
	"collector/openstack": {"collector", "internal/cloudconn"},

	"alerting":         {"internal/state", "internal/ledger", "tsdb", "internal/inventory"},
	"alerting/webhook": {"alerting"},

	"automation":            {"internal/state", "internal/ledger", "tsdb", "internal/inventory", "internal/access"},
	"automation/badgerq":    {"automation", "internal/state"},
	"automation/sshexec":    {"automation", "internal/sshconn"},
	"automation/remedy":     {"automation", "alerting", "internal/state", "internal/ledger", "tsdb", "internal/inventory"},
	"automation/inspection": {"internal/state", "internal/ledger", "tsdb", "internal/inventory"},

	"internal/web": {"views", "internal/web", "tsdb", "tsdb/live", "tsdb/forward", "internal/state", "internal/ledger",
		"internal/inventory", "internal/inventory/layout", "internal/access", "internal/backup", "collector", "alerting", "automation",
		"automation/inspection", "automation/remedy"},
	"internal/lab":    {},
	"cmd":             {"*"},
	"tools/packaging": {}, // a module of its own: it packs what was built
}

// parts are folders whose parent may import them, but never the reverse; the
// table above already says so, this list keeps an edit of it honest.
var parts = []string{"tsdb/folder", "tsdb/live", "tsdb/rollup", "tsdb/remotewrite", "tsdb/forward", "tsdb/remotequery", "tsdb/openmetrics", "tsdb/archive", "tsdb/analysis", "internal/inventory/layout"}

// backends are imported by cmd alone.
var backends = []string{
	"collector/snmp", "collector/linux", "collector/openstack", "collector/self", "alerting/webhook", "automation/badgerq", "automation/sshexec",
	"internal/backup/disk", "internal/backup/sshfolder", "internal/backup/bucket",
}

type source struct {
	dir     string // slash-separated, relative to the module
	file    string
	test    bool
	imports []string // of ours, relative to the module
	doc     string
}

func parseTree(t *testing.T, root string) []source {
	t.Helper()
	var out []source
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && p != root && (strings.HasPrefix(d.Name(), ".") || d.Name() == "node_modules" || d.Name() == "testdata") {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(p, ".go") {
			return nil
		}
		s, err := parseFile(root, p)
		out = append(out, s)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func parseFile(root, p string) (source, error) {
	f, err := parser.ParseFile(token.NewFileSet(), p, nil, parser.ImportsOnly|parser.ParseComments)
	if err != nil {
		return source{}, err
	}
	rel, err := filepath.Rel(root, p)
	if err != nil {
		return source{}, err
	}
	s := source{dir: path.Dir(filepath.ToSlash(rel)), file: rel, test: strings.HasSuffix(p, "_test.go"), doc: docOf(f)}
	for _, im := range f.Imports {
		ip, err := strconv.Unquote(im.Path.Value)
		if err != nil {
			return source{}, err
		}
		if ours, ok := strings.CutPrefix(ip, "nocturne/"); ok {
			s.imports = append(s.imports, ours)
		}
	}
	return s, nil
}

func docOf(f *ast.File) string {
	if f.Doc == nil {
		return ""
	}
	return f.Doc.Text()
}

// allowed returns the entry of arrows that the folder dir falls under.
func allowed(dir string) ([]string, string, bool) {
	for d := dir; d != "."; d = path.Dir(d) {
		if a, ok := arrows[d]; ok {
			return a, d, true
		}
	}
	return nil, "", false
}

func under(dir, root string) bool { return dir == root || strings.HasPrefix(dir, root+"/") }

// wrongArrows returns a line for each import that the table does not allow.
func wrongArrows(files []source) []string {
	var wrong []string
	for _, s := range files {
		if s.test || s.dir == "." {
			continue // tests may wire the house as cmd does
		}
		may, entry, ok := allowed(s.dir)
		if !ok {
			wrong = append(wrong, fmt.Sprintf("%s: no arrow is declared for folder %s", s.file, s.dir))
			continue
		}
		for _, im := range s.imports {
			if !mayImport(s.dir, entry, may, im) {
				wrong = append(wrong, fmt.Sprintf("%s: %s must not import %s", s.file, s.dir, im))
			}
		}
	}
	return wrong
}

func mayImport(dir, entry string, may []string, im string) bool {
	switch {
	case im == "internal/need" && dir != "internal/lab":
		return strings.HasSuffix(dir, "conformance")
	case slices.Contains(leaves, im):
		return true
	case slices.Contains(may, "*"):
		return true
	case strings.HasPrefix(im, entry+"/internal/") && under(dir, entry):
		return true
	}
	return slices.ContainsFunc(may, func(a string) bool {
		return a == im || (a == "views" || a == "internal/web") && under(im, a)
	})
}

func TestArrows(t *testing.T) {
	for _, w := range wrongArrows(parseTree(t, ".")) {
		t.Error(w)
	}
}

func TestPartsAndBackends(t *testing.T) {
	for _, p := range parts {
		if slices.Contains(arrows[p], path.Dir(p)) {
			t.Errorf("part %s may import its parent", p)
		}
	}
	for _, b := range backends {
		for from, may := range arrows {
			if slices.Contains(may, b) {
				t.Errorf("backend %s may be imported by %s, not by cmd alone", b, from)
			}
		}
	}
	for from, may := range arrows {
		if slices.Contains(may, "internal/lab") {
			t.Errorf("%s may import internal/lab", from)
		}
	}
}

func undocumented(files []source) []string {
	docs := map[string]bool{}
	for _, s := range files {
		if !s.test {
			docs[s.dir] = docs[s.dir] || strings.HasPrefix(s.doc, "Package ") || strings.HasPrefix(s.doc, "Command ")
		}
	}
	var out []string
	for dir, ok := range docs {
		if !ok {
			out = append(out, dir)
		}
	}
	slices.Sort(out)
	return out
}

func TestPackageComments(t *testing.T) {
	for _, dir := range undocumented(parseTree(t, ".")) {
		t.Errorf("package in %s has no comment that says what it is", dir)
	}
}

// TestTheGuardsGuard breaks both rules in a copy of a tree and wants to see
// them caught.
func TestTheGuardsGuard(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("tsdb/a.go", "// Package tsdb is fine.\npackage tsdb\n")
	write("views/shell/a.go", "package shell\nimport _ \"nocturne/tsdb\"\n")
	write("collector/snmp/a.go", "// Package snmp reaches for another backend.\npackage snmp\nimport _ \"nocturne/collector/linux\"\n")
	write("internal/web/a.go", "// Package web takes a backend.\npackage web\nimport _ \"nocturne/automation/sshexec\"\n")
	write("automation/a.go", "// Package automation simulates.\npackage automation\nimport _ \"nocturne/internal/lab\"\n")
	write("stray/a.go", "// Package stray is unknown.\npackage stray\n")
	files := parseTree(t, dir)
	if got := wrongArrows(files); len(got) != 5 {
		t.Errorf("5 wrong arrows, caught %d: %q", len(got), got)
	}
	if got := undocumented(files); !slices.Equal(got, []string{"views/shell"}) {
		t.Errorf("one package without a comment, caught %q", got)
	}
}

// TestSizes holds the sizes at which the house would feel wrong: a package
// over 8,000 lines, a file over 500.
func TestSizes(t *testing.T) {
	packages := map[string]int{}
	for _, s := range parseTree(t, ".") {
		b, err := os.ReadFile(s.file)
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(s.file, "_templ.go") {
			continue
		}
		n := strings.Count(string(b), "\n")
		if n > 500 {
			t.Errorf("%s has %d lines, more than 500", s.file, n)
		}
		if !s.test {
			packages[s.dir] += n
		}
	}
	for dir, n := range packages {
		if n > 8000 {
			t.Errorf("package %s has %d lines, more than 8,000", dir, n)
		}
	}
}
