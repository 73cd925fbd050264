package openmetrics_test

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/textparse"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/storage"
	library "github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/tsdb/chunkenc"

	"nocturne/internal/need"
	"nocturne/tsdb"
	"nocturne/tsdb/openmetrics"
)

const start = 1_763_870_400_000

// bits are samples by series and time; a value is its bits, so that NaNs and
// zeros are told apart.
type bits map[string]map[int64]uint64

func (b bits) add(series string, t int64, v float64) {
	if b[series] == nil {
		b[series] = map[int64]uint64{}
	}
	b[series][t] = math.Float64bits(v)
}

// mustEqual counts what differs and shows some of it.
func mustEqual(t *testing.T, want, got bits) {
	t.Helper()
	faults := 0
	fault := func(format string, args ...any) {
		if faults++; faults <= 5 {
			t.Errorf(format, args...)
		}
	}
	for s, points := range want {
		for at, v := range points {
			if g, ok := got[s][at]; !ok || g != v {
				fault("%s at %d: %x, want %x (there: %t)", s, at, g, v, ok)
			}
		}
		if len(got[s]) != len(points) {
			fault("%s has %d samples, want %d", s, len(got[s]), len(points))
		}
	}
	if len(got) != len(want) {
		fault("%d series, want %d", len(got), len(want))
	}
	if faults > 5 {
		t.Errorf("and %d faults more", faults-5)
	}
}

func randomSeries(r *rand.Rand, n int, legacy bool) labels.Labels {
	name := fmt.Sprintf("metric_%d:total", r.IntN(8))
	value := []string{"plain", `back\slash`, `"quoted"`, "line\nfeed", "ünï 世界", `\n`, " ", "#", "}", ","}[r.IntN(10)]
	ls := []string{"__name__", name, "n", fmt.Sprint(n), "Upper", value, "_under", value}
	if !legacy && r.IntN(2) == 0 {
		ls[1] = []string{"dotted.metric", "spaced metric", "1digit", "ünï", `quote"d`}[r.IntN(5)]
		ls = append(ls, "label.with.dots", "v", "ünï", value)
	}
	return labels.FromStrings(ls...)
}

func randomValue(r *rand.Rand, stale bool) float64 {
	switch r.IntN(12) {
	case 0:
		return math.Float64frombits(value.NormalNaN)
	case 1:
		return math.Inf(1 - 2*r.IntN(2))
	case 2:
		return math.Copysign(0, -1)
	case 3:
		return math.SmallestNonzeroFloat64 * float64(r.IntN(1000))
	case 4:
		if stale {
			return math.Float64frombits(value.StaleNaN)
		}
	case 5, 6:
		if v := math.Float64frombits(r.Uint64()); !math.IsNaN(v) {
			return v
		}
	}
	return float64(r.IntN(1e6))
}

// fill appends random samples to a new store in dir.
func fill(t *testing.T, dir string, r *rand.Rand, legacy, stale bool) bits {
	t.Helper()
	db, err := tsdb.Open(tsdb.Options{Dir: dir, Retention: 1000 * time.Hour, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	want := bits{}
	var series []labels.Labels
	for n := range 60 {
		series = append(series, randomSeries(r, n, legacy))
	}
	for at := int64(start); at < start+7*3600_000; at += 60_000 {
		var batch []tsdb.Sample
		for _, ls := range series {
			if r.IntN(4) == 0 {
				continue
			}
			s := tsdb.Sample{Labels: ls, T: at + r.Int64N(59_000), V: randomValue(r, stale)}
			if legacy {
				s.T -= s.T % 1000 // older readers go by way of a float
			}
			batch = append(batch, s)
			want.add(ls.String(), s.T, s.V)
		}
		if got, err := db.Append(t.Context(), batch); err != nil || got.Appended != len(batch) {
			t.Fatal(got, err)
		}
	}
	return want
}

func dump(t *testing.T, dir string, w io.Writer, matchers ...*labels.Matcher) openmetrics.Dumped {
	t.Helper()
	db, err := tsdb.Open(tsdb.Options{Dir: dir, Retention: 100000 * time.Hour, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	q, err := db.Queryable().Querier(0, math.MaxInt64)
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	d, err := openmetrics.Dump(t.Context(), w, q, matchers, nil)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// blocks reads a folder of blocks with the library alone.
func blocks(t *testing.T, dir string) bits {
	t.Helper()
	db, err := library.OpenDBReadOnly(dir, t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	all, err := db.Blocks()
	if err != nil {
		t.Fatal(err)
	}
	got := bits{}
	for _, b := range all {
		q, err := library.NewBlockQuerier(b, math.MinInt64, math.MaxInt64)
		if err != nil {
			t.Fatal(err)
		}
		read(t, q, got)
	}
	return got
}

func read(t *testing.T, q storage.Querier, into bits) {
	t.Helper()
	defer q.Close()
	set := q.Select(t.Context(), true, nil, labels.MustNewMatcher(labels.MatchRegexp, "__name__", ".+"))
	for set.Next() {
		it := set.At().Iterator(nil)
		for it.Next() == chunkenc.ValFloat {
			at, v := it.At()
			into.add(set.At().Labels().String(), at, v)
		}
		if it.Err() != nil {
			t.Fatal(it.Err())
		}
	}
	if set.Err() != nil {
		t.Fatal(set.Err())
	}
}

func importText(t *testing.T, text string) (string, openmetrics.Imported) {
	t.Helper()
	dir := t.TempDir()
	got, err := openmetrics.Import(t.Context(), []openmetrics.Input{{Name: "dump", Text: strings.NewReader(text)}}, openmetrics.Options{Into: dir, Block: 2 * time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	return dir, got
}

// TestRoundTrip: random series with every kind of name, value and float come
// back to the last bit, whether their lines stand in order or not, and the
// library's own parser reads the same series.
func TestRoundTrip(t *testing.T) {
	_, r := need.Seed(t)
	dir := filepath.Join(t.TempDir(), "history")
	want := fill(t, dir, r, false, true)
	var text bytes.Buffer
	done := dump(t, dir, &text)
	if int(done.Series) != len(want) {
		t.Errorf("dumped %d series of %d", done.Series, len(want))
	}
	made, n := importText(t, text.String())
	if n.Samples != done.Samples || n.Blocks < 4 {
		t.Errorf("dumped %+v, imported %+v", done, n)
	}
	mustEqual(t, want, blocks(t, made))

	lines := strings.Split(strings.TrimSuffix(text.String(), "# EOF\n"), "\n")
	lines = lines[:len(lines)-1]
	r.Shuffle(len(lines), func(i, j int) { lines[i], lines[j] = lines[j], lines[i] })
	lines = append(lines, lines[:100]...) // the same sample twice
	made, n = importText(t, strings.Join(lines, "\n")+"\n# EOF\n")
	if n.Samples != done.Samples {
		t.Errorf("of shuffled lines %d samples, want %d", n.Samples, done.Samples)
	}
	mustEqual(t, want, blocks(t, made))

	p, seen := textparse.NewOpenMetricsParser(text.Bytes(), labels.NewSymbolTable()), map[string]bool{}
	for {
		e, err := p.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatalf("the library's parser: %v", err)
		}
		if e == textparse.EntrySeries {
			var ls labels.Labels
			p.Labels(&ls)
			seen[ls.String()] = true
		}
	}
	for s := range want {
		if !seen[s] {
			t.Errorf("the library's parser does not see %s", s)
		}
	}
}

// TestPromtool: Debian's promtool makes blocks of our dump that hold the same
// samples, and our dump of its blocks is the same text again.
func TestPromtool(t *testing.T) {
	promtool := need.Binary(t, "promtool", "prometheus")
	_, r := need.Seed(t)
	dir, made := filepath.Join(t.TempDir(), "history"), t.TempDir()
	want := fill(t, dir, r, true, false)
	file := filepath.Join(t.TempDir(), "dump.om")
	out, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	dump(t, dir, out)
	if text, err := exec.CommandContext(t.Context(), promtool, "tsdb", "create-blocks-from", "openmetrics", file, made).CombinedOutput(); err != nil {
		t.Fatalf("promtool: %v\n%s", err, text)
	}
	mustEqual(t, want, blocks(t, made))
	var ours, theirs bytes.Buffer
	dump(t, dir, &ours)
	dump(t, made, &theirs)
	if ours.String() != theirs.String() {
		t.Error("the dump of promtool's blocks is another text")
	}
}

// TestPrometheusFormat reads lines as `promtool tsdb dump-openmetrics` prints
// them.
func TestPrometheusFormat(t *testing.T) {
	made, _ := importText(t, "# TYPE a counter\na_total{x=\"1\",} 3 1763870400.001\na_total{x=\"1\"} 1e+06 1763870401.000 # {trace=\"9\"} 1 2\nb 2.5e-07 1.763870402001e+09\nb -Inf -1.5\n# EOF\n")
	want := bits{}
	want.add(`{__name__="a_total", x="1"}`, start+1, 3)
	want.add(`{__name__="a_total", x="1"}`, start+1000, 1e6)
	want.add(`{__name__="b"}`, start+2001, 2.5e-7)
	want.add(`{__name__="b"}`, -1500, math.Inf(-1))
	mustEqual(t, want, blocks(t, made))
}

// TestFaults: each fault is named by file and line, and no block is made.
func TestFaults(t *testing.T) {
	f := func(text, want string) {
		t.Helper()
		dir := t.TempDir()
		_, err := openmetrics.Import(t.Context(), []openmetrics.Input{{Name: "good", Text: strings.NewReader("ok 1 1763870400\n# EOF\n")}, {Name: "in.om", Text: strings.NewReader(text)}},
			openmetrics.Options{Into: dir, Block: 2 * time.Hour, Latest: time.UnixMilli(start + 1000)})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
		if made, _ := filepath.Glob(filepath.Join(dir, "01*")); len(made) > 0 {
			t.Errorf("%q: made %v", text, made)
		}
	}
	f("a 1 1763870400\n", "in.om:2: the text ends without # EOF")
	f("a 1 1763870400\n# EOF\na 2 1763870401\n", "in.om:3: text after # EOF")
	f("a 1\n# EOF\n", `in.om:1: series {__name__="a"}: the sample has no timestamp`)
	f("a 1 1763870400\na x 1763870401\n# EOF\n", `in.om:2: series {__name__="a"}: "x" is no value`)
	f("a 0x1p-2 1763870401\n# EOF\n", "is no value")
	f("a 1 yesterday\n# EOF\n", `"yesterday" is no timestamp`)
	f("a 1 1e300\n# EOF\n", "is no timestamp")
	f("a 1 1763870401.5\n# EOF\n", `in.om:1: series {__name__="a"}: the sample of 2025-11-23T04:00:01Z lies in the future`)
	f("a{b=\"1\",b=\"2\"} 1 1763870400\n# EOF\n", `label "b" stands here twice`)
	f("a{b=\"1} 1 1763870400\n# EOF\n", "the quote is not closed")
	f("a{b} 1 1763870400\n# EOF\n", "label b has no value")
	f("{b=\"1\"} 1 1763870400\n# EOF\n", "has no metric name")
	f("a{b=\"\xff\"} 1 1763870400\n# EOF\n", "is not UTF-8")
	f("\n# EOF\n", "in.om:1")
	f("a 1 1763870400 5\n# EOF\n", "follows the timestamp")
	f("a 1 1763870400\nb 1 1763870400\na 2 1763870400\n# EOF\n", `in.om:3: series {__name__="a"}: another value at the time of in.om:1`)
	f(strings.Repeat("a", 2<<20), "in.om:1: the line is longer than")
}

// TestTimes: every millisecond comes back, which by way of a float it does not.
func TestTimes(t *testing.T) {
	var text strings.Builder
	want := bits{}
	for ms := range int64(2000) {
		fmt.Fprintf(&text, "a 1 %d.%03d\n", start/1000+ms/1000, ms%1000)
		want.add(`{__name__="a"}`, start+ms, 1)
	}
	made, _ := importText(t, text.String()+"# EOF\n")
	mustEqual(t, want, blocks(t, made))
}

func FuzzImport(f *testing.F) {
	f.Add("a{b=\"c\"} 1 2\n# EOF\n")
	f.Add("{\"a.b\",c=\"\\\\\"} NaN 2 # {stale=\"true\"} 1\n# EOF\n")
	f.Fuzz(func(t *testing.T, text string) {
		_, _ = openmetrics.Import(t.Context(), []openmetrics.Input{{Name: "x", Text: strings.NewReader(text)}}, openmetrics.Options{Into: t.TempDir(), Block: time.Hour})
	})
}
