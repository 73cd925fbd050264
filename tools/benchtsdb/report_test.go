package benchtsdb

import (
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// figure is what one of those compared reached: the middle of its rounds and
// how far they lie apart.
type figure struct {
	Who              string
	Value, Low, High float64
	Rounds           []float64 // in the order they were taken in, where ratios are taken round by round
}

func one(who string, v float64) figure { return figure{Who: who, Value: v, Low: v, High: v} }

func spread(who string, rounds []float64) figure {
	v := slices.Sorted(slices.Values(rounds))
	return figure{who, v[len(v)/2], v[0], v[len(v)-1], rounds}
}

// ratio is f's to a peer's. Rounds that were taken side by side are compared
// with each other, and the middle of their ratios counts: what slows the
// machine for a while slows both.
func (f figure) ratio(peer figure) float64 {
	if len(f.Rounds) == 0 || len(f.Rounds) != len(peer.Rounds) {
		return f.Value / peer.Value
	}
	ratios := make([]float64, len(f.Rounds))
	for i := range ratios {
		ratios[i] = f.Rounds[i] / peer.Rounds[i]
	}
	slices.Sort(ratios)
	return ratios[len(ratios)/2]
}

// target bounds the ratio of ours to a peer's, or our own figure.
type target struct {
	Text        string
	Least, Most float64 // zero where there is none
	Own         bool    // of our figure itself, not of the ratio
}

func atLeast(ratio float64) target {
	return target{Text: fmt.Sprintf(">= %g", ratio), Least: ratio}
}
func atMost(ratio float64) target { return target{Text: fmt.Sprintf("<= %g", ratio), Most: ratio} }

func ownAtMost(value float64, text string) target {
	return target{Text: text, Most: value, Own: true}
}

func (g target) met(v float64) bool {
	return (g.Least == 0 || v >= g.Least) && (g.Most == 0 || v <= g.Most)
}

// row is one comparison. The first figure is ours, the others are peers'.
type row struct {
	What, Unit string
	Key        string  // of the plot it goes into, if any
	Scale      float64 // of the figures when printed; 1 when zero
	Digits     int     // after the point
	Target     target
	Against    []string // peers the target is about; all when empty
	Figures    []figure
}

// section holds the rows of one number of series; zero is the old samples.
type section struct {
	Series int
	Rows   []row

	out *report
}

// report gathers rows, and is written at the end even where a part failed.
type report struct {
	Machine  string
	Versions []string
	Sections []*section

	mu sync.Mutex
}

func newReport(t *testing.T) *report {
	t.Helper()
	return &report{Versions: versions(t)}
}

func (r *report) at(series int) *section {
	s := &section{Series: series, out: r}
	r.Sections = append(r.Sections, s)
	return s
}

// compare takes a row in, logs it, and fails the test where a target is
// missed. Targets are those of 100,000 series: elsewhere a miss is only told.
func (s *section) compare(t *testing.T, r row) {
	t.Helper()
	s.out.mu.Lock()
	s.Rows = append(s.Rows, r)
	if os.Getenv("NOCTURNE_BENCH_GROWTH") == "1" {
		s.out.keepGrowth(t)
	}
	s.out.mu.Unlock()
	t.Log(strings.Join(r.cells(), " | "))
	if missed := r.missed(); missed != "" {
		if s.Series == 0 || s.Series == 100_000 {
			t.Errorf("%s: %s", r.What, missed)
			return
		}
		t.Logf("%s: %s, at this size no failure", r.What, missed)
	}
}

// missed says where a row misses its target; nothing where it does not.
func (r row) missed() string {
	if r.Target.Text == "" {
		return ""
	}
	if r.Target.Own {
		if v := r.Figures[0].Value; !r.Target.met(v) {
			return fmt.Sprintf("%.*f %s, target %s", r.Digits, v*cmp.Or(r.Scale, 1), r.Unit, r.Target.Text)
		}
		return ""
	}
	var out []string
	for _, f := range r.Figures[1:] {
		if len(r.Against) > 0 && !slices.Contains(r.Against, f.Who) {
			continue
		}
		if ratio := r.Figures[0].ratio(f); !r.Target.met(ratio) {
			out = append(out, fmt.Sprintf("%.2f of %s's, target %s", ratio, f.Who, r.Target.Text))
		}
	}
	return strings.Join(out, ", ")
}

// cells are what, each figure with its spread, the ratios, the target.
func (r row) cells() []string {
	var figures, ratios []string
	for i, f := range r.Figures {
		k, d := cmp.Or(r.Scale, 1), r.Digits
		text := fmt.Sprintf("%s %.*f %s", f.Who, d, f.Value*k, r.Unit)
		if f.Low != f.High {
			text += fmt.Sprintf(" (%.*f-%.*f)", d, f.Low*k, d, f.High*k)
		}
		figures = append(figures, strings.TrimSpace(text))
		if i > 0 {
			ratios = append(ratios, fmt.Sprintf("%.2f of %s", r.Figures[0].ratio(f), f.Who))
		}
	}
	verdict := r.Target.Text
	if r.Target.Text != "" && r.missed() != "" {
		verdict += ", missed"
	}
	return []string{r.What, strings.Join(figures, ", "), strings.Join(ratios, ", "), verdict}
}

// markdown is the table that docs/benchmarks.md takes over.
func (r *report) markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n\n", r.Machine)
	for _, v := range r.Versions {
		fmt.Fprintf(&b, "- %s\n", v)
	}
	for _, s := range r.Sections {
		if len(s.Rows) == 0 {
			continue
		}
		title := fmt.Sprintf("%d series, 10 labels, every %v", s.Series, interval)
		if s.Series == 0 {
			title = "Old samples"
		}
		fmt.Fprintf(&b, "\n%s:\n\n| what | figures (lowest-highest) | ratio | target |\n|---|---|---|---|\n", title)
		for _, row := range s.Rows {
			fmt.Fprintf(&b, "| %s |\n", strings.Join(row.cells(), " | "))
		}
	}
	return b.String()
}

// write keeps the report under artifacts.
func (r *report) write(t *testing.T) {
	r.Machine = machine()
	dir := filepath.Join(root(t), "artifacts")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Error(err)
		return
	}
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		t.Error(err)
		return
	}
	files := map[string]string{"bench-tsdb.md": r.markdown(), "bench-tsdb.json": string(text)}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Error(err)
		}
	}
	fmt.Printf("\n%s\n", r.markdown())
}

func TestRow(t *testing.T) {
	r := row{What: "w", Unit: "ms", Digits: 2, Target: atMost(0.5), Figures: []figure{spread("nocturne", []float64{3, 1, 2}), one("a", 4), one("b", 3)}}
	want := []string{"w", "nocturne 2.00 ms (1.00-3.00), a 4.00 ms, b 3.00 ms", "0.50 of a, 0.67 of b", "<= 0.5, missed"}
	if got := r.cells(); !slices.Equal(got, want) {
		t.Errorf("%q\nwant %q", got, want)
	}
	r.Against = []string{"a"}
	if m := r.missed(); m != "" {
		t.Errorf("missed: %s", m)
	}
	// Round by round 6, 1.2 and 0.1.
	r.Figures[1] = spread("a", []float64{0.5, 1, 20})
	r.Figures[0] = spread("nocturne", []float64{3, 1.2, 2})
	if got := r.cells()[2]; got != "1.20 of a, 0.67 of b" {
		t.Errorf("paired: %q", got)
	}
	r.Target = ownAtMost(1.5, "under 1.5 ms")
	if m := r.missed(); m != "2.00 ms, target under 1.5 ms" {
		t.Errorf("missed: %q", m)
	}
}
