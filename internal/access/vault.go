package access

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"nocturne/internal/secret"
	"nocturne/internal/state"
)

var (
	// ErrKeyLost says that there is no master key where it should be, but the
	// vault is not empty.
	ErrKeyLost = errors.New("the master key is gone")
	// ErrWrongKey says that there is another key than the one that sealed.
	ErrWrongKey = errors.New("the master key is not the one that sealed the vault")
	// ErrKeyDamaged says that where the secret should be is something else, or
	// what may not be read.
	ErrKeyDamaged = errors.New("the secret cannot be read")
	// ErrKeyExposed says that others may read it.
	ErrKeyExposed = errors.New("the secret is open to others")
	// ErrCredential says that systemd does not hand over what should hold the
	// key.
	ErrCredential = errors.New("the systemd credential is not handed over")
	// ErrSealBroken says that a sealed record was changed.
	ErrSealBroken = errors.New("the seal is broken")
)

// Vault holds sealed credentials; the package comment has the format. It is
// safe for concurrent use, also while a rotation goes on.
type Vault struct {
	access    *Access
	source    KeySource
	sealed    *state.Table[sealed]
	checks    *state.Table[checkRecord]
	rotations *state.Table[rotation]
	rotating  sync.Mutex // held by the one rotation

	// mu makes using a key and what is written under it one step: whoever
	// seals holds it for reading until the record is durable, so a rotation
	// that has changed the ring meets every record that an earlier key sealed.
	// It guards below.
	mu    sync.RWMutex
	ring  ring
	from  KeySource // which candidate has the key in use
	fault error     // why a rotation that was cut short could not be finished
}

// Sealed is what is known of a credential without opening it.
type Sealed struct {
	Name    string
	Kind    string    // snmp, ssh, openstack
	Updated time.Time // UTC
	By      string
}

// checkRecord proves the key in use.
type checkRecord struct {
	sealed
	KDF *kdf `json:",omitempty"` // where it comes of a passphrase
}

const (
	checkName  = "check"
	checkKind  = "vault-check"
	checkValue = "this vault's key"
)

func newCheck(k key, how *kdf, by string) checkRecord {
	return checkRecord{k.seal(Sealed{Name: checkName, Kind: checkKind, Updated: time.Now().UTC(), By: by}, []byte(checkValue)), how}
}

func openVault(a *Access, db *state.DB, source KeySource) (*Vault, error) {
	if err := source.check(); err != nil {
		return nil, err
	}
	v := &Vault{
		access: a, source: source, from: source,
		sealed:    state.NewTable[sealed](db, "sealed", 2, unnamedKey),
		checks:    state.NewTable[checkRecord](db, checkKind, 2, unnamedKey),
		rotations: state.NewTable[rotation](db, rotationKind, 1),
	}
	r, _, err := v.rotations.Get(rotationName)
	if err == nil {
		return v, v.resume(r)
	}
	if !errors.Is(err, state.ErrNotFound) {
		return nil, err
	}
	held, _, err := v.checks.Get(checkName)
	if errors.Is(err, state.ErrNotFound) {
		return v, v.begin()
	}
	if err != nil {
		return nil, err
	}
	v.ring.current, v.from, err = source.find(proof{record: held.sealed, kdf: held.KDF})
	return v, err
}

// begin gives an empty vault its key.
func (v *Vault) begin() error {
	all, err := v.List()
	if err != nil {
		return err
	}
	if len(all) > 0 {
		return fmt.Errorf("%w: credentials are sealed, but the record %s/%s that proves their key is gone: restore the state", state.ErrDamaged, checkKind, checkName)
	}
	k, how, err := v.source.first()
	if err != nil {
		return err
	}
	v.ring.current = k
	_, err = v.checks.Put(checkName, newCheck(k, how, System.String()), 0)
	return err
}

// Put seals a credential under a name, in place of an earlier one. value is a
// struct whose secret.Text fields are revealed inside the seal. by must be an
// administrator.
func (v *Vault) Put(ctx context.Context, by Actor, name, kind string, value any) error {
	name, err := cleanName(name)
	if err != nil {
		return fmt.Errorf("seal credential: %w", err)
	}
	if !by.May(Configure) {
		return fmt.Errorf("seal credential %s: %w", name, ErrDenied)
	}
	if !validName.MatchString(kind) {
		return fmt.Errorf("seal credential %s: %w: kind %q", name, ErrInvalid, kind)
	}
	plain, err := secret.Marshal(value)
	if err != nil {
		return fmt.Errorf("seal credential %s: %w", name, err)
	}
	defer clear(plain)
	v.mu.RLock()
	defer v.mu.RUnlock()
	s := v.ring.current.seal(Sealed{Name: name, Kind: kind, Updated: time.Now().UTC(), By: by.String()}, plain)
	if err := v.access.change(ctx, by.String(), "seal credential", "credential/"+name, map[string]string{"kind": kind}, func() error {
		_, _, err := v.sealed.Update(name, func(stored *sealed, _ bool) error {
			*stored = s
			return nil
		})
		return err
	}); err != nil {
		return fmt.Errorf("seal credential %s: %w", name, err)
	}
	return nil
}

// Open decodes a credential into a pointer to the struct it was sealed from
// and returns its kind.
func (v *Vault) Open(name string, into any) (kind string, err error) {
	name, err = cleanName(name)
	if err != nil {
		return "", fmt.Errorf("open credential: %w", err)
	}
	kind, plain, err := v.open(name)
	if errors.Is(err, state.ErrNotFound) {
		return "", fmt.Errorf("open credential %s: %w", name, ErrNotFound)
	}
	if err != nil {
		return "", fmt.Errorf("open credential %s: %w", name, err)
	}
	defer clear(plain)
	if err := secret.Unmarshal(plain, into); err != nil {
		// The decoder's error may quote what it read.
		return "", fmt.Errorf("open credential %s: %w: it is a credential of kind %s, not a %T", name, ErrInvalid, kind, into)
	}
	return kind, nil
}

// open reads and unseals under one lock, so that the key which the record
// names is still in the ring.
func (v *Vault) open(name string) (kind string, plain []byte, err error) {
	v.mu.RLock()
	defer v.mu.RUnlock()
	s, _, err := v.sealed.Get(name)
	if err != nil {
		return "", nil, err
	}
	if s.Name != name {
		return "", nil, ErrSealBroken
	}
	plain, err = v.ring.unseal(s)
	return s.Kind, plain, err
}

// List returns what is known of the credentials, by name.
func (v *Vault) List() ([]Sealed, error) {
	var all []Sealed
	for r, err := range v.sealed.All("") {
		if err != nil {
			return nil, err
		}
		all = append(all, r.Value.Sealed)
	}
	return all, nil
}

// Delete removes a credential.
func (v *Vault) Delete(ctx context.Context, by Actor, name string) error {
	name, err := cleanName(name)
	if err != nil {
		return fmt.Errorf("delete credential: %w", err)
	}
	if !by.May(Configure) {
		return fmt.Errorf("delete credential %s: %w", name, ErrDenied)
	}
	if _, _, err := v.sealed.Get(name); errors.Is(err, state.ErrNotFound) {
		return fmt.Errorf("delete credential %s: %w", name, ErrNotFound)
	}
	if err := v.access.change(ctx, by.String(), "delete credential", "credential/"+name, nil, func() error {
		return v.sealed.Delete(name, 0)
	}); err != nil {
		return fmt.Errorf("delete credential %s: %w", name, err)
	}
	return nil
}
