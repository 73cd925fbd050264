package automation

import (
	"slices"
	"sync"
	"time"
)

// probeSlots is what a region shrinks to while its hosts cannot be reached.
const probeSlots = 2

// ticket is one task that waits for its turn or has it.
type ticket struct {
	Entry
	receipts []string  // of the queue's deliveries that led to it
	due      time.Time // not before
	since    time.Time // it waits for its turn
	machine  string    // what the host's name stands for
	running  bool
}

func (e Entry) id() string { return e.Job + "/" + e.Host }

// lane is one region's share.
type lane struct {
	name     string
	slots    int // configured
	limit    int // now: slots, or less while the breaker is open
	reserve  int // slots of the whole that nobody else gets
	running  int
	high     int // most ever running
	failures int // connects that failed in a row
	waiting  []*ticket
}

// slots decides who runs. Host, region and global slot are taken in one step
// under mu, in this order, and only when all three are free: nobody holds one
// of them while waiting for another.
type slots struct {
	global     int
	breakAfter int
	// machine names what a host's name stands for, so that two names of one
	// machine exclude each other. It is called without mu.
	machine func(host string) string

	mu      sync.Mutex // guards below
	lanes   []*lane
	next    int // index of the lane whose turn it is
	running int
	high    int
	busy    map[string]bool // hosts, by name and by machine
	tickets map[string]*ticket
}

func newSlots(regions []Region, global, breakAfter int) *slots {
	s := &slots{global: global, breakAfter: breakAfter, machine: func(host string) string { return host }, busy: map[string]bool{}, tickets: map[string]*ticket{}}
	for _, r := range regions {
		s.lanes = append(s.lanes, &lane{name: r.Name, slots: r.Slots, limit: r.Slots, reserve: reserveOf(r, len(regions), global)})
	}
	return s
}

// resize changes how many may run at once. What runs beyond it ends first; a
// region that has shrunk to probes grows back to its new size.
func (s *slots) resize(regions []Region, global int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.global = global
	for _, r := range regions {
		l := s.lane(r.Name)
		if l.limit == l.slots {
			l.limit = r.Slots
		}
		l.slots, l.limit, l.reserve = r.Slots, min(l.limit, r.Slots), reserveOf(r, len(regions), global)
	}
}

// reserveOf is a region's part of the half of the whole that is reserved, in
// equal parts; the other half is for whoever has something to do.
func reserveOf(r Region, regions, global int) int {
	reserve := global / (2 * regions)
	if reserve == 0 && global >= regions {
		reserve = 1
	}
	return min(reserve, r.Slots)
}

func (s *slots) lane(region string) *lane {
	i := slices.IndexFunc(s.lanes, func(l *lane) bool { return l.name == region })
	return s.lanes[i]
}

// add lets a task wait, not before due. A task that waits or runs already only
// takes over the receipt; add then returns false.
func (s *slots) add(e Entry, receipt string, due time.Time) bool {
	machine := s.machine(e.Host)
	s.mu.Lock()
	defer s.mu.Unlock()
	t, known := s.tickets[e.id()]
	if !known {
		t = &ticket{Entry: e, due: due, since: time.Now(), machine: machine}
		s.tickets[e.id()] = t
		l := s.lane(e.Region)
		l.waiting = append(l.waiting, t)
	}
	if receipt != "" {
		t.receipts = append(t.receipts, receipt)
	}
	return !known
}

// pick takes host, region and global slot for the next task. Without one it
// returns when a task will be due, or the zero time.
func (s *slots) pick(now time.Time) (t *ticket, due time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.lanes {
		at := (s.next + i) % len(s.lanes)
		l := s.lanes[at]
		if !s.mayTake(l) {
			continue
		}
		n, soonest := s.eligible(l, now)
		if n < 0 {
			if due.IsZero() || !soonest.IsZero() && soonest.Before(due) {
				due = soonest
			}
			continue
		}
		t = l.waiting[n]
		l.waiting = slices.Delete(l.waiting, n, n+1)
		t.running = true
		s.busy[t.Host], s.busy[t.machine] = true, true
		l.running++
		l.high = max(l.high, l.running)
		s.running++
		s.high = max(s.high, s.running)
		s.next = (at + 1) % len(s.lanes)
		return t, time.Time{}
	}
	return nil, due
}

// mayTake tells whether the region has a slot free and the whole has one that
// is not reserved for somebody else.
func (s *slots) mayTake(l *lane) bool {
	if l.running >= l.limit || s.running >= s.global || len(l.waiting) == 0 {
		return false
	}
	if l.running < l.reserve {
		return true
	}
	free := s.global - s.running
	for _, other := range s.lanes {
		if other != l {
			free -= max(0, other.reserve-other.running)
		}
	}
	return free > 0
}

func (s *slots) eligible(l *lane, now time.Time) (index int, soonest time.Time) {
	for i, t := range l.waiting {
		if s.busy[t.Host] || s.busy[t.machine] {
			continue
		}
		if !t.due.After(now) {
			return i, time.Time{}
		}
		if soonest.IsZero() || t.due.Before(soonest) {
			soonest = t.due
		}
	}
	return -1, soonest
}

// release gives the slots of a task back. With a time it waits again until
// then, for the machine that its name stands for by now; without one it is
// forgotten and its receipts are returned.
func (s *slots) release(t *ticket, again time.Time) (receipts []string) {
	machine := s.machine(t.Host)
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.lane(t.Region)
	if t.running {
		t.running = false
		delete(s.busy, t.Host)
		delete(s.busy, t.machine)
		l.running--
		s.running--
	}
	if !again.IsZero() {
		t.due, t.machine = again, machine
		l.waiting = append(l.waiting, t)
		return nil
	}
	delete(s.tickets, t.id())
	return t.receipts
}

// withdraw takes a job's tasks that wait out of the lanes. They stay known
// until released.
func (s *slots) withdraw(job string) []*ticket {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []*ticket
	for _, l := range s.lanes {
		l.waiting = slices.DeleteFunc(l.waiting, func(t *ticket) bool {
			if t.Job == job {
				out = append(out, t)
			}
			return t.Job == job
		})
	}
	return out
}

// connected feeds a region's breaker. It opens after breakAfter failures in a
// row; each success then doubles what the region may do until all is back.
func (s *slots) connected(region string, ok bool) (opened bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.lane(region)
	if ok {
		l.failures = 0
		l.limit = min(l.slots, 2*l.limit)
		return false
	}
	l.failures++
	if l.failures < s.breakAfter {
		return false
	}
	opened = l.limit > min(l.slots, probeSlots)
	l.limit = min(l.slots, probeSlots)
	return opened
}

// RegionStatus is how busy a region is.
type RegionStatus struct {
	Name    string
	Slots   int // configured
	Limit   int // less than Slots while the breaker is open
	Running int
	High    int // most ever running at once
	Waiting int
	Oldest  time.Time // since when the first of those waits; zero without one
}

func (s *slots) status() (out []RegionStatus, running, high int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.lanes {
		r := RegionStatus{Name: l.name, Slots: l.slots, Limit: l.limit, Running: l.running, High: l.high, Waiting: len(l.waiting)}
		for _, t := range l.waiting {
			if r.Oldest.IsZero() || t.since.Before(r.Oldest) {
				r.Oldest = t.since
			}
		}
		out = append(out, r)
	}
	return out, s.running, s.high
}

func (s *slots) waiting() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.tickets)
}
