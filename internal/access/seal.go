package access

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"runtime/debug"
	"strings"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/chacha20poly1305"

	"nocturne/internal/secret"
)

const (
	sealFormat = "nocturne vault 1"
	idFormat   = "nocturne master key 1"
)

// key is a master key. It prints as its id.
type key struct {
	id  string
	raw *[chacha20poly1305.KeySize]byte // behind a pointer, so that no %v reaches it
}

func newKey(raw []byte) key {
	k := key{raw: new([chacha20poly1305.KeySize]byte)}
	copy(k.raw[:], raw)
	sum := sha256.Sum256(append([]byte(idFormat+"\x00"), raw...))
	k.id = hex.EncodeToString(sum[:8])
	return k
}

func randomKey() key {
	raw := make([]byte, chacha20poly1305.KeySize)
	_, _ = rand.Read(raw) // never fails since Go 1.24
	return newKey(raw)
}

// parseKey reads a key as a file or a credential holds it.
func parseKey(text secret.Text) (key, error) {
	raw, err := base64.StdEncoding.DecodeString(strings.TrimSpace(text.Reveal()))
	if err != nil || len(raw) != chacha20poly1305.KeySize {
		// The decoder's error may quote what it read.
		return key{}, fmt.Errorf("%w: it does not hold %d bytes in base64", ErrKeyDamaged, chacha20poly1305.KeySize)
	}
	return newKey(raw), nil
}

// text is the key as a file holds it.
func (k key) text() secret.Text {
	return secret.Text(base64.StdEncoding.EncodeToString(k.raw[:]) + "\n")
}

func (k key) String() string { return k.id }

// sealed is a record under a key. KeyID is empty in records of schema
// version 1; see the package comment.
type sealed struct {
	Sealed
	KeyID      string `json:",omitempty"`
	Nonce, Box []byte
}

// unnamedKey is the migration from version 1: what it lacks stays empty.
func unnamedKey(raw []byte) ([]byte, error) { return raw, nil }

func additionalData(s Sealed) []byte {
	return []byte(strings.Join([]string{sealFormat, s.Kind, s.Name}, "\x00"))
}

func (k key) seal(s Sealed, plain []byte) sealed {
	aead, err := chacha20poly1305.NewX(k.raw[:])
	if err != nil {
		panic(err) // the key has the right length
	}
	nonce := make([]byte, aead.NonceSize())
	_, _ = rand.Read(nonce) // never fails since Go 1.24
	return sealed{Sealed: s, KeyID: k.id, Nonce: nonce, Box: aead.Seal(nil, nonce, plain, additionalData(s))}
}

func (k key) unseal(s sealed) ([]byte, error) {
	aead, err := chacha20poly1305.NewX(k.raw[:])
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

// ring holds the key in use and, while a rotation goes on, the earlier one.
type ring struct{ current, earlier key }

// unseal opens a record with the key that it names.
func (r ring) unseal(s sealed) ([]byte, error) {
	switch {
	case s.KeyID == r.current.id, s.KeyID == "" && r.earlier.raw == nil:
		return r.current.unseal(s)
	case r.earlier.raw != nil && (s.KeyID == r.earlier.id || s.KeyID == ""):
		return r.earlier.unseal(s)
	}
	return nil, fmt.Errorf("%w: sealed by key %s, here is %s", ErrWrongKey, s.KeyID, r.current)
}

// kdf is how a key is made of a passphrase: argon2id.
type kdf struct {
	Salt    []byte
	Time    uint32
	Memory  uint32 // KiB
	Threads uint8
}

func newKDF(memory uint32) *kdf {
	k := &kdf{Salt: make([]byte, argonSalt), Time: argonTime, Memory: memory, Threads: argonThreads}
	_, _ = rand.Read(k.Salt) // never fails since Go 1.24
	return k
}

// derive makes the key. The bounds keep a damaged record from taking the
// machine's memory.
func (k *kdf) derive(passphrase secret.Text) (key, error) {
	if len(k.Salt) < 8 || k.Time < 1 || k.Time > 16 || k.Memory < 8 || k.Memory > 1<<20 || k.Threads < 1 {
		return key{}, fmt.Errorf("%w: parameters of the passphrase", ErrSealBroken)
	}
	defer debug.FreeOSMemory() // 64 MiB that the collector by itself might keep for minutes
	return newKey(argon2.IDKey([]byte(passphrase.Reveal()), k.Salt, k.Time, k.Memory, k.Threads, chacha20poly1305.KeySize)), nil
}
