package access

import (
	"encoding/base64"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestVaultListReplaceDelete(t *testing.T) {
	dir := t.TempDir()
	p := open(t, dir)
	ctx := t.Context()
	check(t, p.Vault().Put(ctx, System, "b", "ssh", credential{Key: "one"}))
	check(t, p.Vault().Put(ctx, System, "a", "snmp", credential{Key: "two"}))
	check(t, p.Vault().Put(ctx, System, "b", "ssh", credential{Key: "three"}))
	check(t, p.state.Close())
	p = open(t, dir)
	all, err := p.Vault().List()
	check(t, err)
	var names []string
	for _, s := range all {
		names = append(names, s.Name+" "+s.Kind+" "+s.By)
	}
	if d := cmp.Diff([]string{"a snmp system", "b ssh system"}, names); d != "" {
		t.Error(d)
	}
	var got credential
	if _, err := p.Vault().Open("b", &got); err != nil || got.Key != "three" {
		t.Errorf("replaced credential: %v", err)
	}
	check(t, p.Vault().Delete(ctx, System, "b"))
	if _, err := p.Vault().Open("b", &got); !errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), "credential b") {
		t.Errorf("deleted credential: %v", err)
	}
	if err := p.Vault().Delete(ctx, System, "b"); !errors.Is(err, ErrNotFound) {
		t.Errorf("deleted twice: %v", err)
	}
	if d := cmp.Diff([]string{
		`system seal credential credential/b {"kind":"ssh"}`,
		`system seal credential credential/a {"kind":"snmp"}`,
		`system seal credential credential/b {"kind":"ssh"}`,
		`system delete credential credential/b`,
	}, p.audit(t)); d != "" {
		t.Error(d)
	}
}

// A sealed credential opens only as what it was sealed as.
func TestSealedCredentialsCannotBeSwapped(t *testing.T) {
	p := open(t, t.TempDir())
	ctx := t.Context()
	check(t, p.Vault().Put(ctx, System, "a", "ssh", credential{Key: "one"}))
	check(t, p.Vault().Put(ctx, System, "b", "ssh", credential{Key: "two"}))
	a, rev, err := p.vault.sealed.Get("a")
	check(t, err)
	b, _, err := p.vault.sealed.Get("b")
	check(t, err)
	if cmp.Equal(a.Nonce, b.Nonce) {
		t.Error("a nonce came twice")
	}
	f := func(what string, s sealed) {
		t.Helper()
		if rev, err = p.vault.sealed.Put("a", s, rev); err != nil {
			t.Fatal(err)
		}
		var got credential
		if _, err := p.Vault().Open("a", &got); !errors.Is(err, ErrSealBroken) || got.Key != "" {
			t.Errorf("%s: %v", what, err)
		}
	}
	f("another credential", b)
	renamed := b
	renamed.Name = "a"
	f("another credential by its name", renamed)
	kind := a
	kind.Kind = "snmp"
	f("another kind", kind)
	flipped := a
	flipped.Box = append([]byte{}, a.Box...)
	flipped.Box[0] ^= 1
	f("a flipped bit", flipped)
	short := a
	short.Nonce = nil
	f("no nonce", short)
}

func TestMasterKeyFile(t *testing.T) {
	dir := t.TempDir()
	p := open(t, dir)
	file := p.options().KeyFile
	st, err := os.Stat(file)
	check(t, err)
	if st.Mode().Perm() != 0o600 {
		t.Errorf("made with mode %#o", st.Mode().Perm())
	}
	if left, err := filepath.Glob(filepath.Join(filepath.Dir(file), ".key-*")); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	text, err := os.ReadFile(file)
	check(t, err)
	if key, err := base64.StdEncoding.DecodeString(strings.TrimSpace(string(text))); err != nil || len(key) != 32 {
		t.Errorf("%d bytes, %v", len(key), err)
	}
	f := func(what string, damage func(), want error, words string) {
		t.Helper()
		damage()
		_, err := Open(p.options())
		if !errors.Is(err, want) || !strings.Contains(err.Error(), file) || !strings.Contains(err.Error(), words) {
			t.Errorf("%s: %v", what, err)
		}
		if err != nil && len(text) > 8 && strings.Contains(err.Error(), string(text[:8])) {
			t.Errorf("%s: the error shows the key: %v", what, err)
		}
	}
	f("others may read it", func() { check(t, os.Chmod(file, 0o640)) }, ErrInvalid, "0600")
	check(t, os.Chmod(file, 0o400))
	if _, err := Open(p.options()); err != nil {
		t.Errorf("mode 0400: %v", err)
	}
	check(t, os.Chmod(file, 0o600))
	f("cut short", func() { check(t, os.WriteFile(file, text[:20], 0o600)) }, ErrInvalid, "32 bytes")
	other := base64.StdEncoding.EncodeToString(make([]byte, 32))
	f("another key", func() { check(t, os.WriteFile(file, []byte(other), 0o600)) }, ErrWrongKey, "not the one")
	f("lost", func() { check(t, os.Remove(file)) }, ErrKeyLost, "backup")
	if _, err := os.Stat(file); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a new key was made over a lost one: %v", err)
	}
	f("a folder", func() { check(t, os.Mkdir(file, 0o700)) }, ErrInvalid, "not a file")
	check(t, os.Remove(file))
	check(t, os.WriteFile(file, text, 0o600))
	if _, err := Open(p.options()); err != nil {
		t.Errorf("with the key put back: %v", err)
	}
}
