package alerting

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"nocturne/internal/state"
)

// about is what an incident is about: the item or, where an alert has none,
// the alert itself.
func about(item, fingerprint string) string { return subject(item, fingerprint) }

// joinIncident puts a firing alert into the open incident of its item, or opens
// one. Doing it twice does it once.
func (e *Engine) joinIncident(a Alert) (string, error) {
	e.incident.Lock()
	defer e.incident.Unlock()
	key := about(a.Item, a.Fingerprint)
	e.mu.RLock()
	inc, ok := e.open[key]
	e.mu.RUnlock()
	if !ok {
		inc = Incident{ID: incidentID(a.Episode), Item: a.Item, Opened: a.FiredAt}
	}
	stored, _, err := e.incidents.Update(inc.ID, func(r *Incident, exists bool) error {
		if !exists {
			*r = inc
		}
		r.Closed = time.Time{}
		if !slices.Contains(r.Episodes, a.Episode) {
			r.Episodes = append(slices.Clone(r.Episodes), a.Episode)
		}
		return nil
	})
	if err != nil {
		return "", err
	}
	e.mu.Lock()
	e.open[key] = stored
	e.mu.Unlock()
	return stored.ID, nil
}

// closeIncident closes an incident when none of its episodes fires.
func (e *Engine) closeIncident(id string, at time.Time) error {
	e.incident.Lock()
	defer e.incident.Unlock()
	inc, _, err := e.incidents.Get(id)
	if err != nil {
		return fmt.Errorf("close incident %s: %w", id, err)
	}
	// An episode without a record is one that is about to fire.
	on, err := e.ongoing(inc, func(a Alert, ok bool) bool { return !ok || a.Phase != Resolved })
	if err != nil || on {
		return err
	}
	return e.putClosed(id, at)
}

func (e *Engine) putClosed(id string, at time.Time) error {
	_, _, err := e.incidents.Update(id, func(r *Incident, _ bool) error {
		r.Closed = at
		return nil
	})
	if err != nil {
		return fmt.Errorf("close incident %s: %w", id, err)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for key, inc := range e.open {
		if inc.ID == id {
			delete(e.open, key)
		}
	}
	return nil
}

// ongoing tells whether any episode of an incident is as asked.
func (e *Engine) ongoing(inc Incident, is func(a Alert, ok bool) bool) (bool, error) {
	for _, ep := range inc.Episodes {
		rec, _, err := e.alerts.Get(ep)
		if err != nil && !errors.Is(err, state.ErrNotFound) {
			return false, fmt.Errorf("read an episode of incident %s: %w", inc.ID, err)
		}
		if is(rec.Alert, err == nil) {
			return true, nil
		}
	}
	return false, nil
}

// restoreIncidents finds the open ones, and closes what a crash left open.
func (e *Engine) restoreIncidents(now time.Time) error {
	var open []Incident
	for rec, err := range e.incidents.All("") {
		if err != nil {
			return err
		}
		if rec.Value.Closed.IsZero() {
			open = append(open, rec.Value)
		}
	}
	for _, inc := range open {
		var key string
		on, err := e.ongoing(inc, func(a Alert, _ bool) bool {
			key = about(inc.Item, a.Fingerprint)
			return a.Phase == Firing
		})
		if err != nil {
			return err
		}
		if on {
			e.open[key] = inc
		} else if err := e.putClosed(inc.ID, now.UTC().Truncate(time.Millisecond)); err != nil {
			return err
		}
	}
	return nil
}

// Incident returns an incident; state.ErrNotFound when there is none.
func (e *Engine) Incident(id string) (Incident, error) {
	inc, _, err := e.incidents.Get(id)
	if err != nil {
		return Incident{}, fmt.Errorf("read incident: %w", err)
	}
	return inc, nil
}

// Incidents returns those that were open at or after since, the latest opened
// first.
func (e *Engine) Incidents(since time.Time) ([]Incident, error) {
	var out []Incident
	for rec, err := range e.incidents.All("") {
		if err != nil {
			return nil, fmt.Errorf("read incidents: %w", err)
		}
		if inc := rec.Value; inc.Closed.IsZero() || !inc.Closed.Before(since) {
			out = append(out, inc)
		}
	}
	slices.SortFunc(out, func(a, b Incident) int { return b.Opened.Compare(a.Opened) })
	return out, nil
}
