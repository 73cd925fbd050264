package automation

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"nocturne/internal/state"
)

// lease is the right to work on one task. Every write of the task's record
// carries its token and is refused once somebody else has taken the task over.
type lease struct {
	x       *Executor
	job     *liveJob
	host    string
	machine string // what the host's name stood for when it was leased
	token   string
	task    taskRecord // as last written
}

// machine names the machine behind a host's name: its address, which several
// names may share. A name that stands for none is its own.
func (x *Executor) machine(host string) string {
	h, ok := x.o.Hosts(host)
	if !ok || h.Address == "" {
		return host
	}
	if ap, err := netip.ParseAddrPort(h.Address); err == nil {
		return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port()).String()
	}
	return strings.ToLower(h.Address)
}

// errMoved is retryable: the next turn leases what the name stands for now.
type errMoved struct{ host, now, was string }

func (e errMoved) Error() string {
	return fmt.Sprintf("host %s is at %s now, %s was leased", e.host, e.now, e.was)
}

func (errMoved) Retryable() bool { return true }

// take leases the host, then the task. Within this executor slots sees to it
// that only one asks at a time, so a lease that is found is of one that ended
// without giving it back.
func (x *Executor) take(l *liveJob, host string) (*lease, error) {
	epoch := x.currentEpoch()
	le := &lease{x: x, job: l, host: host, machine: x.machine(host), token: fmt.Sprintf("%d-%s", epoch, rand.Text()[:12])}
	id := taskID(l.rec.Spec.ID, host)
	if _, _, err := x.rec.hosts.Update(le.machine, func(h *hostLease, _ bool) error {
		if h.Epoch > epoch {
			return errStale
		}
		*h = hostLease{Epoch: epoch, Token: le.token, Task: id}
		return nil
	}); err != nil {
		return nil, fmt.Errorf("lease host %s: %w", host, err)
	}
	var before taskRecord
	after, _, err := x.rec.tasks.Update(id, func(t *taskRecord, exists bool) error {
		if !exists {
			*t = newTask(l.rec.Runbook)
		}
		if t.Epoch > epoch {
			return errStale
		}
		before = t.clone()
		t.settle(l.rec.Runbook, time.Now().UTC())
		t.Epoch, t.Token = epoch, le.token
		if i, what := t.next(); what == doRun {
			t.Steps[i].lease(le.token)
		}
		return nil
	})
	if err != nil {
		le.freeHost()
		return nil, fmt.Errorf("lease task %s: %w", id, err)
	}
	le.task = after
	if err := x.noteSteps(l.rec, host, before, after, false); err != nil {
		le.release()
		return nil, err
	}
	return le, nil
}

func (s *StepState) lease(token string) {
	s.Phase, s.Token = StepLeased, token
	if s.Started.IsZero() {
		s.Started = time.Now().UTC()
	}
}

// write changes the task's record if the lease still holds, then records what
// changed as evidence.
func (le *lease) write(change func(t *taskRecord)) error {
	id := taskID(le.job.rec.Spec.ID, le.host)
	after, _, err := le.x.rec.tasks.Update(id, func(t *taskRecord, exists bool) error {
		if !exists || t.Token != le.token {
			return errStale
		}
		change(t)
		return nil
	})
	if err != nil {
		if errors.Is(err, errStale) {
			metrics.GetOrCreateCounter(`nocturne_automation_stale_writes_total`).Inc()
		}
		return fmt.Errorf("write task %s: %w", id, err)
	}
	before := le.task
	le.task = after
	return le.x.noteSteps(le.job.rec, le.host, before, after, false)
}

// newest makes sure that no newer executor works on this state.
func (x *Executor) newest() error {
	e, _, err := x.rec.epochs.Get(epochID)
	if err == nil && e.Epoch != x.currentEpoch() {
		err = errStale
	}
	return err
}

// fence makes sure that this is the newest executor and that the host is still
// leased to this task. The write that follows is fenced by the token.
func (le *lease) fence() error {
	if err := le.x.newest(); err != nil {
		return err
	}
	h, _, err := le.x.rec.hosts.Get(le.machine)
	if errors.Is(err, state.ErrNotFound) || err == nil && h.Token != le.token {
		return errStale
	}
	return err
}

// release gives the task and the host back. What was not sent is ready again.
// Without success they are taken over by whoever leases them next.
func (le *lease) release() {
	err := le.write(func(t *taskRecord) {
		t.Token = ""
		for i := range t.Steps {
			if s := &t.Steps[i]; s.Phase == StepLeased || s.Phase == StepConnecting {
				s.Phase = StepReady
			}
		}
	})
	if err != nil && !errors.Is(err, errStale) {
		le.x.log.Error("lease is not given back", "job", le.job.rec.Spec.ID, "host", le.host, "err", err)
	}
	le.freeHost()
}

func (le *lease) freeHost() {
	h, rev, err := le.x.rec.hosts.Get(le.machine)
	if err == nil && h.Token == le.token {
		err = le.x.rec.hosts.Delete(le.machine, rev)
	}
	if err != nil && !errors.Is(err, state.ErrNotFound) && !errors.Is(err, state.ErrConflict) {
		le.x.log.Error("host is not given back", "host", le.host, "err", err)
	}
}
