package automation_test

import (
	"context"
	"io"
	"sync/atomic"
	"testing"

	"nocturne/automation"
)

// TestTwoNamesOfOneMachine submits a job for each of three names; two stand for
// one address, written differently. The two never run at once, the third does.
func TestTwoNamesOfOneMachine(t *testing.T) {
	db := openState(t, t.TempDir())
	defer db.Close()
	g := &gauge{}
	address := map[string]string{"h0": "127.1.0.1:22", "h1": "[::ffff:127.1.0.1]:22", "h2": "127.1.0.2:22"}
	inside := make(chan string, 3)
	goOn := make(chan struct{})
	r := &fakeRunner{journal: &journal{}, act: func(_ context.Context, host, _ string, _ io.Writer) (int, error) {
		machine := "one"
		if host == "h2" {
			machine = "other"
		}
		defer g.enter(machine)()
		inside <- host
		<-goOn
		return 0, nil
	}}
	o := options(t, db, r, oneStep)
	o.Hosts = func(name string) (automation.Host, bool) {
		return automation.Host{Name: name, Address: address[name]}, address[name] != ""
	}
	x, stop := started(t, o)
	defer stop()
	submit(t, x, automation.Spec{ID: "both", Runbook: "one", Hosts: []string{"h0", "h1"}})
	first := <-inside
	submit(t, x, automation.Spec{ID: "other", Runbook: "one", Hosts: []string{"h2"}})
	if host := <-inside; host != "h2" { // had the second name its turn, it had come before
		t.Errorf("%s runs beside %s, which is the same machine", host, first)
	}
	close(goOn)
	for _, id := range []string{"both", "other"} {
		if j := await(t, x, id); j.Phase != automation.JobSucceeded {
			t.Errorf("job %s: %s %s", id, j.Phase, j.Reason)
		}
	}
	if g.high["one"] != 1 {
		t.Errorf("%d commands at once on one machine", g.high["one"])
	}
}

// TestHostMovesBetweenItsSteps: the second step runs at the new address, under
// a lease of the machine there.
func TestHostMovesBetweenItsSteps(t *testing.T) {
	db := openState(t, t.TempDir())
	defer db.Close()
	var moved atomic.Bool
	r := &fakeRunner{journal: &journal{}, act: func(context.Context, string, string, io.Writer) (int, error) {
		moved.Store(true)
		return 0, nil
	}}
	o := options(t, db, r, "name: two\nsteps: [{name: a, shell: act}, {name: b, shell: act}]\n")
	o.Hosts = func(name string) (automation.Host, bool) {
		h := automation.Host{Name: name, Address: "127.1.0.1:22"}
		if moved.Load() {
			h.Address = "127.1.0.9:22"
		}
		return h, true
	}
	x, stop := started(t, o)
	defer stop()
	submit(t, x, automation.Spec{ID: "j", Runbook: "two", Hosts: []string{"h0"}})
	j := await(t, x, "j")
	if j.Phase != automation.JobSucceeded {
		t.Fatalf("%s: %s %+v", j.Phase, j.Reason, j.Tasks)
	}
	if s := j.Tasks[0].Steps; s[0].Token == s[1].Token {
		t.Error("both steps ran under one lease, of the old address")
	}
	if _, _, high := x.Regions(); high != 1 {
		t.Errorf("%d ran at most", high)
	}
}
