// Package benchtsdb takes the figures of docs/benchmarks.md that hold history
// against its peers in one run: the bare library in a process of its own, a
// current Prometheus, and Debian's VictoriaMetrics, on the same samples in the
// same order. It is tests only, so that nothing of it ships.
//
// What a server costs is its own CPU time and memory as proc(5) tells them, so
// that the sender beside it does not count. Servers get their load in turns,
// there and back, so that a slow minute of the machine meets all of them.
package benchtsdb

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

const (
	interval = 30 * time.Second
	// wholeRun is how many intervals are sent: past the three hours after
	// which a store of two-hour blocks writes its first.
	wholeRun = 372
)

// TestMain runs a child where the environment says so.
func TestMain(m *testing.M) {
	if spec := os.Getenv(childVariable); spec != "" {
		if err := runChild(spec); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	code := m.Run()
	if builtIn != "" {
		_ = os.RemoveAll(builtIn)
	}
	os.Exit(code)
}

// TestBenchTSDB prints the figures as a table of ratios, keeps it in
// artifacts/bench-tsdb.md, and fails where a target is missed. The environment:
//
//	NOCTURNE_BENCH_SERIES   how many series, "100000" or several with commas
//	NOCTURNE_BENCH_STEPS    intervals to send (372: until a block is written)
//	NOCTURNE_BENCH_HISTORY  "1000x30" or other series x days of old samples
//	NOCTURNE_BENCH_GROWTH   "1": keep the figures in docs/bench-growth.json, row by
//	                        row, and draw them into docs/images
//	NOCTURNE_BENCH_PROFILE  folder for CPU profiles of the appends in-process
//
// The parts can be had alone: -run TestBenchTSDB/appends, /servers, /history.
func TestBenchTSDB(t *testing.T) {
	if os.Getenv("NOCTURNE_BENCH_TSDB") != "1" {
		t.Skip("figures are taken with NOCTURNE_BENCH_TSDB=1 (make bench-tsdb)")
	}
	sizes, steps := sizesAsked(t), number(t, "NOCTURNE_BENCH_STEPS", wholeRun)
	out := newReport(t)
	t.Cleanup(func() { out.write(t) })
	for _, series := range sizes {
		// The targets are for 100,000 series; other sizes show the growth.
		b := &bench{series: series, steps: steps, report: out.at(series), start: startOf(steps)}
		name := fmt.Sprint(series)
		t.Run("appends/"+name, b.appends)
		t.Run("servers/"+name, b.servers)
	}
	t.Run("history", func(t *testing.T) { benchHistory(t, out.at(0)) })
}

// bench is a run with one number of series.
type bench struct {
	series, steps int
	start         time.Time // of the first interval
	report        *section
}

// startOf puts the last samples a little before now, as they would come, and
// the first to the begin of a block.
func startOf(steps int) time.Time {
	return time.Now().Add(-time.Duration(steps)*interval - time.Hour).Truncate(2 * time.Hour)
}

func sizesAsked(t *testing.T) []int {
	t.Helper()
	var sizes []int
	for text := range strings.SplitSeq(textOr("NOCTURNE_BENCH_SERIES", "100000"), ",") {
		n, err := strconv.Atoi(strings.TrimSpace(text))
		if err != nil || n < ofTarget {
			t.Fatalf("NOCTURNE_BENCH_SERIES: %q is not a number of at least %d", text, ofTarget)
		}
		sizes = append(sizes, n)
	}
	return sizes
}

func number(t *testing.T, variable string, otherwise int) int {
	t.Helper()
	n, err := strconv.Atoi(textOr(variable, strconv.Itoa(otherwise)))
	if err != nil || n < 1 {
		t.Fatalf("%s: %q is no number above zero", variable, os.Getenv(variable))
	}
	return n
}

func textOr(variable, otherwise string) string {
	if s := os.Getenv(variable); s != "" {
		return s
	}
	return otherwise
}

// root is the module's folder.
func root(t testing.TB) string {
	t.Helper()
	dir, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// blocksIn counts what the blocks in a folder weigh, whole folders, and how
// many samples they hold.
func blocksIn(dir string) (bytes, samples int64, err error) {
	metas, err := filepath.Glob(filepath.Join(dir, "*", "meta.json"))
	if err != nil {
		return 0, 0, err
	}
	for _, name := range metas {
		text, err := os.ReadFile(name)
		if err != nil {
			return 0, 0, err
		}
		var meta struct {
			Stats struct{ NumSamples int64 }
		}
		if err := json.Unmarshal(text, &meta); err != nil {
			return 0, 0, fmt.Errorf("%s: %w", name, err)
		}
		samples += meta.Stats.NumSamples
		n, err := weight(filepath.Dir(name))
		if err != nil {
			return 0, 0, err
		}
		bytes += n
	}
	return bytes, samples, nil
}

// weight is the sum of the files' lengths in a folder.
func weight(dir string) (int64, error) {
	var sum int64
	err := filepath.Walk(dir, func(_ string, info os.FileInfo, err error) error {
		if err == nil && info.Mode().IsRegular() {
			sum += info.Size()
		}
		return err
	})
	return sum, err
}
