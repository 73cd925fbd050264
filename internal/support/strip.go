package support

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"net/url"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"nocturne/internal/secret"
)

// shortest is the length below which a secret is not looked for: it would
// strike out half of every file, and be guessed from the holes.
const shortest = 4

// longLine is the length from which a line of a secret of several lines, such
// as a private key, is struck out by itself.
const longLine = 16

// Secrets returns each secret within v: in structs, maps, lists, pointers. Of
// one that is an address its parts are there too: an error may quote them.
func Secrets(v any) []string {
	var out []string
	walk(reflect.ValueOf(v), func(t secret.Text) {
		out = append(out, t.Reveal())
		if u, err := url.Parse(t.Reveal()); err == nil && u.Host != "" {
			out = append(out, addressParts(u)...)
		}
	})
	return out
}

// addressParts are those of an address that may let somebody in.
func addressParts(u *url.URL) []string {
	var out []string
	if password, set := u.User.Password(); set {
		out = append(out, password)
	}
	for _, values := range u.Query() {
		out = append(out, values...)
	}
	for segment := range strings.SplitSeq(u.Path, "/") {
		if len(segment) >= 2*shortest {
			out = append(out, segment)
		}
	}
	return append(out, u.RequestURI())
}

func walk(v reflect.Value, found func(secret.Text)) {
	if !v.IsValid() {
		return
	}
	if v.Type() == reflect.TypeFor[secret.Text]() {
		if v.Len() > 0 {
			found(secret.Text(v.String()))
		}
		return
	}
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		walk(v.Elem(), found)
	case reflect.Struct:
		for _, field := range v.Fields() {
			walk(field, found)
		}
	case reflect.Map:
		for it := v.MapRange(); it.Next(); {
			walk(it.Value(), found)
		}
	case reflect.Slice, reflect.Array:
		for i := range v.Len() {
			walk(v.Index(i), found)
		}
	}
}

// looks are what is struck out by its looks.
var looks = []struct {
	what *regexp.Regexp
	with string
}{
	{regexp.MustCompile(`-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(-----END [A-Z ]*PRIVATE KEY-----|\z)`), secret.Placeholder},
	{regexp.MustCompile(`\b([A-Za-z][A-Za-z0-9+.-]*://)[^/\s"'@]+@`), "${1}" + secret.Placeholder + "@"},
	{regexp.MustCompile(`(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}`), "${1} " + secret.Placeholder},
	{regexp.MustCompile(`\bnoc_[A-Za-z0-9_-]{8,}`), secret.Placeholder},
	{regexp.MustCompile(`(?i)\b(token|password|passphrase|secret|community|api_?key)=[^&\s"'<]+`), "${1}=" + secret.Placeholder},
}

// strippers returns what takes the secrets out of a text.
func strippers(secrets []string) func([]byte) []byte {
	var all []string
	for _, s := range secrets {
		if len(strings.TrimSpace(s)) < shortest {
			continue
		}
		all = append(append(all, spellings(s)...), spellings(strings.TrimSpace(s))...)
		if lines := strings.Split(s, "\n"); len(lines) > 1 {
			for _, line := range lines {
				if line = strings.TrimSpace(line); len(line) >= longLine {
					all = append(all, spellings(line)...)
				}
			}
		}
	}
	// The longest first: a secret may be a part of another one.
	slices.SortFunc(all, func(a, b string) int { return cmp.Or(len(b)-len(a), strings.Compare(a, b)) })
	var pairs []string
	for _, s := range slices.Compact(all) {
		pairs = append(pairs, s, secret.Placeholder)
	}
	known := strings.NewReplacer(pairs...)
	return func(b []byte) []byte {
		text := known.Replace(string(b))
		for _, l := range looks {
			text = l.what.ReplaceAllString(text, l.with)
		}
		return []byte(text)
	}
}

// spellings are the ways in which a secret may stand in a file.
func spellings(s string) []string {
	out := []string{s, url.QueryEscape(s), url.PathEscape(s), base64.StdEncoding.EncodeToString([]byte(s)), base64.RawURLEncoding.EncodeToString([]byte(s))}
	if quoted, err := json.Marshal(s); err == nil {
		out = append(out, string(quoted[1:len(quoted)-1]))
	}
	return out
}
