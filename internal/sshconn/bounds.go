package sshconn

import (
	"context"
	"sync"
)

// slots are counted semaphores by name; a name nobody holds or waits for takes
// no memory.
type slots struct {
	size int

	mu       sync.Mutex // guards below
	m        map[string]*slot
	held     int
	maxHeld  int // most held at once, in all
	maxOfOne int // most held at once, of one name
}

type slot struct {
	c     chan struct{}
	users int // holding or waiting
}

func newSlots(size int) *slots { return &slots{size: size, m: map[string]*slot{}} }

// take waits for one of the name's slots; release gives it back.
func (s *slots) take(ctx context.Context, name string) (release func(), err error) {
	s.mu.Lock()
	sl := s.m[name]
	if sl == nil {
		sl = &slot{c: make(chan struct{}, s.size)}
		s.m[name] = sl
	}
	sl.users++
	s.mu.Unlock()
	select {
	case sl.c <- struct{}{}:
		s.mu.Lock()
		s.held++
		s.maxHeld = max(s.maxHeld, s.held)
		s.maxOfOne = max(s.maxOfOne, len(sl.c))
		s.mu.Unlock()
		return func() { <-sl.c; s.leave(name, sl, 1) }, nil
	case <-ctx.Done():
		s.leave(name, sl, 0)
		return nil, ctx.Err()
	}
}

func (s *slots) leave(name string, sl *slot, held int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held -= held
	if sl.users--; sl.users == 0 {
		delete(s.m, name)
	}
}

// marks returns the high-water marks.
func (s *slots) marks() (all, one int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.maxHeld, s.maxOfOne
}
