package automation_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"nocturne/automation"
)

const twoSteps = `
name: two
title: Two steps
parameters:
- {name: unit, pattern: '[a-z]+', required: true}
steps:
- {name: first, shell: 'systemctl restart {{unit}}'}
- {name: second, shell: echo done}
`

func phases(j automation.Job) map[string][]string {
	out := map[string][]string{}
	for _, task := range j.Tasks {
		for _, s := range task.Steps {
			out[task.Host] = append(out[task.Host], s.Phase)
		}
	}
	return out
}

func TestJobSucceeds(t *testing.T) {
	db := openState(t, t.TempDir())
	defer db.Close()
	jr := &journal{}
	r := &fakeRunner{journal: jr, act: func(_ context.Context, host, _ string, out io.Writer) (int, error) {
		fmt.Fprintf(out, "hello from %s\nbye", host)
		return 0, nil
	}}
	o := options(t, db, r, twoSteps)
	x, stop := started(t, o)
	defer stop()
	submit(t, x, automation.Spec{ID: "a", Runbook: "two", Parameters: map[string]string{"unit": "nginx"}, Hosts: []string{"h1", "h2"}, By: "person:ops", Incident: "inc-1"})
	j := await(t, x, "a")
	if j.Phase != automation.JobSucceeded || j.Title != "Two steps" || j.Started.IsZero() || j.Ended.IsZero() {
		t.Errorf("got %+v", j)
	}
	if d := cmp.Diff(map[string][]string{"h1": {"ok", "ok"}, "h2": {"ok", "ok"}}, phases(j)); d != "" {
		t.Error(d)
	}
	if n := jr.count("h1", "systemctl restart 'nginx'"); n != 1 {
		t.Errorf("h1 ran %d times", n)
	}
	lines, err := x.Output("a", 1)
	if err != nil || len(lines) != 8 {
		t.Fatalf("got %v, %v", lines, err)
	}
	sum := sha256.Sum256([]byte("hello from h1\nbye"))
	if s := j.Tasks[0].Steps[0]; s.OutputSHA != hex.EncodeToString(sum[:]) || s.OutputBytes != 17 {
		t.Errorf("output of first step: %+v", s)
	}
	var got []string
	for e, err := range o.Ledger.Incident("inc-1") {
		if err != nil {
			t.Fatal(err)
		}
		var ev automation.StepEvidence
		if err := json.Unmarshal(e.Data, &ev); err != nil {
			t.Fatal(err)
		}
		if ev.Host != "h2" {
			got = append(got, e.Action)
		}
		if e.Action == "step.ok" && ev.Step == "first" && (ev.Command != "systemctl restart 'nginx'" || ev.Exit == nil || *ev.Exit != 0 || ev.OutputSHA256 == "") {
			t.Errorf("evidence: %s", e.Data)
		}
	}
	// Both hosts race for job.running; h1's own steps are in order.
	got = slices.DeleteFunc(got, func(a string) bool { return strings.HasPrefix(a, "job.") })
	want := []string{"step.leased", "step.connecting", "step.sent", "step.ok", "step.leased", "step.connecting", "step.sent", "step.ok"}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestFailedStepStopsTheRest(t *testing.T) {
	db := openState(t, t.TempDir())
	defer db.Close()
	r := &fakeRunner{journal: &journal{}, act: func(_ context.Context, host, cmd string, _ io.Writer) (int, error) {
		if host == "h1" {
			return 3, nil
		}
		return 0, nil
	}}
	x, stop := started(t, options(t, db, r, twoSteps))
	defer stop()
	submit(t, x, automation.Spec{ID: "a", Runbook: "two", Parameters: map[string]string{"unit": "a"}, Hosts: []string{"h1", "h2"}})
	j := await(t, x, "a")
	if d := cmp.Diff(map[string][]string{"h1": {"failed", "skipped"}, "h2": {"ok", "ok"}}, phases(j)); d != "" || j.Phase != automation.JobFailed {
		t.Error(j.Phase, d)
	}
	if j.Reason != "step first on h1: exit status 3" || j.Tasks[0].Steps[0].Exit != 3 {
		t.Errorf("reason %q, exit %d", j.Reason, j.Tasks[0].Steps[0].Exit)
	}
}

func TestOutcomes(t *testing.T) {
	book := func(extra string) string {
		return "name: one\nsteps:\n- {name: act, shell: act" + extra + "}\n- {name: then, shell: after}\n"
	}
	lost := func(n int) func(string) error {
		return func(cmd string) error {
			if cmd == "act" && n > 0 {
				n--
				return errLost
			}
			return nil
		}
	}
	f := func(name, extra string, connect, act func(string) error, probeExit int, wantJob string, wantSteps []string, runs int) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			db := openState(t, t.TempDir())
			defer db.Close()
			jr := &journal{}
			r := &fakeRunner{journal: jr,
				connect: func(_ context.Context, _, cmd string) error {
					if connect == nil {
						return nil
					}
					return connect(cmd)
				},
				act: func(_ context.Context, _, cmd string, _ io.Writer) (int, error) {
					if cmd == "look" {
						return probeExit, nil
					}
					if act == nil {
						return 0, nil
					}
					return 0, act(cmd)
				}}
			x, stop := started(t, options(t, db, r, book(extra)))
			defer stop()
			submit(t, x, automation.Spec{ID: "a", Runbook: "one", Hosts: []string{"h1"}})
			j := await(t, x, "a")
			if d := cmp.Diff(wantSteps, phases(j)["h1"]); d != "" || j.Phase != wantJob {
				t.Errorf("job %s (%s): %s", j.Phase, j.Reason, d)
			}
			if n := jr.count("h1", "act"); n != runs {
				t.Errorf("ran %d times, want %d", n, runs)
			}
		})
	}
	fail := func(n int, again bool) func(string) error {
		return func(string) error {
			if n > 0 {
				n--
				return &runErr{text: "refused", again: again}
			}
			return nil
		}
	}
	f("lost", "", nil, lost(1), 0, "unknown", []string{"unknown", "skipped"}, 1)
	f("lost, idempotent", ", idempotent: true", nil, lost(1), 0, "succeeded", []string{"ok", "ok"}, 2)
	f("always lost, idempotent", ", idempotent: true", nil, lost(9), 0, "unknown", []string{"unknown", "skipped"}, 3)
	f("lost, probe says done", ", probe: look", nil, lost(1), 0, "succeeded", []string{"ok", "ok"}, 1)
	f("lost, probe says not done", ", probe: look", nil, lost(1), 3, "succeeded", []string{"ok", "ok"}, 2)
	f("lost, probe not found", ", probe: look", nil, lost(1), 127, "unknown", []string{"unknown", "skipped"}, 1)
	// The first sending may have run: neither failed nor skipped would be true.
	reached := 0
	thenGone := func(cmd string) error {
		if reached++; reached > 1 {
			return &runErr{text: "no route"}
		}
		return nil
	}
	f("lost, idempotent, then unreachable", ", idempotent: true", thenGone, lost(1), 0, "unknown", []string{"unknown", "skipped"}, 1)
	f("refused once", "", fail(1, true), nil, 0, "succeeded", []string{"ok", "ok"}, 1)
	f("refused always", "", fail(99, true), nil, 0, "failed", []string{"failed", "skipped"}, 0)
	f("wrong key", "", fail(1, false), nil, 0, "failed", []string{"failed", "skipped"}, 0)
	f("not announced but maybe sent", "", func(string) error { return &runErr{text: "lost", sent: true} }, nil, 0, "unknown", []string{"unknown", "skipped"}, 0)
	f("never announced, idempotent", ", idempotent: true", func(string) error { return &runErr{text: "lost", sent: true} }, nil, 0, "unknown", []string{"unknown", "skipped"}, 0)
}

// A job that is canceled while a step waits to be sent again does not say that
// the step was skipped.
func TestCancelBehindALostCommand(t *testing.T) {
	db := openState(t, t.TempDir())
	defer db.Close()
	var x *automation.Executor
	sent := false
	r := &fakeRunner{journal: &journal{},
		connect: func(ctx context.Context, _, _ string) error {
			if !sent {
				return nil
			}
			if err := x.Cancel(context.WithoutCancel(ctx), "a", "person:ops"); err != nil {
				t.Error(err)
			}
			<-ctx.Done()
			return ctx.Err()
		},
		act: func(context.Context, string, string, io.Writer) (int, error) {
			sent = true
			return 0, errLost
		}}
	x, stop := started(t, options(t, db, r, "name: one\nsteps:\n- {name: act, shell: act, idempotent: true}\n- {name: then, shell: after}\n"))
	defer stop()
	submit(t, x, automation.Spec{ID: "a", Runbook: "one", Hosts: []string{"h1"}})
	j := await(t, x, "a")
	if d := cmp.Diff([]string{"unknown", "skipped"}, phases(j)["h1"]); d != "" || j.Phase != automation.JobUnknown {
		t.Errorf("job %s (%s): %s", j.Phase, j.Reason, d)
	}
}

func TestSubmitRefuses(t *testing.T) {
	db := openState(t, t.TempDir())
	defer db.Close()
	x, stop := started(t, options(t, db, &fakeRunner{journal: &journal{}}, twoSteps))
	defer stop()
	f := func(s automation.Spec, want ...string) {
		t.Helper()
		_, err := x.Submit(t.Context(), s)
		if !errors.Is(err, automation.ErrInvalid) {
			t.Errorf("%+v: got %v", s, err)
			return
		}
		for _, w := range want {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("got %q, want %q in it", err, w)
			}
		}
	}
	ok := map[string]string{"unit": "a"}
	f(automation.Spec{Runbook: "two", Parameters: ok, Hosts: []string{"h1"}}, "ID")
	f(automation.Spec{ID: "a", Runbook: "three", Hosts: []string{"h1"}}, `unknown runbook "three"`)
	f(automation.Spec{ID: "a", Runbook: "two", Hosts: []string{"h1", "x9", "h1"}}, `"unit" is missing`, `unknown host "x9"`, `host "h1" stands here twice`)
	f(automation.Spec{ID: "a", Runbook: "two", Parameters: map[string]string{"unit": "A b", "x": "y"}}, `"A b" does not match`, `"x" is unknown`, "no host")
	if _, err := x.Job("a"); !errors.Is(err, automation.ErrNoJob) {
		t.Errorf("a refused job is there: %v", err)
	}
}

func TestSubmitIsIdempotent(t *testing.T) {
	db := openState(t, t.TempDir())
	defer db.Close()
	jr := &journal{}
	x, stop := started(t, options(t, db, &fakeRunner{journal: jr}, twoSteps))
	defer stop()
	var wg sync.WaitGroup
	var bad atomic.Int32
	for range 10 {
		wg.Go(func() {
			j, err := x.Submit(context.Background(), automation.Spec{ID: "same", Runbook: "two", Parameters: map[string]string{"unit": "a"}, Hosts: []string{"h1", "h2"}})
			if err != nil || j.ID != "same" {
				t.Error(err)
				bad.Add(1)
			}
		})
	}
	wg.Wait()
	await(t, x, "same")
	if _, err := x.Submit(t.Context(), automation.Spec{ID: "same", Runbook: "gone"}); err != nil {
		t.Errorf("submit after the end: %v", err)
	}
	stop()
	for _, h := range []string{"h1", "h2"} {
		if n := jr.count(h, "systemctl restart 'a'"); n != 1 {
			t.Errorf("%s ran %d times", h, n)
		}
	}
	if jobs := x.Jobs(10); len(jobs) != 1 {
		t.Errorf("%d jobs", len(jobs))
	}
}

// deafQueue takes nothing for a while.
type deafQueue struct {
	automation.Queue
	deaf atomic.Int32 // this many calls fail
}

func (q *deafQueue) Enqueue(ctx context.Context, entries ...automation.Entry) error {
	if q.deaf.Add(-1) >= 0 {
		return errors.New("no space left on device")
	}
	return q.Queue.Enqueue(ctx, entries...)
}

// TestStoredJobIsTaken: once the record is stored the job is taken, and runs
// without a restart, though the queue could not be told at first.
func TestStoredJobIsTaken(t *testing.T) {
	db := openState(t, t.TempDir())
	defer db.Close()
	o := options(t, db, &fakeRunner{journal: &journal{}}, twoSteps)
	q := &deafQueue{Queue: o.Queue}
	o.Queue = q
	x, stop := started(t, o)
	defer stop()
	submit(t, x, automation.Spec{ID: "before", Runbook: "two", Parameters: map[string]string{"unit": "a"}, Hosts: []string{"h1"}})
	await(t, x, "before") // the executor is there
	q.deaf.Store(2)
	j, err := x.Submit(t.Context(), automation.Spec{ID: "a", Runbook: "two", Parameters: map[string]string{"unit": "a"}, Hosts: []string{"h1"}})
	if err != nil || j.ID != "a" {
		t.Fatalf("%+v, %v", j, err)
	}
	if j := await(t, x, "a"); j.Phase != automation.JobSucceeded {
		t.Errorf("job %s: %s", j.Phase, j.Reason)
	}
	queued := 0
	for e, err := range o.Ledger.Subject(automation.Subject("a")) {
		if err != nil {
			t.Fatal(err)
		}
		if e.Action == "job.queued" {
			queued++
		}
	}
	if queued != 1 {
		t.Errorf("the ledger has it queued %d times", queued)
	}
}

func TestConcludeAndCancel(t *testing.T) {
	db := openState(t, t.TempDir())
	defer db.Close()
	jr := &journal{}
	entered, leave := make(chan string, 9), make(chan struct{})
	r := &fakeRunner{journal: jr, act: func(ctx context.Context, _, cmd string, _ io.Writer) (int, error) {
		if strings.Contains(cmd, "slow") {
			entered <- cmd
			select {
			case <-leave:
			case <-ctx.Done():
				return 0, ctx.Err()
			}
		}
		return 0, nil
	}}
	x, stop := started(t, options(t, db, r, twoSteps))
	defer stop()
	spec := automation.Spec{ID: "v", Runbook: "two", Parameters: map[string]string{"unit": "a"}, Hosts: []string{"h1"}, Verify: true}
	submit(t, x, spec)
	if j := await(t, x, "v"); j.Phase != automation.JobVerifying || !j.Ended.IsZero() {
		t.Fatalf("got %+v", j)
	}
	for range 2 {
		if err := x.Conclude(t.Context(), "v", true, "the alert cleared"); err != nil {
			t.Error(err)
		}
	}
	if err := x.Conclude(t.Context(), "v", false, ""); !errors.Is(err, automation.ErrPhase) {
		t.Errorf("conclude otherwise: %v", err)
	}
	if j, _ := x.Job("v"); j.Phase != automation.JobSucceeded || j.Reason != "the alert cleared" {
		t.Errorf("got %+v", j)
	}

	// "c" is canceled while its first command runs, "w" while it waits for h1.
	submit(t, x, automation.Spec{ID: "c", Runbook: "two", Parameters: map[string]string{"unit": "slow"}, Hosts: []string{"h1"}})
	<-entered
	submit(t, x, automation.Spec{ID: "w", Runbook: "two", Parameters: map[string]string{"unit": "b"}, Hosts: []string{"h1"}})
	for _, id := range []string{"w", "c"} {
		if err := x.Cancel(t.Context(), id, "person:ops"); err != nil {
			t.Error(err)
		}
	}
	if j := await(t, x, "w"); j.Phase != automation.JobCanceled || j.Tasks[0].Steps[0].Phase != automation.StepSkipped {
		t.Errorf("got %+v", j)
	}
	close(leave)
	j := await(t, x, "c")
	if d := cmp.Diff([]string{"ok", "skipped"}, phases(j)["h1"]); d != "" || j.Phase != automation.JobCanceled || !strings.Contains(j.Reason, "person:ops") {
		t.Error(j.Phase, j.Reason, d)
	}
	if n := jr.count("h1", "systemctl restart 'b'"); n != 0 {
		t.Errorf("a canceled command ran %d times", n)
	}
	if err := x.Cancel(t.Context(), "c", "person:ops"); !errors.Is(err, automation.ErrPhase) {
		t.Errorf("cancel twice: %v", err)
	}
}

func TestOutputIsCapped(t *testing.T) {
	db := openState(t, t.TempDir())
	defer db.Close()
	r := &fakeRunner{journal: &journal{}, act: func(_ context.Context, host, _ string, out io.Writer) (int, error) {
		for i := range 500 {
			fmt.Fprintf(out, "%s line %d\n", host, i)
		}
		return 0, nil
	}}
	o := options(t, db, r, twoSteps)
	o.HostOutput, o.JobOutput = 2000, 3000
	x, stop := started(t, o)
	defer stop()
	submit(t, x, automation.Spec{ID: "a", Runbook: "two", Parameters: map[string]string{"unit": "a"}, Hosts: []string{"h1", "h2"}})
	j := await(t, x, "a")
	lines, err := x.Output("a", 0)
	if err != nil {
		t.Fatal(err)
	}
	size, cut := 0, 0
	for i, l := range lines {
		if l.Seq != int64(i+1) {
			t.Fatalf("line %d has number %d", i, l.Seq)
		}
		if strings.HasPrefix(l.Text, "[output cut: more than") {
			cut++
		} else {
			size += len(l.Text) + 1
		}
	}
	if size > 3000 || size < 2500 || cut < 1 || cut > 2 {
		t.Errorf("%d bytes kept, cut said %d times", size, cut)
	}
	if n := j.Tasks[0].Steps[0].OutputBytes; n != 5890 {
		t.Errorf("counted %d bytes", n)
	}
	if later, _ := x.Output("a", lines[10].Seq); len(later) != len(lines)-10 {
		t.Errorf("from line 11: %d of %d", len(later), len(lines))
	}
}
