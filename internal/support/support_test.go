package support

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"nocturne/internal/secret"
)

// unpack reads a bundle with the standard library.
func unpack(t *testing.T, b []byte) map[string]string {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Mode != 0o600 {
			t.Errorf("%s has mode %o", h.Name, h.Mode)
		}
		data, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		out[h.Name] = string(data)
	}
}

const key = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAABG5vbmU\nQyNTUxOQAAACBmb3VydGVlbiBiaXJkcyBp\n-----END OPENSSH PRIVATE KEY-----\n"

type planted struct {
	Community secret.Text
	Headers   map[string]secret.Text
	List      []*planted
	Any       any
	Plain     string
}

func TestSecretsAreFoundAnywhere(t *testing.T) {
	v := planted{Community: "first-one", Headers: map[string]secret.Text{"X": "second-one"}, Plain: "kept as it is",
		List: []*planted{nil, {Any: &planted{Community: "https://u:third-one@hook.example/services/T0000000/fourth?token=fifth-one"}}}}
	got := Secrets(v)
	for _, want := range []string{"first-one", "second-one", "third-one", "T0000000", "fifth-one"} {
		if !slices.Contains(got, want) {
			t.Errorf("%q is not among %q", want, got)
		}
	}
	if slices.Contains(got, v.Plain) || slices.Contains(got, "") {
		t.Errorf("more than the secrets: %q", got)
	}
}

// TestNoSpellingIsLeft writes each secret in each way into a file of its own.
func TestNoSpellingIsLeft(t *testing.T) {
	secrets := []string{`quo"te \ and ü`, "with space&more=1", "tidewater", "tidewater-and-longer", key}
	b := New("x", time.Now(), secrets)
	for i, s := range secrets {
		j, err := json.Marshal(map[string]string{"err": "refused: " + s})
		if err != nil {
			t.Fatal(err)
		}
		for k, text := range []string{s, string(j), url.QueryEscape(s), "?x=" + url.PathEscape(s) + "&", base64.StdEncoding.EncodeToString([]byte(s)), fmt.Sprintf("%q", s)} {
			b.Add(fmt.Sprintf("%d-%d", i, k), func(w io.Writer) error { _, err := io.WriteString(w, "before "+text+" after"); return err })
		}
	}
	b.Add("line", func(w io.Writer) error {
		_, err := io.WriteString(w, "cut in the middle: "+strings.Split(key, "\n")[1])
		return err
	})
	var out bytes.Buffer
	if err := b.Write(&out); err != nil {
		t.Fatal(err)
	}
	files := unpack(t, out.Bytes())
	if len(files) != len(secrets)*6+1 {
		t.Fatalf("%d files", len(files))
	}
	for name, text := range files {
		for _, part := range []string{"quo", "more", "tidewater", "longer", "b3BlbnNz", "dGlkZXdhdGVy", "QyNTUx"} {
			if strings.Contains(text, part) {
				t.Errorf("%s has %q left: %q", name, part, text)
			}
		}
		if !strings.Contains(text, secret.Placeholder) {
			t.Errorf("%s: %q", name, text)
		}
	}
}

// TestLooks holds what is struck out by its looks, and what is not.
func TestLooks(t *testing.T) {
	strip := strippers(nil)
	for in, want := range map[string]string{
		"Authorization: Bearer abcdefgh12345":      "Authorization: Bearer <secret>",
		"authorization: basic dXNlcjpwYXNz":        "authorization: basic <secret>",
		"GET https://ann:pw@host/x":                "GET https://<secret>@host/x",
		"/setup?token=deadbeef&x=1":                "/setup?token=<secret>&x=1",
		"noc_abcdefghijkl was refused":             "<secret> was refused",
		key + "rest":                               "<secret>\nrest",
		"-----BEGIN RSA PRIVATE KEY-----\ncut":     "<secret>",
		"mail ann@host about http://host/a@b":      "mail ann@host about http://host/a@b",
		"the token is unknown, basic facts remain": "the token is unknown, basic facts remain",
	} {
		if got := string(strip([]byte(in))); got != want {
			t.Errorf("%q became %q, want %q", in, got, want)
		}
	}
}

func TestFaultyAndLargeFiles(t *testing.T) {
	b := New("x", time.Now(), nil)
	b.bound = 64 << 10
	b.Add("broken", func(w io.Writer) error { _, _ = io.WriteString(w, "half"); return errors.New("no such table") })
	b.Add("large", func(w io.Writer) error {
		for range b.bound / 1000 {
			if _, err := w.Write(bytes.Repeat([]byte("1234567\n"), 150)); err != nil {
				return err
			}
		}
		return nil
	})
	b.AddJSON("json", map[string]any{"a": "<&>", "s": secret.Text("hidden")})
	b.AddJSON("no json", func() {})
	var out bytes.Buffer
	if err := b.Write(&out); err != nil {
		t.Fatal(err)
	}
	files := unpack(t, out.Bytes())
	if got := files["x/broken"]; !strings.HasPrefix(got, "half") || !strings.Contains(got, "[not whole: no such table]") {
		t.Errorf("broken: %q", got)
	}
	if got := files["x/large"]; len(got) < b.bound || len(got) > b.bound+100 || !strings.HasSuffix(got, "[cut off after 65536 bytes]\n") {
		t.Errorf("large: %d bytes, ends %q", len(got), got[max(0, len(got)-60):])
	}
	if got := files["x/json"]; got != "{\n  \"a\": \"<&>\",\n  \"s\": \"<secret>\"\n}\n" {
		t.Errorf("json: %q", got)
	}
	if got := files["x/no json"]; !strings.Contains(got, "not whole") {
		t.Errorf("no json: %q", got)
	}
}
