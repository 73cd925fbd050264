package conformance

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"
)

// The variables tell a child what it is: the subject's name, its task, its
// folder and the number of the first point to write, or of points to expect.
const (
	envSubject = "NOCTURNE_CONFORMANCE_SUBJECT"
	envTask    = "NOCTURNE_CONFORMANCE_TASK"
	envDir     = "NOCTURNE_CONFORMANCE_DIR"
	envCount   = "NOCTURNE_CONFORMANCE_COUNT"
)

// processDied begins the error of a store that took its process down.
const processDied = "process died"

const (
	seriesCount  = 10
	childTimeout = time.Minute
	step         = 1000 // ms between two points of the sequence
	// base is the time of point 0: a full hour in 2026.
	base = 1_780_000_000_000 / 3_600_000 * 3_600_000
)

// point n of the sequence that children write: its series and contents.
func point(n int) (string, Point) {
	return fmt.Sprint("series_", n%seriesCount), Point{T: base + int64(n)*step, V: float64(n)*3 + 0.5}
}

// census is what a reader found of the first points of the sequence.
type census struct {
	Found, Lost, Wrong int
	OpenError          string
	ReadError          string
}

// Child does a child's work and exits, if this process is one.
func Child(subjects ...Subject) {
	for _, s := range subjects {
		if os.Getenv(envSubject) != s.Name {
			continue
		}
		if err := work(s); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
}

func work(s Subject) error {
	n, err := strconv.Atoi(os.Getenv(envCount))
	if err != nil {
		return err
	}
	store, err := s.Open(os.Getenv(envDir))
	if os.Getenv(envTask) == "write" {
		if err != nil {
			return err
		}
		return write(store, n)
	}
	if err != nil {
		return json.NewEncoder(os.Stdout).Encode(census{OpenError: err.Error(), Lost: n})
	}
	c, err := count(store, n)
	if err != nil {
		c = census{ReadError: err.Error(), Lost: n}
	}
	return json.NewEncoder(os.Stdout).Encode(c)
}

// write appends points from number n on until it is killed, and prints how
// many are acknowledged.
func write(store Store, n int) error {
	for {
		for range seriesCount {
			series, p := point(n)
			if err := store.Append(series, p.T, p.V); err != nil {
				return err
			}
			n++
		}
		if err := store.Sync(); err != nil {
			return err
		}
		fmt.Println(n)
	}
}

func count(store Store, n int) (census, error) {
	got := map[string]map[int64]float64{}
	for i := range seriesCount {
		series, _ := point(i)
		points, err := store.Select(series, base, base+int64(n)*step)
		if err != nil {
			return census{}, err
		}
		got[series] = map[int64]float64{}
		for _, p := range points {
			got[series][p.T] = p.V
		}
	}
	var c census
	for i := range n {
		series, want := point(i)
		switch v, ok := got[series][want.T]; {
		case !ok:
			c.Lost++
		case v != want.V:
			c.Wrong++
		default:
			c.Found++
		}
	}
	return c, nil
}

func child(ctx context.Context, s Subject, task, dir string, n int) (*exec.Cmd, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, self)
	cmd.Env = append(os.Environ(), envSubject+"="+s.Name, envTask+"="+task, envDir+"="+dir, envCount+"="+strconv.Itoa(n))
	return cmd, nil
}

// writeUntilKilled has a child append from point n on, kills it with SIGKILL
// once at least more points are acknowledged, and returns the number of the
// last one that was. An error is the store's: it did not open or append.
func writeUntilKilled(t *testing.T, s Subject, dir string, n, more int) (int, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), childTimeout)
	defer cancel()
	cmd, err := child(ctx, s, "write", dir, n)
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	said, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	acked := n
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		got, err := strconv.Atoi(lines.Text())
		if err != nil {
			break // a line cut short by the kill, or a store that prints
		}
		acked = got
		if acked >= n+more {
			_ = cmd.Process.Kill() // what it still says counts as well
		}
	}
	why, _ := io.ReadAll(io.LimitReader(said, 2000))
	waitErr := cmd.Wait()
	if acked < n+more {
		return acked, fmt.Errorf("child ended by itself: %w: %s", errors.Join(waitErr, ctx.Err()), why)
	}
	return acked, nil
}

// verify opens the store in a child, since a damaged one may take the process
// down, and counts which of the first n points it has.
func verify(t *testing.T, s Subject, dir string, n int) census {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), childTimeout)
	defer cancel()
	cmd, err := child(ctx, s, "verify", dir, n)
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.Output()
	if err != nil {
		return census{OpenError: fmt.Sprintf("%s: %v", processDied, err), Lost: n}
	}
	var c census
	if err := json.Unmarshal(out, &c); err != nil {
		t.Fatalf("child said %q: %v", out, err)
	}
	return c
}
