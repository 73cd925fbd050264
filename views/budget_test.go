package views

import (
	"bytes"
	"compress/gzip"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func packed(t *testing.T, b []byte) int {
	t.Helper()
	var z bytes.Buffer
	w, err := gzip.NewWriterLevel(&z, gzip.BestCompression)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return z.Len()
}

func files(t *testing.T, names ...string) (sum int) {
	t.Helper()
	for _, n := range names {
		b, err := os.ReadFile(filepath.Join("static", n))
		if err != nil {
			t.Fatal(err)
		}
		sum += packed(t, b)
	}
	return sum
}

func under(t *testing.T, what string, got, limit int) {
	t.Helper()
	t.Logf("%-42s %6d of %d bytes", what, got, limit)
	if got > limit {
		t.Errorf("%s: %d bytes gzipped, the budget is %d", what, got, limit)
	}
}

// TestBudgets holds the sizes on the wire, gzipped, type excepted.
func TestBudgets(t *testing.T) {
	all, err := filepath.Glob("static/js/*.js")
	if err != nil || len(all) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	var own []string
	for _, f := range all {
		own = append(own, strings.TrimPrefix(filepath.ToSlash(f), "static/"))
	}
	under(t, "our scripts", files(t, own...), 25<<10)
	style := []string{"css/tokens.css", "css/fonts.css", "css/base.css", "css/components.css"}
	racks := files(t, append([]string{"js/live.js", "js/screen.js", "js/wall.js", "css/units.css", "css/wall.css"}, style...)...)
	under(t, "style and scripts of a wall", racks, 18<<10)
	chart := files(t, append([]string{"js/live.js", "js/app.js", "js/palette.js", "js/units.js", "js/chart.js", "css/pages.css",
		"vendor/htmx-4.0.1.js", "vendor/uplot-1.6.32.js", "vendor/uplot-1.6.32.css"}, style...)...)
	for _, s := range pages() {
		switch html := packed(t, []byte(rendered(t, s))); s.name {
		case "rack-wall-8":
			under(t, "a wall of 8 racks, everything", html+racks, 30<<10)
		case "rack-wall-40":
			under(t, "a wall of 40 racks, 864 devices, everything", html+racks, 30<<10)
		case "topology-2000":
			under(t, "HTML of a map of 1,960 nodes", html, 60<<10)
		case "host":
			under(t, "a page with charts, everything", html+chart, 60<<10)
		}
	}
}
