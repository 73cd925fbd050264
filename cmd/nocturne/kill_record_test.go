package main

import (
	"encoding/json"
	"fmt"
	"sync"
	"testing"
	"time"

	"nocturne/alerting"
	"nocturne/internal/ledger"
)

// witness takes note of what the API tells of the ledger and of alerts: it may
// never be gone or different.
type witness struct {
	t *testing.T

	mu      sync.Mutex        // guards below
	entries map[uint64]string // by number
	alerts  map[string]bool   // "episode phase"
}

func newWitness(t *testing.T) *witness {
	return &witness{t: t, entries: map[uint64]string{}, alerts: map[string]bool{}}
}

func (w *witness) work(p *process, over <-chan struct{}) {
	for p.rest(over, 150*time.Millisecond) {
		w.readLedger(p)
		for _, phase := range []string{alerting.Firing, alerting.Resolved} {
			w.readAlerts(p, phase)
		}
	}
}

func (w *witness) readLedger(p *process) {
	w.mu.Lock()
	next := len(w.entries) + 1 // they are dense
	w.mu.Unlock()
	var answer struct{ Items []ledger.Entry }
	if p.get(fmt.Sprintf(apiPath+"/ledger?limit=1000&from=%d", next), &answer) != nil {
		return // it was killed, or is about to be
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range answer.Items {
		w.entries[e.Seq] = inWords(w.t, e)
	}
}

func (w *witness) readAlerts(p *process, phase string) {
	var answer struct {
		Items []struct{ Episode, Phase string }
	}
	if p.get(apiPath+"/alerts?limit=1000&phase="+phase, &answer) != nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, a := range answer.Items {
		w.alerts[a.Episode+" "+a.Phase] = true
	}
}

func inWords(t *testing.T, e ledger.Entry) string {
	t.Helper()
	b, err := json.Marshal(e)
	if err != nil {
		t.Errorf("entry %d: %v", e.Seq, err)
	}
	return string(b)
}

// holds wants all that was told in what is left: whole entries by their number,
// and a transition to each phase that an alert was seen in.
func (w *witness) holds(left remains) {
	t := w.t
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	lost := 0
	for seq, was := range w.entries {
		now := ""
		if seq <= uint64(len(left.entries)) {
			now = inWords(t, left.entries[seq-1])
		}
		if now != was {
			if lost++; lost < 5 {
				t.Errorf("entry %d of the ledger was %s, is %s", seq, was, now)
			}
		}
	}
	there := map[string]bool{}
	for _, m := range left.moves {
		there[m.Episode+" "+m.To] = true
	}
	for a := range w.alerts {
		if !there[a] {
			t.Errorf("alert %s was told, and there is no such transition", a)
		}
	}
}

func (w *witness) count() (entries, alerts int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.entries), len(w.alerts)
}
