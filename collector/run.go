package collector

import (
	"container/heap"
	"context"
	"fmt"
	"sync"
	"time"
)

const (
	// idle is how long Run sleeps when nothing is due.
	idle = time.Hour
	// grace is what a Source has after its deadline before it counts as stuck.
	grace = time.Second
)

// attempt is one poll that has been let go, with its target as it was then.
type attempt struct {
	e        *entry
	t        Target
	ctx      context.Context // ends at the poll's deadline
	cancel   context.CancelFunc
	began    time.Time
	doubtful bool // holds a slot as such
	burst    bool
	waiters  []chan error
}

// work is what one look at the schedule has found to do.
type work struct {
	polls []*attempt
	gone  []*entry // to be marked stale
	stuck []*entry // running long past their deadline
	wait  time.Duration
}

// Run polls the targets until ctx is done and returns when every poll has
// ended. It is called once.
func (s *Scheduler) Run(ctx context.Context) error {
	var running sync.WaitGroup
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			s.stop()
			running.Wait()
			return nil
		case <-timer.C:
		case <-s.wake:
		}
		w := s.step(ctx, time.Now())
		for _, a := range w.polls {
			running.Go(func() { s.poll(ctx, a) })
		}
		for _, e := range w.gone {
			running.Go(func() { s.bury(ctx, e) })
		}
		for _, e := range w.stuck {
			running.Go(func() { s.reportStuck(ctx, e) })
		}
		timer.Reset(w.wait)
	}
}

// step queues what is due, lets go what has a slot, and says how long until
// something is due again.
func (s *Scheduler) step(ctx context.Context, now time.Time) work {
	s.mu.Lock()
	defer s.mu.Unlock()
	var w work
	for len(s.due) > 0 && !s.due[0].due.After(now) {
		e := heap.Pop(&s.due).(*entry)
		if e.running && !e.stuck && now.Sub(e.since) > e.t.Timeout+grace {
			e.stuck = true
			w.stuck = append(w.stuck, e)
		}
		s.queueDue(e, now)
		s.schedule(e, now)
	}
	for e := s.slots.next(); e != nil; e = s.slots.next() {
		a := &attempt{e: e, t: e.t, began: now, doubtful: e.doubtful, burst: e.burst, waiters: e.waiters}
		a.ctx, a.cancel = context.WithTimeout(ctx, e.t.Timeout)
		e.running, e.since, e.cancel, e.waiters = true, now, a.cancel, nil
		w.polls = append(w.polls, a)
	}
	w.gone, s.leaving = s.leaving, nil
	s.gauge()
	w.wait = idle
	if len(s.due) > 0 {
		w.wait = s.due[0].due.Sub(now)
	}
	return w
}

// queueDue queues e for the slot it has reached, and counts the slots that
// have passed without a poll. A burst is as fast as it can be and owes nothing.
func (s *Scheduler) queueDue(e *entry, now time.Time) {
	missed := 0
	if e.queued || e.running {
		missed = 1
	}
	if !e.first {
		missed += int(now.Sub(e.due) / e.period())
	}
	e.first = false
	if missed > 0 && !e.burst {
		e.status.Debt += missed
		missedPolls(e.t.Kind).Add(missed)
	}
	if !e.running {
		s.slots.push(e, false)
	}
}

// stop answers those who wait for polls that will not come.
func (s *Scheduler) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopped = true
	for _, e := range s.targets {
		e.answer(fmt.Errorf("poll %s: %w", e.t.Name, ErrStopped))
	}
}
