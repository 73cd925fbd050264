package access

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"nocturne/internal/secret"
	"nocturne/internal/state"
)

// Person is somebody who can log in.
type Person struct {
	Name     string
	Role     Role
	Created  time.Time // UTC
	Disabled bool
}

// person is the stored record.
type person struct {
	Person
	Hash string // PHC string
}

// random returns 256 random bits as text.
func random() string {
	b := make([]byte, 32)
	_, _ = rand.Read(b) // never fails since Go 1.24
	return base64.RawURLEncoding.EncodeToString(b)
}

// fingerprint stands for a session or token in the database. A fast hash is
// enough for 256 random bits.
func fingerprint(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}

// SetupToken returns the token that lets the first administrator in. needed
// is false, and token empty, as soon as somebody exists. The token is the same
// until the process ends and is kept in memory only.
func (a *Access) SetupToken() (token string, needed bool, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if somebody, err := a.somebody(); somebody || err != nil {
		return "", false, err
	}
	if a.setup == "" {
		a.setup = secret.Text(random())
	}
	return a.setup.Reveal(), true, nil
}

func (a *Access) somebody() (bool, error) {
	for _, err := range a.people.All("") {
		return true, err
	}
	return false, nil
}

// Setup makes the first administrator. It works once, with the token of
// SetupToken, while nobody exists; otherwise it returns ErrDenied.
func (a *Access) Setup(ctx context.Context, token, name string, password secret.Text) (Person, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.setup == "" || subtle.ConstantTimeCompare([]byte(token), []byte(a.setup.Reveal())) != 1 {
		return Person{}, fmt.Errorf("set up: %w: the link is not valid any more; a start without people prints a new one", ErrDenied)
	}
	if somebody, err := a.somebody(); err != nil {
		return Person{}, fmt.Errorf("set up: %w", err)
	} else if somebody {
		return Person{}, fmt.Errorf("set up: %w: there is an administrator", ErrDenied)
	}
	p, err := a.addPerson(ctx, "system", "set up", name, Administrator, password)
	if err != nil {
		return Person{}, fmt.Errorf("set up: %w", err)
	}
	a.setup = ""
	return p, nil
}

// AddPerson lets somebody in. by must be an administrator, here and below.
func (a *Access) AddPerson(ctx context.Context, by Actor, name string, role Role, password secret.Text) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !by.May(Administer) {
		return fmt.Errorf("add person: %w", ErrDenied)
	}
	if _, err := a.addPerson(ctx, by.String(), "add person", name, role, password); err != nil {
		return fmt.Errorf("add person: %w", err)
	}
	return nil
}

// addPerson needs mu.
func (a *Access) addPerson(ctx context.Context, by, action, name string, role Role, password secret.Text) (Person, error) {
	name, err := cleanName(name)
	if err != nil {
		return Person{}, err
	}
	if err := errors.Join(role.check(), checkPassword(name, password)); err != nil {
		return Person{}, fmt.Errorf("%s: %w", name, err)
	}
	if _, _, err := a.people.Get(name); err == nil {
		return Person{}, fmt.Errorf("%s: %w", name, ErrExists)
	} else if !errors.Is(err, state.ErrNotFound) {
		return Person{}, err
	}
	hash, err := a.hasher.hash(ctx, password)
	if err != nil {
		return Person{}, err
	}
	p := person{Person{Name: name, Role: role, Created: time.Now().UTC()}, hash}
	err = a.change(ctx, by, action, "person/"+name, map[string]any{"role": role}, func() error {
		_, err := a.people.Put(name, p, 0)
		return err
	})
	return p.Person, err
}

// SetPassword changes a password and ends the person's sessions. People may
// change their own.
func (a *Access) SetPassword(ctx context.Context, by Actor, name string, password secret.Text) error {
	name, err := cleanName(name)
	if err != nil {
		return fmt.Errorf("set password: %w", err)
	}
	self := by.Name == name && !by.Token && !by.system
	if !self && !by.May(Administer) {
		return fmt.Errorf("set password of %s: %w", name, ErrDenied)
	}
	if err := checkPassword(name, password); err != nil {
		return fmt.Errorf("set password of %s: %w", name, err)
	}
	hash, err := a.hasher.hash(ctx, password)
	if err != nil {
		return fmt.Errorf("set password of %s: %w", name, err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	err = a.changePerson(ctx, by, "set password", name, nil, func(p *person) { p.Hash = hash })
	if err != nil {
		return err
	}
	return a.endSessions(name)
}

// SetRole changes what a person may do, at once.
func (a *Access) SetRole(ctx context.Context, by Actor, name string, role Role) error {
	if err := role.check(); err != nil {
		return fmt.Errorf("set role: %w", err)
	}
	return a.administer(ctx, by, "set role", name, map[string]any{"role": role}, func(p *person) { p.Role = role })
}

// Disable shuts a person out, at once; Enable lets them in again.
func (a *Access) Disable(ctx context.Context, by Actor, name string) error {
	if err := a.administer(ctx, by, "disable person", name, nil, func(p *person) { p.Disabled = true }); err != nil {
		return err
	}
	name, err := cleanName(name)
	if err != nil {
		return err
	}
	return a.endSessions(name)
}

// Enable is the reverse of Disable. Sessions of before do not come back.
func (a *Access) Enable(ctx context.Context, by Actor, name string) error {
	return a.administer(ctx, by, "enable person", name, nil, func(p *person) { p.Disabled = false })
}

func (a *Access) administer(ctx context.Context, by Actor, action, name string, data any, f func(p *person)) error {
	name, err := cleanName(name)
	if err != nil {
		return fmt.Errorf("%s: %w", action, err)
	}
	if !by.May(Administer) {
		return fmt.Errorf("%s %s: %w", action, name, ErrDenied)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.changePerson(ctx, by, action, name, data, f)
}

// changePerson needs mu.
func (a *Access) changePerson(ctx context.Context, by Actor, action, name string, data any, f func(p *person)) error {
	p, rev, err := a.people.Get(name)
	if errors.Is(err, state.ErrNotFound) {
		return fmt.Errorf("%s %s: %w", action, name, ErrNotFound)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", action, err)
	}
	f(&p)
	if p.Role != Administrator || p.Disabled {
		if err := a.checkOthers(name); err != nil {
			return fmt.Errorf("%s %s: %w", action, name, err)
		}
	}
	if err := a.change(ctx, by.String(), action, "person/"+name, data, func() error {
		_, err := a.people.Put(name, p, rev)
		return err
	}); err != nil {
		return fmt.Errorf("%s %s: %w", action, name, err)
	}
	return nil
}

// checkOthers tells whether somebody but name can administer.
func (a *Access) checkOthers(name string) error {
	for r, err := range a.people.All("") {
		if err != nil {
			return err
		}
		if r.ID != name && r.Value.Role == Administrator && !r.Value.Disabled {
			return nil
		}
	}
	return ErrLastAdministrator
}

// People returns everybody, by name.
func (a *Access) People() ([]Person, error) {
	var all []Person
	for r, err := range a.people.All("") {
		if err != nil {
			return nil, err
		}
		all = append(all, r.Value.Person)
	}
	return all, nil
}
