package access

import (
	"context"
	"errors"
	"strings"
	"testing"
)

func TestHashIsArgon2id(t *testing.T) {
	h := newHasher()
	a, err := h.hash(t.Context(), password)
	check(t, err)
	b, err := h.hash(t.Context(), password)
	check(t, err)
	if !strings.HasPrefix(a, "$argon2id$v=19$m=65536,t=3,p=4$") || a == b {
		t.Errorf("hashes %s and %s", a, b)
	}
	if ok, err := h.verify(t.Context(), a, password); !ok || err != nil {
		t.Errorf("the password itself: %v, %v", ok, err)
	}
	if ok, err := h.verify(t.Context(), a, password+" "); ok || err != nil {
		t.Errorf("another password: %v, %v", ok, err)
	}
}

// The vector stands in test.c of the reference implementation
// (github.com/P-H-C/phc-winner-argon2).
func TestVerifyKnownHash(t *testing.T) {
	const known = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc"
	if ok, err := newHasher().verify(t.Context(), known, "password"); !ok || err != nil {
		t.Errorf("the reference implementation's hash: %v, %v", ok, err)
	}
}

func TestParsePHCRefuses(t *testing.T) {
	good := nobody
	if _, err := parsePHC(good); err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{
		"", "x", strings.Replace(good, "argon2id", "argon2i", 1), strings.Replace(good, "v=19", "v=16", 1),
		strings.Replace(good, "m=65536", "m=4294967295", 1), strings.Replace(good, "t=3", "t=0", 1),
		strings.Replace(good, "p=4", "p=0", 1), strings.Replace(good, "t=3", "t=x", 1), good + "!", good[:len(good)-30],
	} {
		_, err := parsePHC(s)
		if !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", s, err)
		}
	}
}

func TestHashWaitsItsTurn(t *testing.T) {
	h := newHasher()
	h.slot <- struct{}{}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := h.hash(ctx, password); !errors.Is(err, context.Canceled) {
		t.Errorf("a second hash beside the first: %v", err)
	}
}
