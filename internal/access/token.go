package access

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"nocturne/internal/secret"
	"nocturne/internal/state"
)

// TokenPrefix begins every API token, so that one is known where it leaks.
const TokenPrefix = "noc_"

// usedEvery is how exactly LastUsed is kept.
const usedEvery = time.Hour

// Token is what is known of an API token; the token itself is shown once.
type Token struct {
	Name     string
	Role     Role
	By       string    // who made it
	Created  time.Time // UTC
	Expires  time.Time // zero: never
	LastUsed time.Time // to the hour; zero: never
}

// token is the stored record; its id is the token's fingerprint.
type token = Token

// AddToken makes an API token. A zero expires is never.
func (a *Access) AddToken(ctx context.Context, by Actor, name string, role Role, expires time.Time) (secret.Text, error) {
	name, err := cleanName(name)
	if err != nil {
		return "", fmt.Errorf("add token: %w", err)
	}
	if !by.May(Administer) {
		return "", fmt.Errorf("add token %s: %w", name, ErrDenied)
	}
	if err := role.checkToken(); err != nil {
		return "", fmt.Errorf("add token %s: %w", name, err)
	}
	if !expires.IsZero() && !expires.After(time.Now()) {
		return "", fmt.Errorf("add token %s: %w: it would have expired already", name, ErrInvalid)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, err := a.tokenID(name); err == nil {
		return "", fmt.Errorf("add token %s: %w", name, ErrExists)
	} else if !errors.Is(err, ErrNotFound) {
		return "", fmt.Errorf("add token %s: %w", name, err)
	}
	t := TokenPrefix + random()
	rec := token{Name: name, Role: role, By: by.String(), Created: time.Now().UTC(), Expires: expires.UTC()}
	if err := a.change(ctx, by.String(), "add token", "token/"+name, map[string]any{"role": role, "expires": rec.Expires}, func() error {
		_, err := a.tokens.Put(fingerprint(t), rec, 0)
		return err
	}); err != nil {
		return "", fmt.Errorf("add token %s: %w", name, err)
	}
	return secret.Text(t), nil
}

// tokenID finds the record of a name; there are few.
func (a *Access) tokenID(name string) (string, error) {
	for r, err := range a.tokens.All("") {
		if err != nil {
			return "", err
		}
		if r.Value.Name == name {
			return r.ID, nil
		}
	}
	return "", ErrNotFound
}

// Tokens returns all tokens, expired ones too.
func (a *Access) Tokens() ([]Token, error) {
	var all []Token
	for r, err := range a.tokens.All("") {
		if err != nil {
			return nil, err
		}
		all = append(all, r.Value)
	}
	slices.SortFunc(all, func(x, y Token) int { return strings.Compare(x.Name, y.Name) })
	return all, nil
}

// RevokeToken ends a token at once.
func (a *Access) RevokeToken(ctx context.Context, by Actor, name string) error {
	name, err := cleanName(name)
	if err != nil {
		return fmt.Errorf("revoke token: %w", err)
	}
	if !by.May(Administer) {
		return fmt.Errorf("revoke token %s: %w", name, ErrDenied)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	id, err := a.tokenID(name)
	if err != nil {
		return fmt.Errorf("revoke token %s: %w", name, err)
	}
	if err := a.change(ctx, by.String(), "revoke token", "token/"+name, nil, func() error {
		return a.tokens.Delete(id, 0)
	}); err != nil {
		return fmt.Errorf("revoke token %s: %w", name, err)
	}
	return nil
}

// Token returns who a token stands for: ErrDenied where it is none (any
// more), ErrExpired where its time is over.
func (a *Access) Token(t string) (Actor, error) {
	if !strings.HasPrefix(t, TokenPrefix) {
		return Actor{}, fmt.Errorf("token: %w", ErrDenied)
	}
	id := fingerprint(t)
	got, rev, err := a.tokens.Get(id)
	if errors.Is(err, state.ErrNotFound) {
		return Actor{}, fmt.Errorf("token: %w", ErrDenied)
	}
	if err != nil {
		return Actor{}, err
	}
	if !got.Expires.IsZero() && !got.Expires.After(time.Now()) {
		return Actor{}, fmt.Errorf("token %s: %w", got.Name, ErrExpired)
	}
	if time.Since(got.LastUsed) > usedEvery {
		got.LastUsed = time.Now().UTC().Truncate(usedEvery)
		// On a conflict another request has said the same, or it was revoked.
		if _, err := a.tokens.Put(id, got, rev); err != nil && !errors.Is(err, state.ErrConflict) {
			return Actor{}, err
		}
	}
	return Actor{Name: got.Name, Role: got.Role, Token: true}, nil
}
