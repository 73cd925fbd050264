package alerting

import (
	"context"
	"sync"
)

// signal tells readers that something changed. A reader that has not taken the
// last signal misses nothing by getting no second.
type signal struct {
	first chan struct{} // of capacity 1, as all are

	mu      sync.Mutex // guards below
	readers map[chan struct{}]struct{}
}

func newSignal() *signal {
	first := make(chan struct{}, 1)
	return &signal{first: first, readers: map[chan struct{}]struct{}{first: {}}}
}

func (s *signal) subscribe(ctx context.Context) <-chan struct{} {
	ch := make(chan struct{}, 1)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.readers[ch] = struct{}{}
	context.AfterFunc(ctx, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.readers, ch)
	})
	return ch
}

func (s *signal) send() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for ch := range s.readers {
		select {
		case ch <- struct{}{}:
		default:
		}
	}
}
