package sshconn

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
)

// session is an SSH session channel (RFC 4254, section 6). It is ours rather
// than ssh.Session because that one hides an exit status until the channel
// closes, which a background child that holds the output open delays for ever.
type session struct {
	ch   ssh.Channel
	reqs <-chan *ssh.Request
}

// lingering is how long the output may go on after the exit status.
const lingering = time.Second

var errNoStatus = errors.New("the session ended without an exit status")

func newSession(c *ssh.Client) (*session, error) {
	ch, reqs, err := c.OpenChannel("session", nil)
	if err != nil {
		return nil, err
	}
	return &session{ch, reqs}, nil
}

// exec sends the exec request and returns the exit status, once the output has
// ended or lingered.
func (s *session) exec(cmd string, stdout, stderr io.Writer) (exit int, err error) {
	var copies sync.WaitGroup
	defer s.ch.Close()
	copies.Go(func() { _, _ = io.Copy(stdout, s.ch) })
	copies.Go(func() { _, _ = io.Copy(stderr, s.ch.Stderr()) })
	status := make(chan int, 1) // closed with the channel
	go s.watch(status)          // ends with the channel, which exec closes
	ok, err := s.ch.SendRequest("exec", true, ssh.Marshal(struct{ Command string }{cmd}))
	if err == nil && !ok {
		err = errors.New("the server refused the exec request")
	}
	if err != nil {
		return -1, fmt.Errorf("exec request: %w", err)
	}
	_ = s.ch.CloseWrite() // no input; on a broken channel the status will not come either
	exit, ok = <-status
	if !ok {
		copies.Wait()
		return -1, errNoStatus
	}
	drained := make(chan struct{})
	go func() { copies.Wait(); close(drained) }()
	late := time.NewTimer(lingering)
	defer late.Stop()
	select {
	case <-drained:
	case <-late.C:
	}
	return exit, nil
}

// watch answers the server's requests until the channel ends.
func (s *session) watch(status chan<- int) {
	defer close(status)
	got := false
	for r := range s.reqs {
		code, is := exitCode(r)
		if is && !got {
			status <- code
			got = true
		}
		if r.WantReply {
			_ = r.Reply(false, nil)
		}
	}
}

// exitCode reads exit-status and exit-signal (RFC 4254, section 6.10).
func exitCode(r *ssh.Request) (code int, is bool) {
	switch r.Type {
	case "exit-status":
		var m struct{ Status uint32 }
		if ssh.Unmarshal(r.Payload, &m) == nil {
			return int(m.Status), true
		}
	case "exit-signal":
		var m struct {
			Signal     string
			CoreDumped bool
			Error      string
			Lang       string
		}
		if ssh.Unmarshal(r.Payload, &m) == nil {
			return 128 + signals[m.Signal], true
		}
	}
	return 0, false
}

var signals = map[string]int{
	"HUP": 1, "INT": 2, "QUIT": 3, "ILL": 4, "ABRT": 6, "FPE": 8, "KILL": 9,
	"USR1": 10, "SEGV": 11, "USR2": 12, "PIPE": 13, "ALRM": 14, "TERM": 15,
}

// terminate asks the server to end the command and closes the session.
func (s *session) terminate() {
	_, _ = s.ch.SendRequest("signal", false, ssh.Marshal(struct{ Signal string }{"TERM"}))
	s.ch.Close()
}
