package automation_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"nocturne/automation"
	"nocturne/automation/badgerq"
	"nocturne/internal/ledger"
	"nocturne/internal/state"
)

// runErr is an error with what the executor asks of one.
type runErr struct {
	text        string
	sent, again bool
}

func (e *runErr) Error() string   { return e.text }
func (e *runErr) Sent() bool      { return e.sent }
func (e *runErr) Retryable() bool { return e.again }

// journal is what really ran: the witness.
type journal struct {
	mu   sync.Mutex
	runs map[string]int // "host command"
}

func (j *journal) add(host, cmd string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.runs == nil {
		j.runs = map[string]int{}
	}
	j.runs[host+" "+cmd]++
}

func (j *journal) count(host, cmd string) int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.runs[host+" "+cmd]
}

// fakeRunner runs commands by a function: connect before the announcement, then
// act, which is when the command has left.
type fakeRunner struct {
	journal *journal
	connect func(ctx context.Context, host, cmd string) error
	act     func(ctx context.Context, host, cmd string, out io.Writer) (int, error)
}

// bare takes the fence off a command: what a shell would be told to eval.
func bare(cmd string) string {
	_, rest, fenced := strings.Cut(cmd, "eval '")
	if !fenced {
		return cmd
	}
	return strings.ReplaceAll(rest[:strings.LastIndex(rest, "'")], `'\''`, "'")
}

func (r *fakeRunner) Run(ctx context.Context, h automation.Host, _, cmd string, o automation.RunOptions) (int, error) {
	cmd = bare(cmd)
	if r.connect != nil {
		if err := r.connect(ctx, h.Name, cmd); err != nil {
			return 0, err
		}
	}
	if err := o.BeforeSend(ctx); err != nil {
		return 0, fmt.Errorf("before send: %w", err)
	}
	r.journal.add(h.Name, cmd)
	if r.act == nil {
		return 0, nil
	}
	return r.act(ctx, h.Name, cmd, o.Output)
}

func openState(t testing.TB, dir string) *state.DB {
	t.Helper()
	db, err := state.Open(state.Options{Dir: dir, Log: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	return db
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// options are those of an executor on db whose hosts are h0, h1, ... in
// 127.1.0.0/16 and d0, d1, ... in 127.2.0.0/16.
func options(t testing.TB, db *state.DB, r automation.Runner, books ...string) automation.Options {
	t.Helper()
	chain, err := ledger.Open(db)
	if err != nil {
		t.Fatal(err)
	}
	q, err := badgerq.New(db)
	if err != nil {
		t.Fatal(err)
	}
	o := automation.Options{
		State: db, Ledger: chain, Runner: r, Queue: q, Log: quiet(), Hosts: hostOf,
		Openings: 1e6, RetryAfter: time.Millisecond, Drain: 50 * time.Millisecond,
	}
	for i, b := range books {
		rb, err := automation.ParseRunbook(fmt.Sprintf("book%d.yaml", i), []byte(b))
		if err != nil {
			t.Fatal(err)
		}
		o.Runbooks = append(o.Runbooks, rb)
	}
	return o
}

func hostOf(name string) (automation.Host, bool) {
	var n int
	var kind byte
	if _, err := fmt.Sscanf(name, "%c%d", &kind, &n); err != nil || kind != 'h' && kind != 'd' {
		return automation.Host{}, false
	}
	net := 1
	if kind == 'd' {
		net = 2
	}
	return automation.Host{Name: name, Address: fmt.Sprintf("127.%d.%d.%d:22", net, n/250, n%250+1)}, true
}

// started runs an executor until the test ends or stop is called.
func started(t testing.TB, o automation.Options) (x *automation.Executor, stop func()) {
	t.Helper()
	x, err := automation.New(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- x.Run(ctx) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			if err := <-done; err != nil {
				t.Errorf("Run: %v", err)
			}
		})
	}
	t.Cleanup(stop)
	return x, stop
}

// await waits until the job is in a phase in which it stays.
func await(t testing.TB, x *automation.Executor, id string) automation.Job {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	events := x.Watch(ctx, id)
	for {
		j, err := x.Job(id)
		if err != nil {
			t.Fatal(err)
		}
		if automation.JobEnded(j.Phase) || j.Phase == automation.JobVerifying {
			return j
		}
		if _, open := <-events; !open {
			t.Fatalf("job %s stays %s: %+v", id, j.Phase, j.Tasks)
		}
	}
}

func submit(t testing.TB, x *automation.Executor, s automation.Spec) automation.Job {
	t.Helper()
	j, err := x.Submit(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	return j
}

var errLost = errors.New("connection lost")
