package remotewrite_test

import (
	"bufio"
	"bytes"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/prometheus/prompb"

	"nocturne/internal/need"
	"nocturne/tsdb"
)

// startChild runs a receiver over dir in a process of its own.
func startChild(t *testing.T, dir string) (*exec.Cmd, string) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childDir+"="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return cmd, strings.TrimSpace(line)
}

// TestAnsweredSurvivesKill kills the receiver while four senders write, new
// series mostly, and some of them everybody's: what was answered with 204 is
// there when it opens again.
func TestAnsweredSurvivesKill(t *testing.T) {
	_, rnd := need.Seed(t)
	dir := t.TempDir()
	answered := map[string]float64{} // series -> value
	var mu sync.Mutex
	for round := range 4 {
		cmd, url := startChild(t, dir)
		start := time.Now()
		var wg sync.WaitGroup
		for w := range 4 {
			wg.Go(func() {
				for n := 0; ; n++ {
					list := make([]series, 20)
					for i := range list {
						name := fmt.Sprintf("r%d_w%d_%d_%d", round, w, n, i)
						if i%2 == 0 {
							name = fmt.Sprintf("r%d_all_%d_%d", round, n, i)
						}
						list[i] = series{[]string{"__name__", name}, []prompb.Sample{sample(start, float64(n))}}
					}
					res, err := http.Post(url, "", bytes.NewReader(pack(t, marshal(t, v1(list...)))))
					if err != nil {
						return
					}
					res.Body.Close()
					if res.StatusCode != http.StatusNoContent {
						t.Errorf("status %d", res.StatusCode)
						return
					}
					mu.Lock()
					for _, s := range list {
						answered[`{__name__="`+s.labels[1]+`"}`] = float64(n)
					}
					mu.Unlock()
				}
			})
		}
		time.Sleep(time.Duration(100+rnd.IntN(300)) * time.Millisecond) // a random moment is the point
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		wg.Wait()
		_ = cmd.Wait()
	}
	db, err := tsdb.Open(tsdb.Options{Dir: dir, Log: slog.New(slog.DiscardHandler), MaxSamples: 100_000_000})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	r := &rig{db: db}
	got, lost := r.stored(t), 0
	for name, v := range answered {
		if len(got[name]) != 1 || slices.Collect(maps.Values(got[name]))[0] != math.Float64bits(v) {
			lost++
		}
	}
	if lost > 0 || len(answered) < 500 {
		t.Errorf("%d of %d samples answered for are lost", lost, len(answered))
	}
	t.Logf("%d samples answered for", len(answered))
}
