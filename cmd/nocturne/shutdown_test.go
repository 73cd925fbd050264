package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"nocturne/automation"
	"nocturne/internal/need"
	"nocturne/internal/sshconn/sshdtest"
)

// endings are the times at which parts were told to end.
type endings struct {
	began time.Time
	mu    sync.Mutex
	told  map[string]time.Duration // mu guards it
}

func newEndings() *endings { return &endings{began: time.Now(), told: map[string]time.Duration{}} }

// part takes a while to end.
func (e *endings) part(name string, takes time.Duration) part {
	return part{name, func(ctx context.Context) error {
		<-ctx.Done()
		e.mu.Lock()
		e.told[name] = time.Since(e.began)
		e.mu.Unlock()
		<-time.After(takes)
		return ctx.Err()
	}}
}

// TestPhasesEndInOrder tells each phase to end when the one before has, or has
// had its time, and waits for stragglers to the last.
func TestPhasesEndInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEndings()
		var log bytes.Buffer
		phases := []phase{
			{"work", 3 * time.Second, []part{e.part("quick", 0), e.part("jobs", 2*time.Second)}},
			{"alerting", time.Second, []part{e.part("slow", 4*time.Second)}},
			{"stores", time.Second, []part{e.part("state", 0)}},
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if err := runPhases(ctx, slog.New(slog.NewTextHandler(&log, nil)), phases, endWithin); err != nil {
			t.Errorf("an end in order is no error: %v", err)
		}
		want := map[string]time.Duration{"quick": 10 * time.Second, "jobs": 10 * time.Second, "slow": 12 * time.Second, "state": 13 * time.Second}
		if !maps.Equal(e.told, want) {
			t.Errorf("told to end at %v, want %v", e.told, want)
		}
		if took := time.Since(e.began); took != 16*time.Second {
			t.Errorf("ended after %v, want 16s: the slow one is waited for", took)
		}
		if s := log.String(); !strings.Contains(s, "phase=alerting waits_for=slow") {
			t.Errorf("the log does not say what was waited for:\n%s", s)
		}
	})
}

// TestAPartThatNeverEnds is left behind, by name, in time.
func TestAPartThatNeverEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began, let := time.Now(), make(chan struct{})
		phases := []phase{{"work", time.Second, []part{{"stuck", func(context.Context) error { <-let; return nil }}}},
			{"stores", time.Second, []part{newEndings().part("state", 0)}}}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		err := runPhases(ctx, slog.New(slog.DiscardHandler), phases, endWithin)
		if err == nil || !strings.Contains(err.Error(), "stuck") || strings.Contains(err.Error(), "state") {
			t.Errorf("got %v", err)
		}
		if took := time.Since(began); took != endWithin {
			t.Errorf("ended after %v, want %v", took, endWithin)
		}
		close(let)
	})
}

// TestAPartThatFailsEndsAll ends the others in order, with its error.
func TestAPartThatFailsEndsAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEndings()
		broken := errors.New("broken")
		phases := []phase{
			{"work", time.Second, []part{e.part("jobs", 0)}},
			{"stores", time.Second, []part{{"state", func(context.Context) error { return broken }}}},
		}
		if err := runPhases(t.Context(), slog.New(slog.DiscardHandler), phases, endWithin); !errors.Is(err, broken) || !strings.Contains(err.Error(), "state: ") || len(e.told) != 1 {
			t.Errorf("got %v, told %v", err, e.told)
		}
	})
}

// post asks a path as the administrator.
func (p *process) post(t *testing.T, path string, in, out any) {
	t.Helper()
	b, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.submit(path, asJSON, b, out); err != nil {
		t.Fatal(err)
	}
}

// writeSSHChild writes a configuration that polls this machine and a real sshd
// every second and has the runbook of that text, and returns its path.
func writeSSHChild(t *testing.T, server *sshdtest.Server, runbook string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"book.yaml": runbook, "known_hosts": string(server.KnownHosts()), "key": server.Key,
		"nocturne.yaml": fmt.Sprintf(`data: data
listen: 127.0.0.1:0
collector: {interval: 1s, timeout: 900ms}
credentials:
- {name: key, ssh: {user: %s, key_file: key}}
ssh: {known_hosts: known_hosts}
targets:
  linux:
  - {name: real-1, address: %q, credential: key}
automation: {runbooks: [book.yaml]}
`, server.User, server.Address),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, "nocturne.yaml")
}

// startSigned runs a child and signs in.
func startSigned(t *testing.T, path string, login *cookie) *process {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childConfig+"="+path)
	p, token := startProcess(t, cmd, login.value == "")
	if login.value == "" {
		*login = p.setup(token)
	}
	p.login = *login
	return p
}

// TestOrderlyEnd sends SIGTERM, twice, while samples come in and a command
// hangs on a real sshd: under ten seconds, exit 0, no acknowledged sample gone
// at the next start, and the command neither run again nor called a success.
func TestOrderlyEnd(t *testing.T) {
	whole(t)
	server := sshdtest.Start(t, need.Binary(t, "sshd", "openssh-server"))
	witness := filepath.Join(t.TempDir(), "ran")
	path := writeSSHChild(t, server, fmt.Sprintf("name: hang\nsteps:\n- {name: hang, shell: 'echo ran >>%s; sleep 120', timeout: 5m}\n", witness))
	ran := func() int {
		b, err := os.ReadFile(witness)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		return bytes.Count(b, []byte("ran\n"))
	}
	var login cookie
	p := startSigned(t, path, &login)
	taken := newAcked()
	done := taken.watch(p)
	var job struct{ ID string }
	p.post(t, "/api/nocturne/v1/jobs", map[string]any{"runbook": "hang", "hosts": []string{"real-1"}}, &job)
	eventually(t, 30*time.Second, "the command runs and samples are in", func() bool { return ran() == 1 && taken.count() > 20 })
	began := time.Now()
	for range 2 {
		if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		<-time.After(100 * time.Millisecond)
	}
	if !p.dies(20 * time.Second) {
		t.Fatalf("it does not end:\n%s", p.stderr)
	}
	took := time.Since(began)
	done()
	t.Logf("ended after %v", took.Round(time.Millisecond))
	if took > 10*time.Second || p.err != nil {
		t.Errorf("ended after %v with %v:\n%s", took, p.err, p.stderr)
	}
	p = startSigned(t, path, &login)
	taken.holds(t, p)
	var after struct{ Phase string }
	eventually(t, 30*time.Second, "the job ends", func() bool {
		if err := p.get("/api/nocturne/v1/jobs/"+job.ID, &after); err != nil {
			t.Fatal(err)
		}
		return automation.JobEnded(after.Phase)
	})
	if after.Phase == automation.JobSucceeded || ran() != 1 {
		t.Errorf("the job is %s, the command ran %d times", after.Phase, ran())
	}
	began = time.Now()
	p.stop()
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("an idle end took %v", took)
	}
}
