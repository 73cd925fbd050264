package sshexec

import (
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"testing"
	"time"

	"nocturne/automation"
	"nocturne/automation/badgerq"
	"nocturne/internal/ledger"
	"nocturne/internal/need"
	"nocturne/internal/secret"
	"nocturne/internal/sshconn"
	"nocturne/internal/sshconn/sshdtest"
	"nocturne/internal/state"
)

// TestBreakerCountsTheWayAlone: hosts that answer, and refuse, do not make a
// region one that cannot be reached; nor does what is missing on our side.
func TestBreakerCountsTheWayAlone(t *testing.T) {
	d := sshdtest.Start(t, need.Binary(t, "sshd", "openssh-server"))
	good := sshconn.Credential{User: d.User, PrivateKey: secret.Text(d.Key)}
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := ln.Addr().String()
	ln.Close()
	f := func(name, address string, cred sshconn.Credential, known []byte, shrinks bool) {
		t.Run(name, func(t *testing.T) {
			if limit, slots := limitAfter(t, runner(t, cred, known), address); (limit < slots) != shrinks {
				t.Errorf("the region may do %d of %d; shrinks: want %v", limit, slots, shrinks)
			}
		})
	}
	f("nobody listens", closed, good, d.KnownHosts(), true)
	f("unknown host key", d.Address, good, nil, false)
	f("login refused", d.Address, sshconn.Credential{User: d.User, PrivateKey: newKey(t)}, d.KnownHosts(), false)
	f("no key to log in with", d.Address, sshconn.Credential{User: d.User}, d.KnownHosts(), false)
}

// limitAfter runs a job on eight hosts, all at one address, to its end, and
// returns what its region may do then.
func limitAfter(t *testing.T, r automation.Runner, address string) (limit, slots int) {
	t.Helper()
	quiet := slog.New(slog.DiscardHandler)
	db, err := state.Open(state.Options{InMemory: true, Log: quiet})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	chain, err := ledger.Open(db)
	if err != nil {
		t.Fatal(err)
	}
	queue, err := badgerq.New(db)
	if err != nil {
		t.Fatal(err)
	}
	rb, err := automation.ParseRunbook("b.yaml", []byte("name: b\nsteps: [{name: s, shell: 'true'}]\n"))
	if err != nil {
		t.Fatal(err)
	}
	x, err := automation.New(automation.Options{
		State: db, Ledger: chain, Queue: queue, Runner: r, Runbooks: []automation.Runbook{rb}, Log: quiet, RetryAfter: time.Millisecond,
		Regions: []automation.Region{{Name: "here", Prefixes: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, Slots: 16}},
		Hosts: func(name string) (automation.Host, bool) {
			return automation.Host{Name: name, Address: address, Credential: "ops"}, true
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer running(t, x)()
	spec := automation.Spec{ID: "j", Runbook: "b"}
	for i := range 8 {
		spec.Hosts = append(spec.Hosts, fmt.Sprint("h", i))
	}
	if _, err := x.Submit(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		j, err := x.Job("j")
		if err != nil || time.Now().After(end) {
			t.Fatalf("%+v, %v", j, err)
		}
		if automation.JobEnded(j.Phase) {
			if j.Phase != automation.JobFailed {
				t.Fatalf("the job is %s", j.Phase)
			}
			break
		}
	}
	regions, _, _ := x.Regions()
	for _, reg := range regions {
		if reg.Name == "here" {
			return reg.Limit, reg.Slots
		}
	}
	t.Fatal("no such region")
	return 0, 0
}
