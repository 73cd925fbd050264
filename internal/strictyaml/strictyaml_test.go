package strictyaml

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"nocturne/internal/secret"
)

type target struct {
	Name  string            `yaml:"name"`
	Every time.Duration     `yaml:"every"`
	Pass  secret.Text       `yaml:"pass"`
	Tags  map[string]string `yaml:"tags"`
}

type file struct {
	Listen  string   `yaml:"listen"`
	Port    *int     `yaml:"port"`
	Targets []target `yaml:"targets"`
}

func TestDecode(t *testing.T) {
	got := file{Listen: "default"}
	err := Decode("a.yaml", []byte("port: 3\ntargets:\n- {name: x, every: 5s, pass: p, tags: {a: b}}\n"), &got)
	if err != nil {
		t.Fatal(err)
	}
	want := file{Listen: "default", Port: new(3), Targets: []target{{"x", 5 * time.Second, "p", map[string]string{"a": "b"}}}}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestFaults(t *testing.T) {
	f := func(in string, want ...string) {
		t.Helper()
		var got file
		err := Decode("a.yaml", []byte(in), &got)
		if err == nil {
			t.Errorf("%q decoded", in)
			return
		}
		for _, w := range want {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%q: got %q, want %q in it", in, err, w)
			}
		}
	}
	f("listen: a\nport: x\nlissten: b\ntargets:\n- name: a\n  evry: 3s\n- every: soon\n",
		"a.yaml:2: port: cannot", "a.yaml:3: lissten: unknown field; known here: listen, port, targets",
		"a.yaml:6: targets[0].evry: unknown field", "a.yaml:7: targets[1].every: ")
	f("listen: a\nlisten: b\n", "a.yaml:2: listen: stands here twice")
	f("targets: 3\n", "a.yaml:1: targets: wants a list, not a single value")
	f("targets: [x]\n", `targets[0]: wants a mapping`)
	f("a: [\n", "a.yaml:")
	f("listen: a\n---\nlisten: b\n", "more than one YAML document")
	f("- a\n", "a.yaml:1: wants a mapping, not a list")
	f("targets:\n- tags: {a: 1, a: 2}\n", "targets[0].tags.a: stands here twice")
}

// TestValuesStayOut puts a secret where something else belongs: the fault must
// not show it.
func TestValuesStayOut(t *testing.T) {
	for _, in := range []string{"targets: hunter2\n", "targets: [hunter2]\n", "port: hunter2\n", "targets:\n- every: hunter2\n", "targets:\n- tags: hunter2\n", "targets:\n- pass: [hunter2]\n"} {
		var got file
		err := Decode("a.yaml", []byte(in), &got)
		if err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: %v", in, err)
		}
	}
}

func TestEmpty(t *testing.T) {
	got := file{Listen: "default"}
	for _, in := range []string{"", "# nothing\n", "---\n"} {
		if err := Decode("a.yaml", []byte(in), &got); err != nil || got.Listen != "default" {
			t.Errorf("%q: %v %v", in, got, err)
		}
	}
}

// place may be written as its path alone.
type place struct {
	Path string `yaml:"path"`
	Mode int    `yaml:"mode"`
}

func (place) ShortField() string { return "path" }

func TestShort(t *testing.T) {
	type house struct {
		At place `yaml:"at"`
	}
	for in, want := range map[string]place{"at: /a\n": {Path: "/a"}, "at: {path: /b, mode: 7}\n": {"/b", 7}, "at: {mode: 7}\n": {Mode: 7}, "at:\n": {}} {
		var got house
		if err := Decode("a.yaml", []byte(in), &got); err != nil || got.At != want {
			t.Errorf("%q: %+v, %v, want %+v", in, got.At, err, want)
		}
	}
	for in, want := range map[string]string{
		"at: [x]\n":       "a.yaml:1: at: wants a mapping, not a list",
		"at: {paht: x}\n": "a.yaml:1: at.paht: unknown field; known here: mode, path",
		"at: {mode: x}\n": "a.yaml:1: at.mode: cannot be read as int: wants a whole number from -9223372036854775808 to 9223372036854775807",
	} {
		if err := Decode("a.yaml", []byte(in), new(house)); err == nil || err.Error() != want {
			t.Errorf("%q: %v, want %s", in, err, want)
		}
	}
}
