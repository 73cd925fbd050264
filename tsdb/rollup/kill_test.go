package rollup

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/prometheus/tsdb"

	"nocturne/internal/need"
)

// childDir tells a child of TestKilledRollup where the raw blocks and the tier
// are.
const childDir = "NOCTURNE_ROLLUP_CHILD_DIR"

const (
	killedFrom = int64(1_772_323_200_000) // 2026-03-01
	killedTo   = killedFrom + 40*3_600_000
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		if err := rollUpAll(dir, true); err != nil {
			panic(err)
		}
		return
	}
	os.Exit(m.Run())
}

// rollUpAll writes what the tier in dir lacks, an hour a block, and merges.
func rollUpAll(dir string, report bool) error {
	var raw []*tsdb.Block
	folders, err := filepath.Glob(filepath.Join(dir, "raw", "0*"))
	if err != nil {
		return err
	}
	for _, f := range folders {
		b, err := tsdb.OpenBlock(nil, f, nil, nil)
		if err != nil {
			return err
		}
		defer b.Close()
		raw = append(raw, b)
	}
	tier, err := openTier(dir)
	if err != nil {
		return err
	}
	defer tier.Close()
	hour := time.Hour.Milliseconds()
	for _, r := range (Range{killedFrom, killedTo}).Without(tier.Covered()) {
		for from := r.From; from < r.To; from += hour {
			if report {
				fmt.Println("writing")
			}
			if err := tier.Write(context.Background(), Range{from, from + hour}, raw); err != nil {
				return err
			}
			if report {
				fmt.Println("merging")
			}
			if _, err := tier.Merge(context.Background()); err != nil {
				return err
			}
		}
	}
	return nil
}

func openTier(dir string) (*Tier, error) {
	return Open(Options{Dir: filepath.Join(dir, "tier"), Width: 5 * time.Minute, Log: slog.New(slog.DiscardHandler)})
}

// killChild runs a rollup and kills it a bit after it began its n-th step; it
// says whether the child was still at work.
func killChild(t *testing.T, r *rand.Rand, dir string, n int) bool {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0])
	cmd.Env = append(os.Environ(), childDir+"="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	killed := false
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if n--; n == 0 {
			// The moment within the step is what is random here.
			timer := time.AfterFunc(time.Duration(r.Int64N(int64(30*time.Millisecond))), func() { _ = cmd.Process.Kill() })
			defer timer.Stop()
			killed = true
		}
	}
	return cmd.Wait() != nil && killed
}

// TestKilledRollup kills a rollup again and again. After each kill the tier
// opens and holds of what it covers exactly what the raw samples say; at the
// end it covers all.
func TestKilledRollup(t *testing.T) {
	_, r := need.Seed(t)
	dir := t.TempDir()
	series := map[string][]point{}
	for _, name := range []string{"x", "xy", "z"} {
		series[name] = randomSeries(r, killedFrom, killedTo)
	}
	for at := killedFrom + 1; at <= killedTo; at += 600_000 { // no hour is without samples
		series["w"] = append(series["w"], point{at, 1})
	}
	var times []int64
	for at := killedFrom; at < killedTo; at += 7_000_000 {
		times = append(times, at)
	}
	cut(t, filepath.Join(dir, "raw"), series, append(times, killedTo+1))
	check := func() *Tier {
		tier, err := openTier(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, of := range tier.Covered() {
			for _, k := range []Kind{Count, Max, Last} {
				want := map[string][]point{}
				for name, points := range series {
					if p := oracle(points, tier.width, k, of); len(p) > 0 {
						want[labelsOf(name).String()] = p
					}
				}
				if d := cmp.Diff(want, readTier(t, Queryable{Raw: nothing, Tiers: []*Tier{tier}}, tier, k, of), sameBits); d != "" {
					t.Errorf("%s of %v: %s", k, of, d)
				}
			}
		}
		return tier
	}
	kills := 0
	for range 8 {
		if killChild(t, r, dir, 1+r.IntN(20)) {
			kills++
		}
		if err := check().Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := rollUpAll(dir, false); err != nil {
		t.Fatal(err)
	}
	tier := check()
	defer tier.Close()
	if d := cmp.Diff([]Range{{killedFrom, killedTo}}, tier.Covered()); d != "" {
		t.Error(d)
	}
	left, err := filepath.Glob(filepath.Join(dir, "tier", "*tmp*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left over: %v, %v", left, err)
	}
	t.Logf("%d kills, %+v", kills, tier.Stats())
	if kills < 4 {
		t.Error("too few kills hit a child at work")
	}
}
