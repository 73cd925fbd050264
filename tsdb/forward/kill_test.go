package forward_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"nocturne/internal/need"
	"nocturne/tsdb"
	"nocturne/tsdb/forward"
)

// order tells a child of TestKills what to do.
type order struct {
	Dir   string
	To    map[string]string // names and addresses
	Start time.Time
	Step  int // the first to append
	Until int // and the first not to; then everything is sent
}

const orderVariable = "NOCTURNE_FORWARD_ORDER"

func TestMain(m *testing.M) {
	if text := os.Getenv(orderVariable); text != "" {
		child(text)
		return
	}
	os.Exit(m.Run())
}

// child appends a step after another, and prints each number once its samples
// are on disk. After the last one it ends when all receivers have everything.
func child(text string) {
	var o order
	must(json.Unmarshal([]byte(text), &o))
	quiet := slog.New(slog.DiscardHandler)
	db, err := tsdb.Open(tsdb.Options{Dir: filepath.Join(o.Dir, "history"), Interval: blockInterval, Log: quiet})
	must(err)
	var to []forward.Receiver
	for name, url := range o.To {
		to = append(to, forward.Receiver{Name: name, URL: url, MaxSamples: 100})
	}
	f, err := forward.New(forward.Options{Source: db, Dir: filepath.Join(o.Dir, "forward"), Receivers: to, Log: quiet})
	must(err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- f.Run(ctx) }()
	var last int64
	for n := o.Step; n < o.Until; n++ {
		for _, s := range killStep(o.Start, n) {
			r, err := db.Append(ctx, []tsdb.Sample{s})
			must(err)
			if r.Appended != 1 {
				panic(fmt.Sprintf("step %d: %+v", n, r))
			}
			last = s.T
		}
		must(db.Synced(ctx))
		fmt.Println(n)
	}
	for !everywhere(f, last) {
		time.Sleep(20 * time.Millisecond)
	}
	cancel()
	must(<-done)
	must(db.Close())
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func everywhere(f *forward.Forwarder, newest int64) bool {
	for _, s := range f.Status() {
		if s.Lag != 0 || s.Failing || !s.CatchUpFrom.IsZero() || s.Position.UnixMilli() < newest {
			return false
		}
	}
	return true
}

// killStep are the samples of a step: one of each of ten series, every ninth
// time one that is late too.
func killStep(start time.Time, n int) []tsdb.Sample {
	at := start.Add(time.Duration(n) * 15 * time.Second).UnixMilli()
	var out []tsdb.Sample
	if n%9 == 8 {
		out = append(out, tsdb.Sample{Labels: series(n % 10), T: at - 100_001, V: float64(-n)})
	}
	for i := range 10 {
		out = append(out, tsdb.Sample{Labels: series(i), T: at, V: float64(n*10 + i)})
	}
	return out
}

// TestKills kills us and the receivers at random moments, time and again, while
// the log is being cut. Every sample that was acknowledged arrives.
// NOCTURNE_FORWARD_DEAD is for how many seconds the receivers are dead at once,
// while we are killed before and after.
func TestKills(t *testing.T) {
	t.Parallel()
	_, r := need.Seed(t)
	rounds := number("NOCTURNE_FORWARD_ROUNDS", 6)
	if testing.Short() {
		rounds = 3
	}
	peers := []*peer{prometheus(t), victoria(t)}
	o := order{Dir: t.TempDir(), Start: hoursAgo(6), To: map[string]string{}}
	for _, p := range peers {
		o.To[p.name] = p.write
	}
	up := make([]bool, len(peers))
	const most = 1400
	for round := range rounds {
		for i, p := range peers {
			switch {
			case !up[i] && (round == 0 || r.IntN(3) == 0):
				p.stopped.Wait()
				p.start(t)
				up[i] = true
			case up[i] && r.IntN(2) == 0:
				p.stopAfter(t, time.Duration(r.IntN(300))*time.Millisecond)
				up[i] = false
			}
		}
		o.Until = most + 40 // which no child of these reaches
		o.Step = runChild(t, o, o.Step+1+r.IntN(most/rounds))
		if dead := number("NOCTURNE_FORWARD_DEAD", 0); dead > 0 && round == rounds/2 {
			for i, p := range peers {
				if up[i] {
					p.stopAfter(t, 0)
					up[i] = false
				}
				p.stopped.Wait()
			}
			o.Step = runChild(t, o, o.Step+20)
			<-time.After(time.Duration(dead) * time.Second) // what else would a receiver be dead for
			o.Step = runChild(t, o, o.Step+20)
		}
	}
	for i, p := range peers {
		p.stopped.Wait()
		if !up[i] {
			p.start(t)
		}
	}
	o.Until = most + 20
	if got := runChild(t, o, o.Until+1); got != o.Until {
		t.Fatalf("the last child ended at step %d of %d", got, o.Until)
	}
	var all []tsdb.Sample
	for n := range o.Until {
		all = append(all, killStep(o.Start, n)...)
	}
	db, err := tsdb.Open(tsdb.Options{Dir: filepath.Join(o.Dir, "history"), Interval: blockInterval, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if _, lost := held(t, db, all); len(lost) > 0 {
		t.Errorf("our own store lost %d of %d samples, the first %s at %d", len(lost), len(all), lost[0].Labels, lost[0].T)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d samples were acknowledged", len(all))
	for _, p := range peers {
		p.holds(t, all, 60*time.Second)
	}
}

// runChild runs a child until it has acknowledged the step before until, and
// kills it then. It returns the step that comes next.
func runChild(t *testing.T, o order, until int) int {
	t.Helper()
	text, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0])
	cmd.Env = append(os.Environ(), orderVariable+"="+string(text))
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	next := o.Step
	for lines := bufio.NewScanner(out); lines.Scan(); {
		n, err := strconv.Atoi(lines.Text())
		if err != nil {
			t.Fatalf("child: %q", lines.Text())
		}
		if next = n + 1; next == until {
			_ = cmd.Process.Kill()
		}
	}
	_ = cmd.Wait()
	if ctx.Err() != nil {
		t.Fatalf("the child hung at step %d of %d", next, o.Until)
	}
	return next
}
