package access

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"nocturne/internal/secret"
	"nocturne/internal/state"
)

const (
	sessionIdle = 12 * time.Hour     // without a request
	sessionLife = 7 * 24 * time.Hour // in all
	seenEvery   = 5 * time.Minute    // how exactly Seen is kept
	sweepEvery  = time.Hour
)

// session is the stored record; its id is the session's fingerprint.
type session struct {
	Person        string
	Created, Seen time.Time
}

func (s session) expired() bool {
	return time.Since(s.Seen) > sessionIdle || time.Since(s.Created) > sessionLife
}

// Login checks name and password and returns a new session, valid until 12
// hours pass without a request, and 7 days at most. from is the address the
// request came from, with or without its port. A name that does not exist, a
// wrong password and a disabled person are all ErrDenied, after the same time;
// too many failures are ErrLocked.
func (a *Access) Login(ctx context.Context, name string, password secret.Text, from string) (secret.Text, error) {
	name, err := cleanName(name)
	if err != nil {
		name = "" // nobody; and it may be a password typed into the wrong field
	}
	byName, byAddress := loginKeys(name, from)
	wait := a.limits.take(byAddress, addressBurst, addressDecay)
	if wait == 0 {
		wait = a.limits.take(byName, nameBurst, nameDecay)
	}
	if wait > 0 {
		metrics.GetOrCreateCounter(`nocturne_access_logins_total{outcome="locked"}`).Inc()
		return "", fmt.Errorf("log in: %w: try again in %s", ErrLocked, wait)
	}
	p, ok, err := a.authenticate(ctx, name, password)
	if err != nil {
		return "", fmt.Errorf("log in: %w", err)
	}
	if !ok {
		metrics.GetOrCreateCounter(`nocturne_access_logins_total{outcome="denied"}`).Inc()
		subject := "" // an unknown name is not recorded, it may be a password
		if p.Name != "" {
			subject = "person/" + p.Name
		}
		if err := a.record("system", "login failed", subject, map[string]string{"from": from}); err != nil {
			return "", fmt.Errorf("log in: %w", err)
		}
		return "", fmt.Errorf("log in: %w", ErrDenied)
	}
	a.limits.forget(byName)
	a.limits.giveBack(byAddress)
	metrics.GetOrCreateCounter(`nocturne_access_logins_total{outcome="ok"}`).Inc()
	return a.startSession(ctx, p, from)
}

// authenticate returns the person of that name, if any, and whether the
// password is theirs and they may come in.
func (a *Access) authenticate(ctx context.Context, name string, password secret.Text) (person, bool, error) {
	p := person{Hash: nobody}
	if name != "" {
		found, _, err := a.people.Get(name)
		if err == nil {
			p = found
		} else if !errors.Is(err, state.ErrNotFound) {
			return person{}, false, err
		}
	}
	if len(password) > maxPassword {
		password = "" // nobody has such a one, nor an empty one
	}
	ok, err := a.hasher.verify(ctx, p.Hash, password)
	if err != nil {
		return person{}, false, err
	}
	return p, ok && p.Name != "" && !p.Disabled, nil
}

func (a *Access) startSession(ctx context.Context, p person, from string) (secret.Text, error) {
	// mu: SetPassword and Disable end all sessions, so none may start on what
	// was checked before them.
	a.mu.Lock()
	defer a.mu.Unlock()
	now, _, err := a.people.Get(p.Name)
	if err != nil || now.Hash != p.Hash || now.Disabled {
		return "", fmt.Errorf("log in: %w", errors.Join(ErrDenied, err))
	}
	if err := a.sweep(); err != nil {
		return "", fmt.Errorf("log in: %w", err)
	}
	s := random()
	at := time.Now().UTC()
	who := Actor{Name: p.Name, Role: p.Role}
	if err := a.change(ctx, who.String(), "login", "person/"+p.Name, map[string]string{"from": from}, func() error {
		_, err := a.sessions.Put(fingerprint(s), session{Person: p.Name, Created: at, Seen: at}, 0)
		return err
	}); err != nil {
		return "", fmt.Errorf("log in: %w", err)
	}
	return secret.Text(s), nil
}

// Session returns whose session it is, with their role of now. ErrExpired
// where it was one once, ErrDenied where it is none.
func (a *Access) Session(s string) (Actor, error) {
	id := fingerprint(s)
	got, rev, err := a.sessions.Get(id)
	if errors.Is(err, state.ErrNotFound) {
		return Actor{}, fmt.Errorf("session: %w", ErrDenied)
	}
	if err != nil {
		return Actor{}, err
	}
	if got.expired() {
		return Actor{}, errors.Join(fmt.Errorf("session: %w", ErrExpired), gone(a.sessions.Delete(id, 0)))
	}
	p, _, err := a.people.Get(got.Person)
	if err != nil || p.Disabled {
		return Actor{}, fmt.Errorf("session: %w", errors.Join(ErrDenied, err))
	}
	if time.Since(got.Seen) > seenEvery {
		got.Seen = time.Now().UTC()
		// On a conflict another request has said the same, or it was ended.
		if _, err := a.sessions.Put(id, got, rev); err != nil && !errors.Is(err, state.ErrConflict) {
			return Actor{}, err
		}
	}
	return Actor{Name: p.Name, Role: p.Role}, nil
}

// Logout ends a session. One that is gone already is no error.
func (a *Access) Logout(s string) error {
	return gone(a.sessions.Delete(fingerprint(s), 0))
}

// gone is err unless the record was not there in the first place.
func gone(err error) error {
	if errors.Is(err, state.ErrNotFound) {
		return nil
	}
	return err
}

// endSessions ends all sessions of a person.
func (a *Access) endSessions(name string) error {
	return a.deleteSessions(func(s session) bool { return s.Person == name })
}

// sweep removes expired sessions now and then; it needs mu.
func (a *Access) sweep() error {
	if time.Since(a.swept) < sweepEvery {
		return nil
	}
	a.swept = time.Now()
	return a.deleteSessions(session.expired)
}

func (a *Access) deleteSessions(which func(session) bool) error {
	var ids []string
	for r, err := range a.sessions.All("") {
		if err != nil {
			return err
		}
		if which(r.Value) {
			ids = append(ids, r.ID)
		}
	}
	for _, id := range ids {
		if err := gone(a.sessions.Delete(id, 0)); err != nil {
			return err
		}
	}
	return nil
}
