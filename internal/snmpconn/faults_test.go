package snmpconn_test

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"nocturne/internal/need"
	"nocturne/internal/snmpconn"
	"nocturne/internal/snmpconn/snmptest"
)

// walkFiles keeps the names in each walk file, in order.
var walkFiles sync.Map

// recorded returns the names under root in a walk file, in order.
func recorded(t *testing.T, file string, root snmpconn.OID) []string {
	t.Helper()
	all, ok := walkFiles.Load(file)
	if !ok {
		all = readWalk(t, file)
		walkFiles.Store(file, all)
	}
	var out []string
	for _, oid := range all.([]snmpconn.OID) {
		if oid.Under(root) {
			out = append(out, oid.String())
		}
	}
	return out
}

func readWalk(t *testing.T, file string) []snmpconn.OID {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var all []snmpconn.OID
	for line := range strings.Lines(string(data)) {
		name, _, _ := strings.Cut(line, "|")
		if oid, err := snmpconn.ParseOID(name); err == nil {
			all = append(all, oid)
		}
	}
	slices.SortFunc(all, snmpconn.OID.Compare)
	return all
}

// recordedValues returns the values that a walk file writes plainly.
func recordedValues(t *testing.T, file string) map[string]string {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for line := range strings.Lines(string(data)) {
		f := strings.SplitN(strings.TrimRight(line, "\r\n"), "|", 3)
		if len(f) == 3 && slices.Contains([]string{"2", "4", "64", "65", "66", "67", "70"}, f[1]) {
			out[f[0]] = f[2]
		}
	}
	return out
}

func interfaceColumns() []snmpconn.OID {
	var roots []snmpconn.OID
	for arc := range uint32(22) {
		roots = append(roots, snmpconn.MustOID("1.3.6.1.2.1.2.2.1").Plus(arc+1))
	}
	for arc := range uint32(19) {
		roots = append(roots, snmpconn.MustOID("1.3.6.1.2.1.31.1.1.1").Plus(arc+1))
	}
	return roots
}

// Whatever an agent does, a walk is whole and equal to what the agent holds,
// or it is an error.
func TestWalkUnderFaults(t *testing.T) {
	type fault struct {
		kind  string
		whole bool           // must succeed all the same
		class snmpconn.Class // of the error otherwise
	}
	faults := []fault{
		{"", true, ""},
		{"drop=0.05", true, ""},
		{"drop=0.4", false, ""},
		{"truncate=0.05", true, ""},
		{"truncate=0.6", false, ""},
		{"truncate=1", false, snmpconn.Garbled},
		{"garbage=0.05", true, ""},
		{"garbage=1", false, snmpconn.Garbled},
		{"generr=0.05", true, ""},
		{"generr=0.5", false, ""},
		{"generr=1", false, snmpconn.Status},
		{"loop", false, snmpconn.Order},
		{"stuck", false, snmpconn.Order},
		{"nobulk", true, ""},
		{"nobulk,drop=0.02", false, ""},
		{"maxrep=3", true, ""},
		{"dead", false, snmpconn.Timeout},
		{"wrongid=1", false, snmpconn.Timeout},
		{"wrongid=0.05", true, ""},
		{"dup=1", true, ""},
		{"dup=1,delay=30ms,jitter=200ms", false, ""},
	}
	var args []string
	for i, f := range faults {
		if f.kind != "" {
			args = append(args, "-fault", fmt.Sprintf("%d-%d:%s", i, i, f.kind))
		}
	}
	dir := need.Shared(t, "snmp", "bench")
	agents := simulator(t, dir, append(args, "-devices", fmt.Sprint(len(faults)))...)
	var all sync.WaitGroup
	room := make(chan struct{}, 12)
	for _, cred := range []snmpconn.Credential{v2c, v3user} {
		for i, f := range faults {
			all.Go(func() { // they mostly wait: not only as many at once as there are CPUs
				room <- struct{}{}
				defer func() { <-room }()
				t.Run("v"+cred.Version+" "+f.kind, func(t *testing.T) {
					underFault(t, agents.Address(i), cred, dir+"/switch48.snmprec", f.whole, f.class)
				})
			})
		}
	}
	all.Wait()
}

func underFault(t *testing.T, addr string, cred snmpconn.Credential, file string, whole bool, class snmpconn.Class) {
	p := snmpconn.New(snmpconn.Options{Timeout: 400 * time.Millisecond, Retries: 4})
	var cols []snmpconn.Column
	var err error
	for range 2 { // what was learnt must not harm the next walk
		began := time.Now()
		cols, err = walk(t, p, addr, cred, 10*time.Second, interfaceColumns()...)
		if took := time.Since(began); took > 12*time.Second {
			t.Errorf("took %v with a deadline of 10 s", took)
		}
		compare(t, file, cols, err)
	}
	if whole && err != nil {
		t.Errorf("error: %v", err)
	}
	if class != "" && snmpconn.ClassOf(err) != class {
		t.Errorf("class %q, want %q: %v", snmpconn.ClassOf(err), class, err)
	}
}

// compare fails when a column without an error lacks something, or any column
// has something that the file does not.
func compare(t *testing.T, file string, cols []snmpconn.Column, err error) {
	t.Helper()
	broken := 0
	for _, c := range cols {
		want, got := recorded(t, file, c.Root), names([]snmpconn.Column{c})
		if c.Err != nil {
			broken++
			if len(got) > len(want) || !slices.Equal(want[:len(got)], got) {
				t.Errorf("%s has what the agent has not: %v", c.Root, got)
			}
			continue
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s is said to be whole and is not:\n%s", c.Root, diff)
		}
	}
	if (broken > 0 || len(cols) == 0) != (err != nil) {
		t.Errorf("%d columns are broken, error: %v", broken, err)
	}
}

// An agent with small messages is asked for less, and that is remembered.
func TestWalkFitsTheAgent(t *testing.T) {
	dir := need.Shared(t, "snmp", "bench")
	for _, size := range []string{"484", "1472"} {
		agents := simulator(t, dir, "-devices", "1", "-max-msg", size)
		for _, cred := range []snmpconn.Credential{v1, v2c, v3user} {
			p := snmpconn.New(snmpconn.Options{})
			cols, err := walk(t, p, agents.Address(0), cred, 20*time.Second, interfaceColumns()...)
			if err != nil {
				t.Errorf("v%s, %s bytes: %v", cred.Version, size, err)
			}
			if cred.Version != "1" { // which has no Counter64
				compare(t, dir+"/switch48.snmprec", cols, err)
			}
			s, err := p.Open(t.Context(), agents.Address(0), cred)
			if err != nil {
				t.Fatal(err)
			}
			var many []snmpconn.OID
			for i := range uint32(48) {
				many = append(many, snmpconn.MustOID("1.3.6.1.2.1.2.2.1.2").Plus(i+1))
			}
			vars, err := s.Get(t.Context(), many...)
			s.Close()
			if err != nil || len(vars) != 48 {
				t.Errorf("v%s, %s bytes: get of 48 objects: %d, %v", cred.Version, size, len(vars), err)
			}
		}
	}
}

// An agent that ignores GetBulk is not asked by it for ever.
func TestGetBulkIsGivenUp(t *testing.T) {
	agents := simulator(t, need.Shared(t, "snmp", "bench"), "-devices", "1", "-fault", "0:nobulk")
	p := snmpconn.New(snmpconn.Options{Timeout: 2 * time.Second, Retries: -1})
	for i := range 4 {
		began := time.Now()
		cols, err := walk(t, p, agents.Address(0), v2c, time.Minute, snmpconn.MustOID("1.3.6.1.2.1.2.2.1.2"))
		if err != nil || len(cols[0].Rows) != 48 {
			t.Fatalf("walk %d: %d rows, %v", i, len(cols[0].Rows), err)
		}
		if waited := time.Since(began) >= 2*time.Second; waited != (i < 2) {
			t.Errorf("walk %d took %v", i, time.Since(began))
		}
	}
}

// Two sessions with one agent wait for each other, and their caller's context
// ends the wait.
func TestSessionsOfOneAgentTakeTurns(t *testing.T) {
	agents := simulator(t, need.Shared(t, "snmp", "bench"), "-devices", "1", "-fault", "0:dead")
	p := snmpconn.New(snmpconn.Options{Timeout: time.Minute})
	s, err := p.Open(t.Context(), agents.Address(0), v2c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := p.Open(ctx, agents.Address(0), v2c); err == nil || !strings.Contains(err.Error(), "earlier session") {
		t.Errorf("second session: %v", err)
	}
	gone, leave := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, leave)
	if _, err := s.Walk(gone, snmpconn.MustOID("1.3.6.1.2.1.1")); snmpconn.ClassOf(err) != snmpconn.Canceled {
		t.Errorf("walk of a caller that has left: %v", err)
	}
	s.Close()
	s.Close() // twice is harmless
	s, err = p.Open(t.Context(), agents.Address(0), v2c)
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
}

// A table beyond the bound is an error, not an endless read.
func TestWalkStopsAtTheBound(t *testing.T) {
	agents := simulator(t, need.Shared(t, "snmp", "bench"), "-devices", "1")
	p := snmpconn.New(snmpconn.Options{MaxRows: 10})
	cols, err := walk(t, p, agents.Address(0), v2c, 10*time.Second, snmpconn.MustOID("1.3.6.1.2.1.2.2.1.2"))
	if snmpconn.ClassOf(err) != snmpconn.Bound || len(cols[0].Rows) != 10 {
		t.Errorf("%d rows, %v", len(cols[0].Rows), err)
	}
}

// All walks of real devices come back object by object.
func TestRecordedWalks(t *testing.T) {
	dir := need.Shared(t, "snmp", "walks")
	files := snmptest.Walks(t, dir)
	agents := simulator(t, dir)
	for i, file := range files {
		values := recordedValues(t, file)
		p := snmpconn.New(snmpconn.Options{})
		roots := append(interfaceColumns(), snmpconn.MustOID("1.3.6.1.2.1.1"), snmpconn.MustOID("1.0.8802"), snmpconn.MustOID("1.3.6.1.2.1.47"))
		cols, err := walk(t, p, agents.Address(i), v2c, 30*time.Second, roots...)
		if err != nil {
			t.Errorf("%s: %v", file, err)
		}
		for _, c := range cols {
			if diff := cmp.Diff(recorded(t, file, c.Root), names([]snmpconn.Column{c})); diff != "" {
				t.Errorf("%s %s:\n%s", file, c.Root, diff)
			}
			for _, r := range c.Rows {
				if want, ok := values[r.OID.String()]; ok && want != r.Text() {
					t.Errorf("%s: %s is %q, want %q", file, r.OID, r.Text(), want)
				}
			}
		}
	}
}
