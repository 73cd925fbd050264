package collector

import "slices"

// slots bounds the polls at one time. Each kind has a reserve that no other
// kind can take; the rest is shared. Targets that did not answer last time may
// hold at most half of what their kind can have, so that the dead delay the
// dead. The Scheduler's mutex guards it.
type slots struct {
	shared int
	lanes  []*lane
	byKind map[string]*lane
	turn   int // the lane that is asked first next time
}

// lane is what waits and runs of one kind.
type lane struct {
	reserve     int
	maxDoubtful int
	running     int
	doubtful    int      // of those running
	waiting     []*entry // in order; doubtful ones may be overtaken
}

func newSlots(total int, kinds []string) *slots {
	total = max(total, 2*len(kinds))
	reserve := max(1, total/(4*len(kinds)))
	s := &slots{shared: total - reserve*len(kinds), byKind: map[string]*lane{}}
	for _, k := range kinds {
		l := &lane{reserve: reserve, maxDoubtful: max(1, (reserve+s.shared)/2)}
		s.lanes = append(s.lanes, l)
		s.byKind[k] = l
	}
	return s
}

// push queues e, ahead of the others when first is set.
func (s *slots) push(e *entry, first bool) {
	l := s.byKind[e.t.Kind]
	if e.queued {
		if !first {
			return
		}
		s.drop(e)
	}
	e.queued = true
	if first {
		l.waiting = slices.Insert(l.waiting, 0, e)
	} else {
		l.waiting = append(l.waiting, e)
	}
}

// drop takes e out of its queue.
func (s *slots) drop(e *entry) {
	l := s.byKind[e.t.Kind]
	if i := slices.Index(l.waiting, e); i >= 0 {
		l.waiting = slices.Delete(l.waiting, i, i+1)
	}
	e.queued = false
}

// next takes the entry that may start now, nil when none may. The lanes take
// turns.
func (s *slots) next() *entry {
	for i := range s.lanes {
		at := (s.turn + i) % len(s.lanes)
		if e := s.take(s.lanes[at]); e != nil {
			s.turn = at + 1
			return e
		}
	}
	return nil
}

func (s *slots) take(l *lane) *entry {
	if l.running >= l.reserve && s.sharedUsed() >= s.shared {
		return nil
	}
	for i, e := range l.waiting {
		if e.behind != nil || e.doubtful && l.doubtful >= l.maxDoubtful {
			continue
		}
		l.waiting = slices.Delete(l.waiting, i, i+1)
		e.queued = false
		l.running++
		if e.doubtful {
			l.doubtful++
		}
		return e
	}
	return nil
}

// release gives back the slot of a poll that began as doubtful or not.
func (s *slots) release(kind string, doubtful bool) {
	l := s.byKind[kind]
	l.running--
	if doubtful {
		l.doubtful--
	}
}

func (s *slots) sharedUsed() int {
	n := 0
	for _, l := range s.lanes {
		n += max(0, l.running-l.reserve)
	}
	return n
}

func (s *slots) counts() (waiting, running int) {
	for _, l := range s.lanes {
		waiting += len(l.waiting)
		running += l.running
	}
	return waiting, running
}
