package automation

import (
	"context"
	"errors"
	"log/slog"
	"testing"

	"nocturne/internal/ledger"
	"nocturne/internal/state"
)

type noQueue struct{}

func (noQueue) Enqueue(context.Context, ...Entry) error                            { return nil }
func (noQueue) Claim(context.Context, string, int) ([]Delivery, error)             { return nil, nil }
func (noQueue) Ack(context.Context, ...string) error                               { return nil }
func (noQueue) Run(context.Context, Host, string, string, RunOptions) (int, error) { return 0, nil }

// TestLostLeaseCannotWrite takes a task over from an executor that still holds
// its lease: every later write of the first one is refused and changes nothing.
func TestLostLeaseCannotWrite(t *testing.T) {
	db, err := state.Open(state.Options{Dir: t.TempDir(), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	chain, err := ledger.Open(db)
	if err != nil {
		t.Fatal(err)
	}
	rb, err := ParseRunbook("r.yaml", []byte("name: r\nsteps: [{name: s, shell: x}]\n"))
	if err != nil {
		t.Fatal(err)
	}
	open := func() *Executor {
		x, err := New(Options{State: db, Ledger: chain, Runner: noQueue{}, Queue: noQueue{}, Runbooks: []Runbook{rb},
			Hosts: func(name string) (Host, bool) { return Host{Name: name, Address: "127.0.0.1:22"}, true }, Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		return x
	}
	first := open()
	if err := first.begin(); err != nil {
		t.Fatal(err)
	}
	if _, err := first.Submit(t.Context(), Spec{ID: "a", Runbook: "r", Hosts: []string{"h"}}); err != nil {
		t.Fatal(err)
	}
	l, err := first.track("a")
	if err != nil {
		t.Fatal(err)
	}
	held, err := first.take(l, "h")
	if err != nil {
		t.Fatal(err)
	}
	if err := held.fence(); err != nil {
		t.Fatalf("the holder is fenced: %v", err)
	}

	second := open()
	if err := second.begin(); err != nil {
		t.Fatal(err)
	}
	send := func(task *taskRecord) { task.Steps[0].Phase = StepSent }
	if err := held.write(send); !errors.Is(err, errStale) {
		t.Errorf("write after the takeover: %v", err)
	}
	if err := held.fence(); !errors.Is(err, errStale) {
		t.Errorf("fence after the takeover: %v", err)
	}
	l2, err := second.track("a")
	if err != nil {
		t.Fatal(err)
	}
	now, err := second.take(l2, "h")
	if err != nil {
		t.Fatal(err)
	}
	if err := held.write(send); !errors.Is(err, errStale) {
		t.Errorf("write beside the new holder: %v", err)
	}
	held.release()
	if err := now.fence(); err != nil {
		t.Errorf("the old holder's release took the new one's lease: %v", err)
	}
	if _, err := first.take(l, "h"); !errors.Is(err, errStale) {
		t.Errorf("the old executor leased again: %v", err)
	}
	j, err := second.Job("a")
	if err != nil || j.Tasks[0].Steps[0].Phase != StepLeased || j.Tasks[0].Steps[0].Token != now.token {
		t.Errorf("got %+v, %v", j.Tasks, err)
	}
	if err := now.write(send); err != nil {
		t.Errorf("the holder cannot write: %v", err)
	}
}
