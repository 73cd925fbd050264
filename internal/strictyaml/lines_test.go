package strictyaml

import "testing"

func TestLines(t *testing.T) {
	text := "a:\n  b: 1\n\n  # of c\n  c:\n  - x\n  - y: 2\n    z: 3\nd: {e: [1, 2]}\nf: &f\n  g: 1\nh: *f\nself: &s [*s]\n"
	l := LinesOf([]byte(text))
	for path, want := range map[string]int{
		"a": 1, "a.b": 2, "a.c": 5, "a.c[0]": 6, "a.c[1]": 7, "a.c[1].y": 7, "a.c[1].z": 8, "d": 9, "d.e": 9, "d.e[1]": 9,
		"f.g": 11, "h": 12, "self[0]": 13,
		// What is missing is missing in what surrounds it.
		"a.nothing": 1, "a.c[1].nothing.at.all": 7, "a.c[9].y": 5, "h.g": 12, "nothing": 0, "": 0,
	} {
		if got := l.Of(path); got != want {
			t.Errorf("%s is on line %d, want %d", path, got, want)
		}
	}
	for _, broken := range []string{"", "a: [\n", "a\x00"} {
		if got := LinesOf([]byte(broken)).Of("a"); got != 0 {
			t.Errorf("%q: line %d", broken, got)
		}
	}
}

// FuzzDecode wants an error or a value of whatever people write, and no panic.
func FuzzDecode(f *testing.F) {
	for _, s := range []string{
		"listen: a\nport: 3\ntargets:\n- {name: x, every: 5s, pass: p, tags: {a: b}}\n", "targets: [~, &a {name: *a}]\n", "a: &a [*a]\n",
		"port: 1.5\n", "port: -.inf\n", "port: .nan\n", "port: 1_0\n", "<<: {listen: x}\n", "? [a]\n: b\n", "targets: !!set {a, b}\n", "port: !!binary aGk=\n", "\xef\xbb\xbflisten: a\n", "--- 1\n--- 2\n", "tags: {[a]: b}\n", "listen: !x y\n",
		"targets:\n- tags: {? {a: b} : c}\n", "%YAML 9\n---\n", "port: 99999999999999999999\n", "targets:\n- every: 99999999999h\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var got file
		if err := Decode("a.yaml", data, &got); err != nil && err.Error() == "" {
			t.Errorf("%q: an error without a word", data)
		}
		LinesOf(data).Of("targets[0].name")
	})
}
