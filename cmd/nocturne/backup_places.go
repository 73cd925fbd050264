package main

import (
	"context"
	"fmt"
	"os"

	"golang.org/x/crypto/ssh"

	"nocturne/internal/access"
	"nocturne/internal/backup"
	"nocturne/internal/backup/bucket"
	"nocturne/internal/backup/disk"
	"nocturne/internal/backup/sshfolder"
	"nocturne/internal/sshconn"
	"nocturne/internal/strictyaml"
)

// keyring is what opens stores that are elsewhere.
type keyring struct {
	dial func(context.Context, sshconn.Host) (*ssh.Client, error)
	s3   func(name string) (bucket.Credential, error)
}

// open opens a store, to write or to read what is there.
func (k keyring) open(ctx context.Context, at backup.Place, write bool) (backup.Store, error) {
	p, err := parsePlace(at.To)
	if err != nil {
		return nil, fmt.Errorf("%q %w", at.To, err)
	}
	if p.kind != "folder" && at.Credential == "" {
		return nil, fmt.Errorf("%s wants a credential of kind %s", at.To, p.credentialKind())
	}
	switch p.kind {
	case "sftp":
		client, err := k.dial(ctx, sshconn.Host{Name: p.host, Address: p.host, Credential: at.Credential, Region: "backup"})
		if err != nil {
			return nil, fmt.Errorf("open %s: %w", at.To, err)
		}
		return sshfolder.Open(ctx, client, p.folder, at.To, write)
	case "s3":
		c, err := k.s3(at.Credential)
		if err != nil {
			return nil, fmt.Errorf("open %s: %w", at.To, err)
		}
		return bucket.Open(ctx, bucket.Options{Endpoint: p.endpoint, Plain: p.plain, Region: p.region, Bucket: p.bucket, Prefix: p.prefix, Credential: c})
	}
	if write {
		return disk.Make(p.folder)
	}
	return disk.Open(p.folder)
}

// sealedKeys opens with what is sealed in a vault.
func sealedKeys(vault *access.Vault, pool *sshconn.Pool) keyring {
	return keyring{dial: pool.Dial, s3: credentialOf[bucket.Credential](vault, "s3")}
}

// placeFlags name a store on the command line, and what lets us in there
// without a server: the configuration, or files.
type placeFlags struct {
	to, credential, credentialFile, knownHosts string
}

// place is the store named, else the configured one.
func (f *placeFlags) place(cfg Config) backup.Place {
	p := backup.Place{To: f.to, Credential: f.credential}
	if p.To == "" {
		p = cfg.Backup.place()
	}
	if f.credentialFile != "" {
		p.Credential = f.credentialFile
	}
	return p
}

// keys opens with what stands in files: there may be no state to ask.
func (f *placeFlags) keys(cfg Config) (keyring, error) {
	known := sshconn.NewKnownHosts()
	file := cfg.SSH.KnownHosts
	if f.knownHosts != "" {
		file = f.knownHosts
	}
	if file != "" {
		data, err := os.ReadFile(file)
		if err != nil {
			return keyring{}, fmt.Errorf("read the known host keys: %w", err)
		}
		if known, err = sshconn.ParseKnownHosts(file, data); err != nil {
			return keyring{}, fmt.Errorf("read the known host keys: %w", err)
		}
	}
	pool, err := sshconn.New(sshconn.Options{HostKeys: known, Credential: func(name string) (sshconn.Credential, error) {
		return inClear[sshconn.Credential](f, cfg, "ssh", name)
	}})
	if err != nil {
		return keyring{}, err
	}
	return keyring{dial: pool.Dial, s3: func(name string) (bucket.Credential, error) {
		return inClear[bucket.Credential](f, cfg, "s3", name)
	}}, nil
}

// inClear returns the credential of a file, or of the configuration.
func inClear[T any](f *placeFlags, cfg Config, kind, name string) (c T, err error) {
	entries := cfg.Credentials
	if f.credentialFile != "" {
		e, err := readCredential(f.credentialFile)
		if err != nil {
			return c, err
		}
		e.Name = name
		entries = []CredentialEntry{e}
	}
	for _, e := range entries {
		if e.Name != name {
			continue
		}
		got, value, err := e.credential()
		if err != nil {
			return c, fmt.Errorf("credential %s: %w", name, err)
		}
		c, ok := value.(T)
		if !ok {
			return c, fmt.Errorf("credential %s is of kind %s, not %s", name, got, kind)
		}
		return c, nil
	}
	return c, fmt.Errorf("credential %q is not in the configuration; what is sealed cannot be opened here: give it with --credential-file", name)
}

// readCredential reads a file that holds one entry of credentials, without its
// name.
func readCredential(path string) (e CredentialEntry, err error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return e, fmt.Errorf("read the credential: %w", err)
	}
	if err := strictyaml.Decode(path, data, &e); err != nil {
		return e, err
	}
	f := &faults{file: path}
	e.Name = "it"
	one := Config{Credentials: []CredentialEntry{e}}
	one.validateCredentials(f)
	if len(f.errs) > 0 {
		return e, fmt.Errorf("read the credential: %w", f.errs[0])
	}
	return e, nil
}
