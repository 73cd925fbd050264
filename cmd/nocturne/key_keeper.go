package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"nocturne/internal/access"
	"nocturne/internal/ledger"
	"nocturne/internal/secret"
	"nocturne/internal/state"
	"nocturne/internal/upgrade"
)

// keyFlags are those that all commands over the key share.
type keyFlags struct {
	tsdbFlags
	serverFlags
}

// keeper is the server where one holds the data folder, else this process.
func (f *keyFlags) keeper(ctx context.Context) (keyKeeper, error) {
	cfg, err := LoadConfig(f.config)
	if err != nil {
		return nil, err
	}
	if f.data != "" {
		cfg.Data = f.data
	}
	if f.server != "" {
		return f.ask(cfg.Listen)
	}
	dir := filepath.Join(cfg.Data, "state")
	held, err := isHeld(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("there is no state in %s: name the server's --data or --config", dir)
	case err != nil:
		return nil, fmt.Errorf("look at %s: %w", dir, err)
	case held:
		return f.ask(cfg.Listen)
	}
	return openVaultAtRest(cfg, dir)
}

// isHeld tells whether a process has the state in dir open.
func isHeld(dir string) (held bool, err error) {
	d, err := os.Open(dir)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, d.Close()) }() // which gives the lock back
	err = unix.Flock(int(d.Fd()), unix.LOCK_SH|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return true, nil
	}
	return false, err
}

// ownedState refuses the state of another user: what root writes there the
// server could not open any more.
func ownedState(data string) error {
	dir := filepath.Join(data, "state")
	st, err := os.Stat(dir)
	if err != nil {
		return err
	}
	if sys, ok := st.Sys().(*syscall.Stat_t); ok && int(sys.Uid) != os.Geteuid() {
		return fmt.Errorf("%s belongs to user %d, this is user %d: run this as that user", dir, sys.Uid, os.Geteuid())
	}
	return nil
}

// vaultAtRest is the vault of a data folder that no server holds.
type vaultAtRest struct {
	lock  *dataLock
	state *state.DB
	vault *access.Vault
}

func openVaultAtRest(cfg Config, dir string) (_ *vaultAtRest, err error) {
	if err := ownedState(cfg.Data); err != nil {
		return nil, err
	}
	v := &vaultAtRest{}
	if v.lock, err = lockData(cfg.Data, "nocturne key"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, v.lock.Close())
		}
	}()
	if err := upgrade.CheckCurrent(cfg.Data); err != nil {
		return nil, err
	}
	if v.state, err = state.Open(state.Options{Dir: dir, Log: logger(cfg.Log)}); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, v.state.Close())
		}
	}()
	chain, err := ledger.Open(v.state)
	if err != nil {
		return nil, err
	}
	a, err := access.Open(access.Options{State: v.state, Ledger: chain, Key: cfg.masterKey()})
	if err != nil {
		return nil, err
	}
	v.vault = a.Vault()
	return v, nil
}

func (v *vaultAtRest) Key(context.Context) (access.KeyStatus, error) { return v.vault.Key() }

func (v *vaultAtRest) Check(context.Context) (access.KeyCheck, error) { return v.vault.Verify() }

func (v *vaultAtRest) Rotate(ctx context.Context, keep bool, passphrase secret.Text) (access.Rotated, error) {
	return v.vault.Rotate(ctx, access.System, access.RotateOptions{Keep: keep, Passphrase: passphrase})
}

func (v *vaultAtRest) Close() error { return errors.Join(v.state.Close(), v.lock.Close()) }

// keyServer is a server that runs, asked through its API.
type keyServer struct{ *api }

func (f *keyFlags) ask(listen string) (keyKeeper, error) {
	a, err := f.api(listen)
	if err != nil {
		return nil, err
	}
	return keyServer{a}, nil
}

func (s keyServer) Key(ctx context.Context) (k access.KeyStatus, err error) {
	err = s.call(ctx, "GET", "/key", nil, &k)
	return k, err
}

func (s keyServer) Check(ctx context.Context) (c access.KeyCheck, err error) {
	err = s.call(ctx, "POST", "/key/check", nil, &c)
	return c, err
}

func (s keyServer) Rotate(ctx context.Context, keep bool, passphrase secret.Text) (r access.Rotated, err error) {
	in := map[string]any{"keep_old": keep}
	if passphrase != "" {
		in["passphrase"] = passphrase.Reveal()
	}
	err = s.call(ctx, "POST", "/key/rotate", in, &r)
	return r, err
}

func (s keyServer) Close() error {
	s.http.CloseIdleConnections()
	return nil
}
