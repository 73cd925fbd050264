package main

import (
	"encoding"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"nocturne/internal/strictyaml"
)

// field is one field of the configuration, found by walking its structs.
type field struct {
	steps []string // keys; "" is the first element of a list
	t     reflect.Type
}

func (f field) path() string {
	var b strings.Builder
	for _, s := range f.steps {
		switch {
		case s == "":
			b.WriteString("[0]")
		case b.Len() > 0:
			b.WriteString("." + s)
		default:
			b.WriteString(s)
		}
	}
	return b.String()
}

// fieldsUnder lists the fields of t and all below them.
func fieldsUnder(t reflect.Type, steps ...string) (out []field) {
	at := func(step string) []string { return append(append([]string(nil), steps...), step) }
	if isText(t) {
		return nil
	}
	switch t.Kind() {
	case reflect.Pointer:
		return fieldsUnder(t.Elem(), steps...)
	case reflect.Slice:
		out = append(out, field{at(""), t.Elem()})
		return append(out, fieldsUnder(t.Elem(), at("")...)...)
	case reflect.Struct:
		for f := range t.Fields() {
			if name, ok := yamlName(f); ok {
				out = append(out, field{at(name), f.Type})
				out = append(out, fieldsUnder(f.Type, at(name)...)...)
			}
		}
	}
	return out
}

// isText tells types that read themselves from one scalar.
func isText(t reflect.Type) bool {
	return reflect.PointerTo(t).Implements(reflect.TypeFor[encoding.TextUnmarshaler]())
}

// document writes value at the end of steps, one key a line, and returns the
// line that it stands on. No steps are an empty document.
func document(steps []string, value string) (text string, line int) {
	var b strings.Builder
	b.WriteString("# generated\n\n")
	line = 2
	indent, dash := 0, ""
	for i, s := range steps {
		last := i == len(steps)-1
		if s == "" && !last {
			dash = "- "
			continue
		}
		line++
		b.WriteString(strings.Repeat(" ", indent) + dash)
		indent += len(dash) + 2
		dash = ""
		if s == "" {
			b.WriteString("- ")
		} else {
			b.WriteString(s + ": ")
		}
		if last {
			b.WriteString(value)
		}
		b.WriteString("\n")
	}
	return b.String(), line
}

// misuse is one way of getting a field wrong.
type misuse struct {
	name  string
	value string
	steps []string // where the value stands
	at    string   // path that the answer must name
	// harmless tells whether it may pass: then it must mean what absence means.
	harmless bool
}

// misuses are those that a field's type allows.
func misuses(f field) []misuse {
	t := f.t
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	add := func(out []misuse, name string, harmless bool, values ...string) []misuse {
		for _, v := range values {
			out = append(out, misuse{name + " " + v, v, f.steps, f.path(), harmless})
		}
		return out
	}
	out := add(nil, "empty:", true, "", "~")
	element := f.steps[len(f.steps)-1] == ""
	switch {
	case t == reflect.TypeFor[time.Duration]():
		out = add(out, "wrong type:", false, "often", "15", "1.5", "true", "[1s]", "{a: 1s}")
		out = add(out, "out of range:", false, "-1s", "2562047h", "99999999999h")
		return add(out, "out of range:", true, "0s")
	case isText(t) && t.Kind() == reflect.Int64: // sizes and model.Duration
		out = add(out, "wrong type:", false, "often", "true", "[1h]", "{a: 1h}")
		out = add(out, "out of range:", false, "-1", "-1h", "99999999999y", "9999999999999TB", "200y", "2000TB")
		return add(out, "out of range:", true, "0")
	case isText(t) && t.Kind() != reflect.String:
		return add(out, "wrong type:", false, "often", "true", "15", "[a]", "{a: b}")
	case t.Kind() == reflect.String:
		out = add(out, "wrong type:", false, "[a, b]", "{a: b}")
		// A pointer tells an empty text from none: it is a value.
		if f.t.Kind() != reflect.Pointer {
			out = add(out, "empty:", !element, `""`)
		}
		return out
	case t.Kind() == reflect.Bool:
		return add(out, "wrong type:", false, "often", "15", "[true]", "{a: true}")
	case t.Kind() == reflect.Slice:
		return add(out, "wrong type:", false, "one", "15", "{a: b}")
	case t.Kind() == reflect.Map:
		return add(out, "wrong type:", false, "one", "15", "[a]", "{a: [b]}", "{a: {b: c}}")
	case t.Kind() == reflect.Struct:
		out = add(out, "wrong type:", false, "[a]")
		if _, short := reflect.Zero(t).Interface().(interface{ ShortField() string }); !short {
			out = add(out, "wrong type:", false, "one", "15")
		}
		sibling := append(append([]string(nil), f.steps...), "no_such_field")
		return append(out, misuse{"unknown sibling", "1", sibling, f.path() + ".no_such_field", false})
	}
	out = add(out, "wrong type:", false, "often", "1.5", ".inf", "true", "[1]", "{a: 1}")
	out = add(out, "out of range:", false, "-1", "9223372036854775807", "99999999999999999999")
	return add(out, "out of range:", true, "0")
}

// faultsOf takes the faults of LoadConfig's error apart.
func faultsOf(t *testing.T, err error) (out []*strictyaml.Fault) {
	t.Helper()
	if err == nil {
		return nil
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		for _, e := range joined.Unwrap() {
			out = append(out, faultsOf(t, e)...)
		}
		return out
	}
	f, ok := errors.AsType[*strictyaml.Fault](err)
	if !ok {
		t.Fatalf("no fault with a place: %v", err)
	}
	return append(out, f)
}

// about are the faults of the field at path, or of what is in it.
func about(faults []*strictyaml.Fault, path string) (out []*strictyaml.Fault) {
	for _, f := range faults {
		if f.Path == path || strings.HasPrefix(f.Path, path+".") || strings.HasPrefix(f.Path, path+"[") {
			out = append(out, f)
		}
	}
	return out
}

// tells is what an answer says of what would be right.
var tells = regexp.MustCompile(`wants|must|known here|such as|none of|neither|cannot be|missing|is under|at least|not below|no http|no address|not one of|one of|ParsePrefix|shorter|not a valid duration|longer than|is not 1 to|requires|are under`)

// TestMisuse is the table of misuse: every field of the configuration's
// structs, absent, empty, of a wrong type, out of range, beside an unknown one.
// It passes as what its absence means, or is answered with file, line, field
// and what is allowed. NOCTURNE_MISUSE names a file that the table is written to.
func TestMisuse(t *testing.T) {
	name := filepath.Join(t.TempDir(), "nocturne.yaml")
	load := func(text string) (Config, []*strictyaml.Fault) {
		t.Helper()
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := LoadConfig(name)
		return c, faultsOf(t, err)
	}
	fields := fieldsUnder(reflect.TypeFor[Config]())
	if len(fields) < 80 {
		t.Fatalf("only %d fields were found", len(fields))
	}
	var table strings.Builder
	refused, passed := 0, 0
	try := func(m misuse, absentConfig Config, absentFaults []*strictyaml.Fault) {
		text, line := document(m.steps, m.value)
		c, all := load(text)
		got := about(all, m.at)
		if len(got) == 0 {
			passed++
			fmt.Fprintf(&table, "| `%s` | %s | as if it were absent |\n", m.at, m.name)
			switch {
			case !m.harmless:
				t.Errorf("%s: %s: it passes\n%s%v", m.at, m.name, text, all)
			case !means(c, absentConfig) && !slices.Contains(zeroIsAValue, m.at):
				t.Errorf("%s: %s: it passes and means something else than its absence\n%s", m.at, m.name, text)
			}
			return
		}
		refused++
		for _, f := range got {
			if f.File != name || f.Line != line || !tells.MatchString(f.Message) {
				t.Errorf("%s: %s, on line %d: %v\n%s", m.at, m.name, line, f, text)
			}
			fmt.Fprintf(&table, "| `%s` | %s | `%s` |\n", m.at, m.name, strings.ReplaceAll(strings.TrimPrefix(f.Error(), name), "|", "\\|"))
		}
	}
	for _, f := range fields {
		// Absent: what is around it stands there empty.
		text, line := document(f.steps[:len(f.steps)-1], "{}")
		if f.steps[len(f.steps)-1] == "" {
			text, line = document(f.steps[:len(f.steps)-1], "[]")
		}
		absent, faults := load(text)
		for _, fault := range about(faults, f.path()) {
			if fault.File != name || fault.Line != line || !tells.MatchString(fault.Message) {
				t.Errorf("%s absent, on line %d: %v\n%s", f.path(), line, fault, text)
			}
		}
		for _, m := range misuses(f) {
			try(m, absent, faults)
		}
	}
	try(misuse{"unknown sibling", "1", []string{"no_such_field"}, "no_such_field", false}, Config{}, nil)
	t.Logf("%d fields: %d misuses refused, %d pass as absence", len(fields), refused, passed)
	if out := os.Getenv("NOCTURNE_MISUSE"); out != "" {
		head := "# The table of misuse\n\nGenerated by TestMisuse.\n\n| field | misuse | answer |\n|---|---|---|\n"
		if err := os.WriteFile(out, []byte(head+table.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// zeroIsAValue are the fields that may be zero and have another default.
var zeroIsAValue = []string{"tls.hsts", "backup.state_every"}

// means tells whether two configurations say the same, however it is written.
func means(a, b Config) bool {
	a.raw, b.raw = nil, nil
	return reflect.DeepEqual(a, b)
}

// TestUnreadableConfig has a clear answer for whatever the file is.
func TestUnreadableConfig(t *testing.T) {
	dir := t.TempDir()
	for text, want := range map[string]string{
		"listen: [\n":                 "nocturne.yaml:",
		"a: b: c\n":                   "nocturne.yaml:1",
		"\tlisten: x\n":               "nocturne.yaml:",
		"log: {}\nlisten: \xff\n":     "nocturne.yaml:2",
		"listen: x\x00\n":             "nocturne.yaml",
		"\xff\xfe\x00":                "nocturne.yaml",
		"listen: a\n---\nlisten: b\n": "more than one YAML document",
		"- a\n":                       "nocturne.yaml:1: wants a mapping",
		"targets: &a {snmp: [*a]}\n":  "nocturne.yaml",
		"log: &l {level: loud}\n":     "nocturne.yaml:1: log.level",
		"collector: {interval: 1s}\nlisten: 127.0.0.1:0\ncollector: {}\n": "stands here twice",
	} {
		name := filepath.Join(dir, "nocturne.yaml")
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := LoadConfig(name); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q in it", text, err, want)
		}
	}
	for _, name := range []string{dir, filepath.Join(dir, "gone.yaml")} {
		if _, err := LoadConfig(name); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
