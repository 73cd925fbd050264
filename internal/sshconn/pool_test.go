package sshconn

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"encoding/pem"
	"errors"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"nocturne/internal/secret"
	"nocturne/internal/sshconn/fleet"
)

// journal is what a fleet ran, readable while it runs.
type journal struct {
	mu sync.Mutex // guards b
	b  bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.b.Write(p)
}

// starts counts the commands that started, by host.
func (j *journal) starts(t *testing.T) map[string]int {
	t.Helper()
	return j.events(t, "start")
}

// events counts the events of one kind, by host.
func (j *journal) events(t *testing.T, kind string) map[string]int {
	t.Helper()
	j.mu.Lock()
	defer j.mu.Unlock()
	n := map[string]int{}
	for sc := bufio.NewScanner(bytes.NewReader(j.b.Bytes())); sc.Scan(); {
		var e fleet.Event
		if err := json.Unmarshal(sc.Bytes(), &e); err != nil {
			t.Fatal(err)
		}
		if e.Event == kind {
			n[e.Host]++
		}
	}
	return n
}

type rig struct {
	*fleet.Fleet
	port    int
	journal *journal
	known   *KnownHosts
}

func startFleet(t *testing.T, hosts string, cfg fleet.Config) *rig {
	t.Helper()
	var err error
	if cfg.Hosts, err = fleet.ParseHosts(hosts); err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	cfg.Port = ln.Addr().(*net.TCPAddr).Port
	ln.Close()
	j := &journal{}
	cfg.Journal = j
	f, err := fleet.Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Close)
	var kh bytes.Buffer
	if err := f.KnownHosts(&kh); err != nil {
		t.Fatal(err)
	}
	known, err := ParseKnownHosts("known_hosts", kh.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	return &rig{f, cfg.Port, j, known}
}

func (r *rig) host(a netip.Addr, region string) Host {
	return Host{Name: "h-" + a.String(), Address: net.JoinHostPort(a.String(), strconv.Itoa(r.port)), Credential: "ops", Region: region}
}

func testKey(t *testing.T) Credential {
	t.Helper()
	_, priv, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	b, err := ssh.MarshalPrivateKey(priv, "")
	if err != nil {
		t.Fatal(err)
	}
	return Credential{User: "ops", PrivateKey: secret.Text(pem.EncodeToMemory(b))}
}

func newPool(t *testing.T, known HostKeys, change func(*Options)) *Pool {
	t.Helper()
	cred := testKey(t)
	o := Options{
		Credential: func(string) (Credential, error) { return cred, nil },
		HostKeys:   known,
		RetryFor:   300 * time.Millisecond,
	}
	if change != nil {
		change(&o)
	}
	p, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

// eventually waits for what other goroutines bring about.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for tick := time.NewTicker(5 * time.Millisecond); !ok(); {
		select {
		case <-ctx.Done():
			t.Fatalf("in vain: %s", what)
		case <-tick.C:
		}
	}
}

func wantClass(t *testing.T, err error, c Class) *Error {
	t.Helper()
	e, ok := errors.AsType[*Error](err)
	if !ok || e.Class != c {
		t.Fatalf("want class %s, got %v", c, err)
	}
	if e.Sent() != (c == Lost) {
		t.Fatalf("class %s says Sent()==%v", c, e.Sent())
	}
	return e
}

// TestFaultModes meets every fault of the simulated fleet: the class says what
// happened, and the fleet's journal witnesses what really ran.
func TestFaultModes(t *testing.T) {
	want := map[fleet.Mode]Class{
		fleet.OK: "", fleet.SlowOutput: "", fleet.HugeOutput: "", fleet.ExitNonZero: "",
		fleet.Refuse: Refused, fleet.HangConnect: Timeout, fleet.Garbage: Handshake, fleet.HangKex: Timeout,
		fleet.ChangedKey: HostKeyChanged, fleet.HangAuth: Timeout, fleet.AuthReject: Auth, fleet.HangSession: Timeout,
		fleet.HangExec: Lost, fleet.DropOutput: Lost, fleet.DropExec: Lost, fleet.NoStatus: Lost,
	}
	if len(want) != len(fleet.Modes) {
		t.Fatalf("%d of %d modes are expected something of", len(want), len(fleet.Modes))
	}
	first := netip.MustParseAddr("127.81.0.1")
	var rules []fleet.Rule
	addr := map[fleet.Mode]netip.Addr{}
	for _, m := range fleet.Modes {
		rules = append(rules, fleet.Rule{Mode: m, From: first, To: first})
		addr[m], first = first, first.Next()
	}
	r := startFleet(t, "127.81.0.1+16", fleet.Config{Faults: rules, HugeBytes: 4 << 20, SlowEvery: 10 * time.Millisecond, SlowChunks: 150})
	p := newPool(t, r.known, func(o *Options) {
		o.Handshake, o.Session, o.Silence = 3*time.Second, 2*time.Second, time.Second
		o.MaxOutput = 64 << 10
		o.OpeningsPerRegion = 16
	})
	for m, class := range want {
		t.Run(string(m), func(t *testing.T) {
			t.Parallel()
			var out bytes.Buffer
			before := 0
			exit, err := p.Exec(t.Context(), r.host(addr[m], "one"), "echo hi", ExecOptions{
				Stdout: &out, Stderr: &out, BeforeSend: func(context.Context) error { before++; return nil },
			})
			started := r.journal.starts(t)[addr[m].String()]
			t.Logf("exit %d, %d bytes, started %d, %v", exit, out.Len(), started, err)
			if class != "" {
				e := wantClass(t, err, class)
				if exit != -1 || before != started || started != map[bool]int{true: 1}[e.Sent()] {
					t.Errorf("exit %d, before %d, started %d", exit, before, started)
				}
				if !strings.Contains(err.Error(), "h-"+addr[m].String()) {
					t.Errorf("%v does not name the host", err)
				}
				return
			}
			if err != nil || started != 1 || before != 1 {
				t.Fatalf("started %d, before %d, %v", started, before, err)
			}
			switch {
			case m == fleet.OK && out.String() != "hi\n",
				m == fleet.ExitNonZero && (exit != 3 || !strings.Contains(out.String(), "simulated failure")),
				m != fleet.ExitNonZero && exit != 0,
				m == fleet.SlowOutput && strings.Count(out.String(), "\n") != 150,
				m == fleet.HugeOutput && (out.Len() > 64<<10+64 || !strings.HasSuffix(out.String(), "[output cut after 65536 bytes]\n")):
				t.Errorf("exit %d, output %.80q of %d bytes", exit, out.String(), out.Len())
			}
		})
	}
}

func TestTotalDeadlineIsLost(t *testing.T) {
	r := startFleet(t, "127.82.0.1", fleet.Config{})
	p := newPool(t, r.known, nil)
	h := r.host(r.Hosts()[0], "")
	_, err := p.Exec(t.Context(), h, "sleep 20", ExecOptions{Total: 200 * time.Millisecond})
	if e := wantClass(t, err, Lost); !errors.Is(e, errTotal) {
		t.Errorf("%v does not say which deadline", err)
	}
	eventually(t, "the command is told to end", func() bool { return len(r.journal.events(t, "signal")) == 1 })
	ctx, cancel := context.WithCancel(t.Context())
	_, err = p.Exec(ctx, h, "sleep 20", ExecOptions{BeforeSend: func(context.Context) error { cancel(); return nil }})
	wantClass(t, err, Lost)
	_, err = p.Exec(ctx, h, "true", ExecOptions{})
	wantClass(t, err, Canceled)
	if n := r.journal.starts(t)["127.82.0.1"]; n > 2 {
		t.Errorf("%d commands started", n)
	}
}

func TestBeforeSendRefuses(t *testing.T) {
	r := startFleet(t, "127.82.1.1", fleet.Config{})
	p := newPool(t, r.known, nil)
	no := errors.New("the lease is another's")
	_, err := p.Exec(t.Context(), r.host(r.Hosts()[0], ""), "true", ExecOptions{BeforeSend: func(context.Context) error { return no }})
	wantClass(t, err, Aborted)
	if !errors.Is(err, no) || len(r.journal.starts(t)) != 0 {
		t.Errorf("%v; started %v", err, r.journal.starts(t))
	}
	if _, err := p.Exec(t.Context(), r.host(r.Hosts()[0], ""), "true", ExecOptions{}); err != nil || p.Stats().Opened != 1 {
		t.Errorf("the connection was not kept: %v, %+v", err, p.Stats())
	}
}

func TestCloseEndsWhatRuns(t *testing.T) {
	r := startFleet(t, "127.82.2.1+2", fleet.Config{Faults: []fleet.Rule{{Mode: fleet.HangKex, From: netip.MustParseAddr("127.82.2.2"), To: netip.MustParseAddr("127.82.2.2")}}})
	p := newPool(t, r.known, nil)
	sent, opening := make(chan struct{}), make(chan error, 1)
	lost := make(chan error, 1)
	go func() {
		_, err := p.Exec(t.Context(), r.host(r.Hosts()[0], ""), "sleep 60", ExecOptions{BeforeSend: func(context.Context) error { close(sent); return nil }})
		lost <- err
	}()
	go func() {
		_, err := p.Exec(t.Context(), r.host(r.Hosts()[1], ""), "true", ExecOptions{})
		opening <- err
	}()
	<-sent
	eventually(t, "the second host is being opened", func() bool { return r.Stats().Open == 2 })
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	wantClass(t, <-lost, Lost)
	wantClass(t, <-opening, Canceled)
	_, err := p.Exec(t.Context(), r.host(r.Hosts()[0], ""), "true", ExecOptions{})
	wantClass(t, err, Canceled)
}

// TestOwnBoundsAreNoTimeoutOfTheHost: what waits for our own openings says
// nothing of the host, which was not tried.
func TestOwnBoundsAreNoTimeoutOfTheHost(t *testing.T) {
	first := netip.MustParseAddr("127.82.3.1")
	r := startFleet(t, "127.82.3.1+3", fleet.Config{Faults: []fleet.Rule{{Mode: fleet.HangKex, From: first, To: first}}})
	f := func(what string, second netip.Addr, change func(*Options), opened ...netip.Addr) {
		t.Helper()
		p := newPool(t, r.known, change)
		for _, a := range opened {
			mustExec(t, p, r.host(a, "here"))
		}
		hanging := make(chan error, 1)
		go func() {
			_, err := p.Exec(t.Context(), r.host(first, "here"), "true", ExecOptions{})
			hanging <- err
		}()
		eventually(t, "the first opening hangs", func() bool { return r.Stats().Open == int64(len(opened)+1) })
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		_, err := p.Exec(ctx, r.host(second, "here"), "true", ExecOptions{})
		e := wantClass(t, err, Busy)
		if answered, tried := e.Reach(); answered || tried {
			t.Errorf("%s: answered %v, tried %v", what, answered, tried)
		}
		if err := p.Close(); err != nil {
			t.Error(err)
		}
		<-hanging
		eventually(t, "the hosts have none left", func() bool { return r.Stats().Open == 0 })
	}
	f("the region's slot", r.Hosts()[1], func(o *Options) { o.OpeningsPerRegion = 1 })
	f("the address' slot", first, nil)
	f("the region's rate", r.Hosts()[2], func(o *Options) { o.OpeningRate, o.OpeningsPerRegion = 0.001, 2 }, r.Hosts()[1])
}

// TestReach holds each class to what it says of the way to the host.
func TestReach(t *testing.T) {
	type says struct{ answered, tried bool }
	for class, want := range map[Class]says{
		Auth: {true, true}, HostKeyUnknown: {true, true}, HostKeyChanged: {true, true},
		Refused: {false, true}, Unreachable: {false, true}, Timeout: {false, true}, Reset: {false, true}, Handshake: {false, true}, Lost: {false, true},
		Session: {}, Canceled: {}, BadCredential: {}, Aborted: {}, Busy: {},
	} {
		answered, tried := (&Error{Class: class}).Reach()
		if got := (says{answered, tried}); got != want {
			t.Errorf("%s: %+v, want %+v", class, got, want)
		}
	}
}
