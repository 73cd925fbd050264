package automation_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"nocturne/automation"
	"nocturne/internal/need"
	"nocturne/internal/state"
)

const crashBook = `
name: mixed
parameters:
- {name: tag, required: true}
steps:
- {name: plain, shell: 'plain {{tag}}'}
- {name: again, shell: 'again {{tag}}', idempotent: true}
- {name: probed, shell: 'probed {{tag}}', probe: 'look {{tag}}'}
- {name: last, shell: 'last {{tag}}'}
`

// world is what outlives every executor: which commands ran and what they did.
// Fenced commands are run by a real shell, in the host's own home.
type world struct {
	journal
	t    *testing.T
	dir  string         // bin/ for every host, a home for each
	late sync.WaitGroup // commands that nobody waits for

	mu     sync.Mutex // guards below
	rng    *rand.Rand
	crash  chan struct{} // closed when the executor is to be abandoned
	closed bool
}

// programs are what the fenced commands call. A command that begins takes
// effect, after a while: it must begin once.
var programs = map[string]string{
	"probed": "#!/bin/sh\necho >>\"$HOME/began-$1\"\nsleep 0.02\necho >\"$HOME/effect-$1\"\n",
	"look":   "#!/bin/sh\ntest -e \"$HOME/effect-$1\"\n",
}

func newWorld(t *testing.T, seed uint64) *world {
	t.Helper()
	w := &world{t: t, dir: t.TempDir(), rng: rand.New(rand.NewPCG(seed, 2))}
	if err := os.Mkdir(filepath.Join(w.dir, "bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range programs {
		if err := os.WriteFile(filepath.Join(w.dir, "bin", name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

func (w *world) home(host string) string { return filepath.Join(w.dir, host) }

// shell runs a command as sshd would, to its end.
func (w *world) shell(host, cmd string) int {
	if err := os.MkdirAll(w.home(host), 0o755); err != nil {
		w.t.Error(err)
	}
	c := exec.Command("/bin/sh", "-c", cmd)
	c.Env = []string{"HOME=" + w.home(host), "PATH=" + filepath.Join(w.dir, "bin") + ":" + os.Getenv("PATH")}
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	out, err := c.CombinedOutput()
	if c.ProcessState == nil || len(out) > 0 && !strings.Contains(string(out), "was not run") {
		w.t.Errorf("%s on %s: %v, %q", bare(cmd), host, err, out)
		return 255
	}
	return c.ProcessState.ExitCode()
}

// began counts how often the fenced command began.
func (w *world) began(host, tag string) int {
	b, err := os.ReadFile(filepath.Join(w.home(host), "began-"+tag))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		w.t.Error(err)
	}
	return len(b)
}

func (w *world) random() float64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.rng.Float64()
}

func (w *world) chance(p float64) bool { return w.random() < p }

// point is a place where the executor may be abandoned.
func (w *world) point(p float64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.closed && w.rng.Float64() < p {
		w.closed = true
		close(w.crash)
	}
}

func (w *world) rearm() <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.crash, w.closed = make(chan struct{}), false
	return w.crash
}

// runner is the Runner of one executor's life. Once dead it does no more than
// a process that was killed; a zombie goes on as if nothing had happened.
type runner struct {
	w      *world
	crash  <-chan struct{}
	zombie bool
}

// gone blocks a dead executor for ever: until its context is cut.
func (r *runner) gone(ctx context.Context) error {
	if r.zombie {
		return nil
	}
	select {
	case <-r.crash:
		<-ctx.Done()
		return ctx.Err()
	default:
		return nil
	}
}

func (r *runner) Run(ctx context.Context, h automation.Host, _, cmd string, o automation.RunOptions) (int, error) {
	w := r.w
	w.point(0.04) // connecting
	if err := r.gone(ctx); err != nil {
		return 0, &runErr{text: err.Error()}
	}
	if w.chance(0.05) {
		return 0, &runErr{text: "refused", again: true}
	}
	if err := o.BeforeSend(ctx); err != nil {
		return 0, err
	}
	w.point(0.04) // sent on disk, the command not gone yet
	if err := r.gone(ctx); err != nil {
		return 0, err
	}
	exit := 0
	switch {
	case bare(cmd) == cmd:
		w.add(h.Name, cmd)
	case w.chance(0.2): // the connection is cut; the request arrives all the same, some day
		delay := time.Duration(w.random() * float64(60*time.Millisecond))
		w.late.Go(func() { time.Sleep(delay); w.shell(h.Name, cmd) })
		return 0, errLost
	default:
		exit = w.shell(h.Name, cmd)
	}
	_, _ = io.WriteString(o.Output, cmd+"\n")
	w.point(0.04) // ran, the status not seen yet
	if err := r.gone(ctx); err != nil {
		return 0, err
	}
	if w.chance(0.05) {
		return 0, errLost
	}
	return exit, nil
}

// TestCrash submits jobs and abandons the executor at random moments, again and
// again, on one state folder. Half of the abandoned executors are zombies: they
// go on working on the same open database while the next one takes over.
func TestCrash(t *testing.T) {
	seed, rng := need.Seed(t)
	rounds := 12
	if testing.Short() {
		rounds = 5
	}
	w := newWorld(t, seed)
	dir := t.TempDir()
	db := openState(t, dir)
	hit := map[string]int{} // phase of a step when its executor was abandoned
	var abandoned []func()
	var ids []string
	covered := func() bool {
		return hit[automation.StepLeased] > 0 && hit[automation.StepConnecting] > 0 && hit[automation.StepSent] > 0
	}
	for round := 0; round < rounds || !covered() && round < 5*rounds; round++ {
		crash := w.rearm()
		zombie := rng.IntN(2) == 0
		o := options(t, db, &runner{w: w, crash: crash, zombie: zombie}, crashBook)
		o.Regions = []automation.Region{{Name: "one", Slots: 4}}
		o.BreakAfter = 1000
		x, stop := begun(t, o)
		for range 4 {
			id := fmt.Sprintf("job-%d", len(ids))
			hosts := []string{fmt.Sprintf("h%d", rng.IntN(3)), fmt.Sprintf("h%d", 3+rng.IntN(3))}
			if _, err := x.Submit(t.Context(), automation.Spec{ID: id, Runbook: "mixed", Parameters: map[string]string{"tag": id}, Hosts: hosts}); err == nil {
				ids = append(ids, id)
			}
		}
		select {
		case <-crash:
		case <-time.After(time.Duration(rng.IntN(400)) * time.Millisecond):
		}
		for phase, n := range stepsIn(db) {
			hit[phase] += n
		}
		abandoned = append(abandoned, stop)
		if zombie {
			continue
		}
		// The database goes away beneath all who are left: none of them writes
		// another word.
		if err := db.Close(); err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		for _, f := range abandoned {
			f()
		}
		abandoned = nil
		db = openState(t, dir)
	}
	w.rearm()
	o := options(t, db, &runner{w: w, zombie: true}, crashBook)
	last, stop := begun(t, o)
	var jobs []automation.Job
	for _, id := range ids {
		jobs = append(jobs, await(t, last, id))
	}
	w.late.Wait()
	unknown := 0
	for _, j := range jobs {
		unknown += judge(t, w, j)
	}
	for _, f := range append(abandoned, stop) {
		f()
	}
	if n, err := o.Ledger.Verify(t.Context()); err != nil || n == 0 {
		t.Errorf("ledger: %d entries, %v", n, err)
	}
	if err := db.Close(); err != nil {
		t.Error(err)
	}
	t.Logf("%d jobs, %d unknown steps; phases when abandoned: %v", len(ids), unknown, hit)
	if !covered() {
		t.Error("no executor was abandoned with a step leased, connecting or sent")
	}
}

// judge holds the witness against the record: the one rule of this package.
func judge(t *testing.T, w *world, j automation.Job) (unknown int) {
	for _, task := range j.Tasks {
		for _, s := range task.Steps {
			ran := w.count(task.Host, fmt.Sprintf("%s '%s'", s.Name, j.ID))
			where := fmt.Sprintf("job %s on %s, step %s", j.ID, task.Host, s.Name)
			once := s.Name != "again"
			if s.Name == "probed" {
				ran = w.began(task.Host, j.ID)
			}
			switch {
			case once && ran > 1:
				t.Errorf("%s: ran %d times", where, ran)
			case s.Phase == automation.StepOK && ran == 0:
				t.Errorf("%s: ok but never ran", where)
			case (s.Phase == automation.StepSkipped || s.Phase == automation.StepFailed) && once && ran > 0:
				t.Errorf("%s: %s but ran (%s)", where, s.Phase, s.Err)
			case !automation.StepEnded(s.Phase):
				t.Errorf("%s: job ended, step %s", where, s.Phase)
			case ran > s.Attempts:
				t.Errorf("%s: ran %d times in %d attempts", where, ran, s.Attempts)
			}
			if s.Phase == automation.StepUnknown {
				unknown++
				if j.Phase != automation.JobUnknown {
					t.Errorf("%s: unknown, but the job is %s", where, j.Phase)
				}
			}
		}
	}
	return unknown
}

// begun is started without an end of its own, for executors that are abandoned.
func begun(t *testing.T, o automation.Options) (x *automation.Executor, stop func()) {
	t.Helper()
	x, err := automation.New(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := x.Run(ctx); err != nil {
			t.Logf("Run: %v", err) // a zombie's end is an error, and right
		}
	}()
	return x, func() { cancel(); <-done }
}

// stepsIn counts the phases of the jobs' steps as they stand in the database.
func stepsIn(db *state.DB) map[string]int {
	type task struct {
		Steps []automation.StepState `json:"steps"`
	}
	out := map[string]int{}
	for rec, err := range state.NewTable[task](db, "job-task", 1).All("") {
		if err != nil {
			continue
		}
		for _, s := range rec.Value.Steps {
			out[s.Phase]++
		}
	}
	return out
}
