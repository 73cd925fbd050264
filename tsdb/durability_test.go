package tsdb_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"nocturne/internal/need"
	"nocturne/tsdb"
)

// childDir tells a child of TestPowerCut the folder to write to, childStart
// the Unix time in ms of its first sample, childStep the ms between two. With
// a long step the segments are small too, so that logs rotate and the head is
// compacted all the time.
const (
	childDir   = "NOCTURNE_TSDB_CHILD_DIR"
	childStart = "NOCTURNE_TSDB_CHILD_START"
	childStep  = "NOCTURNE_TSDB_CHILD_STEP"
)

// ack is what the child prints after each Synced: the samples that are on disk
// by then, and how long each log file was when it was last given to fsync. What
// a power cut may take is what lies beyond.
type ack struct {
	Samples int
	Sizes   map[string]int64
}

// child appends and syncs until it is killed, if this process is one.
func child() {
	dir := os.Getenv(childDir)
	if dir == "" {
		return
	}
	start, err := strconv.ParseInt(os.Getenv(childStart), 10, 64)
	if err != nil {
		panic(err)
	}
	step, err := strconv.ParseInt(os.Getenv(childStep), 10, 64)
	if err != nil {
		panic(err)
	}
	o := tsdb.Options{Dir: dir, Log: slog.New(slog.DiscardHandler)}
	if step > 1 {
		o = tsdb.SmallSegments(o)
	}
	db, err := tsdb.Open(o)
	if err != nil {
		panic(err)
	}
	durable := map[string]int64{}
	db.WatchSync(func(path string, size int64) {
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			panic(err)
		}
		durable[rel] = size
	})
	out := json.NewEncoder(os.Stdout)
	for n := 0; ; {
		for range 1 + n%7 {
			batch := make([]tsdb.Sample, 50)
			for i := range batch {
				batch[i] = sample(start, step, n)
				n++
			}
			if r, err := db.Append(context.Background(), batch); err != nil || r.Appended != len(batch) {
				panic(fmt.Sprint(r, err))
			}
		}
		if err := db.Synced(context.Background()); err != nil {
			panic(err)
		}
		if err := out.Encode(ack{n, durable}); err != nil {
			panic(err)
		}
	}
}

// sample is number n of the child's: of each series every tenth comes ten
// minutes late and so goes through the log of late samples.
func sample(start, step int64, n int) tsdb.Sample {
	t := start + step*int64(n)
	if n/200%10 == 9 {
		t -= (10 * time.Minute).Milliseconds() - step/2 // no other sample has that time
	}
	return tsdb.Sample{Labels: labels.FromStrings("__name__", "s", "n", strconv.Itoa(n%200)), T: t, V: float64(n)}
}

func logSizes(dir string) (map[string]int64, error) {
	sizes := map[string]int64{}
	for _, name := range []string{"wal", "wbl"} {
		err := filepath.WalkDir(filepath.Join(dir, name), func(path string, e fs.DirEntry, err error) error {
			if err != nil || e.IsDir() {
				return err
			}
			st, err := e.Info()
			if err != nil {
				return err
			}
			rel, err := filepath.Rel(dir, path)
			sizes[rel] = st.Size()
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return sizes, nil
}

// TestPowerCut kills a writer at a random moment and cuts each log file
// somewhere between what Synced promised and what was there, as a power cut
// may; what was mapped besides the logs is lost altogether in half the rounds.
// No sample that Synced acknowledged may be missing, nor any be wrong. In
// every other round the kill comes amid rotations, head compactions, merges of
// blocks and checkpoints.
func TestPowerCut(t *testing.T) {
	_, r := need.Seed(t)
	rounds := 6
	if n, err := strconv.Atoi(os.Getenv("NOCTURNE_ROUNDS")); err == nil {
		rounds = n
	}
	for round := range rounds {
		t.Run(fmt.Sprint(round), func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "data")
			start, step, acks := time.Now().Add(-time.Hour).UnixMilli(), int64(1), 20+r.IntN(200)
			if round%2 == 1 {
				start, step, acks = time.Now().Add(-10*time.Hour).UnixMilli(), 400, 200+r.IntN(200)
			}
			last := killChild(t, dir, start, step, acks)
			cutLogs(t, dir, last, r)
			blocks, err := filepath.Glob(filepath.Join(dir, "01*"))
			if err != nil {
				t.Fatal(err)
			}
			points, err := filepath.Glob(filepath.Join(dir, "wal", "checkpoint.*"))
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%d blocks, %d checkpoints", len(blocks), len(points))
			if step > 1 && len(blocks) == 0 {
				t.Error("no block was written")
			}
			if r.IntN(2) == 0 {
				if err := os.RemoveAll(filepath.Join(dir, "chunks_head")); err != nil {
					t.Fatal(err)
				}
			}
			for reopened := range 2 {
				missing, wrong := readBack(t, dir, start, step, last.Samples)
				t.Logf("opening %d: %d acknowledged, %d missing, %d wrong", reopened+1, last.Samples, missing, wrong)
				if missing > 0 || wrong > 0 {
					t.Errorf("opening %d lost %d of %d acknowledged samples, %d are wrong", reopened+1, missing, last.Samples, wrong)
				}
			}
		})
	}
}

func killChild(t *testing.T, dir string, start, step int64, acks int) ack {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0])
	cmd.Env = append(os.Environ(), childDir+"="+dir, childStart+"="+strconv.FormatInt(start, 10), childStep+"="+strconv.FormatInt(step, 10))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var last ack
	n := 0
	for lines := bufio.NewScanner(out); lines.Scan(); {
		var a ack
		if err := json.Unmarshal(lines.Bytes(), &a); err != nil {
			break // cut short by the kill
		}
		last = a
		if n++; n == acks {
			_ = cmd.Process.Kill()
		}
	}
	_ = cmd.Wait()
	if n < acks {
		t.Fatalf("the child ended after %d of %d syncs", n, acks)
	}
	return last
}

func cutLogs(t *testing.T, dir string, last ack, r *rand.Rand) {
	t.Helper()
	now, err := logSizes(dir)
	if err != nil {
		t.Fatal(err)
	}
	for name, size := range now {
		kept := min(last.Sizes[name], size)
		if strings.Contains(name, "checkpoint") {
			kept = size // synced by the library
		}
		if err := os.Truncate(filepath.Join(dir, name), kept+r.Int64N(size-kept+1)); err != nil {
			t.Fatal(err)
		}
	}
}

func readBack(t *testing.T, dir string, start, step int64, n int) (missing, wrong int) {
	t.Helper()
	store, err := subject.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	points, err := store.Select("s", start-time.Hour.Milliseconds(), start+step*int64(n))
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[int64]float64, len(points))
	for _, p := range points {
		got[p.T] = p.V
	}
	for i := range n {
		s := sample(start, step, i)
		switch v, ok := got[s.T]; {
		case !ok:
			missing++
		case v != s.V:
			wrong++
		}
	}
	return missing, wrong
}
