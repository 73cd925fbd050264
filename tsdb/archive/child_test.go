package archive_test

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"

	"nocturne/tsdb"
	"nocturne/tsdb/archive"
)

const (
	childDir    = "NOCTURNE_ARCHIVE_CHILD_DIR"
	childBackup = "NOCTURNE_ARCHIVE_CHILD_BACKUP"
	childTo     = "NOCTURNE_ARCHIVE_CHILD_TO"
	childSeries = 40
	childStart  = 1_700_000_000_000 // of the child's first sample
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		ingest(dir)
		return
	}
	if dir := os.Getenv(childBackup); dir != "" {
		_, err := archive.Backup(context.Background(), archive.Options{History: dir, To: os.Getenv(childTo), Progress: func(done, total int64) {
			if done > total/3 {
				_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			}
		}})
		panic(err) // it lived
	}
	os.Exit(m.Run())
}

func openStore(dir string) (*tsdb.DB, error) {
	// Blocks of twenty minutes: the child passes one every few hundred ms.
	return tsdb.Open(tsdb.Options{Dir: dir, Interval: 5 * time.Second, Retention: 1000 * time.Hour, Log: slog.New(slog.DiscardHandler)})
}

// ingest appends until it is killed, and prints the number of samples that are
// on disk after each sync.
func ingest(dir string) {
	db, err := openStore(dir)
	if err != nil {
		panic(err)
	}
	for n := 0; ; {
		for range 1 + n%5 {
			batch := make([]tsdb.Sample, childSeries)
			for i := range batch {
				batch[i] = sample(n)
				n++
			}
			if r, err := db.Append(context.Background(), batch); err != nil || r.Appended != len(batch) {
				panic(fmt.Sprint(r, err))
			}
		}
		if err := db.Synced(context.Background()); err != nil {
			panic(err)
		}
		fmt.Println(n)
	}
}

// sample is number n of the child's. A round of all series is ten seconds; a
// tenth of the rounds comes ten minutes and five seconds late.
func sample(n int) tsdb.Sample {
	round := n / childSeries
	t := int64(childStart) + int64(round)*10_000
	if round%10 == 9 && round > 100 {
		t -= 605_000
	}
	return tsdb.Sample{Labels: labels.FromStrings("__name__", "s", "n", strconv.Itoa(n%childSeries)), T: t, V: float64(n)}
}

// writer is a child that ingests.
type writer struct {
	cmd *exec.Cmd
	mu  sync.Mutex
	ack int
	met *sync.Cond
	end bool
}

func startWriter(t *testing.T, dir string) *writer {
	t.Helper()
	w := &writer{cmd: exec.CommandContext(t.Context(), os.Args[0])}
	w.met = sync.NewCond(&w.mu)
	w.cmd.Env = append(os.Environ(), childDir+"="+dir)
	w.cmd.Stderr = os.Stderr
	out, err := w.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := w.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		for lines := bufio.NewScanner(out); lines.Scan(); {
			n, err := strconv.Atoi(lines.Text())
			if err != nil {
				break // cut short by the kill
			}
			w.mu.Lock()
			w.ack = n
			w.mu.Unlock()
			w.met.Broadcast()
		}
		w.mu.Lock()
		w.end = true
		w.mu.Unlock()
		w.met.Broadcast()
	}()
	t.Cleanup(w.kill)
	return w
}

// kill ends the child.
func (w *writer) kill() {
	_ = w.cmd.Process.Kill()
	_ = w.cmd.Wait()
}

// until waits for the acknowledgement of n samples and returns the newest.
func (w *writer) until(t *testing.T, n int) int {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	for w.ack < n {
		if w.end {
			t.Fatalf("the child ended after %d samples", w.ack)
		}
		w.met.Wait()
	}
	return w.ack
}

type point struct {
	t int64
	v float64
}

// contents reads all samples of a history, by series.
func contents(t *testing.T, dir string) map[string][]point {
	t.Helper()
	db, err := openStore(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if aside := db.Stats().SetAside; len(aside) > 0 {
		t.Errorf("set aside at opening: %v", aside)
	}
	return readAll(t, db.Queryable())
}

func readAll(t *testing.T, from storage.Queryable) map[string][]point {
	t.Helper()
	q, err := from.Querier(0, 1<<50)
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	all := map[string][]point{}
	set := q.Select(t.Context(), false, nil, labels.MustNewMatcher(labels.MatchRegexp, "__name__", ".+"))
	for set.Next() {
		var points []point
		it := set.At().Iterator(nil)
		for it.Next() == chunkenc.ValFloat {
			ts, v := it.At()
			points = append(points, point{ts, v})
		}
		if it.Err() != nil {
			t.Fatal(it.Err())
		}
		all[set.At().Labels().String()] = points
	}
	if set.Err() != nil {
		t.Fatal(set.Err())
	}
	return all
}

// mustHold wants the first n samples of the child, each once and unchanged.
func mustHold(t *testing.T, all map[string][]point, n int) {
	t.Helper()
	got := map[string]map[int64]float64{}
	for name, points := range all {
		got[name] = make(map[int64]float64, len(points))
		for i, p := range points {
			if i > 0 && p.t <= points[i-1].t {
				t.Errorf("%s: a sample of %d after one of %d", name, p.t, points[i-1].t)
			}
			got[name][p.t] = p.v
		}
	}
	missing, wrong := 0, 0
	for i := range n {
		s := sample(i)
		switch v, ok := got[s.Labels.String()][s.T]; {
		case !ok:
			missing++
		case v != s.V:
			wrong++
		}
	}
	if missing > 0 || wrong > 0 {
		t.Errorf("%d of %d acknowledged samples are missing, %d wrong", missing, n, wrong)
	}
}
