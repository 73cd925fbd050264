// Package secret holds the type of a value that must never be printed: a
// community, a passphrase, a private key. Whatever formats, logs or encodes it
// sees a placeholder; only Reveal and Marshal give the value away.
package secret

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"reflect"
)

// Placeholder stands wherever a secret would have been printed.
const Placeholder = "<secret>"

// Text is a secret string. The zero value is "no secret".
type Text string

// Reveal returns the value itself, for the one place that uses it.
func (t Text) Reveal() string { return string(t) }

// String returns the placeholder, or nothing for an empty secret.
func (t Text) String() string {
	if t == "" {
		return ""
	}
	return Placeholder
}

// Format keeps every verb of package fmt from printing the value.
func (t Text) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(t.String())) }

// LogValue keeps slog from printing the value.
func (t Text) LogValue() slog.Value { return slog.StringValue(t.String()) }

// MarshalText is what JSON and YAML encoders see.
func (t Text) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// UnmarshalText takes the value as it stands in a configuration.
func (t *Text) UnmarshalText(b []byte) error {
	*t = Text(b)
	return nil
}

// Marshal encodes a struct of strings, secrets and the like to JSON with its
// secrets revealed, to be sealed at once. v is a struct or a pointer to one.
func Marshal(v any) ([]byte, error) {
	return json.Marshal(reveal(reflect.ValueOf(v)))
}

// Unmarshal is the reverse of Marshal.
func Unmarshal(b []byte, v any) error { return json.Unmarshal(b, v) }

// reveal copies v with every Text turned into a string and every struct into a
// map by its JSON names.
func reveal(v reflect.Value) any {
	for v.Kind() == reflect.Pointer || v.Kind() == reflect.Interface {
		if v.IsNil() {
			return nil
		}
		v = v.Elem()
	}
	if !v.IsValid() {
		return nil
	}
	if t, ok := v.Interface().(Text); ok {
		return t.Reveal()
	}
	switch v.Kind() {
	case reflect.Struct:
		if _, ok := v.Interface().(json.Marshaler); ok {
			return v.Interface()
		}
		out := map[string]any{}
		for f, fv := range v.Fields() {
			if name, ok := jsonName(f); ok {
				out[name] = reveal(fv)
			}
		}
		return out
	case reflect.Map:
		out := map[string]any{}
		for it := v.MapRange(); it.Next(); {
			out[fmt.Sprint(it.Key().Interface())] = reveal(it.Value())
		}
		return out
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			return v.Interface()
		}
		out := make([]any, v.Len())
		for i := range out {
			out[i] = reveal(v.Index(i))
		}
		return out
	}
	return v.Interface()
}

func jsonName(f reflect.StructField) (string, bool) {
	if !f.IsExported() {
		return "", false
	}
	name := f.Name
	tag := f.Tag.Get("json")
	for i, c := range tag {
		if c == ',' {
			tag = tag[:i]
			break
		}
	}
	if tag == "-" {
		return "", false
	}
	if tag != "" {
		name = tag
	}
	return name, true
}
