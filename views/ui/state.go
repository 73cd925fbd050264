package ui

import "strings"

// State is the one answer to "what state is this item in", as the alerting
// engine gives it. It is always drawn as shape, word and colour together.
type State string

// The states, worst first.
const (
	Critical    State = "critical"
	Major       State = "major"
	Warning     State = "warning"
	Unknown     State = "unknown"
	Maintenance State = "maintenance"
	OK          State = "ok"
)

// States lists all states, worst first: the order of tallies and legends.
func States() []State {
	return []State{Critical, Major, Warning, Unknown, Maintenance, OK}
}

// Known returns s, or Unknown where s is none of the states: a page never
// shows green, nor nothing, for what it does not understand.
func (s State) Known() State {
	switch s {
	case Critical, Major, Warning, Unknown, Maintenance, OK:
		return s
	}
	return Unknown
}

// Word is the state as people read it.
func (s State) Word() string {
	k := s.Known()
	if k == OK {
		return "OK"
	}
	return strings.ToUpper(string(k[:1])) + string(k[1:])
}

// Rank orders states, worst (0) first.
func (s State) Rank() int {
	for i, t := range States() {
		if t == s.Known() {
			return i
		}
	}
	return 0
}

// Fault says whether the state asks for the eye: critical, major or warning.
func (s State) Fault() bool {
	return s == Critical || s == Major || s == Warning
}

// Tally counts items by state.
type Tally map[State]int

// Total is the number of items counted.
func (t Tally) Total() int {
	n := 0
	for _, v := range t {
		n += v
	}
	return n
}

// Worst is the worst state that has an item, OK when there is none.
func (t Tally) Worst() State {
	for _, s := range States() {
		if t[s] > 0 {
			return s
		}
	}
	return OK
}
