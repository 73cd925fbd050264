package automation

import (
	"context"
	"sync"
)

// watchBuffer is how many events a reader may be behind before it loses some.
const watchBuffer = 256

type watcher struct {
	job    string
	events chan Event
	behind bool
}

// hub hands events to those who watch, and never waits for them.
type hub struct {
	mu       sync.Mutex // guards below
	watchers map[*watcher]struct{}
}

func (h *hub) watch(ctx context.Context, job string) <-chan Event {
	w := &watcher{job: job, events: make(chan Event, watchBuffer)}
	h.mu.Lock()
	if h.watchers == nil {
		h.watchers = map[*watcher]struct{}{}
	}
	h.watchers[w] = struct{}{}
	h.mu.Unlock()
	context.AfterFunc(ctx, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.watchers, w)
		close(w.events)
	})
	return w.events
}

func (h *hub) emit(e Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for w := range h.watchers {
		if w.job != "" && w.job != e.Job {
			continue
		}
		w.offer(e)
	}
}

// offer puts e into the buffer, whose last place is kept for the news that
// events were lost. What is lost before the reader reads that, the reader finds
// when it reads the job anew.
func (w *watcher) offer(e Event) {
	switch {
	case len(w.events) < watchBuffer-1:
		w.behind = false
		w.events <- e
	case !w.behind:
		w.behind = true
		w.events <- Event{Job: w.job, Resync: true}
	}
}
