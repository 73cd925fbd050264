package access

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/crypto/chacha20poly1305"

	"nocturne/internal/secret"
	"nocturne/internal/state"
)

var (
	// ErrWrongKey says that the key file holds another key than the one that
	// sealed the vault.
	ErrWrongKey = errors.New("the master key is not the one that sealed the vault")
	// ErrKeyLost says that the key file is gone but the vault is not empty.
	ErrKeyLost = errors.New("the master key is gone")
	// ErrSealBroken says that a sealed credential was changed.
	ErrSealBroken = errors.New("the seal is broken")
)

// Vault holds sealed credentials. A credential is the JSON of its value,
// secrets revealed, under XChaCha20-Poly1305 with a random nonce of 24 bytes;
// additional data is "nocturne vault 1", its kind and its name, NUL between
// them, so that no sealed credential can stand in for another.
//
// The master key is 32 bytes, base64, in a file that only its owner may read.
// The record "vault-check/check" is sealed with it: it tells a wrong key from
// a broken seal.
type Vault struct {
	access *Access
	key    []byte
	sealed *state.Table[sealed]
}

// Sealed is what is known of a credential without opening it.
type Sealed struct {
	Name    string
	Kind    string    // snmp, ssh, openstack
	Updated time.Time // UTC
	By      string
}

type sealed struct {
	Sealed
	Nonce, Box []byte
}

const (
	sealFormat = "nocturne vault 1"
	checkName  = "check"
	checkKind  = "vault-check"
	checkValue = "this vault's key"
)

func openVault(a *Access, db *state.DB, keyFile string) (*Vault, error) {
	v := &Vault{access: a, sealed: state.NewTable[sealed](db, "sealed", 1)}
	checks := state.NewTable[sealed](db, checkKind, 1)
	check, _, err := checks.Get(checkName)
	fresh := errors.Is(err, state.ErrNotFound)
	if err != nil && !fresh {
		return nil, err
	}
	all, err := v.List()
	if err != nil {
		return nil, err
	}
	v.key, err = readKey(keyFile)
	if errors.Is(err, os.ErrNotExist) {
		if !fresh || len(all) > 0 {
			return nil, fmt.Errorf("%w: %s is missing, and the credentials cannot be opened without it: put it back from your backup", ErrKeyLost, keyFile)
		}
		v.key, err = makeKey(keyFile)
	}
	if err != nil {
		return nil, fmt.Errorf("master key %s: %w", keyFile, err)
	}
	if fresh {
		check = v.seal(Sealed{Name: checkName, Kind: checkKind, Updated: time.Now().UTC(), By: "system"}, []byte(checkValue))
		_, err := checks.Put(checkName, check, 0)
		return v, err
	}
	if plain, err := v.unseal(check); err != nil || string(plain) != checkValue {
		return nil, fmt.Errorf("%w: %s", ErrWrongKey, keyFile)
	}
	return v, nil
}

// readKey reads the key file, which must be its owner's alone.
func readKey(path string) ([]byte, error) {
	st, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() {
		return nil, fmt.Errorf("%w: not a file", ErrInvalid)
	}
	if st.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("%w: its mode is %#o, others may read it: make it 0600", ErrInvalid, st.Mode().Perm())
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	key, err := base64.StdEncoding.DecodeString(strings.TrimSpace(string(text)))
	if err != nil || len(key) != chacha20poly1305.KeySize {
		return nil, fmt.Errorf("%w: it does not hold %d bytes in base64", ErrInvalid, chacha20poly1305.KeySize)
	}
	return key, nil
}

// makeKey writes a new key. The file appears whole or not at all, and an
// existing one is never replaced.
func makeKey(path string) (key []byte, err error) {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	key = make([]byte, chacha20poly1305.KeySize)
	_, _ = rand.Read(key)                  // never fails since Go 1.24
	f, err := os.CreateTemp(dir, ".key-*") // mode 0600
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.Remove(f.Name())) }()
	_, werr := f.WriteString(base64.StdEncoding.EncodeToString(key) + "\n")
	if err := errors.Join(werr, f.Sync(), f.Close()); err != nil {
		return nil, err
	}
	if err := os.Link(f.Name(), path); err != nil {
		return nil, err
	}
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	return key, errors.Join(d.Sync(), d.Close())
}

func additionalData(s Sealed) []byte {
	return []byte(strings.Join([]string{sealFormat, s.Kind, s.Name}, "\x00"))
}

func (v *Vault) seal(s Sealed, plain []byte) sealed {
	aead, err := chacha20poly1305.NewX(v.key)
	if err != nil {
		panic(err) // the key has the right length
	}
	nonce := make([]byte, aead.NonceSize())
	_, _ = rand.Read(nonce) // never fails since Go 1.24
	return sealed{s, nonce, aead.Seal(nil, nonce, plain, additionalData(s))}
}

func (v *Vault) unseal(s sealed) ([]byte, error) {
	aead, err := chacha20poly1305.NewX(v.key)
	if err != nil {
		panic(err) // the key has the right length
	}
	if len(s.Nonce) != aead.NonceSize() {
		return nil, ErrSealBroken
	}
	plain, err := aead.Open(nil, s.Nonce, s.Box, additionalData(s.Sealed))
	if err != nil {
		return nil, ErrSealBroken
	}
	return plain, nil
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
	s := v.seal(Sealed{Name: name, Kind: kind, Updated: time.Now().UTC(), By: by.String()}, plain)
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
	s, _, err := v.sealed.Get(name)
	if errors.Is(err, state.ErrNotFound) {
		return "", fmt.Errorf("open credential %s: %w", name, ErrNotFound)
	}
	if err != nil {
		return "", fmt.Errorf("open credential: %w", err)
	}
	if s.Name != name {
		return "", fmt.Errorf("open credential %s: %w", name, ErrSealBroken)
	}
	plain, err := v.unseal(s)
	if err != nil {
		return "", fmt.Errorf("open credential %s: %w", name, err)
	}
	defer clear(plain)
	if err := secret.Unmarshal(plain, into); err != nil {
		// The decoder's error may quote what it read.
		return "", fmt.Errorf("open credential %s: %w: it is a credential of kind %s, not a %T", name, ErrInvalid, s.Kind, into)
	}
	return s.Kind, nil
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
