package automation

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/VictoriaMetrics/metrics"
)

// overrun is what a Runner gets beyond a step's timeout to end by itself.
const overrun = 5 * time.Second

var (
	errCanceled = errors.New("the job was canceled")
	errStopping = errors.New("the executor is stopping")
)

// sending guards the moment a command leaves: before it, a cancel or a stop
// cuts the connect; from it on the command is left to end.
type sending struct {
	cut context.CancelFunc

	mu        sync.Mutex // guards below
	announced bool       // the Runner called BeforeSend
	durable   bool       // "sent" is on disk, so the command may have left
	why       error      // of the cut, or of a refusal to send
}

// stopBefore cuts the connect with why, unless the command is about to leave.
func (s *sending) stopBefore(why error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.announced {
		s.why = why
		s.cut()
	}
}

// announce runs mark, which makes "sent" durable, unless the connect was cut.
// It does so once: a Runner that asks again is refused.
func (s *sending) announce(mark func() error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.why != nil {
		return s.why
	}
	if s.announced {
		return errors.New("a command is sent once")
	}
	s.announced = true
	if err := mark(); err != nil {
		s.why = err
		return err
	}
	s.durable = true
	return nil
}

// result is what came back from a Runner, and how far it got.
type result struct {
	exit      int
	err       error
	announced bool
	durable   bool
	breach    bool  // the Runner ran the command without announcing it
	refused   error // cut before sending, or sending was refused
}

// run runs one command; mark makes "sent" durable.
func (x *Executor) run(stop, working context.Context, le *lease, cmd string, o RunOptions, mark func() error) result {
	h, ok := x.o.Hosts(le.host)
	if !ok {
		return result{err: fmt.Errorf("host %q is no longer known", le.host)}
	}
	if now := x.machine(le.host); now != le.machine {
		return result{err: errMoved{le.host, now, le.machine}}
	}
	region := x.region(le.job.rec.Regions[le.host])
	ctx, cut := context.WithCancel(working)
	defer cut()
	s := &sending{cut: cut}
	defer context.AfterFunc(stop, func() { s.stopBefore(errStopping) })()
	over := make(chan struct{})
	var wg sync.WaitGroup
	defer wg.Wait()
	defer close(over)
	wg.Go(func() {
		select {
		case <-le.job.canceled:
			s.stopBefore(errCanceled)
		case <-over:
		}
	})
	o.BeforeSend = func(context.Context) error {
		x.slots.connected(region, true)
		return s.announce(func() error {
			if err := le.fence(); err != nil {
				return err
			}
			return mark()
		})
	}
	exit, err, tried := 0, x.openings.Wait(ctx), false
	if err == nil {
		timed, end := context.WithTimeout(ctx, o.Timeout+overrun)
		exit, err = x.o.Runner.Run(timed, h, region, cmd, o)
		end()
		tried = true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	r := result{exit: exit, err: err, announced: s.announced, durable: s.durable, refused: s.why}
	if r.breach = err == nil && !s.announced; r.breach {
		r.err = errors.New("the command was run without being announced")
	}
	if tried && !r.announced && r.refused == nil {
		x.reached(region, r.err)
	}
	return r
}

// reached tells a region's breaker what an attempt to connect says of it. A
// host that refuses the login has been reached; a missing credential, or our own
// bounds, say nothing.
func (x *Executor) reached(region string, err error) {
	answered, tried := false, true
	var r interface{ Reach() (answered, tried bool) }
	if errors.As(err, &r) {
		answered, tried = r.Reach()
	}
	if tried && x.slots.connected(region, answered) {
		x.log.Warn("region cannot be reached, it shrinks to probes", "region", region, "err", err)
		metrics.GetOrCreateCounter(`nocturne_automation_breaker_opened_total{region=` + strconv.Quote(region) + `}`).Inc()
	}
}

// mayHaveRun tells whether the command can have left the house.
func (r result) mayHaveRun() bool {
	if r.announced || r.breach {
		return r.durable || r.breach
	}
	var s interface{ Sent() bool }
	return errors.As(r.err, &s) && s.Sent()
}

func (r result) retryable() bool {
	var s interface{ Retryable() bool }
	return errors.As(r.err, &s) && s.Retryable()
}

// step runs the command of one step.
func (x *Executor) step(stop, working context.Context, le *lease, i int) (again time.Time, err error) {
	step := le.job.rec.Runbook.Steps[i]
	at := func(change func(s *StepState)) error {
		return le.write(func(t *taskRecord) { change(&t.Steps[i]); t.skipRest("") })
	}
	if le.task.Steps[i].Phase != StepLeased {
		if err := at(func(s *StepState) { s.lease(le.token) }); err != nil {
			return time.Time{}, err
		}
	}
	if err := at(func(s *StepState) { s.Phase = StepConnecting; s.Connects++ }); err != nil {
		return time.Time{}, err
	}
	cmd, err := le.command(i)
	if err != nil {
		return time.Time{}, at(func(s *StepState) { s.end(StepFailed, err.Error()) })
	}
	out := le.job.out.step(le.host, step.Name)
	began := time.Now()
	r := x.run(stop, working, le, cmd, RunOptions{Output: out, Timeout: step.Timeout}, func() error {
		return at(func(s *StepState) {
			s.Phase, s.Err, s.Sent = StepSent, "", time.Now().UTC()
			s.Attempts++
		})
	})
	n, sha := out.close()
	metrics.GetOrCreateHistogram(`nocturne_automation_step_duration_seconds`).UpdateDuration(began)
	printed := func(s *StepState) { s.OutputBytes, s.OutputSHA = n, sha }
	switch {
	case r.durable && r.err == nil:
		return time.Time{}, at(func(s *StepState) { printed(s); s.exited(r.exit) })
	case r.mayHaveRun():
		return time.Time{}, at(func(s *StepState) {
			if !r.durable { // sent without being announced
				s.Attempts++
				s.Sent = time.Now().UTC()
			}
			printed(s)
			s.lost(step, r.err.Error(), time.Now().UTC())
		})
	}
	return x.unsent(le, i, r, at)
}

// unsent decides a step whose command certainly did not leave.
func (x *Executor) unsent(le *lease, i int, r result, at func(func(*StepState)) error) (again time.Time, err error) {
	switch {
	case errors.Is(r.refused, errStopping):
		return time.Time{}, nil // released as ready
	case errors.Is(r.refused, errCanceled):
		return time.Time{}, nil // steps skips what is left
	case r.refused != nil:
		return time.Time{}, r.refused
	}
	if n := le.task.Steps[i].Connects; r.retryable() && n < x.o.ConnectAttempts {
		return time.Now().Add(x.o.RetryAfter << (n - 1)), at(func(s *StepState) { s.Phase, s.Err = StepReady, r.err.Error() })
	}
	return time.Time{}, at(func(s *StepState) {
		if s.mayHaveRun() {
			s.end(StepUnknown, "it was sent before, without an exit status, and cannot be sent again: "+r.err.Error())
			return
		}
		s.end(StepFailed, r.err.Error())
	})
}

func (s *StepState) end(phase, why string) {
	s.Phase, s.Err, s.Ended = phase, why, time.Now().UTC()
	metrics.GetOrCreateCounter(`nocturne_automation_steps_total{phase="` + phase + `"}`).Inc()
}

func (s *StepState) exited(code int) {
	s.Exit = code
	if code == 0 {
		s.end(StepOK, "")
		return
	}
	s.end(StepFailed, fmt.Sprintf("exit status %d", code))
}

// probe asks the host whether a step took effect whose outcome is unknown.
// Since it only looks it may be asked again.
func (x *Executor) probe(stop, working context.Context, le *lease, i int) (again time.Time, err error) {
	step := le.job.rec.Runbook.Steps[i]
	at := func(change func(s *StepState, p *ProbeState)) error {
		return le.write(func(t *taskRecord) { change(&t.Steps[i], t.Steps[i].Probe); t.skipRest("") })
	}
	if err := at(func(s *StepState, p *ProbeState) {
		s.Token = le.token
		p.Phase, p.At = StepConnecting, time.Now().UTC()
		p.Tries++
	}); err != nil {
		return time.Time{}, err
	}
	undecided := func(why string) error {
		return at(func(s *StepState, p *ProbeState) {
			p.Phase, p.Err = StepUnknown, why
			s.end(StepUnknown, s.Err+"; the probe does not say: "+why)
		})
	}
	cmd, err := le.question(i)
	if err != nil {
		return time.Time{}, undecided(err.Error())
	}
	out := le.job.out.step(le.host, step.Name+" (probe)")
	r := x.run(stop, working, le, cmd, RunOptions{Output: out, Timeout: step.Timeout}, func() error {
		return at(func(_ *StepState, p *ProbeState) { p.Phase = StepSent })
	})
	out.close()
	switch {
	case errors.Is(r.refused, errStopping), errors.Is(r.refused, errCanceled):
		return time.Time{}, nil
	case r.refused != nil:
		return time.Time{}, r.refused
	case r.err != nil && le.task.Steps[i].Probe.Tries < x.o.ConnectAttempts:
		return time.Now().Add(x.o.RetryAfter), at(func(_ *StepState, p *ProbeState) { p.Phase, p.Err = StepReady, r.err.Error() })
	case r.err != nil:
		return time.Time{}, undecided(r.err.Error())
	case r.exit == undecidedExit && time.Now().Before(le.task.Steps[i].askUntil(step)):
		return le.task.Steps[i].askAgain(step, x.o.RetryAfter), at(func(_ *StepState, p *ProbeState) {
			p.Phase, p.Err, p.Tries = StepReady, "the command may still be at work", 0
		})
	case r.exit >= 126: // not found, not executable, killed
		return time.Time{}, undecided(fmt.Sprintf("it ended with status %d", r.exit))
	}
	return time.Time{}, at(func(s *StepState, p *ProbeState) { s.probed(p, r.exit) })
}

// askUntil is how long a probe is asked that says that the command may still be
// at work: as long again as the command may take. Nothing on the host need end
// it when its time is over.
func (s *StepState) askUntil(step Step) time.Time {
	if s.Sent.IsZero() {
		return time.Time{}
	}
	return s.Sent.Add(2 * step.Timeout)
}

// askAgain is when a probe is asked next: ever later, and once at the end.
func (s *StepState) askAgain(step Step, least time.Duration) time.Time {
	next := time.Now().Add(min(max(time.Since(s.Sent)/8, least), time.Minute))
	if until := s.askUntil(step); next.After(until) {
		return until
	}
	return next
}

// probed decides a step by its probe's exit status.
func (s *StepState) probed(p *ProbeState, exit int) {
	p.Exit, p.Err = exit, ""
	switch {
	case exit == 0:
		p.Phase = StepOK
		s.end(StepOK, s.Err+"; the probe says that it took effect")
	case s.Attempts < maxAttempts:
		p.Phase = StepFailed
		s.Phase = StepReady
	default:
		p.Phase = StepFailed
		s.end(StepFailed, s.Err+"; the probe says that it took no effect")
	}
}
