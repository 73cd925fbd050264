package sshexec

import (
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

	"nocturne/automation"
	"nocturne/internal/need"
	"nocturne/internal/secret"
	"nocturne/internal/sshconn"
	"nocturne/internal/sshconn/fleet"
	"nocturne/internal/sshconn/sshdtest"
)

func runner(t *testing.T, cred sshconn.Credential, knownHosts []byte) *Runner {
	t.Helper()
	known, err := sshconn.ParseKnownHosts("known_hosts", knownHosts)
	if err != nil {
		t.Fatal(err)
	}
	p, err := sshconn.New(sshconn.Options{
		Credential: func(string) (sshconn.Credential, error) { return cred, nil },
		HostKeys:   known, Silence: time.Second, Session: 2 * time.Second, Handshake: 3 * time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return New(p)
}

func newKey(t *testing.T) secret.Text {
	t.Helper()
	_, priv, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	b, err := ssh.MarshalPrivateKey(priv, "")
	if err != nil {
		t.Fatal(err)
	}
	return secret.Text(pem.EncodeToMemory(b))
}

type journal struct {
	mu     sync.Mutex // guards starts
	starts map[string]int
}

func (j *journal) Write(b []byte) (int, error) {
	var e fleet.Event
	if err := json.Unmarshal(b, &e); err != nil {
		return 0, err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if e.Event == "start" {
		j.starts[e.Host]++
	}
	return len(b), nil
}

// TestSentAgreesWithTheJournal runs a step on each fault's host: what the
// journal saw starting was said to be sent, and nothing else was.
func TestSentAgreesWithTheJournal(t *testing.T) {
	hosts, err := fleet.ParseHosts("127.89.0.1+16")
	if err != nil {
		t.Fatal(err)
	}
	var rules []fleet.Rule
	for i, m := range fleet.Modes {
		rules = append(rules, fleet.Rule{Mode: m, From: hosts[i], To: hosts[i]})
	}
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := ln.Addr().(*net.TCPAddr).Port
	ln.Close()
	j := &journal{starts: map[string]int{}}
	f, err := fleet.Start(fleet.Config{Hosts: hosts, Port: port, Faults: rules, Journal: j, HugeBytes: 1 << 20, SlowEvery: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Close)
	var kh bytes.Buffer
	if err := f.KnownHosts(&kh); err != nil {
		t.Fatal(err)
	}
	r := runner(t, sshconn.Credential{User: "ops", PrivateKey: newKey(t)}, kh.Bytes())
	for i, m := range fleet.Modes {
		t.Run(string(m), func(t *testing.T) {
			t.Parallel()
			h := automation.Host{Name: string(m), Address: netip.AddrPortFrom(hosts[i], uint16(port)).String(), Credential: "ops"}
			var out bytes.Buffer
			recorded := 0
			exit, err := r.Run(t.Context(), h, "region-"+strconv.Itoa(i%3), "echo hi", automation.RunOptions{
				BeforeSend: func(context.Context) error { recorded++; return nil },
				Output:     &out, Timeout: 8 * time.Second,
			})
			j.mu.Lock()
			started := j.starts[hosts[i].String()]
			j.mu.Unlock()
			sent := err == nil
			if e, ok := errors.AsType[interface {
				error
				Sent() bool
			}](err); ok {
				sent = e.Sent()
			} else if err != nil {
				t.Fatalf("%v has no Sent", err)
			}
			if sent != (started == 1) || recorded != started || err != nil && exit != -1 {
				t.Errorf("sent %v, started %d, recorded %d, exit %d, %v", sent, started, recorded, exit, err)
			}
		})
	}
}

func TestRealHost(t *testing.T) {
	s := sshdtest.Start(t, need.Binary(t, "sshd", "openssh-server"))
	r := runner(t, sshconn.Credential{User: s.User, PrivateKey: secret.Text(s.Key)}, s.KnownHosts())
	h := automation.Host{Name: "real", Address: s.Address, Credential: "ops"}
	var out bytes.Buffer
	// Quieter than the pool's silence, within the step's own time.
	exit, err := r.Run(t.Context(), h, "", "echo out; echo err >&2; sleep 1.5; exit 4", automation.RunOptions{Output: &out, Timeout: 20 * time.Second})
	if err != nil || exit != 4 || !strings.Contains(out.String(), "out\n") || !strings.Contains(out.String(), "err\n") {
		t.Errorf("exit %d, %q, %v", exit, out.String(), err)
	}
	_, err = r.Run(t.Context(), h, "", "sleep 30", automation.RunOptions{Timeout: 300 * time.Millisecond})
	if e, ok := errors.AsType[*sshconn.Error](err); !ok || !e.Sent() || !strings.Contains(err.Error(), "300ms") {
		t.Errorf("a step past its time: %v", err)
	}
}
