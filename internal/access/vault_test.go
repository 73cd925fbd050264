package access

import (
	"errors"
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
