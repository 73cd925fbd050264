package sshconn

import (
	"bytes"
	"context"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"nocturne/internal/need"
	"nocturne/internal/secret"
	"nocturne/internal/sshconn/sshdtest"
)

// realHost starts OpenSSH and a pool that may log in to it.
func realHost(t *testing.T, change func(*Options), config ...string) (*Pool, Host, *sshdtest.Server) {
	t.Helper()
	s := sshdtest.Start(t, need.Binary(t, "sshd", "openssh-server"), config...)
	known, err := ParseKnownHosts("known_hosts", s.KnownHosts())
	if err != nil {
		t.Fatal(err)
	}
	p := newPool(t, known, func(o *Options) {
		o.Credential = func(string) (Credential, error) {
			return Credential{User: s.User, PrivateKey: secret.Text(s.Key)}, nil
		}
		if change != nil {
			change(o)
		}
	})
	return p, Host{Name: "real", Address: s.Address, Credential: "ops", Region: "here"}, s
}

func TestOpenSSH(t *testing.T) {
	p, h, _ := realHost(t, nil)
	f := func(cmd string, exit int, stdout string) {
		t.Helper()
		var out, errs bytes.Buffer
		got, err := p.Exec(t.Context(), h, cmd, ExecOptions{Stdout: &out, Stderr: &errs, Total: 20 * time.Second})
		if err != nil || got != exit || out.String() != stdout {
			t.Errorf("%s: exit %d, stdout %.60q, stderr %.60q, %v", cmd, got, out.String(), errs.String(), err)
		}
	}
	f("echo out; echo err >&2", 0, "out\n")
	f("exit 7", 7, "")
	f("kill -TERM $$", 143, "")
	f("cat; echo ended", 0, "ended\n") // its input is empty, not open
	f("head -c 100000 /dev/zero | wc -c", 0, "100000\n")
	f("sleep 30 & echo started", 0, "started\n") // a child holds the output: the status counts
	f("head -c 3000000 /dev/zero | tr '\\0' x", 0, strings.Repeat("x", 1<<20)+"\n[output cut after 1048576 bytes]\n")
	if n := p.Stats().Opened; n != 1 {
		t.Errorf("%d connections for one host", n)
	}
}

func TestOpenSSHRefusesTheKey(t *testing.T) {
	other := testKey(t)
	p, h, s := realHost(t, func(o *Options) {
		o.Credential = func(string) (Credential, error) { return other, nil }
	})
	_, err := p.Exec(t.Context(), h, "true", ExecOptions{})
	wantClass(t, err, Auth)
	if strings.Contains(s.Log.String(), "Accepted") {
		t.Error("it logged in")
	}
}

// TestMaxStartups opens 30 connections at once through an sshd that resets
// every one beyond the second or third that is not logged in: all succeed.
func TestMaxStartups(t *testing.T) {
	p, h, s := realHost(t, func(o *Options) {
		o.SessionsPerConn, o.OpeningsPerHost, o.OpeningsPerRegion, o.OpeningRate = 1, 30, 30, 1000
		o.RetryFor = 60 * time.Second
	}, "MaxStartups 2:100:3")
	var wg sync.WaitGroup
	for range 30 {
		wg.Go(func() {
			var out bytes.Buffer
			ran := 0
			exit, err := p.Exec(t.Context(), h, "echo it ran; sleep 0.3", ExecOptions{
				Stdout: &out, BeforeSend: func(context.Context) error { ran++; return nil },
			})
			if err != nil || exit != 0 || out.String() != "it ran\n" || ran != 1 {
				t.Errorf("exit %d, %q, sent %d times, %v", exit, out.String(), ran, err)
			}
		})
	}
	wg.Wait()
	st := p.Stats()
	t.Logf("%+v", st)
	if st.Resets == 0 {
		t.Error("nothing was reset: the test tests nothing")
	}
	if n := strings.Count(s.Log.String(), "Starting session: command"); n != 30 {
		t.Errorf("sshd ran %d commands", n)
	}
}

// TestMaxStartupsUnmet: within the default bounds the same sshd resets nothing.
func TestMaxStartupsUnmet(t *testing.T) {
	p, h, _ := realHost(t, nil, "MaxStartups 10:100:10")
	var wg sync.WaitGroup
	for range 24 {
		wg.Go(func() {
			if _, err := p.Exec(t.Context(), h, "true", ExecOptions{}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if st := p.Stats(); st.Resets != 0 || st.Opened > 3 {
		t.Errorf("%+v", st)
	}
}

// TestMaxSessions meets an sshd that allows fewer sessions on a connection
// than the pool expects.
func TestMaxSessions(t *testing.T) {
	p, h, _ := realHost(t, nil, "MaxSessions 1")
	var wg sync.WaitGroup
	for range 6 {
		wg.Go(func() {
			if exit, err := p.Exec(t.Context(), h, "sleep 0.5", ExecOptions{}); err != nil || exit != 0 {
				t.Errorf("exit %d, %v", exit, err)
			}
		})
	}
	wg.Wait()
	if n := p.Stats().Opened; n < 2 {
		t.Errorf("%d connections for 6 sessions of 1", n)
	}
}

// TestResetIsRetryable has a listener that does what MaxStartups does, for
// ever: patience ends, and the class says that a later attempt may succeed.
func TestResetIsRetryable(t *testing.T) {
	for _, said := range []string{"", "Exceeded MaxStartups\r\n", "Not allowed at this time\r\n"} {
		ln, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			for {
				c, err := ln.Accept()
				if err != nil {
					return
				}
				_, _ = c.Write([]byte(said))
				c.Close()
			}
		}()
		p := newPool(t, NewKnownHosts(), nil)
		_, err = p.Exec(t.Context(), Host{Name: "full", Address: ln.Addr().String(), Credential: "ops"}, "true", ExecOptions{})
		ln.Close()
		e := wantClass(t, err, Reset)
		if !e.Retryable() || p.Stats().Resets == 0 || !strings.Contains(err.Error(), strings.TrimSpace(said)) {
			t.Errorf("%v after %d retries", err, p.Stats().Resets)
		}
	}
}
