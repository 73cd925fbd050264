package views

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files anew")

var (
	// hashed names change with every change of style: not a page's business.
	hashed = regexp.MustCompile(`(/static/[^"]*)\.[0-9a-f]{12}\.`)
	tagEnd = regexp.MustCompile(`><`)
	ids    = regexp.MustCompile(` id="([^"]*)"`)
	refs   = regexp.MustCompile(` (?:for|aria-labelledby|aria-describedby|aria-controls)="([^"]*)"`)
	inline = regexp.MustCompile(`(?i)<[^>]+ (style|on[a-z]+)=|<style|<script(?:[^>]*)>[^<]|javascript:`)
	target = regexp.MustCompile(` hx-target="#([^"]*)"`)
)

func rendered(t *testing.T, s shown) string {
	t.Helper()
	var b bytes.Buffer
	if err := s.page.Render(t.Context(), &b); err != nil {
		t.Fatal(err)
	}
	return hashed.ReplaceAllString(b.String(), "$1.HASH.")
}

// TestGolden holds the HTML of every page with fixed models; -update writes
// it anew, and the difference is there to be read before it is committed.
func TestGolden(t *testing.T) {
	for _, s := range pages() {
		t.Run(s.name, func(t *testing.T) {
			if strings.HasPrefix(s.name, "topology-2") || s.name == "rack-wall-40" {
				t.Skip("a bigger picture of the same kind: its size is held by TestBudgets")
			}
			got := tagEnd.ReplaceAllString(rendered(t, s), ">\n<") + "\n"
			file := filepath.Join("testdata", "golden", s.name+".html")
			if *update {
				if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got, "\n")); d != "" {
				t.Errorf("(-golden +now; run with -update when it is meant)\n%s", d)
			}
		})
	}
}

// TestMarkup looks at every page for what a strict policy refuses and for what
// readers of the structure stumble over.
func TestMarkup(t *testing.T) {
	for _, s := range pages() {
		t.Run(s.name, func(t *testing.T) {
			html := rendered(t, s)
			if m := inline.FindString(html); m != "" {
				t.Errorf("inline style or script: %s", m)
			}
			seen := map[string]bool{}
			for _, m := range ids.FindAllStringSubmatch(html, -1) {
				if seen[m[1]] {
					t.Errorf("id %q twice", m[1])
				}
				seen[m[1]] = true
			}
			for _, m := range append(refs.FindAllStringSubmatch(html, -1), target.FindAllStringSubmatch(html, -1)...) {
				for id := range strings.FieldsSeq(m[1]) {
					if !seen[id] {
						t.Errorf("%s: no such id", m[0])
					}
				}
			}
			if n := strings.Count(html, "<h1"); n != 1 {
				t.Errorf("%d h1 headings", n)
			}
			if strings.Contains(html, "data-live-refetch") {
				for _, tag := range regexp.MustCompile(`<[^>]* data-live-refetch`).FindAllString(html, -1) {
					if !strings.Contains(tag, ` id="`) {
						t.Errorf("renews itself without an id: %s", tag)
					}
				}
			}
			if s.wall && (strings.Contains(html, "htmx") || strings.Contains(html, "js/app")) {
				t.Error("a wall loads what parses HTML: Trusted Types would refuse it")
			}
		})
	}
}

func TestTheMarkupTestSees(t *testing.T) {
	for _, bad := range []string{`<p style="x">`, `<a href="#" onclick="x">`, `<script>x</script>`, `<a href="javascript:x">`} {
		if !inline.MatchString(bad) {
			t.Errorf("%s passes", bad)
		}
	}
	for _, good := range []string{`<script type="module" src="/a.js"></script>`, `<td class="on" data-on="x">`} {
		if inline.MatchString(good) {
			t.Errorf("%s is refused", good)
		}
	}
}
