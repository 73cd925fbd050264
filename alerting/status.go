package alerting

import (
	"context"
	"slices"
	"strings"
	"time"
)

// State is the state of an item.
type State string

// The states, worst first.
const (
	StateCritical    State = "critical"
	StateMajor       State = "major"
	StateWarning     State = "warning"
	StateUnknown     State = "unknown" // not seen in time, or never
	StateMaintenance State = "maintenance"
	StateOK          State = "ok"
)

// States lists the states, worst first.
var States = []State{StateCritical, StateMajor, StateWarning, StateUnknown, StateMaintenance, StateOK}

func (s State) rank() int { return slices.Index(States, s) }

func (s Severity) state() State { return State(s) }

// Status is the answer to "what state is this item in".
//
// The state is the worst of: the alerts that fire on the item or on a part of
// it; unknown when a target of the item was not seen within three polling
// intervals, or none ever, or its last poll saw only a part of it, or the host
// that runs it is down; the states of what stands in it or makes it up (rack,
// room, site, application). An item in maintenance, or within something
// that is, is in state maintenance whatever fires. Ok is only what was seen.
type Status struct {
	State    State
	Reasons  []string  // for people, the worst first
	Since    time.Time // as far as this process knows
	LastSeen time.Time // of what was seen longest ago; zero when never
	Alerts   []string  // fingerprints of what fires on it and in it
}

// snapshotAge bounds how old an answer of Status may be.
const snapshotAge = time.Second

// statusBoard holds the last computed states. Engine.mu guards it.
type statusBoard struct {
	last  *snapshot
	stale bool // an alert or a window changed since
}

func (b *statusBoard) outdated() { b.stale = true }

// Status returns the state of an item now.
func (e *Engine) Status(item string) Status { return e.current().status(item) }

// Statuses returns the states of many items at one time.
func (e *Engine) Statuses(ids []string) map[string]Status {
	s := e.current()
	out := make(map[string]Status, len(ids))
	for _, id := range ids {
		out[id] = s.status(id)
	}
	return out
}

// Tally counts items by their state.
func (e *Engine) Tally(ids []string) map[State]int {
	s := e.current()
	out := map[State]int{}
	for _, id := range ids {
		out[s.status(id).State]++
	}
	return out
}

// StatusAt returns the state an item was in at t, by what is recorded of then.
// Where things stand is taken from the inventory of now.
func (e *Engine) StatusAt(item string, t time.Time) Status {
	s, err := e.snapshotAt(t)
	if err != nil {
		e.log.Error("state of the past is not readable", "item", item, "err", err)
		return Status{State: StateUnknown, Reasons: []string{"what is recorded of that time is not readable"}}
	}
	return s.status(item)
}

// watchStatus signals when the state of any item changes, by time alone as
// well.
func (e *Engine) watchStatus(ctx context.Context) error {
	tick := time.NewTicker(snapshotAge)
	defer tick.Stop()
	var before map[string]State
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		now := e.current().states()
		if before != nil && !sameStates(before, now) {
			e.signal.send()
		}
		before = now
	}
}

func sameStates(a, b map[string]State) bool {
	if len(a) != len(b) {
		return false
	}
	for id, s := range a {
		if b[id] != s {
			return false
		}
	}
	return true
}

// current returns a snapshot that is at most snapshotAge old.
func (e *Engine) current() *snapshot {
	now := time.Now()
	e.mu.RLock()
	last, stale := e.statuses.last, e.statuses.stale
	e.mu.RUnlock()
	if last != nil && !stale && now.Sub(last.at) < snapshotAge {
		return last
	}
	e.snapping.Lock()
	defer e.snapping.Unlock()
	e.mu.Lock()
	if l := e.statuses.last; l != nil && !e.statuses.stale && now.Sub(l.at) < snapshotAge {
		e.mu.Unlock()
		return l
	}
	e.statuses.stale = false
	e.mu.Unlock()
	s := e.snapshotNow(now, last)
	e.mu.Lock()
	e.statuses.last = s
	e.mu.Unlock()
	return s
}

// links have their state from both ends.
func isLink(id string) bool { return strings.HasPrefix(id, "link/") }
