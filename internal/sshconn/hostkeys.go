package sshconn

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha1" //nolint:gosec // known_hosts hashes names with it, it protects nothing here
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

// HostKeys are the pinned keys by address (host:port).
type HostKeys interface {
	Lookup(addr string) (ssh.PublicKey, bool)
	// Pin stores an address' first key; it is an error when another is stored.
	Pin(addr string, key ssh.PublicKey) error
}

// KnownHosts holds pinned keys in memory, empty or read from OpenSSH's
// known_hosts. Safe for concurrent use.
type KnownHosts struct {
	mu      sync.Mutex // guards below
	plain   map[string][]ssh.PublicKey
	hashed  []hashedHost
	revoked []ssh.PublicKey
}

type hashedHost struct {
	salt, sum []byte
	key       ssh.PublicKey
}

// NewKnownHosts returns an empty set.
func NewKnownHosts() *KnownHosts { return &KnownHosts{plain: map[string][]ssh.PublicKey{}} }

// ParseKnownHosts reads known_hosts lines (sshd(8), "SSH_KNOWN_HOSTS FILE
// FORMAT"), hashed names included. A key that a line revokes is refused of every
// host, also of those that the line does not name. Faulty lines, patterns and
// certificate authorities are named, as name:line, in the joined error; the set
// holds all the others.
func ParseKnownHosts(name string, data []byte) (*KnownHosts, error) {
	k := NewKnownHosts()
	var faults []error
	for i, line := range bytes.Split(data, []byte("\n")) {
		line = bytes.TrimSpace(line)
		if len(line) == 0 || line[0] == '#' {
			continue
		}
		if err := k.add(line); err != nil {
			faults = append(faults, fmt.Errorf("%s:%d: %w", name, i+1, err))
		}
	}
	return k, errors.Join(faults...)
}

func (k *KnownHosts) add(line []byte) error {
	marker, hosts, key, _, _, err := ssh.ParseKnownHosts(line)
	if err != nil {
		return err
	}
	switch marker {
	case "":
	case "revoked":
		k.revoked = append(k.revoked, key)
		return nil
	default:
		return fmt.Errorf("the marker @%s is not supported", marker)
	}
	for _, h := range hosts {
		switch {
		case strings.HasPrefix(h, "|"):
			salt, sum, err := splitHash(h)
			if err != nil {
				return err
			}
			k.hashed = append(k.hashed, hashedHost{salt, sum, key})
		case strings.ContainsAny(h, "*?!"):
			return fmt.Errorf("the pattern %q is not supported: name each host", h)
		default:
			n := knownhosts.Normalize(h)
			k.plain[n] = append(k.plain[n], key)
		}
	}
	return nil
}

func splitHash(h string) (salt, sum []byte, err error) {
	f := strings.Split(h, "|")
	if len(f) != 4 || f[1] != "1" {
		return nil, nil, fmt.Errorf("the hashed name %q is not |1|salt|hash", h)
	}
	if salt, err = base64.StdEncoding.DecodeString(f[2]); err != nil {
		return nil, nil, fmt.Errorf("the hashed name's salt: %w", err)
	}
	if sum, err = base64.StdEncoding.DecodeString(f[3]); err != nil {
		return nil, nil, fmt.Errorf("the hashed name's hash: %w", err)
	}
	return salt, sum, nil
}

// Lookup returns the address' key, an ed25519 one before others.
func (k *KnownHosts) Lookup(addr string) (ssh.PublicKey, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	keys := k.of(addr)
	if len(keys) == 0 {
		return nil, false
	}
	if i := slices.IndexFunc(keys, func(p ssh.PublicKey) bool { return p.Type() == ssh.KeyAlgoED25519 }); i >= 0 {
		return keys[i], true
	}
	return keys[0], true
}

func (k *KnownHosts) of(addr string) []ssh.PublicKey {
	n := knownhosts.Normalize(addr)
	keys := slices.Clone(k.plain[n])
	for _, h := range k.hashed {
		m := hmac.New(sha1.New, h.salt)
		m.Write([]byte(n))
		if hmac.Equal(m.Sum(nil), h.sum) {
			keys = append(keys, h.key)
		}
	}
	return slices.DeleteFunc(keys, k.isRevoked)
}

func (k *KnownHosts) isRevoked(key ssh.PublicKey) bool {
	return slices.ContainsFunc(k.revoked, func(p ssh.PublicKey) bool { return sameKey(p, key) })
}

// Revoked tells whether a key is refused of every host.
func (k *KnownHosts) Revoked(key ssh.PublicKey) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.isRevoked(key)
}

// Pin stores the key of an address that has none.
func (k *KnownHosts) Pin(addr string, key ssh.PublicKey) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	pinned := k.of(addr)
	switch {
	case k.isRevoked(key):
		return fmt.Errorf("pin %s: %s is revoked", addr, Fingerprint(key))
	case slices.ContainsFunc(pinned, func(p ssh.PublicKey) bool { return sameKey(p, key) }):
		return nil
	case len(pinned) > 0:
		return fmt.Errorf("pin %s: it is pinned to %s already", addr, Fingerprint(pinned[0]))
	}
	n := knownhosts.Normalize(addr)
	k.plain[n] = append(k.plain[n], key)
	return nil
}

func sameKey(a, b ssh.PublicKey) bool {
	return a != nil && b != nil && bytes.Equal(a.Marshal(), b.Marshal())
}

// verifier checks one connection's host key, at login and at each rekeying.
type verifier struct {
	p *Pool
	h Host

	mu  sync.Mutex    // guards below: a handshake out of time leaves a check running
	pin ssh.PublicKey // nil: unknown
	err *Error        // why the key was refused
}

// check is an ssh.HostKeyCallback; the key has proved itself by then.
func (v *verifier) check(_ string, _ net.Addr, key ssh.PublicKey) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.pin == nil {
		v.err = v.first(key)
	} else if !sameKey(v.pin, key) {
		v.err = fail(v.h, HostKeyChanged, "the host shows %s, pinned is %s", Fingerprint(key), Fingerprint(v.pin))
	}
	if v.err != nil {
		return v.err
	}
	v.pin = key
	return nil
}

// first decides on the key of a host that has none pinned.
func (v *verifier) first(key ssh.PublicKey) *Error {
	addr := v.h.address()
	if !v.p.o.TrustFirst {
		return fail(v.h, HostKeyUnknown, "no key is pinned for %s of host %s, which shows %s", addr, v.h.Name, Fingerprint(key))
	}
	if err := v.p.o.HostKeys.Pin(addr, key); err != nil {
		class := HostKeyUnknown
		if now, ok := v.p.o.HostKeys.Lookup(addr); ok && !sameKey(now, key) { // pinned by someone else meanwhile
			class = HostKeyChanged
		}
		return fail(v.h, class, "the host shows %s: %w", Fingerprint(key), err)
	}
	if v.p.o.Pinned != nil {
		v.p.o.Pinned(v.h, Fingerprint(key))
	}
	return nil
}

// verdict is the key that was accepted, or why one was refused; neither before
// the host has shown its key.
func (v *verifier) verdict() (ssh.PublicKey, *Error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.pin, v.err
}

// hostKeyAlgorithms puts the pinned key's algorithms first, so that a server
// with several keys shows that one; a server without it shows another, and is
// refused with both fingerprints. x/crypto's own order would ask for RSA.
func hostKeyAlgorithms(pin ssh.PublicKey) []string {
	all := []string{
		ssh.KeyAlgoED25519, ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA384, ssh.KeyAlgoECDSA521,
		ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256,
	}
	if pin == nil {
		return all
	}
	own := []string{pin.Type()}
	if pin.Type() == ssh.KeyAlgoRSA {
		own = []string{ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256}
	}
	return append(own, slices.DeleteFunc(all, func(a string) bool { return slices.Contains(own, a) })...)
}
