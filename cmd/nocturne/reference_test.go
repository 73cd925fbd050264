package main

import (
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/common/model"
	"github.com/spf13/cobra"

	"nocturne/collector"
	"nocturne/internal/secret"
)

var updateReference = flag.Bool("update-reference", false, "write the reference pages of docs anew")

// TestReferencePages holds the pages of docs that are made from the code to
// the code: every field of the configuration, every metric, every command.
// `make docs` writes them.
func TestReferencePages(t *testing.T) {
	for name, page := range map[string]func(*testing.T) string{
		"configuration.md": configurationPage, "metrics.md": metricsPage, "commands.md": commandsPage, "api.md": apiPage,
	} {
		file := filepath.Join("..", "..", "docs", "reference", name)
		want := page(t)
		if *updateReference {
			if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		got, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, string(got)); d != "" {
			t.Errorf("%s is not what the code says; make docs writes it anew\n%s", name, d)
		}
	}
}

// fieldNotes are what the source says of the fields of this package's structs,
// by type and field, and of the types themselves.
type fieldNotes struct {
	types  map[string]string
	fields map[[2]string]string
}

func readNotes(t *testing.T) fieldNotes {
	t.Helper()
	n := fieldNotes{map[string]string{}, map[[2]string]string{}}
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			if g, ok := d.(*ast.GenDecl); ok {
				for _, s := range g.Specs {
					if spec, ok := s.(*ast.TypeSpec); ok {
						n.read(spec, g.Doc)
					}
				}
			}
		}
	}
	return n
}

func (n fieldNotes) read(spec *ast.TypeSpec, doc *ast.CommentGroup) {
	body, ok := spec.Type.(*ast.StructType)
	if !ok {
		return
	}
	n.types[spec.Name.Name] = oneParagraph(doc)
	for _, f := range body.Fields.List {
		for _, name := range f.Names {
			note := oneParagraph(f.Comment)
			if f.Doc != nil {
				note = strings.TrimSpace(oneParagraph(f.Doc) + " " + note)
			}
			n.fields[[2]string{spec.Name.Name, name.Name}] = note
		}
	}
}

func oneParagraph(c *ast.CommentGroup) string {
	return strings.Join(strings.Fields(c.Text()), " ")
}

// configurationPage has a table for each part of the file.
func configurationPage(t *testing.T) string {
	p := &configPage{notes: readNotes(t)}
	p.b.WriteString("# Configuration\n\nMade from the program's own structs by `make docs`. One YAML file, given with `-c`. Every field may be left out and then has its\n" +
		"default; paths are relative to the file's folder; an unknown field is refused with its line. `nocturne check -c FILE` names every fault.\n\n" +
		"Kinds: a *duration* is `90s`, `5m`, `1h30m`; a *long duration* also `30d`, `2w`, `1y`; a *size* is `500MB`, `20GiB` or bytes; a *secret* is text that is\n" +
		"never shown again; *list of* and *map of* are YAML's.\n")
	p.section("", reflect.TypeFor[Config](), reflect.ValueOf(DefaultConfig()))
	return p.b.String()
}

type configPage struct {
	b     strings.Builder
	notes fieldNotes
}

// section writes the fields of a struct, then a section for each struct below.
func (p *configPage) section(path string, typ reflect.Type, v reflect.Value) {
	title := path
	if title == "" {
		title = "The file"
	}
	fmt.Fprintf(&p.b, "\n## %s\n\n", title)
	if note := p.notes.types[typ.Name()]; note != "" && path != "" {
		p.b.WriteString(strings.TrimSpace(strings.TrimPrefix(note, typ.Name())) + "\n\n")
	}
	p.b.WriteString("| field | kind | default | what it is |\n|---|---|---|---|\n")
	var below []func()
	for i := range typ.NumField() {
		f := typ.Field(i)
		key, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		if key == "" || key == "-" {
			continue
		}
		at := strings.TrimPrefix(path+"."+key, ".")
		sub, suffix, value := structOf(f.Type, v.Field(i))
		link := ""
		if sub != nil {
			below = append(below, func() { p.section(at+suffix, sub, value) })
			link = "see [" + at + suffix + "](#" + anchor(at+suffix) + ")"
		}
		fmt.Fprintf(&p.b, "| `%s` | %s | %s | %s |\n", key, kindWords(f.Type), p.defaultOf(f.Type, v.Field(i)), sentence(p.notes.fields[[2]string{typ.Name(), f.Name}], link))
	}
	for _, f := range below {
		f()
	}
}

// anchor is what GitHub makes of a heading.
func anchor(heading string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '_' || r == '-':
			return r
		case r == ' ':
			return '-'
		}
		return -1
	}, strings.ToLower(heading))
}

func sentence(parts ...string) string {
	out := strings.Join(slices.DeleteFunc(parts, func(s string) bool { return s == "" }), "; ")
	return strings.ReplaceAll(out, "|", `\|`)
}

var ownText = reflect.TypeFor[interface{ UnmarshalText([]byte) error }]()

// structOf finds the struct of ours that a field holds, with what stands behind
// its path: "" for one, "[]" for a list, ".NAME" for a map.
func structOf(t reflect.Type, v reflect.Value) (reflect.Type, string, reflect.Value) {
	switch t.Kind() {
	case reflect.Pointer:
		s, suffix, _ := structOf(t.Elem(), reflect.Zero(t.Elem()))
		return s, suffix, reflect.Zero(t.Elem())
	case reflect.Slice:
		s, _, _ := structOf(t.Elem(), reflect.Zero(t.Elem()))
		return s, "[]", reflect.Zero(t.Elem())
	case reflect.Map:
		s, _, _ := structOf(t.Elem(), reflect.Zero(t.Elem()))
		return s, ".NAME", reflect.Zero(t.Elem())
	case reflect.Struct:
		if !reflect.PointerTo(t).Implements(ownText) && strings.HasPrefix(t.PkgPath(), "nocturne/") {
			return t, "", v
		}
	}
	return nil, "", v
}

func kindWords(t reflect.Type) string {
	switch t {
	case reflect.TypeFor[time.Duration]():
		return "duration"
	case reflect.TypeFor[model.Duration]():
		return "long duration"
	case reflect.TypeFor[Bytes]():
		return "size"
	case reflect.TypeFor[secret.Text]():
		return "secret"
	case reflect.TypeFor[netip.Prefix]():
		return "prefix, such as `10.0.0.0/8`"
	}
	switch t.Kind() {
	case reflect.Pointer:
		return kindWords(t.Elem())
	case reflect.Slice:
		return "list of " + kindWords(t.Elem())
	case reflect.Map:
		return "map of " + kindWords(t.Elem())
	case reflect.Struct:
		return "mapping"
	case reflect.Bool:
		return "true or false"
	case reflect.String:
		return "text"
	case reflect.Float32, reflect.Float64:
		return "number"
	}
	return "whole number"
}

func (p *configPage) defaultOf(t reflect.Type, v reflect.Value) string {
	if s, suffix, _ := structOf(t, v); s != nil && suffix == "" || v.IsZero() && t.Kind() != reflect.Bool {
		return ""
	}
	if b, ok := v.Interface().(Bytes); ok {
		return "`" + sizeText(b) + "`"
	}
	return fmt.Sprintf("`%v`", v.Interface())
}

func sizeText(b Bytes) string {
	for _, u := range byteUnits[:4] {
		if n := float64(b) / u.of; n >= 1 && n < 1024 && n == float64(int(n)) {
			return fmt.Sprintf("%d%s", int(n), u.name)
		}
	}
	return fmt.Sprint(int64(b))
}

// metricsPage lists what each kind of target has.
func metricsPage(*testing.T) string {
	var b strings.Builder
	b.WriteString("# Metrics\n\nMade from the program's own lists by `make docs`. Every series has the labels `job` (the kind of target) and `instance` (its name).\n" +
		"Those of kind `nocturne`, about the program itself, are also at `/metrics`.\n")
	all := described()
	kinds := map[string][]collector.Metric{"every target": collector.OwnMetrics}
	for kind, list := range all {
		if kind != "local" { // the same as linux
			kinds[kind] = list
		}
	}
	names := []string{"every target"}
	for kind := range kinds {
		if kind != names[0] {
			names = append(names, kind)
		}
	}
	slices.Sort(names[1:])
	for _, kind := range names {
		fmt.Fprintf(&b, "\n## %s\n\n| metric | type | unit | what it is |\n|---|---|---|---|\n", kind)
		list := slices.SortedFunc(slices.Values(kinds[kind]), func(a, b collector.Metric) int { return strings.Compare(a.Name, b.Name) })
		for _, m := range list {
			fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", m.Name, m.Type, m.Unit, sentence(m.Help))
		}
	}
	return b.String()
}

// commandsPage lists every command with its flags.
func commandsPage(t *testing.T) string {
	var b strings.Builder
	b.WriteString("# Commands\n\nMade from the program's own help by `make docs`.\n")
	for _, c := range allCommands(command()) {
		fmt.Fprintf(&b, "\n## %s\n\n%s\n", c.CommandPath(), c.Short+".")
		if c.Long != "" {
			b.WriteString("\n" + c.Long + "\n")
		}
		if !c.Runnable() {
			continue
		}
		fmt.Fprintf(&b, "\n    %s\n", c.UseLine())
		if flags := strings.TrimRight(c.LocalFlags().FlagUsages(), "\n"); flags != "" {
			b.WriteString("\n```text\n" + flags + "\n```\n")
		}
	}
	if strings.Contains(b.String(), "%!") {
		t.Error("a page with a broken format")
	}
	return b.String()
}

// allCommands are a command and those below it, without those that cobra adds.
func allCommands(c *cobra.Command) []*cobra.Command {
	out := []*cobra.Command{c}
	for _, sub := range c.Commands() {
		if sub.Name() != "help" && sub.Name() != "completion" {
			out = append(out, allCommands(sub)...)
		}
	}
	return out
}

// apiPage lists the operations of a running server's own description.
func apiPage(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "nocturne.yaml")
	text := fmt.Sprintf("data: %s\nlisten: 127.0.0.1:0\ncollector: {local: false, self: false}\n", filepath.Join(t.TempDir(), "data"))
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	p, token := startProcess(t, program("serve", "--config", file), true)
	p.login = p.setup(token)
	var doc struct {
		Paths map[string]map[string]struct {
			Summary, Description string
			Tags                 []string
		}
	}
	if err := p.get("/api/nocturne/v1/openapi.json", &doc); err != nil {
		t.Fatal(err)
	}
	p.stop()
	byTag := map[string][]string{}
	for path, methods := range doc.Paths {
		for method, o := range methods {
			right := strings.TrimSuffix(strings.TrimPrefix(o.Description, "Needs the right to "), ".")
			byTag[o.Tags[0]] = append(byTag[o.Tags[0]], fmt.Sprintf("| `%s` | %s | %s | %s |\n", path, strings.ToUpper(method), o.Summary, right))
		}
	}
	var b strings.Builder
	b.WriteString("# API\n\nUnder `/api/nocturne/v1`, JSON, with a token as bearer (Administration > Tokens). The server describes itself in full, bodies and\n" +
		"errors included: `GET /api/nocturne/v1/openapi.json`, or `.yaml`. Beside it stands Prometheus' own API under `/api/v1`.\n")
	for _, tag := range slices.Sorted(maps.Keys(byTag)) {
		fmt.Fprintf(&b, "\n## %s\n\n| path | method | what | right |\n|---|---|---|---|\n", tag)
		slices.Sort(byTag[tag])
		b.WriteString(strings.Join(byTag[tag], ""))
	}
	return b.String()
}
