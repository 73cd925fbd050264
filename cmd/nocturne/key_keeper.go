package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"nocturne/internal/access"
	"nocturne/internal/ledger"
	"nocturne/internal/secret"
	"nocturne/internal/state"
)

// keyFlags are those that all commands over the key share.
type keyFlags struct {
	tsdbFlags
	server, tokenFile, caFile string
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
		return f.ask(f.server)
	}
	dir := filepath.Join(cfg.Data, "state")
	held, err := isHeld(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("there is no state in %s: name the server's --data or --config", dir)
	case err != nil:
		return nil, fmt.Errorf("look at %s: %w", dir, err)
	case held:
		return f.ask(cfg.externalURL())
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

// vaultAtRest is the vault of a data folder that no server holds.
type vaultAtRest struct {
	state *state.DB
	vault *access.Vault
}

func openVaultAtRest(cfg Config, dir string) (_ *vaultAtRest, err error) {
	st, err := os.Stat(dir)
	if err != nil {
		return nil, err
	}
	// What root writes here the server could not open any more.
	if sys, ok := st.Sys().(*syscall.Stat_t); ok && int(sys.Uid) != os.Geteuid() {
		return nil, fmt.Errorf("%s belongs to user %d, this is user %d: run this as that user", dir, sys.Uid, os.Geteuid())
	}
	v := &vaultAtRest{}
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

func (v *vaultAtRest) Close() error { return v.state.Close() }

// keyServer is a server that runs, asked through its API.
type keyServer struct {
	client *http.Client
	root   string
	token  secret.Text
}

func (f *keyFlags) ask(address string) (*keyServer, error) {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return nil, fmt.Errorf("--server: %q is no http or https address", address)
	}
	if ip, err := netip.ParseAddr(u.Hostname()); u.Scheme == "http" && u.Hostname() != "localhost" && (err != nil || !ip.IsLoopback()) {
		return nil, fmt.Errorf("--server: %s would get the token in the clear: use https, or run this on that machine", u.Redacted())
	}
	if f.tokenFile == "" {
		return nil, fmt.Errorf("the server at %s has the key: name the file of an administrator's token (Administration > Tokens) with --token-file", u.Redacted())
	}
	token, err := access.ReadPrivate(f.tokenFile)
	if err != nil {
		return nil, fmt.Errorf("--token-file: %w", err)
	}
	s := &keyServer{root: strings.TrimSuffix(address, "/") + "/api/nocturne/v1", token: secret.Text(strings.TrimSpace(token.Reveal()))}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	if f.caFile != "" {
		pem, err := os.ReadFile(f.caFile)
		if err != nil {
			return nil, fmt.Errorf("--ca-file: %w", err)
		}
		transport.TLSClientConfig = &tls.Config{RootCAs: x509.NewCertPool(), MinVersion: tls.VersionTLS12}
		if !transport.TLSClientConfig.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("--ca-file: %s holds no certificate", f.caFile)
		}
	}
	// The token goes nowhere else than to the address that was named.
	s.client = &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	return s, nil
}

func (s *keyServer) Key(ctx context.Context) (k access.KeyStatus, err error) {
	err = s.call(ctx, "GET", "/key", nil, &k)
	return k, err
}

func (s *keyServer) Check(ctx context.Context) (c access.KeyCheck, err error) {
	err = s.call(ctx, "POST", "/key/check", nil, &c)
	return c, err
}

func (s *keyServer) Rotate(ctx context.Context, keep bool, passphrase secret.Text) (r access.Rotated, err error) {
	in := map[string]any{"keep_old": keep}
	if passphrase != "" {
		in["passphrase"] = passphrase.Reveal()
	}
	err = s.call(ctx, "POST", "/key/rotate", in, &r)
	return r, err
}

func (s *keyServer) Close() error {
	s.client.CloseIdleConnections()
	return nil
}

// call sends in as JSON and reads the answer, or the problem that it tells of.
func (s *keyServer) call(ctx context.Context, method, path string, in, out any) (err error) {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, s.root+path, body)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+s.token.Reveal())
	req.Header.Set("Content-Type", "application/json")
	resp, err := s.client.Do(req)
	if err != nil {
		return fmt.Errorf("ask the server: %w", err)
	}
	defer func() { err = errors.Join(err, resp.Body.Close()) }()
	answer := json.NewDecoder(io.LimitReader(resp.Body, 1<<20))
	if resp.StatusCode != http.StatusOK {
		var problem struct{ Detail string }
		if err := answer.Decode(&problem); err != nil || problem.Detail == "" {
			problem.Detail = "it answers with no reason; is it nocturne's address?"
		}
		return fmt.Errorf("%s %s%s: %s: %s", method, s.root, path, resp.Status, problem.Detail)
	}
	if err := answer.Decode(out); err != nil {
		return fmt.Errorf("%s %s%s: %w", method, s.root, path, err)
	}
	return nil
}
