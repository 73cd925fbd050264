package lab

import (
	"slices"
	"sync"
	"time"
)

// Execution is one command that a host really started.
type Execution struct {
	Host    string
	Command string
	Start   time.Time
	End     time.Time // zero while it runs
	Exit    int
}

// journal is the lab's own record of what ran: the witness against any claim
// that a command ran once.
type journal struct {
	mu   sync.Mutex
	runs []*Execution // mu guards it
}

// journalLimit keeps a demo that runs for days from growing: the oldest half
// goes when it is reached. Tests stay far below.
const journalLimit = 100_000

func (j *journal) begin(host, command string) (done func(exit int)) {
	e := &Execution{Host: host, Command: command, Start: time.Now()}
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.runs) >= journalLimit {
		j.runs = slices.Clone(j.runs[journalLimit/2:])
	}
	j.runs = append(j.runs, e)
	return func(exit int) {
		j.mu.Lock()
		defer j.mu.Unlock()
		e.End, e.Exit = time.Now(), exit
	}
}

// Journal returns every command that was started, oldest first.
func (l *Lab) Journal() []Execution {
	l.journal.mu.Lock()
	defer l.journal.mu.Unlock()
	out := make([]Execution, len(l.journal.runs))
	for i, e := range l.journal.runs {
		out[i] = *e
	}
	return out
}
