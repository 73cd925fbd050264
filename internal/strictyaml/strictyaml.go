// Package strictyaml decodes YAML that people write: configuration, runbooks,
// remedies, inventories. Every fault is reported at once, each with its file,
// line and field path; an unknown or repeated key is a fault.
package strictyaml

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// Fault is one thing that is wrong in a file.
type Fault struct {
	File    string
	Line    int    // 1-based; 0 when the fault has no line
	Path    string // e.g. targets[2].address
	Message string
}

func (f *Fault) Error() string {
	var b strings.Builder
	b.WriteString(f.File)
	if f.Line > 0 {
		fmt.Fprintf(&b, ":%d", f.Line)
	}
	if f.Path != "" {
		b.WriteString(": " + f.Path)
	}
	return b.String() + ": " + f.Message
}

// Short is a struct that may also be written as a single value: that of the
// field with the YAML name it returns.
type Short interface{ ShortField() string }

// Decode decodes the one document of data over *into, which may hold defaults.
// name is the file's name in the faults. The error joins a *Fault for each
// fault; *into is then not to be used. An empty document leaves *into alone.
func Decode(name string, data []byte, into any) error {
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var doc yaml.Node
	if err := dec.Decode(&doc); err != nil {
		if errors.Is(err, io.EOF) {
			return nil
		}
		return syntaxFault(name, data, err)
	}
	if err := dec.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return &Fault{File: name, Message: "holds more than one YAML document"}
	}
	if len(doc.Content) != 1 || doc.Content[0].Tag == "!!null" {
		return nil
	}
	w := walker{file: name}
	w.value(doc.Content[0], reflect.ValueOf(into).Elem(), "")
	return errors.Join(w.faults...)
}

// syntaxFault turns "yaml: line 3: ..." into a Fault. The library leaves the
// line out where it is the first, and where bytes are no text.
func syntaxFault(name string, data []byte, err error) error {
	msg := strings.TrimPrefix(err.Error(), "yaml: ")
	f := &Fault{File: name, Line: 1 + bytes.Count(data[:textEnd(data)], []byte("\n")), Message: msg}
	if rest, ok := strings.CutPrefix(msg, "line "); ok {
		if num, text, ok := strings.Cut(rest, ": "); ok {
			if n, err := strconv.Atoi(num); err == nil {
				f.Line, f.Message = n, text
			}
		}
	}
	return f
}

// textEnd is where data stops being text, 0 where it never does.
func textEnd(data []byte) int {
	for i := 0; i < len(data); {
		r, size := utf8.DecodeRune(data[i:])
		if r == utf8.RuneError && size == 1 || unicode.IsControl(r) && !strings.ContainsRune("\t\n\r\u0085", r) {
			return i
		}
		i += size
	}
	return 0
}

type walker struct {
	file   string
	faults []error
}

func (w *walker) fault(n *yaml.Node, path, format string, args ...any) {
	w.faults = append(w.faults, &Fault{File: w.file, Line: n.Line, Path: path, Message: fmt.Sprintf(format, args...)})
}

var unmarshalerType = reflect.TypeFor[yaml.Unmarshaler]()

// value decodes n into v, descending by itself where v has fields, so that
// each fault is found and knows its path.
func (w *walker) value(n *yaml.Node, v reflect.Value, path string) {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if n.Tag == "!!null" {
		return
	}
	if v.Kind() == reflect.Pointer && !reflect.PointerTo(v.Type().Elem()).Implements(unmarshalerType) {
		if v.IsNil() {
			v.Set(reflect.New(v.Type().Elem()))
		}
		w.value(n, v.Elem(), path)
		return
	}
	switch {
	case reflect.PointerTo(v.Type()).Implements(unmarshalerType) || isScalarType(v.Type()):
		w.scalar(n, v, path)
	case v.Kind() == reflect.Struct:
		w.structure(n, v, path)
	case v.Kind() == reflect.Map:
		w.mapping(n, v, path)
	case v.Kind() == reflect.Slice:
		w.sequence(n, v, path)
	default:
		w.scalar(n, v, path)
	}
}

// isScalarType tells the types that decode themselves from one scalar.
func isScalarType(t reflect.Type) bool {
	_, text := reflect.PointerTo(t).MethodByName("UnmarshalText")
	return text
}

func (w *walker) scalar(n *yaml.Node, v reflect.Value, path string) {
	// The library cuts the fraction off a number for a whole one.
	if (v.CanInt() || v.CanUint()) && n.ShortTag() == "!!float" && !isScalarType(v.Type()) {
		w.fault(n, path, "cannot be read as %s: wants %s", strings.TrimPrefix(v.Type().String(), "time."), wanted(v.Type()))
		return
	}
	err := n.Decode(v.Addr().Interface())
	if err == nil {
		return
	}
	if te, ok := errors.AsType[*yaml.TypeError](err); ok {
		for _, m := range te.Errors {
			w.fault(n, path, "%s: wants %s", unreadable(m), wanted(v.Type()))
		}
		return
	}
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	if w := wanted(v.Type()); w != oneValue {
		text += ": wants " + w
	}
	w.fault(n, path, "%s", text)
}

// unreadable turns "line 3: cannot unmarshal !!str `x` into int" into a fault
// without the value: it may be a secret in the wrong place.
func unreadable(m string) string {
	if _, kind, ok := strings.Cut(m, "` into "); ok {
		return "cannot be read as " + strings.TrimPrefix(kind, "time.")
	}
	if _, text, ok := strings.Cut(m, ": "); ok {
		m = text
	}
	return strings.ReplaceAll(m, "!!", "")
}

func (w *walker) structure(n *yaml.Node, v reflect.Value, path string) {
	if short, ok := v.Interface().(Short); ok && n.Kind == yaml.ScalarNode {
		w.value(n, fieldsOf(v)[short.ShortField()], path)
		return
	}
	if n.Kind != yaml.MappingNode {
		w.fault(n, path, "wants a mapping, not %s", kindName(n))
		return
	}
	fields := fieldsOf(v)
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, val := n.Content[i], n.Content[i+1]
		at := join(path, key.Value)
		f, known := fields[key.Value]
		switch {
		case !known:
			w.fault(key, at, "unknown field; known here: %s", strings.Join(slices.Sorted(maps.Keys(fields)), ", "))
		case seen[key.Value]:
			w.fault(key, at, "stands here twice")
		default:
			w.value(val, f, at)
		}
		seen[key.Value] = true
	}
}

func (w *walker) mapping(n *yaml.Node, v reflect.Value, path string) {
	if n.Kind != yaml.MappingNode {
		w.fault(n, path, "wants a mapping, not %s", kindName(n))
		return
	}
	if v.IsNil() {
		v.Set(reflect.MakeMap(v.Type()))
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, val := n.Content[i], n.Content[i+1]
		at := join(path, key.Value)
		if seen[key.Value] {
			w.fault(key, at, "stands here twice")
			continue
		}
		seen[key.Value] = true
		k, e := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		w.scalar(key, k, at)
		w.value(val, e, at)
		v.SetMapIndex(k, e)
	}
}

func (w *walker) sequence(n *yaml.Node, v reflect.Value, path string) {
	if n.Kind != yaml.SequenceNode {
		w.fault(n, path, "wants a list, not %s", kindName(n))
		return
	}
	out := reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content))
	for i, c := range n.Content {
		w.value(c, out.Index(i), path+"["+strconv.Itoa(i)+"]")
	}
	v.Set(out)
}

// fieldsOf maps the YAML names of a struct's fields to the fields, inlined
// structs included.
func fieldsOf(v reflect.Value) map[string]reflect.Value {
	out := map[string]reflect.Value{}
	for f, fv := range v.Fields() {
		if !f.IsExported() {
			continue
		}
		name, opts, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		switch {
		case name == "-":
		case opts == "inline":
			maps.Copy(out, fieldsOf(fv))
		case name == "":
			out[strings.ToLower(f.Name)] = fv
		default:
			out[name] = fv
		}
	}
	return out
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

func kindName(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	}
	// The value itself stays out: it may be a secret in the wrong place.
	return "a single value"
}
