package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync/atomic"

	"golang.org/x/crypto/ssh"

	"nocturne/internal/access"
	"nocturne/internal/cloudconn"
	"nocturne/internal/secret"
	"nocturne/internal/snmpconn"
	"nocturne/internal/sshconn"
	"nocturne/internal/state"
)

// sealCredentials puts the configuration's credentials under the master key.
func sealCredentials(ctx context.Context, vault *access.Vault, entries []CredentialEntry) error {
	for i, e := range entries {
		kind, value, err := e.credential()
		if err != nil {
			return fmt.Errorf("credentials[%d] (%s): %w", i, e.Name, err)
		}
		same, err := isSealed(vault, e.Name, kind, value)
		if err != nil {
			return fmt.Errorf("credential %s: %w", e.Name, err)
		}
		if same {
			continue
		}
		if err := vault.Put(ctx, access.System, e.Name, kind, value); err != nil {
			return fmt.Errorf("seal credential %s: %w", e.Name, err)
		}
	}
	return nil
}

// isSealed tells whether the vault holds just this: a start that changes
// nothing leaves no entry in the audit.
func isSealed(vault *access.Vault, name, kind string, value any) (bool, error) {
	var held json.RawMessage
	got, err := vault.Open(name, &held)
	if errors.Is(err, access.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	want, err := secret.Marshal(value)
	return got == kind && bytes.Equal(held, want), err
}

func (e CredentialEntry) credential() (kind string, value any, err error) {
	switch {
	case e.SNMP != nil:
		return "snmp", snmpconn.Credential(*e.SNMP), nil
	case e.OpenStack != nil:
		return "openstack", cloudconn.Credential(*e.OpenStack), nil
	case e.HTTP != nil:
		return e.HTTP.credential()
	case e.S3 != nil:
		return e.S3.credential()
	case e.SSH != nil:
		key := e.SSH.Key
		if e.SSH.KeyFile != "" {
			b, err := os.ReadFile(e.SSH.KeyFile)
			if err != nil {
				return "", nil, fmt.Errorf("read key: %w", err)
			}
			key = secret.Text(b)
		}
		return "ssh", sshconn.Credential{User: e.SSH.User, PrivateKey: key, Passphrase: e.SSH.Passphrase}, nil
	}
	return "", nil, errors.New("wants one of snmp, ssh, openstack, http, s3")
}

// credentialOf opens credentials of one kind by name.
func credentialOf[T any](vault *access.Vault, kind string) func(name string) (T, error) {
	return func(name string) (T, error) {
		var c T
		got, err := vault.Open(name, &c)
		if err != nil {
			return c, fmt.Errorf("credential %q: %w", name, err)
		}
		if got != kind {
			return c, fmt.Errorf("credential %q is of kind %s, not %s", name, got, kind)
		}
		return c, nil
	}
}

// hostKeys are the keys pinned by a known_hosts file and those pinned at a
// first contact, which are kept in state.
type hostKeys struct {
	file  atomic.Pointer[knownHosts]
	table *state.Table[string]
}

// knownHosts is a known_hosts file as it was read.
type knownHosts struct {
	*sshconn.KnownHosts
	sum sum
	// fault names the lines that could not be used. Any of them may have been of
	// a host that shows its key for the first time: none is believed then.
	fault error
}

func openHostKeys(db *state.DB, file string) (*hostKeys, error) {
	known, err := readKnownHosts(file)
	return newHostKeys(db, known), err
}

func newHostKeys(db *state.DB, known *knownHosts) *hostKeys {
	k := &hostKeys{table: state.NewTable[string](db, "hostkey", 1)}
	k.file.Store(known)
	return k
}

// readKnownHosts reads the file and leaves out the lines that cannot be used;
// no file knows nobody.
func readKnownHosts(file string) (*knownHosts, error) {
	if file == "" {
		return &knownHosts{KnownHosts: sshconn.NewKnownHosts()}, nil
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("ssh.known_hosts: %w", err)
	}
	k := &knownHosts{sum: sha256.Sum256(data)}
	k.KnownHosts, k.fault = sshconn.ParseKnownHosts(file, data)
	return k, nil
}

// Lookup returns the file's key, else the one pinned at first contact.
func (k *hostKeys) Lookup(addr string) (ssh.PublicKey, bool) {
	if key, ok := k.file.Load().Lookup(addr); ok {
		return key, true
	}
	line, _, err := k.table.Get(addr)
	if err != nil {
		return nil, false
	}
	key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(line))
	return key, err == nil && !k.file.Load().Revoked(key)
}

// Pin keeps an address' first key; another one later is refused.
func (k *hostKeys) Pin(addr string, key ssh.PublicKey) error {
	switch file := k.file.Load(); {
	case file.fault != nil:
		return fmt.Errorf("pin host key of %s: ssh.known_hosts has lines that cannot be used, and one of them may be of this host", addr)
	case file.Revoked(key):
		return fmt.Errorf("pin host key of %s: ssh.known_hosts revokes it", addr)
	}
	if _, err := k.table.Put(addr, string(ssh.MarshalAuthorizedKey(key)), 0); err != nil {
		return fmt.Errorf("pin host key of %s: %w", addr, err)
	}
	return nil
}
