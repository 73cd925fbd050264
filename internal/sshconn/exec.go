package sshconn

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/VictoriaMetrics/metrics"
	"golang.org/x/crypto/ssh"
)

// ExecOptions of one command. Zero bounds take the pool's.
type ExecOptions struct {
	// Stdout and Stderr take the output; nil discards it. They may be the same
	// writer: writes never overlap, and none happens after Exec has returned.
	Stdout, Stderr io.Writer
	// BeforeSend is called once at most, when the session is open and directly
	// before the exec request: "sent" is made durable here. Its error ends
	// Exec with class Aborted and nothing is sent.
	BeforeSend func(ctx context.Context) error
	Silence    time.Duration // longest time without output
	Total      time.Duration // from the exec request to the exit status
	MaxOutput  int64         // bytes of both streams; what is beyond is read, dropped and said so
}

var (
	errSilence = errors.New("no output")
	errTotal   = errors.New("no exit status")
)

// Exec runs cmd by the host's login shell and returns its exit status (128 and
// the signal's number when a signal ended it). A non-zero status is no error.
// The error is always an *Error: its Sent tells whether the command may have
// run. A kept connection that turns out broken before BeforeSend is replaced
// once, unseen.
func (p *Pool) Exec(ctx context.Context, h Host, cmd string, o ExecOptions) (exit int, err error) {
	start := time.Now()
	exit, class := -1, Class("ok")
	ctx, done, err := p.begin(ctx)
	if err != nil {
		return exit, fail(h, Canceled, "%w", err)
	}
	defer done()
	defer func() {
		if e, ok := errors.AsType[*Error](err); ok {
			class = e.Class
		}
		count("execs", string(class))
		metrics.GetOrCreateHistogram("nocturne_sshconn_exec_duration_seconds").UpdateDuration(start)
	}()
	c, s, err := p.session(ctx, h)
	if err != nil {
		return exit, err
	}
	defer p.release(c)
	if o.BeforeSend != nil {
		if err := o.BeforeSend(ctx); err != nil {
			s.ch.Close()
			return exit, fail(h, Aborted, "before sending: %w", err)
		}
	}
	exit, err = p.run(ctx, s, cmd, o)
	if err != nil {
		p.retire(c)
		return -1, fail(h, Lost, "the command was sent and its outcome is unknown: %w", err)
	}
	return exit, nil
}

// session opens a session: on another connection when the server allows no
// more on this one, on a new one, once, when the kept one is broken.
func (p *Pool) session(ctx context.Context, h Host) (*conn, *session, error) {
	var after uint64 // connections up to this one may be broken
	for range p.o.SessionsPerConn + 2 {
		c, kept, err := p.acquire(ctx, h, after)
		if err != nil {
			return nil, nil, err
		}
		s, full, err := p.openSession(ctx, h, c)
		if err == nil {
			return c, s, nil
		}
		p.release(c)
		switch {
		case full:
		case kept && after == 0 && ctx.Err() == nil:
			after = c.id
		default:
			return nil, nil, err
		}
	}
	return nil, nil, fail(h, Session, "open a session: every connection is refused more of them")
}

// openSession opens a session on c. full says that the server refused it for
// the others that run there.
func (p *Pool) openSession(ctx context.Context, h Host, c *conn) (s *session, full bool, err error) {
	type opened struct {
		s   *session
		err error
	}
	ch := make(chan opened, 1)
	p.wg.Go(func() {
		s, err := newSession(c.client)
		ch <- opened{s, err}
	})
	wait := time.NewTimer(p.o.Session)
	defer wait.Stop()
	select {
	case r := <-ch:
		if r.err == nil {
			return r.s, false, nil
		}
		if _, refused := errors.AsType[*ssh.OpenChannelError](r.err); refused {
			full = p.full(c)
		} else {
			p.retire(c)
		}
		return nil, full, fail(h, Session, "open a session: %w", r.err)
	// The request stays open in the cases below, until the retired connection
	// is closed by the last one to use it.
	case <-ctx.Done():
		p.retire(c)
		return nil, false, ended(ctx, h, "open a session")
	case <-wait.C:
		p.retire(c)
		return nil, false, fail(h, Timeout, "no session within %s", p.o.Session)
	}
}

// run sends the exec request and waits for the exit status. Its error always
// means that none came.
func (p *Pool) run(ctx context.Context, s *session, cmd string, o ExecOptions) (exit int, err error) {
	out := newOutput(cmp.Or(o.MaxOutput, p.o.MaxOutput))
	done := make(chan result, 1)
	p.wg.Go(func() {
		exit, err := s.exec(cmd, out.stream(o.Stdout), out.stream(o.Stderr))
		done <- result{exit, err}
	})
	r := await(ctx, done, out, cmp.Or(o.Silence, p.o.Silence), cmp.Or(o.Total, p.o.Total))
	if err := out.close(); err != nil {
		p.o.Log.Warn("command output not stored", "component", "sshconn", "err", err)
	}
	if r.err != nil {
		// Whoever waits no longer does not want it to run on either. It may all
		// the same: OpenSSH signals no session of root's.
		s.terminate()
	}
	return r.exit, r.err
}

type result struct {
	exit int
	err  error
}

// await waits for the end of the command or of one of its deadlines.
func await(ctx context.Context, done <-chan result, out *output, silence, total time.Duration) result {
	end, quiet := time.NewTimer(total), time.NewTimer(silence)
	defer end.Stop()
	defer quiet.Stop()
	for {
		select {
		case r := <-done:
			return r
		case <-ctx.Done():
			return result{-1, fmt.Errorf("waiting ended: %w", context.Cause(ctx))}
		case <-end.C:
			return result{-1, fmt.Errorf("%w within %s", errTotal, total)}
		case <-quiet.C:
			left := silence - out.quietFor()
			if left <= 0 {
				return result{-1, fmt.Errorf("%w for %s", errSilence, silence)}
			}
			quiet.Reset(left)
		}
	}
}
