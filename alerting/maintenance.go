package alerting

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"
)

// Maintain plans, or with the ID of an earlier one changes, a window. One that
// ends before it begins is refused; to end a window early, set its To.
func (e *Engine) Maintain(_ context.Context, m Maintenance) error {
	if m.Item == "" || m.By == "" {
		return errors.New("plan maintenance: item and person must be named")
	}
	if _, ok := e.o.Graph.Item(m.Item); !ok {
		return fmt.Errorf("plan maintenance: there is no item %s", m.Item)
	}
	if !m.To.After(m.From) {
		return fmt.Errorf("plan maintenance of %s: it ends at %s, not after its begin at %s", m.Item, m.To, m.From)
	}
	m.ID = cmp.Or(m.ID, "mnt-"+rand.Text()[:12])
	_, _, err := e.windows.Update(m.ID, func(r *Maintenance, _ bool) error {
		*r = m
		return nil
	})
	if err != nil {
		return fmt.Errorf("plan maintenance of %s: %w", m.Item, err)
	}
	e.mu.Lock()
	e.planned[m.ID] = m
	e.statuses.outdated()
	e.mu.Unlock()
	e.signal.send()
	return e.ledger(m.By, "maintain", m.Item, "", m)
}

// Maintenances returns all windows, past ones too, the latest begin first.
func (e *Engine) Maintenances() []Maintenance {
	e.mu.RLock()
	defer e.mu.RUnlock()
	return slices.SortedFunc(maps.Values(e.planned), func(a, b Maintenance) int {
		return cmp.Or(b.From.Compare(a.From), cmp.Compare(a.ID, b.ID))
	})
}

// Maintained returns the window that covers an item at t: its own or that of
// something it is part of, runs on or stands in.
func (e *Engine) Maintained(item string, t time.Time) (Maintenance, bool) {
	if item == "" {
		return Maintenance{}, false
	}
	windows := e.windowsAt(t)
	if len(windows) == 0 {
		return Maintenance{}, false
	}
	for _, id := range append([]string{item}, e.o.Graph.Parents(item)...) {
		if m, ok := windows[id]; ok {
			return m, true
		}
	}
	return Maintenance{}, false
}

// windowsAt returns the windows that cover t, by item; of several the longest.
func (e *Engine) windowsAt(t time.Time) map[string]Maintenance {
	e.mu.RLock()
	defer e.mu.RUnlock()
	out := map[string]Maintenance{}
	for _, m := range e.planned {
		if m.covers(t) && m.To.After(out[m.Item].To) {
			out[m.Item] = m
		}
	}
	return out
}
