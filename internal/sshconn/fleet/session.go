package fleet

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"regexp"
	"strconv"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
)

// Answer is a scripted reply. In Stdout and Stderr, {{host}} stands for the
// address and {{cmd}} for the command.
type Answer struct {
	Match  string        `json:"match"` // regular expression over the whole command
	Stdout string        `json:"stdout,omitempty"`
	Stderr string        `json:"stderr,omitempty"`
	Exit   int           `json:"exit,omitempty"`
	Delay  time.Duration `json:"delay,omitempty"` // nanoseconds in JSON

	re *regexp.Regexp
}

func (a *Answer) compile() (err error) {
	a.re, err = regexp.Compile("^(?:" + a.Match + ")$")
	return err
}

type session struct {
	f    *Fleet
	h    *host
	mode Mode
	tcp  *net.TCPConn
	ch   ssh.Channel
	user string
	env  map[string]string
}

func (s *session) serve(reqs <-chan *ssh.Request) {
	defer s.ch.Close()
	killed := make(chan struct{})
	started := false
	done := make(chan struct{})
	for {
		select {
		case <-done:
			return
		case r, ok := <-reqs:
			if !ok {
				if started {
					close(killed)
					<-done
				}
				return
			}
			switch r.Type {
			case "env":
				var kv struct{ K, V string }
				ok := ssh.Unmarshal(r.Payload, &kv) == nil
				if ok {
					if s.env == nil {
						s.env = map[string]string{}
					}
					s.env[kv.K] = kv.V
				}
				r.Reply(ok, nil)
			case "pty-req":
				r.Reply(true, nil)
			case "exec":
				var p struct{ Cmd string }
				if started || ssh.Unmarshal(r.Payload, &p) != nil {
					r.Reply(false, nil)
					continue
				}
				started = true
				r.Reply(true, nil)
				go func() { defer close(done); s.exec(p.Cmd, killed) }()
			case "signal":
				var p struct{ Sig string }
				if started && ssh.Unmarshal(r.Payload, &p) == nil {
					s.f.journal(Event{Host: s.h.addr.String(), Event: "signal", Cmd: p.Sig})
					s.ch.SendRequest("exit-signal", false, ssh.Marshal(struct {
						Sig  string
						Core bool
						Msg  string
						Lang string
					}{Sig: p.Sig}))
					s.ch.Close()
				}
			default:
				r.Reply(false, nil)
			}
		}
	}
}

func (s *session) exec(cmd string, killed <-chan struct{}) {
	f, h := s.f, s.h
	id := f.seq.Add(1)
	f.stats.Execs.Add(1)
	h.execs.Add(1)
	up(&f.stats.running, &f.stats.maxRunning)
	up(&h.running, &h.maxR)
	defer func() { f.stats.running.Add(-1); h.running.Add(-1) }()
	f.journal(Event{ID: id, Host: h.addr.String(), Event: "start", User: s.user, Cmd: cmd, Env: s.env})

	wait := func(d time.Duration) bool {
		if d <= 0 {
			return true
		}
		t := time.NewTimer(d)
		defer t.Stop()
		select {
		case <-t.C:
			return true
		case <-killed:
			return false
		}
	}
	code, ok := 0, wait(f.cfg.Latency)
	if ok {
		switch s.mode {
		case HangExec:
			<-killed
			ok = false
		case SlowOutput:
			line := bytes.Repeat([]byte("."), f.cfg.SlowChunk-1)
			line = append(line, '\n')
			for i := 0; ok && i < f.cfg.SlowChunks; i++ {
				_, err := s.ch.Write(line)
				ok = err == nil && wait(f.cfg.SlowEvery)
			}
		case HugeOutput:
			ok = huge(s.ch, f.cfg.HugeBytes) == nil
		case DropOutput:
			s.ch.Write(bytes.Repeat([]byte("x"), f.cfg.DropAfter))
			time.Sleep(5 * time.Millisecond)
			reset(s.tcp)
			ok = false
		case DropExec: // the command runs, the answer is lost: the "unknown outcome" case
			wait(20 * time.Millisecond)
			reset(s.tcp)
			ok = false
		case NoStatus: // clean close without an exit status
			f.journal(Event{ID: id, Host: h.addr.String(), Event: "end", Cmd: cmd})
			f.stats.Completed.Add(1)
			return
		case ExitNonZero:
			fmt.Fprintf(s.ch.Stderr(), "%s: simulated failure\n", h.addr)
			code = f.cfg.ExitCode
		default:
			code, ok = s.answer(cmd, wait)
		}
	}
	if !ok {
		f.stats.Dropped.Add(1)
		f.journal(Event{ID: id, Host: h.addr.String(), Event: "dropped", Cmd: cmd})
		return
	}
	f.stats.Completed.Add(1)
	f.journal(Event{ID: id, Host: h.addr.String(), Event: "end", Cmd: cmd, Code: code})
	s.ch.SendRequest("exit-status", false, ssh.Marshal(struct{ C uint32 }{uint32(code)}))
}

// answer runs a scripted or built-in command. ok is false when the client went
// away first.
func (s *session) answer(cmd string, wait func(time.Duration) bool) (code int, ok bool) {
	for i := range s.f.cfg.Answers {
		a := &s.f.cfg.Answers[i]
		if a.re == nil || !a.re.MatchString(cmd) {
			continue
		}
		if !wait(a.Delay) {
			return 0, false
		}
		rep := strings.NewReplacer("{{host}}", s.h.addr.String(), "{{cmd}}", cmd)
		io.WriteString(s.ch, rep.Replace(a.Stdout))
		io.WriteString(s.ch.Stderr(), rep.Replace(a.Stderr))
		return a.Exit, true
	}
	w := strings.Fields(cmd)
	if len(w) == 0 {
		return 0, true
	}
	arg := func(i int) string {
		if i < len(w) {
			return w[i]
		}
		return ""
	}
	switch w[0] {
	case "true", ":":
	case "false":
		return 1, true
	case "echo":
		fmt.Fprintln(s.ch, strings.TrimPrefix(cmd, "echo "))
	case "hostname":
		fmt.Fprintln(s.ch, "sim-"+strings.ReplaceAll(s.h.addr.String(), ".", "-"))
	case "uname":
		fmt.Fprintln(s.ch, "Linux sim 6.1.0-fleet #1 SMP x86_64 GNU/Linux")
	case "exit":
		n, _ := strconv.Atoi(arg(1))
		return n, true
	case "sleep":
		sec, _ := strconv.ParseFloat(arg(1), 64)
		return 0, wait(time.Duration(sec * float64(time.Second)))
	case "cat": // stdin to stdout
		io.Copy(s.ch, s.ch)
	case "sha256sum": // of stdin
		h := sha256.New()
		io.Copy(h, s.ch)
		fmt.Fprintf(s.ch, "%x  -\n", h.Sum(nil))
	case "bytes": // bytes N: N bytes of output
		n, _ := strconv.ParseInt(arg(1), 10, 64)
		return 0, huge(s.ch, n) == nil
	default:
		fmt.Fprintf(s.ch.Stderr(), "sh: 1: %s: not found\n", w[0])
		return 127, true
	}
	return 0, true
}

func huge(w io.Writer, n int64) error {
	line := bytes.Repeat([]byte("0123456789abcde\n"), 2048)
	bw := bufio.NewWriterSize(w, 32<<10)
	for n > 0 {
		k := min(n, int64(len(line)))
		if _, err := bw.Write(line[:k]); err != nil {
			return err
		}
		n -= k
	}
	return bw.Flush()
}
