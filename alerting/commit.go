package alerting

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"nocturne/internal/ledger"
	"nocturne/internal/state"
)

// replayed is how far before the log's end a restart looks for transitions
// that are in a record but did not get into the log.
const replayed = 10 * time.Minute

// commit makes one transition durable. What the store did not take whole may
// be in a record already: it is kept, to be completed by the next evaluation.
func (e *Engine) commit(c change) error {
	err := e.write(c)
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.unwritten, c.rec.Alert.Fingerprint)
	if err != nil {
		c.again = true
		e.unwritten[c.rec.Alert.Fingerprint] = c
	}
	return err
}

// write writes incident, record, ledger and log. Only then is the transition
// shown. Doing it again completes what is not there yet.
func (e *Engine) write(c change) error {
	a := c.rec.Alert
	from := a.Phase
	a.Phase = c.to
	switch c.to {
	case Firing:
		a.FiredAt = c.at
		id, err := e.joinIncident(a)
		if err != nil {
			return fmt.Errorf("open an incident for %s: %w", a.Labels, err)
		}
		a.Incident = id
	case Resolved:
		a.ResolvedAt, a.Stale = c.at, false
	}
	stored, _, err := e.alerts.Update(a.Episode, func(r *record, _ bool) error {
		ack := r.Alert.Ack
		*r = c.rec
		r.Alert, r.Alert.Ack = a, ack
		return nil
	})
	if err != nil {
		return fmt.Errorf("store alert %s: %w", a.Labels, err)
	}
	tr := transition(stored.Alert, from)
	if err := e.tellOnce(tr, c.again); err != nil {
		return err
	}
	_, fresh, err := e.transitions.AppendUnique(tr.Episode+"/"+tr.To, tr)
	if err != nil {
		return fmt.Errorf("log transition of %s: %w", a.Labels, err)
	}
	if fresh {
		transitionsTotal.Inc()
	}
	e.show(stored, c)
	if c.to == Resolved && a.Incident != "" {
		return e.closeIncident(a.Incident, c.at)
	}
	return nil
}

// show installs what has become durable.
func (e *Engine) show(stored record, c change) {
	next := c.t
	next.rec = stored
	e.mu.Lock()
	defer e.mu.Unlock()
	if c.to == Resolved {
		delete(e.active, stored.Alert.Fingerprint)
	} else {
		e.active[stored.Alert.Fingerprint] = &next
	}
	e.statuses.outdated()
}

func transition(a Alert, from string) Transition {
	at := a.ActiveAt
	switch a.Phase {
	case Firing:
		at = a.FiredAt
	case Resolved:
		at = a.ResolvedAt
	}
	return Transition{
		Episode: a.Episode, Fingerprint: a.Fingerprint, Rule: a.Rule, Labels: a.Labels, Annotations: a.Annotations,
		From: from, To: a.Phase, At: at, Value: a.Value, Item: a.Item, Incident: a.Incident, Reason: a.Reason,
	}
}

// tell writes a transition into the ledger.
func (e *Engine) tell(tr Transition) error {
	return e.ledger("system", tr.To, subject(tr.Item, tr.Fingerprint), tr.Incident, tr)
}

// tellOnce is tell where the transition may have been told before.
func (e *Engine) tellOnce(tr Transition, again bool) error {
	if again {
		told, err := e.told(e.o.Ledger.Subject(subject(tr.Item, tr.Fingerprint)), tr, func(Transition) bool { return true })
		if err != nil || told {
			return err
		}
	}
	return e.tell(tr)
}

func subject(item, fingerprint string) string {
	if item != "" {
		return item
	}
	return "alert/" + fingerprint
}

func (e *Engine) ledger(actor, action, subject, incident string, data any) error {
	raw, err := json.Marshal(data)
	if err != nil {
		return fmt.Errorf("write ledger: %w", err)
	}
	_, err = e.o.Ledger.Append(ledger.Entry{
		Kind: "alert", Actor: actor, Action: action, Subject: subject, Incident: incident, Data: raw,
	})
	if err != nil {
		return fmt.Errorf("write ledger: %w", err)
	}
	return nil
}

// restore reads what the last run left, and completes what it did not.
func (e *Engine) restore(now time.Time) error {
	if err := e.oneEach(now.UTC().Truncate(time.Millisecond)); err != nil {
		return err
	}
	var tail time.Time
	for entry, err := range e.transitions.ReadBack() {
		if err != nil {
			return err
		}
		tail = entry.Value.At.Add(-replayed)
		break
	}
	for rec, err := range e.alerts.All("") {
		if err != nil {
			return err
		}
		r := rec.Value
		if r.Alert.Phase != Resolved {
			e.active[r.Alert.Fingerprint] = &tracked{rec: r, since: now}
		}
		if tr := transition(r.Alert, ""); !tr.At.Before(tail) {
			if err := e.replay(r.Alert, tr); err != nil {
				return err
			}
		}
	}
	for rec, err := range e.windows.All("") {
		if err != nil {
			return err
		}
		e.planned[rec.ID] = rec.Value
	}
	return e.restoreIncidents(now)
}

// oneEach leaves each alert one episode: the newest that is not over. Of the
// others the log may not know, and is not to hear that they fired.
func (e *Engine) oneEach(now time.Time) error {
	newest := map[string]Alert{}
	var others []Alert
	for rec, err := range e.alerts.All("") {
		if err != nil {
			return err
		}
		a := rec.Value.Alert
		if a.Phase == Resolved {
			continue
		}
		b, twice := newest[a.Fingerprint]
		if twice && b.ActiveAt.After(a.ActiveAt) {
			a, b = b, a
		}
		if twice {
			others = append(others, b)
		}
		newest[a.Fingerprint] = a
	}
	for _, a := range others {
		_, _, err := e.alerts.Update(a.Episode, func(r *record, _ bool) error {
			r.Alert.Phase, r.Alert.ResolvedAt = Resolved, now
			r.Alert.Reason = "another episode of the alert goes on: " + newest[a.Fingerprint].Episode
			return nil
		})
		if err != nil {
			return fmt.Errorf("resolve episode %s: %w", a.Episode, err)
		}
	}
	return nil
}

// replay logs the transition that a record stands for unless it is there.
func (e *Engine) replay(a Alert, tr Transition) error {
	switch {
	case tr.To == Resolved && a.FiredAt.IsZero():
		tr.From = Pending
	case tr.To == Resolved:
		tr.From = Firing
	case tr.To == Firing && a.FiredAt.After(a.ActiveAt):
		tr.From = Pending
	default:
		tr.From = Inactive
	}
	_, fresh, err := e.transitions.AppendUnique(tr.Episode+"/"+tr.To, tr)
	if err != nil || !fresh {
		return err
	}
	return e.tellOnce(tr, true)
}

// retire resolves the alerts of rules that are in no file any more. While a
// file does not load, its rules may be among them: those alerts stay.
func (e *Engine) retire(ctx context.Context, now time.Time) error {
	now = now.UTC().Truncate(time.Millisecond)
	var changes []change
	e.mu.RLock()
	lost := slices.DeleteFunc(slices.Collect(maps.Values(e.active)), func(t *tracked) bool { return e.byKey[t.rec.RuleID] != nil })
	unsure := len(e.faults) > 0
	e.mu.RUnlock()
	for _, t := range lost {
		next := *t
		if unsure {
			next.rec.Alert.Stale, next.rec.Alert.Reason = true, "its rule does not load"
			e.install(t, &next)
			continue
		}
		next.rec.Alert.Reason = "rule removed"
		changes = append(changes, change{was: t, rec: next.rec, to: Resolved, at: now})
	}
	return e.commitAll(ctx, changes)
}

// Ack notes that a person knows of a firing alert.
func (e *Engine) Ack(_ context.Context, fingerprint, by, note string) error {
	e.mu.RLock()
	t := e.active[fingerprint]
	e.mu.RUnlock()
	if t == nil || t.rec.Alert.Phase != Firing {
		err := ErrNotFiring
		if _, ever := e.Alert(fingerprint); !ever {
			err = ErrNotFound
		}
		return fmt.Errorf("acknowledge alert %s: %w", fingerprint, err)
	}
	ack := &Ack{By: by, At: time.Now().UTC(), Note: note}
	stored, _, err := e.alerts.Update(t.rec.Alert.Episode, func(r *record, exists bool) error {
		if !exists || r.Alert.Phase != Firing {
			return ErrNotFiring
		}
		r.Alert.Ack = ack
		return nil
	})
	if err != nil {
		return fmt.Errorf("acknowledge alert %s: %w", fingerprint, err)
	}
	a := stored.Alert
	e.mu.Lock()
	if now := e.active[fingerprint]; now != nil && now.rec.Alert.Episode == a.Episode {
		next := *now
		next.rec.Alert.Ack = ack
		e.active[fingerprint] = &next
	}
	e.mu.Unlock()
	e.signal.send()
	return e.ledger(by, "acknowledge", subject(a.Item, a.Fingerprint), a.Incident,
		struct {
			Episode string `json:"episode"`
			Rule    string `json:"rule"`
			Note    string `json:"note,omitempty"`
		}{a.Episode, a.Rule, note})
}

// Close resolves an alert that is stale: a person says that what is not seen is
// over, or will never be seen again. One that is seen resolves by itself.
func (e *Engine) Close(ctx context.Context, fingerprint, by, note string) error {
	e.mu.RLock()
	t := e.active[fingerprint]
	e.mu.RUnlock()
	switch {
	case t == nil:
		return fmt.Errorf("close alert %s: %w", fingerprint, ErrNotFound)
	case !t.rec.Alert.Stale:
		return fmt.Errorf("close alert %s: %w", fingerprint, ErrNotStale)
	}
	next := *t
	next.rec.Alert.Reason = "closed by " + by
	if note != "" {
		next.rec.Alert.Reason += ": " + note
	}
	now := time.Now().UTC().Truncate(time.Millisecond)
	return e.commitAll(ctx, []change{{was: t, rec: next.rec, to: Resolved, at: now}})
}

// ErrNotStale is the answer to closing what is seen.
var ErrNotStale = errors.New("the alert's series are seen: it resolves by itself")

// ErrNotFiring is the answer to an acknowledgement of what does not fire.
var ErrNotFiring = errors.New("the alert is not firing")

// ErrNotFound is the answer where no such alert, episode or incident was.
var ErrNotFound = state.ErrNotFound
