package benchtsdb

import (
	"encoding/json"
	"errors"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "draw the plots of docs/images anew")

// growthFile keeps the figures of each number of series that was taken, one
// run a number or several: a run of 500,000 series takes most of an hour, and
// what it took until it was broken off is kept.
func growthFile(t *testing.T) string { return filepath.Join(root(t), "docs", "bench-growth.json") }

func readGrowth(t *testing.T) []*section {
	t.Helper()
	text, err := os.ReadFile(growthFile(t))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	var all []*section
	if err := json.Unmarshal(text, &all); err != nil {
		t.Fatalf("%s: %v", growthFile(t), err)
	}
	return all
}

// merge puts rows in the place of earlier ones of the same name and number of
// series.
func merge(earlier, now []*section) []*section {
	var out []*section
	for _, s := range earlier {
		kept := &section{Series: s.Series, Rows: slices.Clone(s.Rows)}
		if i := slices.IndexFunc(now, func(n *section) bool { return n.Series == s.Series }); i >= 0 {
			kept.Rows = slices.DeleteFunc(kept.Rows, func(r row) bool {
				return slices.ContainsFunc(now[i].Rows, func(n row) bool { return n.What == r.What })
			})
		}
		out = append(out, kept)
	}
	for _, s := range now {
		if s.Series == 0 || len(s.Rows) == 0 {
			continue
		}
		if i := slices.IndexFunc(out, func(o *section) bool { return o.Series == s.Series }); i >= 0 {
			out[i].Rows = append(out[i].Rows, s.Rows...)
		} else {
			out = append(out, &section{Series: s.Series, Rows: s.Rows})
		}
	}
	slices.SortFunc(out, func(a, b *section) int { return a.Series - b.Series })
	return out
}

// keepGrowth writes what was taken so far beside what was taken before, and
// draws it.
func (r *report) keepGrowth(t *testing.T) {
	all := merge(readGrowth(t), r.Sections)
	text, err := json.MarshalIndent(all, "", " ")
	if err == nil {
		err = os.WriteFile(growthFile(t), append(text, '\n'), 0o644)
	}
	if err != nil {
		t.Error(err)
		return
	}
	for name, svg := range drawn(all) {
		if err := os.WriteFile(filepath.Join(root(t), "docs", "images", name), []byte(svg), 0o644); err != nil {
			t.Error(err)
		}
	}
}

func drawn(sections []*section) map[string]string {
	out := map[string]string{}
	for _, p := range plots {
		if svg := p.draw(sections); svg != "" {
			out["bench-"+p.key+".svg"] = svg
		}
	}
	return out
}

// TestGrowthIsDrawn holds the plots of docs/images to the figures.
func TestGrowthIsDrawn(t *testing.T) {
	all := drawn(readGrowth(t))
	if len(all) == 0 {
		t.Fatalf("no figures in %s", growthFile(t))
	}
	for name, want := range all {
		path := filepath.Join(root(t), "docs", "images", name)
		if *update {
			if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		got, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != want {
			t.Errorf("%s is not what the figures say; -update draws it anew", name)
		}
	}
}

func TestMerge(t *testing.T) {
	rows := func(names ...string) (out []row) {
		for _, n := range names {
			out = append(out, row{What: n})
		}
		return out
	}
	got := merge([]*section{{Series: 500, Rows: rows("a", "b")}, {Series: 10, Rows: rows("a")}},
		[]*section{{Series: 0, Rows: rows("old")}, {Series: 500, Rows: rows("b", "c")}, {Series: 100, Rows: rows("a")}, {Series: 7}})
	var names []string
	for _, s := range got {
		for _, r := range s.Rows {
			names = append(names, short(s.Series)+r.What)
		}
	}
	if d := cmp.Diff([]string{"10a", "100a", "500a", "500b", "500c"}, names); d != "" {
		t.Error(d)
	}
}
