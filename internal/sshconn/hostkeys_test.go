package sshconn

import (
	"bytes"
	"encoding/pem"
	"errors"
	"slices"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"nocturne/internal/secret"
	"nocturne/internal/sshconn/fleet"
)

func TestUnknownHostKey(t *testing.T) {
	r := startFleet(t, "127.88.0.1", fleet.Config{})
	h := r.host(r.Hosts()[0], "")
	fp := ssh.FingerprintSHA256(r.HostKey(r.Hosts()[0]))

	p := newPool(t, NewKnownHosts(), nil)
	_, err := p.Exec(t.Context(), h, "true", ExecOptions{})
	wantClass(t, err, HostKeyUnknown)
	if !strings.Contains(err.Error(), fp) || !strings.Contains(err.Error(), h.Name) {
		t.Errorf("%v does not name %s and %s", err, h.Name, fp)
	}

	keys := NewKnownHosts()
	var told []string
	p = newPool(t, keys, func(o *Options) {
		o.TrustFirst = true
		o.Pinned = func(h Host, fp string) { told = append(told, h.Name+" "+fp) }
	})
	mustExec(t, p, h)
	mustExec(t, p, h)
	if want := []string{h.Name + " ssh-ed25519 " + fp}; !slices.Equal(told, want) {
		t.Errorf("told %q, want %q", told, want)
	}
	if k, ok := keys.Lookup(h.Address); !ok || !sameKey(k, r.HostKey(r.Hosts()[0])) {
		t.Errorf("pinned %v", k)
	}
	// Trust ends with the first key.
	r.SetFaults([]fleet.Rule{{Mode: fleet.ChangedKey, From: r.Hosts()[0], To: r.Hosts()[0]}})
	r.DropConnections()
	_, err = p.Exec(t.Context(), h, "true", ExecOptions{})
	wantClass(t, err, HostKeyChanged)
	if strings.Count(err.Error(), "SHA256:") != 2 || !strings.Contains(err.Error(), fp) {
		t.Errorf("%v does not name both keys", err)
	}
	if n := r.journal.starts(t)[r.Hosts()[0].String()]; n != 2 {
		t.Errorf("%d commands ran", n)
	}
}

// TestPinnedKeyIsAskedFor: a server with an RSA key besides the pinned ed25519
// one must show the latter; one with RSA only is refused with both named.
func TestPinnedKeyIsAskedFor(t *testing.T) {
	both := startFleet(t, "127.88.1.1", fleet.Config{HostKeys: []string{"rsa", "ed25519"}})
	p := newPool(t, both.known, nil)
	mustExec(t, p, both.host(both.Hosts()[0], ""))

	only := startFleet(t, "127.88.2.1", fleet.Config{HostKeys: []string{"rsa"}})
	p = newPool(t, only.known, nil)
	_, err := p.Exec(t.Context(), only.host(only.Hosts()[0], ""), "true", ExecOptions{})
	wantClass(t, err, HostKeyChanged)
	if !strings.Contains(err.Error(), "ssh-rsa SHA256:") || !strings.Contains(err.Error(), "ssh-ed25519 SHA256:") {
		t.Errorf("%v does not name both keys", err)
	}

	// A pinned RSA key is asked for with SHA-2.
	keys := NewKnownHosts()
	p = newPool(t, keys, func(o *Options) { o.TrustFirst = true })
	mustExec(t, p, only.host(only.Hosts()[0], ""))
	only.DropConnections()
	mustExec(t, p, only.host(only.Hosts()[0], ""))
	if k, _ := keys.Lookup(only.host(only.Hosts()[0], "").Address); k == nil || k.Type() != ssh.KeyAlgoRSA {
		t.Errorf("pinned %v", k)
	}
}

func newPublic(t *testing.T) ssh.PublicKey {
	t.Helper()
	s, err := ssh.ParsePrivateKey([]byte(testKey(t).PrivateKey.Reveal()))
	if err != nil {
		t.Fatal(err)
	}
	return s.PublicKey()
}

func TestKnownHosts(t *testing.T) {
	a, b, c, gone := newPublic(t), newPublic(t), newPublic(t), newPublic(t)
	line := func(host string, k ssh.PublicKey) string { return host + " " + string(ssh.MarshalAuthorizedKey(k)) }
	text := "# comment\n\n" +
		line("10.0.0.1,web-1", a) +
		line("[10.0.0.2]:2222", b) +
		line(knownhosts.HashHostname("[10.0.0.3]:2200"), c) +
		"10.0.0.4 ssh-ed25519 notbase64\n" +
		line("*.example", a) +
		"@cert-authority " + line("10.0.0.5", a) +
		line("10.0.0.6", gone) + line("10.0.0.7", gone) + line("10.0.0.7", b) +
		"@revoked " + line("elsewhere", gone)
	k, err := ParseKnownHosts("kh", []byte(text))
	for _, want := range []string{"kh:6: ", `kh:7: the pattern "*.example"`, "kh:8: the marker @cert-authority"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not say %q", err, want)
		}
	}
	for addr, want := range map[string]ssh.PublicKey{
		"10.0.0.1:22": a, "web-1:22": a, "10.0.0.1:2222": nil, "10.0.0.2:2222": b, "10.0.0.2:22": nil,
		"10.0.0.3:2200": c, "10.0.0.3:22": nil, "10.0.0.5:22": nil,
		"10.0.0.6:22": nil, "10.0.0.7:22": b,
	} {
		if got, ok := k.Lookup(addr); ok != (want != nil) || ok && !sameKey(got, want) {
			t.Errorf("%s: %v", addr, got)
		}
	}
	if err := k.Pin("10.0.0.3:2200", c); err != nil {
		t.Error(err)
	}
	if err := k.Pin("10.0.0.3:2200", a); err == nil {
		t.Error("a second key was pinned")
	}
	if err := k.Pin("10.0.0.6:22", gone); err == nil || !strings.Contains(err.Error(), "revoked") || !k.Revoked(gone) || k.Revoked(a) {
		t.Errorf("pin of a revoked key: %v", err)
	}
	if err := k.Pin("10.0.0.9:22", a); err != nil {
		t.Error(err)
	}
	if got, _ := k.Lookup("10.0.0.9:22"); !sameKey(got, a) {
		t.Errorf("pinned %v", got)
	}
}

func FuzzParseKnownHosts(f *testing.F) {
	f.Add([]byte("10.0.0.1 ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ0C+Bd5fMvTCNz7yAcJNDSBEVSoEBpnZpBbzKzbPMfr\n"))
	f.Add([]byte("|1|F1E1KeoE/eEWhi10WpGv4OdiO6Y=|3988QV0VE8wmZL7suNrYQLITLCg= ssh-rsa x\n@revoked"))
	f.Fuzz(func(t *testing.T, b []byte) {
		k, err := ParseKnownHosts("kh", b)
		if k == nil {
			t.Fatalf("no set, %v", err)
		}
		k.Lookup("10.0.0.1:22")
	})
}

func TestCredentials(t *testing.T) {
	r := startFleet(t, "127.88.3.1", fleet.Config{})
	h := r.host(r.Hosts()[0], "")
	good := testKey(t)
	raw, err := ssh.ParseRawPrivateKey([]byte(good.PrivateKey.Reveal()))
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKeyWithPassphrase(raw, "", []byte("open sesame"))
	if err != nil {
		t.Fatal(err)
	}
	locked := secret.Text(pem.EncodeToMemory(block))
	for name, c := range map[string]struct {
		cred Credential
		err  error
		want string
	}{
		"good":           {cred: good},
		"passphrase":     {cred: Credential{User: "ops", PrivateKey: locked, Passphrase: "open sesame"}},
		"no passphrase":  {cred: Credential{User: "ops", PrivateKey: locked}, want: "it has no passphrase"},
		"bad passphrase": {cred: Credential{User: "ops", PrivateKey: locked, Passphrase: "mellon"}, want: "credential"},
		"no key":         {cred: Credential{User: "ops"}, want: "no key found"},
		"unknown":        {err: errors.New("no such entry"), want: "no such entry"},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPool(t, r.known, func(o *Options) { o.Credential = func(string) (Credential, error) { return c.cred, c.err } })
			_, err := p.Exec(t.Context(), h, "true", ExecOptions{})
			if c.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			wantClass(t, err, BadCredential)
			if !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), `"ops"`) || strings.Contains(err.Error(), "mellon") || bytes.Contains([]byte(err.Error()), []byte("PRIVATE")) {
				t.Errorf("%v", err)
			}
		})
	}
}

func TestOptions(t *testing.T) {
	if _, err := New(Options{}); err == nil {
		t.Error("no credentials and no host keys were accepted")
	}
	o := Options{Credential: func(string) (Credential, error) { return Credential{}, nil }, HostKeys: NewKnownHosts(), Dial: -1}
	if _, err := New(o); err == nil {
		t.Error("a negative deadline was accepted")
	}
}
