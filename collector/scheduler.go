package collector

import (
	"cmp"
	"container/heap"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	defaultInterval    = time.Minute
	minInterval        = time.Second
	defaultTimeout     = 10 * time.Second
	defaultConcurrent  = 128
	defaultFirstWithin = 5 * time.Second
	burstInterval      = time.Second
	storeTimeout       = 10 * time.Second
)

// Errors that callers of PollNow may want to tell apart.
var (
	ErrUnknownTarget = errors.New("no such target")
	ErrRemoved       = errors.New("target was removed")
	ErrStopped       = errors.New("collector has stopped")
)

// Options say what a Scheduler works with.
type Options struct {
	// Sources has one Source a kind.
	Sources map[string]Source
	// Append stores samples; when it returns nil they are in the history. It
	// is called once a poll, for many targets at once.
	Append func(ctx context.Context, samples []Sample) error
	// Observe takes the facts of a poll. nil: nobody wants them.
	Observe func(ctx context.Context, t Target, at time.Time, res Result) error
	// Live takes the samples of targets that Burst names, besides Append.
	Live func(target string, samples []Sample)
	// MaxConcurrent bounds the polls at one time; 0 means 128. It is raised to
	// two for each kind.
	MaxConcurrent int
	// FirstWithin is the time in which a new target has its first poll, which
	// comes before its first slot; 0 means 5 s.
	FirstWithin time.Duration
	Log         *slog.Logger
}

// Scheduler polls a set of targets.
type Scheduler struct {
	o    Options
	log  *slog.Logger
	wake chan struct{} // capacity 1: something changed that Run must look at

	mu      sync.Mutex // guards below
	targets map[string]*entry
	due     dueHeap
	slots   *slots
	leaving []*entry          // removed and idle, their series not yet marked stale
	old     map[string]*entry // removed, until their series are marked stale
	burst   map[string]bool
	stopped bool
}

// entry is one target and its schedule. Scheduler.mu guards it; series and
// scope belong to the running poll alone.
type entry struct {
	t        Target
	hash     uint64
	due      time.Time
	index    int // in the heap, -1 when not in it
	queued   bool
	running  bool
	removed  bool
	doubtful bool   // did not answer last time
	stuck    bool   // has been reported as such
	behind   *entry // of the same name before, to be gone first
	burst    bool
	first    bool // the early first poll is still to come
	cancel   context.CancelFunc
	since    time.Time // start of the running poll
	status   TargetStatus
	waiters  []chan error // want a poll that starts from now on
	lastT    int64
	series   seriesSet
	scope    string // of the last complete poll
}

// New returns a Scheduler without targets. It starts nothing.
func New(o Options) (*Scheduler, error) {
	if len(o.Sources) == 0 {
		return nil, errors.New("collector: no sources")
	}
	if o.Append == nil {
		return nil, errors.New("collector: Append is missing")
	}
	for kind, src := range o.Sources {
		if src == nil {
			return nil, fmt.Errorf("collector: source %q is nil", kind)
		}
	}
	if o.MaxConcurrent < 0 {
		return nil, fmt.Errorf("collector: MaxConcurrent %d is negative", o.MaxConcurrent)
	}
	o.FirstWithin = cmp.Or(o.FirstWithin, defaultFirstWithin)
	log := o.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Scheduler{
		o:       o,
		log:     log.With("component", "collector"),
		wake:    make(chan struct{}, 1),
		targets: map[string]*entry{},
		old:     map[string]*entry{},
		slots:   newSlots(cmp.Or(o.MaxConcurrent, defaultConcurrent), slices.Sorted(maps.Keys(o.Sources))),
	}, nil
}

// Set replaces the set of targets. Polls of targets that stay go on; those of
// targets that go are cut off and their series marked stale. The error names
// each wrong target: the others count, and a wrong one that was there before
// stays as it was.
func (s *Scheduler) Set(targets []Target) error {
	want, wrong, err := s.check(targets)
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	for name, e := range s.targets {
		t, ok := want[name]
		if !ok && !wrong[name] || ok && t.Kind != e.t.Kind {
			s.remove(e)
		}
	}
	for name, t := range want {
		e, ok := s.targets[name]
		if !ok {
			e = &entry{hash: hashName(name), index: -1, burst: s.burst[name], first: true, behind: s.old[name]}
			s.targets[name] = e
		}
		again := !ok || e.t.Interval != t.Interval
		e.t, e.status.Target = t, t
		if again {
			s.schedule(e, now)
		}
	}
	s.signal()
	return err
}

// Check tells what Set would say of targets, and sets nothing.
func (s *Scheduler) Check(targets []Target) error {
	_, _, err := s.check(targets)
	return err
}

// check sorts targets into those that can be and the names of those that cannot.
func (s *Scheduler) check(targets []Target) (want map[string]Target, wrong map[string]bool, err error) {
	want, wrong = make(map[string]Target, len(targets)), map[string]bool{}
	var errs []error
	for _, t := range targets {
		name := t.Name
		t, err := s.validate(t)
		if _, twice := want[name]; err == nil && twice {
			errs = append(errs, fmt.Errorf("target %q is there twice", name)) // the first one counts
			continue
		}
		if err != nil {
			errs = append(errs, err)
			wrong[name] = true
			continue
		}
		want[name] = t
	}
	return want, wrong, errors.Join(errs...)
}

func (s *Scheduler) validate(t Target) (Target, error) {
	switch {
	case t.Name == "":
		return t, fmt.Errorf("target with address %q has no name", t.Address)
	case strings.ContainsAny(t.Name, "/|\n"):
		return t, fmt.Errorf("target %q: name contains one of / | or a line break", t.Name)
	case s.o.Sources[t.Kind] == nil:
		kinds := slices.Sorted(maps.Keys(s.o.Sources))
		return t, fmt.Errorf("target %q: kind %q is none of %s", t.Name, t.Kind, strings.Join(kinds, ", "))
	}
	t.Interval = cmp.Or(t.Interval, defaultInterval)
	if t.Interval < minInterval {
		return t, fmt.Errorf("target %q: interval %v is below %v", t.Name, t.Interval, minInterval)
	}
	t.Timeout = cmp.Or(t.Timeout, min(defaultTimeout, t.Interval*4/5))
	if t.Timeout < 0 || t.Timeout >= t.Interval {
		return t, fmt.Errorf("target %q: timeout %v is not below the interval %v", t.Name, t.Timeout, t.Interval)
	}
	return t, nil
}

// remove takes e out of the schedule. mu is held.
func (s *Scheduler) remove(e *entry) {
	delete(s.targets, e.t.Name)
	e.removed = true
	s.unschedule(e)
	if e.queued {
		s.slots.drop(e)
	}
	e.answer(fmt.Errorf("poll %s: %w", e.t.Name, ErrRemoved))
	if e.behind != nil {
		return // never polled; the one before is still on its way out
	}
	s.old[e.t.Name] = e
	if e.running {
		e.cancel()
		return // its end puts it with the leaving
	}
	s.leaving = append(s.leaving, e)
}

// PollNow polls the target out of turn and returns when a poll that started
// after the call has ended and its samples are appended; the error is that of
// the poll.
func (s *Scheduler) PollNow(ctx context.Context, name string) error {
	done := make(chan error, 1)
	if err := s.request(name, done); err != nil {
		return err
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return fmt.Errorf("poll %s: %w", name, ctx.Err())
	}
}

func (s *Scheduler) request(name string, done chan error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return fmt.Errorf("poll %s: %w", name, ErrStopped)
	}
	e, ok := s.targets[name]
	if !ok {
		return fmt.Errorf("poll %q: %w", name, ErrUnknownTarget)
	}
	e.waiters = append(e.waiters, done)
	if !e.running {
		s.slots.push(e, true)
	} // else the end of the running poll queues the next one
	s.signal()
	return nil
}

// Burst names the targets that are polled each second, until the next call.
// Unknown names count once they become targets.
func (s *Scheduler) Burst(names []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.burst = make(map[string]bool, len(names))
	for _, n := range names {
		s.burst[n] = true
	}
	now := time.Now()
	for name, e := range s.targets {
		if e.burst != s.burst[name] {
			e.burst = s.burst[name]
			s.schedule(e, now)
		}
	}
	s.signal()
}

// Status returns how it goes with every target, by name.
func (s *Scheduler) Status() []TargetStatus {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]TargetStatus, 0, len(s.targets))
	for _, e := range s.targets {
		st := e.status
		st.Running = e.running
		out = append(out, st)
	}
	slices.SortFunc(out, func(a, b TargetStatus) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

// schedule sets when e is due next, after now. mu is held.
func (s *Scheduler) schedule(e *entry, now time.Time) {
	e.due = nextSlot(now, e.period(), e.hash)
	if e.first {
		within := min(e.t.Interval, s.o.FirstWithin)
		if at := now.Add(time.Duration(e.hash % uint64(within))); at.Before(e.due) {
			e.due = at
		}
	}
	if e.index < 0 {
		heap.Push(&s.due, e)
	} else {
		heap.Fix(&s.due, e.index)
	}
}

func (s *Scheduler) unschedule(e *entry) {
	if e.index >= 0 {
		heap.Remove(&s.due, e.index)
	}
}

// signal makes Run look at the schedule. It never blocks.
func (s *Scheduler) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// period is the time between two polls as things stand.
func (e *entry) period() time.Duration {
	if e.burst {
		return min(burstInterval, e.t.Interval)
	}
	return e.t.Interval
}

// answer tells all who wait for a poll of e how it went.
func (e *entry) answer(err error) {
	for _, w := range e.waiters {
		w <- err // capacity 1, answered once
	}
	e.waiters = nil
}

func hashName(name string) uint64 {
	h := fnv.New64a()
	h.Write([]byte(name)) // never fails
	return h.Sum64()
}

// nextSlot returns the first slot after now: slots lie every interval, at an
// offset within it that the hash decides.
func nextSlot(now time.Time, interval time.Duration, hash uint64) time.Time {
	offset := time.Duration(hash % uint64(interval))
	into := time.Duration((now.UnixNano() - int64(offset)) % int64(interval))
	return now.Add(interval - into)
}

// dueHeap orders entries by when they are due.
type dueHeap []*entry

func (h dueHeap) Len() int           { return len(h) }
func (h dueHeap) Less(i, j int) bool { return h[i].due.Before(h[j].due) }
func (h dueHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}
func (h *dueHeap) Push(x any) {
	e := x.(*entry)
	e.index = len(*h)
	*h = append(*h, e)
}
func (h *dueHeap) Pop() any {
	old := *h
	e := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	e.index = -1
	return e
}
