package sshexec

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"nocturne/automation"
	"nocturne/automation/badgerq"
	"nocturne/internal/ledger"
	"nocturne/internal/need"
	"nocturne/internal/secret"
	"nocturne/internal/sshconn"
	"nocturne/internal/sshconn/sshdtest"
	"nocturne/internal/state"
)

// wireTap stands between the pool and a real sshd. It can cut the client off
// while the server's side lives on, and keep what the client sent last.
type wireTap struct {
	ln     net.Listener
	server string

	mu    sync.Mutex // guards below
	hold  bool       // keep the next bytes of the client, then cut it off
	held  []byte
	after net.Conn // the server's side of the one that was cut
	pairs []net.Conn
}

func newTap(t *testing.T, server string) *wireTap {
	t.Helper()
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &wireTap{ln: ln, server: server}
	var wg sync.WaitGroup
	t.Cleanup(func() { ln.Close(); p.cut(); p.closeLate(); wg.Wait() })
	wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			s, err := net.Dial("tcp4", server)
			if err != nil {
				t.Error(err)
				c.Close()
				return
			}
			p.mu.Lock()
			p.pairs = append(p.pairs, c)
			p.mu.Unlock()
			wg.Go(func() { _, _ = io.Copy(c, s); c.Close() })
			wg.Go(func() { p.forward(c, s) })
		}
	})
	return p
}

// forward carries the client's bytes. A request is one write, and so one read.
func (p *wireTap) forward(client, server net.Conn) {
	b := make([]byte, 64<<10)
	for {
		n, err := client.Read(b)
		p.mu.Lock()
		if p.hold && n > 0 {
			p.hold, p.held, p.after = false, append([]byte(nil), b[:n]...), server
			p.mu.Unlock()
			client.Close()
			return
		}
		p.mu.Unlock()
		if n > 0 {
			if _, err := server.Write(b[:n]); err != nil {
				return
			}
		}
		if err != nil {
			server.Close()
			return
		}
	}
}

// holdNext has the next thing that a client sends arrive late, when let go.
func (p *wireTap) holdNext() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.hold = true
}

func (p *wireTap) letGo(t *testing.T) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.after == nil {
		t.Fatal("nothing was held back")
	}
	if _, err := p.after.Write(p.held); err != nil {
		t.Fatal(err)
	}
}

func (p *wireTap) closeLate() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.after != nil {
		p.after.Close()
	}
}

// cut ends every connection.
func (p *wireTap) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.pairs {
		c.Close()
	}
	p.pairs = nil
}

// sending calls f when the command is about to leave, for the first one alone.
type sending struct {
	automation.Runner
	once sync.Once
	f    func()
}

func (r *sending) Run(ctx context.Context, h automation.Host, region, cmd string, o automation.RunOptions) (int, error) {
	before := o.BeforeSend
	o.BeforeSend = func(ctx context.Context) error {
		err := before(ctx)
		if err == nil {
			r.once.Do(r.f)
		}
		return err
	}
	return r.Runner.Run(ctx, h, region, cmd, o)
}

// site is an executor whose one host is a real sshd behind a tap.
type site struct {
	*automation.Executor
	t   *testing.T
	dir string // the commands' home
	tap *wireTap
}

func newSite(t *testing.T, book string, first func(s *site), config ...string) *site {
	t.Helper()
	s := &site{t: t, dir: t.TempDir()}
	d := sshdtest.Start(t, need.Binary(t, "sshd", "openssh-server"), append(config, "SetEnv HOME="+s.dir)...)
	s.tap = newTap(t, d.Address)
	_, port, err := net.SplitHostPort(s.tap.ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	known := fmt.Appendf(nil, "[127.0.0.1]:%s %s", port, ssh.MarshalAuthorizedKey(d.HostKey))
	db, err := state.Open(state.Options{Dir: t.TempDir(), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	chain, err := ledger.Open(db)
	if err != nil {
		t.Fatal(err)
	}
	queue, err := badgerq.New(db)
	if err != nil {
		t.Fatal(err)
	}
	rb, err := automation.ParseRunbook("book.yaml", []byte(book))
	if err != nil {
		t.Fatal(err)
	}
	s.Executor, err = automation.New(automation.Options{
		State: db, Ledger: chain, Queue: queue, Runbooks: []automation.Runbook{rb}, Log: slog.New(slog.DiscardHandler), RetryAfter: 50 * time.Millisecond,
		Runner: &sending{Runner: runner(t, sshconn.Credential{User: d.User, PrivateKey: secret.Text(d.Key)}, known), f: func() { first(s) }},
		Hosts: func(name string) (automation.Host, bool) {
			return automation.Host{Name: name, Address: s.tap.ln.Addr().String(), Credential: "ops"}, true
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(running(t, s.Executor))
	if _, err := s.Submit(t.Context(), automation.Spec{ID: "j", Runbook: rb.Name, Hosts: []string{"real"}}); err != nil {
		t.Fatal(err)
	}
	return s
}

// running runs an executor until stop is called.
func running(t *testing.T, x *automation.Executor) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- x.Run(ctx) }()
	return func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func (s *site) until(what string, ok func() bool) {
	s.t.Helper()
	for end := time.Now().Add(30 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			j, err := s.Job("j")
			s.t.Fatalf("not in 30 s: %s; the job is %+v, %v", what, j, err)
		}
	}
}

func (s *site) ended() (j automation.Job) {
	s.t.Helper()
	s.until("the job ends", func() (ended bool) {
		var err error
		j, err = s.Job("j")
		return err == nil && automation.JobEnded(j.Phase)
	})
	return j
}

// lines counts those of a file in the home: "began" has one for each time that
// the command began.
func (s *site) lines(name string) int {
	b, _ := os.ReadFile(filepath.Join(s.dir, name))
	return strings.Count(string(b), "\n")
}

func (s *site) began() int { return s.lines("began") }

// goOn lets the command of slowBook end, and waits for it.
func (s *site) goOn() {
	s.t.Helper()
	if err := os.WriteFile(filepath.Join(s.dir, "go"), nil, 0o644); err != nil {
		s.t.Fatal(err)
	}
	s.until("the command ends", func() bool { return s.lines("effect") == 1 })
}

func (s *site) probe() (p automation.ProbeState) {
	if j, err := s.Job("j"); err == nil && j.Tasks[0].Steps[0].Probe != nil {
		p = *j.Tasks[0].Steps[0].Probe
	}
	return p
}

const slowBook = `
name: slow
steps:
- name: act
  shell: |
    echo >>"$HOME/began" # until somebody lets it go on
    while [ ! -e "$HOME/go" ]; do sleep 0.02; done
    echo >"$HOME/effect"
  probe: test -s "$HOME/effect"
  timeout: %s
`

// TestCommandOutlivesItsConnection: a command that still runs when its
// connection is cut is neither judged without effect nor run again.
func TestCommandOutlivesItsConnection(t *testing.T) {
	s := newSite(t, fmt.Sprintf(slowBook, "30s"), func(*site) {})
	s.until("the command runs", func() bool { return s.began() == 1 })
	s.tap.cut()
	s.until("the probe was asked, and waits", func() bool { return s.probe().Err != "" || s.began() > 1 })
	if n := s.began(); n != 1 {
		t.Fatalf("it was begun %d times while it ran", n)
	}
	s.goOn()
	j := s.ended()
	if st := j.Tasks[0].Steps[0]; j.Phase != automation.JobSucceeded || st.Attempts != 1 || s.began() != 1 {
		t.Errorf("job %s (%s), sent %d times, begun %d times", j.Phase, j.Reason, st.Attempts, s.began())
	}
	if left, _ := filepath.Glob(filepath.Join(s.dir, ".nocturne-*/pid")); len(left) > 0 {
		t.Errorf("%q is left behind", left)
	}
}

// TestCommandThatNeverEndsIsUnknown: the probe waits for as long again as the
// step may take, then nobody knows.
func TestCommandThatNeverEndsIsUnknown(t *testing.T) {
	s := newSite(t, fmt.Sprintf(slowBook, "2s"), func(*site) {})
	s.until("the command runs", func() bool { return s.began() == 1 })
	s.tap.cut()
	j := s.ended()
	s.goOn()
	st := j.Tasks[0].Steps[0]
	if j.Phase != automation.JobUnknown || st.Attempts != 1 || s.began() != 1 || st.Ended.Sub(st.Sent) < 4*time.Second {
		t.Errorf("job %s (%s), sent %d times, begun %d times, decided after %v", j.Phase, j.Reason, st.Attempts, s.began(), st.Ended.Sub(st.Sent))
	}
}

// TestLateRequestRefusesItself: the request of a command lies in a buffer while
// the probe looks, and reaches sshd when the step was sent again and is done.
func TestLateRequestRefusesItself(t *testing.T) {
	book := `
name: late
steps:
- {name: act, shell: 'echo >>"$HOME/began"; touch "$HOME/effect"', probe: test -e "$HOME/effect", timeout: 30s}
`
	// Each command, also the one that nobody hears of, leaves a line at its end.
	force := filepath.Join(t.TempDir(), "force")
	if err := os.WriteFile(force, []byte("#!/bin/sh\nsh -c \"$SSH_ORIGINAL_COMMAND\"\ns=$?\necho >>\"$HOME/over\"\nexit $s\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	s := newSite(t, book, func(s *site) { s.tap.holdNext() }, "ForceCommand "+force)
	j := s.ended()
	if st := j.Tasks[0].Steps[0]; j.Phase != automation.JobSucceeded || st.Attempts != 2 || s.began() != 1 {
		t.Fatalf("job %s (%s), sent %d times, begun %d times", j.Phase, j.Reason, st.Attempts, s.began())
	}
	before := s.lines("over")
	s.tap.letGo(t)
	s.until("sshd has run what came late", func() bool { return s.lines("over") > before })
	if n := s.began(); n != 1 {
		t.Errorf("the late request ran: begun %d times", n)
	}
}
