package access

import (
	"errors"
	"time"

	"nocturne/internal/state"
)

// KeyStatus is what may be known of the master key.
type KeyStatus struct {
	ID      string    `json:"id"`
	Source  string    `json:"source"`
	Since   time.Time `json:"since"`            // in use
	Records int       `json:"records"`          // credentials sealed by it
	Others  int       `json:"others"`           // credentials sealed by another, or unreadable
	Asks    bool      `json:"asks"`             // a rotation wants a new passphrase
	To      string    `json:"to,omitempty"`     // the key that a rotation goes to, while one goes on
	Started time.Time `json:"started,omitzero"` // of that rotation
	Fault   string    `json:"fault,omitempty"`  // why a rotation could not be finished
}

// KeyCheck says what opens.
type KeyCheck struct {
	Good   int      `json:"good"`             // credentials
	Broken []string `json:"broken,omitempty"` // credentials that do not, by name
}

// Key tells of the master key.
func (v *Vault) Key() (KeyStatus, error) {
	v.mu.RLock()
	now, from, fault := v.ring.current.id, v.from, v.fault
	unnamed := v.ring.earlier.raw == nil
	v.mu.RUnlock()
	s := KeyStatus{ID: now, Source: from.String(), Asks: v.source.next().Ask != nil}
	if fault != nil {
		s.Fault = fault.Error()
	}
	held, _, err := v.checks.Get(checkName)
	if err != nil {
		return s, err
	}
	s.Since = held.Updated
	r, _, err := v.rotations.Get(rotationName)
	switch {
	case err == nil:
		s.To, s.Started, s.Since = r.To, r.Started, r.Started
	case !errors.Is(err, state.ErrNotFound):
		return s, err
	}
	for rec, err := range v.sealed.All("") {
		switch {
		case err != nil && !errors.Is(err, state.ErrDamaged):
			return s, err
		case err == nil && (rec.Value.KeyID == now || rec.Value.KeyID == "" && unnamed):
			s.Records++
		default:
			s.Others++
		}
	}
	return s, nil
}

// Verify opens every credential.
func (v *Vault) Verify() (KeyCheck, error) {
	var names []string
	for rec, err := range v.sealed.All("") {
		if err != nil && !errors.Is(err, state.ErrDamaged) {
			return KeyCheck{}, err
		}
		names = append(names, rec.ID)
	}
	var c KeyCheck
	for _, name := range names {
		_, plain, err := v.open(name)
		clear(plain)
		switch {
		case err == nil:
			c.Good++
		case !errors.Is(err, state.ErrNotFound): // not deleted meanwhile
			c.Broken = append(c.Broken, name)
		}
	}
	return c, nil
}
