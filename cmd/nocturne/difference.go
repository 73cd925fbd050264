package main

import (
	"encoding"
	"fmt"
	"maps"
	"net/netip"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"nocturne/internal/secret"
	"nocturne/internal/web"
)

// liveFields are those that a reload applies while the program runs; what is in
// them is too. All others need a restart.
var liveFields = []string{
	"targets", "credentials", "inspections", "log.level",
	"collector.local", "collector.self", "collector.interval", "collector.timeout",
	"automation.runbooks", "automation.remedies",
	"alerting.interval", "alerting.rules", "alerting.appliance", "alerting.webhooks",
	"ssh.known_hosts", "history.limits", "automation.global_slots",
}

// regionSlots is the one field of a region that a reload applies.
var regionSlots = regexp.MustCompile(`^automation\.regions\[[^\]]*\]\.slots$`)

// isLive tells whether a reload applies the field. What is in brackets names an
// element of a list.
func isLive(path string) bool {
	return regionSlots.MatchString(path) || slices.ContainsFunc(liveFields, func(l string) bool {
		rest, ok := strings.CutPrefix(path, l)
		return ok && (rest == "" || rest[0] == '.' || rest[0] == '[' || rest[0] == ' ')
	})
}

// differences lists the fields in which two configurations differ, in the order
// of the structs. Elements of lists are told apart by their names.
func differences(was, is Config) []web.Change {
	d := &differ{}
	d.compare("", reflect.ValueOf(was), reflect.ValueOf(is))
	return d.changes
}

func differencesOf(was, is CredentialEntry) []web.Change {
	d := &differ{}
	d.compare("", reflect.ValueOf(was), reflect.ValueOf(is))
	return d.changes
}

type differ struct{ changes []web.Change }

func (d *differ) add(path, was, is string) {
	d.changes = append(d.changes, web.Change{Field: path, Was: was, Is: is, Restart: !isLive(path)})
}

// compare looks into structs, pointers and lists of what has a name; anything
// else is one value.
func (d *differ) compare(path string, was, is reflect.Value) {
	t := was.Type()
	switch {
	case reflect.DeepEqual(was.Interface(), is.Interface()):
	case t.Kind() == reflect.Pointer && isNested(t.Elem()) && !was.IsNil() && !is.IsNil():
		d.compare(path, was.Elem(), is.Elem())
	case isNested(t):
		for field, w := range was.Fields() {
			if name, ok := yamlName(field); ok {
				d.compare(joinPath(path, name), w, is.FieldByIndex(field.Index))
			}
		}
	case t.Kind() == reflect.Slice && hasName(t.Elem()):
		d.compareNamed(path, was, is)
	case d.sameButSecrets(was, is):
		d.add(path, secret.Placeholder, secret.Placeholder+" (changed)")
	default:
		d.add(path, shown(was), shown(is))
	}
}

// isNested tells structs whose fields are the configuration's.
func isNested(t reflect.Type) bool {
	return t.Kind() == reflect.Struct && !reflect.PointerTo(t).Implements(reflect.TypeFor[encoding.TextUnmarshaler]())
}

func hasName(t reflect.Type) bool {
	if t.Kind() != reflect.Struct {
		return false
	}
	f, ok := t.FieldByName("Name")
	return ok && f.Type.Kind() == reflect.String
}

// compareNamed matches elements by name. A change of their order alone is none.
func (d *differ) compareNamed(path string, was, is reflect.Value) {
	before, after := byName(was), byName(is)
	for _, name := range slices.Sorted(maps.Keys(before)) {
		at := fmt.Sprintf("%s[%s]", path, name)
		if v, stays := after[name]; stays {
			d.compare(at, before[name], v)
		} else {
			d.add(at, shown(before[name]), "")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(after)) {
		if _, was := before[name]; !was {
			d.add(fmt.Sprintf("%s[%s]", path, name), "", shown(after[name]))
		}
	}
}

func byName(list reflect.Value) map[string]reflect.Value {
	out := map[string]reflect.Value{}
	for i := range list.Len() {
		out[list.Index(i).FieldByName("Name").String()] = list.Index(i)
	}
	return out
}

// sameButSecrets tells values that differ and print the same.
func (d *differ) sameButSecrets(was, is reflect.Value) bool { return shown(was) == shown(is) }

// shown writes a value for people, its secrets as placeholders and its zero
// fields left out.
func shown(v reflect.Value) string {
	switch {
	case v.Kind() == reflect.Pointer:
		if v.IsNil() {
			return ""
		}
		return shown(v.Elem())
	case isNested(v.Type()):
		var parts []string
		for field, fv := range v.Fields() {
			if name, ok := yamlName(field); ok && !fv.IsZero() {
				parts = append(parts, name+": "+shown(fv))
			}
		}
		return "{" + strings.Join(parts, ", ") + "}"
	case v.Kind() == reflect.Slice:
		var parts []string
		for i := range v.Len() {
			parts = append(parts, shown(v.Index(i)))
		}
		return "[" + strings.Join(parts, ", ") + "]"
	case v.Kind() == reflect.Map:
		var parts []string
		for _, k := range v.MapKeys() {
			parts = append(parts, fmt.Sprintf("%v: %s", k, shown(v.MapIndex(k))))
		}
		slices.Sort(parts)
		return "{" + strings.Join(parts, ", ") + "}"
	}
	if p, ok := v.Interface().(netip.Prefix); ok {
		return p.String()
	}
	return fmt.Sprint(v.Interface())
}

// fileDifferences lists the files that the configuration names and that are
// others than what runs.
func fileDifferences(was, is map[string]sum) []web.Change {
	d := &differ{}
	for _, file := range slices.Sorted(maps.Keys(was)) {
		if now, there := is[file]; !there {
			d.add(file, "as it was read", "gone")
		} else if now != was[file] {
			d.add(file, "as it was read", "changed")
		}
	}
	for _, file := range slices.Sorted(maps.Keys(is)) {
		if _, there := was[file]; !there {
			d.add(file, "", "new")
		}
	}
	return d.changes
}
