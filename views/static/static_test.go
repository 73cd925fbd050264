package static

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"path"
	"strings"
	"testing"
)

// TestVendor recomputes the sums of what is not ours, asks for a licence for
// each file, and finds files that nobody declared.
func TestVendor(t *testing.T) {
	list, err := Vendor()
	if err != nil {
		t.Fatal(err)
	}
	declared := map[string]bool{"vendor.json": true}
	for _, v := range list {
		b, err := files.ReadFile("vendor/" + v.File)
		if err != nil {
			t.Errorf("%s: %v", v.File, err)
			continue
		}
		sum := sha256.Sum256(b)
		if got := hex.EncodeToString(sum[:]); got != v.SHA256 {
			t.Errorf("%s: sha256 is %s, vendor.json says %s", v.File, got, v.SHA256)
		}
		licence, err := files.ReadFile("vendor/" + v.LicenceFile)
		if err != nil || len(licence) < 100 {
			t.Errorf("%s: licence %q: %v", v.File, v.LicenceFile, err)
		}
		if v.Licence == "" || v.Version == "" || !strings.HasPrefix(v.Source, "https://") || !strings.Contains(v.File, v.Version) {
			t.Errorf("%s: incomplete: %+v", v.File, v)
		}
		declared[v.File], declared[v.LicenceFile] = true, true
	}
	entries, err := fs.ReadDir(files, "vendor")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !declared[e.Name()] {
			t.Errorf("vendor/%s is not in vendor.json", e.Name())
		}
	}
}

func get(t *testing.T, url, encoding string) *http.Response {
	t.Helper()
	r := httptest.NewRequest("GET", url, nil)
	if encoding != "" {
		r.Header.Set("Accept-Encoding", encoding)
	}
	w := httptest.NewRecorder()
	Handler().ServeHTTP(w, r)
	return w.Result()
}

func TestHandler(t *testing.T) {
	url := URL("css/base.css")
	packed := get(t, url, "gzip, br")
	if got := packed.Header.Get("Content-Encoding"); got != "gzip" {
		t.Fatalf("Content-Encoding %q", got)
	}
	if got := packed.Header.Get("Cache-Control"); !strings.Contains(got, "immutable") {
		t.Errorf("Cache-Control %q", got)
	}
	z, err := gzip.NewReader(packed.Body)
	if err != nil {
		t.Fatal(err)
	}
	a, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(get(t, url, "").Body)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(a, b) || len(a) == 0 {
		t.Errorf("gzipped and plain differ: %d and %d bytes", len(a), len(b))
	}
	for _, missing := range []string{"/static/css/base.css", "/static/css/base.000000000000.css", "/static/", "/static/../go.mod"} {
		if got := get(t, missing, ""); got.StatusCode != http.StatusNotFound {
			t.Errorf("%s: %s", missing, got.Status)
		}
	}
}

// TestReferences follows every path that a style sheet or module names.
func TestReferences(t *testing.T) {
	n := 0
	for name, a := range assets() {
		if path.Dir(name) == "vendor" {
			continue
		}
		for _, m := range reference.FindAllSubmatch(a.plain, -1) {
			n++
			at := path.Join(Prefix, path.Dir(name), string(m[1]))
			if got := get(t, at, ""); got.StatusCode != http.StatusOK {
				t.Errorf("%s names %s: %s", name, m[1], got.Status)
			}
		}
	}
	if n < 10 {
		t.Errorf("only %d references found", n)
	}
}

func TestUnknownNamePanics(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("no panic for a name that is not there")
		}
	}()
	URL("css/none.css")
}
