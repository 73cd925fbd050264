package access

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"nocturne/internal/need"
	"nocturne/internal/secret"
)

const (
	passphrase = secret.Text("four words of a passphrase")
	// cheap is what a passphrase costs in tests, in KiB: under the race
	// detector the real 64 MiB take seconds, and cmd's tests pay them.
	cheap = 64
)

// reopen opens access anew on the state that p holds, by another source.
func (p *place) reopen(s KeySource) (*Access, error) {
	return Open(Options{State: p.state, Ledger: p.ledger, Key: s})
}

func write(t *testing.T, path, text string) {
	t.Helper()
	check(t, os.MkdirAll(filepath.Dir(path), 0o700))
	check(t, os.WriteFile(path, []byte(text), 0o600))
}

// keyText is a key file's text made without the package's help.
func keyText(fill byte) string {
	return base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{fill}, 32)) + "\n"
}

// sources are all kinds that hold their secret in a file, and how they are
// filled: with the nth secret of a kind.
func sources(dir string) map[string]struct {
	source KeySource
	path   string
	nth    func(n int) string
} {
	words := func(n int) string { return fmt.Sprintf("%s %d\n", passphrase.Reveal(), n) }
	key := func(n int) string { return keyText(byte(n + 1)) }
	type kind = struct {
		source KeySource
		path   string
		nth    func(n int) string
	}
	return map[string]kind{
		"file":                  {KeySource{File: dir + "/keys/master"}, dir + "/keys/master", key},
		"credential":            {KeySource{Credential: "vault"}, dir + "/credentials/vault", key},
		"passphrase file":       {KeySource{PassphraseFile: dir + "/keys/words", memory: cheap}, dir + "/keys/words", words},
		"passphrase credential": {KeySource{PassphraseCredential: "words", memory: cheap}, dir + "/credentials/words", words},
	}
}

// bare is a place on which access is not open yet.
func bare(t *testing.T, dir string) *place {
	t.Helper()
	t.Setenv(credentialsVariable, filepath.Join(dir, "credentials"))
	check(t, os.MkdirAll(filepath.Join(dir, "credentials"), 0o700))
	return openState(t, dir)
}

// TestSourcesTellLostFromWrong takes each kind through its life: the right
// secret opens, and what a person reads otherwise tells what is the matter.
func TestSourcesTellLostFromWrong(t *testing.T) {
	for name := range sources("") {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			p := bare(t, dir)
			k := sources(dir)[name]
			if name != "file" { // which is made
				if _, err := p.reopen(k.source); err == nil || !strings.Contains(err.Error(), k.source.String()) || errors.Is(err, ErrKeyLost) {
					t.Errorf("empty, and nothing there: %v", err)
				}
			}
			write(t, k.path, k.nth(0))
			a, err := p.reopen(k.source)
			check(t, err)
			check(t, a.Vault().Put(t.Context(), System, "leafs", "snmp", credential{Key: "public-not"}))
			before := p.records(t)
			f := func(what string, want error, change func()) {
				t.Helper()
				change()
				_, err := p.reopen(k.source)
				for _, e := range []error{ErrKeyLost, ErrWrongKey, ErrKeyDamaged, ErrKeyExposed, ErrCredential} {
					if errors.Is(err, e) != (e == want) {
						t.Errorf("%s: is %q: %v", what, e, err)
					}
				}
				if err != nil && (!strings.Contains(err.Error(), k.source.String()) || strings.Contains(err.Error(), strings.TrimSpace(k.nth(1)))) {
					t.Errorf("%s: names no source, or the secret: %v", what, err)
				}
				if after := p.records(t); after != before {
					t.Errorf("%s: records were changed:\n%s\n%s", what, before, after)
				}
			}
			f("another", ErrWrongKey, func() { write(t, k.path, k.nth(1)) })
			f("empty", ErrKeyDamaged, func() { write(t, k.path, "\n") })
			f("gone", ErrKeyLost, func() { check(t, os.Remove(k.path)) })
			if strings.Contains(name, "credential") {
				f("no folder of credentials", ErrCredential, func() { t.Setenv(credentialsVariable, "") })
				f("a folder that is not there", ErrCredential, func() { t.Setenv(credentialsVariable, dir+"/nowhere") })
				t.Setenv(credentialsVariable, dir+"/credentials")
			}
			write(t, k.path, k.nth(0))
			if a, err = p.reopen(k.source); err != nil {
				t.Fatalf("with the right one put back: %v", err)
			}
			var got credential
			if _, err := a.Vault().Open("leafs", &got); err != nil || got.Key != "public-not" {
				t.Errorf("opened: %v", err)
			}
		})
	}
}

// A key where a passphrase sealed, and the reverse, is told as such.
func TestSourcesOfTheOtherKind(t *testing.T) {
	dir := t.TempDir()
	p := bare(t, dir)
	all := sources(dir)
	file, words := all["file"], all["passphrase file"]
	write(t, file.path, file.nth(0))
	write(t, words.path, words.nth(0))
	_, err := p.reopen(file.source)
	check(t, err)
	if _, err := p.reopen(words.source); !errors.Is(err, ErrWrongKey) || !strings.Contains(err.Error(), "not under a passphrase") {
		t.Errorf("a passphrase for a key: %v", err)
	}
	p = bare(t, t.TempDir())
	_, err = p.reopen(words.source)
	check(t, err)
	if _, err := p.reopen(file.source); !errors.Is(err, ErrWrongKey) || !strings.Contains(err.Error(), "made of a passphrase") {
		t.Errorf("a key for a passphrase: %v", err)
	}
}

// TestAskedPassphrase answers as a person at a terminal does.
func TestAskedPassphrase(t *testing.T) {
	p := bare(t, t.TempDir())
	var asked []string
	answers := func(list ...secret.Text) KeySource {
		asked = nil
		return KeySource{memory: cheap, Ask: func(q string) (secret.Text, error) {
			asked = append(asked, q)
			if len(asked) > len(list) {
				return "", errors.New("nobody is there")
			}
			return list[len(asked)-1], nil
		}}
	}
	if _, err := p.reopen(answers(passphrase, passphrase+"x")); !errors.Is(err, ErrInvalid) {
		t.Errorf("two that differ: %v", err)
	}
	if _, err := p.reopen(answers("short", "short")); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "12 to") {
		t.Errorf("a short one: %v", err)
	}
	_, err := p.reopen(answers(passphrase, passphrase))
	check(t, err)
	if _, err := p.reopen(answers("not that one", passphrase)); err != nil || len(asked) != 2 {
		t.Errorf("right at the second try: %v after %q", err, asked)
	}
	if _, err := p.reopen(answers("a", "b", "c", passphrase)); !errors.Is(err, ErrWrongKey) || len(asked) != askTimes {
		t.Errorf("wrong three times: %v after %q", err, asked)
	}
	if _, err := p.reopen(answers()); err == nil || errors.Is(err, ErrWrongKey) || !strings.Contains(err.Error(), "nobody is there") {
		t.Errorf("no answer: %v", err)
	}
}

// TestPassphraseIsArgon2id holds the derivation against the reference vector
// of argon2's own tool: echo -n password | argon2 somesalt -id -t 2 -m 16 -p 1 -l 32.
func TestPassphraseIsArgon2id(t *testing.T) {
	k, err := (&kdf{Salt: []byte("somesalt"), Time: 2, Memory: 64 << 10, Threads: 1}).derive("password")
	check(t, err)
	if got := fmt.Sprintf("%x", *k.raw); got != "09316115d5cf24ed5a15a31a3ba326e5cf32edc24702987c02b6566f61913cf7" {
		t.Error(got)
	}
	for _, bad := range []kdf{{}, {Salt: make([]byte, 16), Time: 1, Memory: 1 << 31, Threads: 1}, {Salt: make([]byte, 16), Time: 1 << 30, Memory: 8, Threads: 1}, {Salt: make([]byte, 16), Time: 1, Memory: 8}} {
		if _, err := bad.derive("password"); !errors.Is(err, ErrSealBroken) {
			t.Errorf("%+v: %v", bad, err)
		}
	}
}

func TestKeyFileIsMade(t *testing.T) {
	dir := t.TempDir()
	p := open(t, dir)
	file := p.options().KeyFile
	st, err := os.Stat(file)
	check(t, err)
	if st.Mode().Perm() != 0o600 {
		t.Errorf("made with mode %#o", st.Mode().Perm())
	}
	left, err := os.ReadDir(filepath.Dir(file))
	if err != nil || len(left) != 1 {
		t.Errorf("beside it: %v, %v", left, err)
	}
	text, err := os.ReadFile(file)
	check(t, err)
	if key, err := base64.StdEncoding.DecodeString(strings.TrimSpace(string(text))); err != nil || len(key) != 32 {
		t.Errorf("%d bytes, %v", len(key), err)
	}
	check(t, os.Chmod(file, 0o400))
	if _, err := Open(p.options()); err != nil {
		t.Errorf("mode 0400: %v", err)
	}
	check(t, os.Remove(file))
	if _, err := Open(p.options()); !errors.Is(err, ErrKeyLost) {
		t.Errorf("lost: %v", err)
	}
	if _, err := os.Stat(file); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a new key was made over a lost one: %v", err)
	}
}

// TestDamagedKeyFiles damages the key file in every way: cut at each length,
// each bit flipped, replaced by what is no file. What the bytes still mean is
// decided by decoding them here.
func TestDamagedKeyFiles(t *testing.T) {
	p := open(t, t.TempDir())
	file := p.options().KeyFile
	whole, err := os.ReadFile(file)
	check(t, err)
	want, err := base64.StdEncoding.DecodeString(strings.TrimSpace(string(whole)))
	check(t, err)
	f := func(what string, text []byte) {
		t.Helper()
		check(t, os.WriteFile(file, text, 0o600))
		expected := ErrKeyDamaged
		if got, err := base64.StdEncoding.DecodeString(strings.TrimSpace(string(text))); err == nil && len(got) == 32 {
			expected = ErrWrongKey
			if bytes.Equal(got, want) {
				expected = nil
			}
		}
		_, err := Open(p.options())
		if !errors.Is(err, expected) || expected != nil && !strings.Contains(err.Error(), file) {
			t.Errorf("%s: %v, want %v", what, err, expected)
		}
		if err != nil && len(text) > 8 && strings.Contains(err.Error(), string(text[:8])) {
			t.Errorf("%s: the error shows the key", what)
		}
	}
	for n := range len(whole) {
		f(fmt.Sprint("cut at ", n), whole[:n])
	}
	for at := range len(whole) {
		for bit := range 8 {
			flipped := bytes.Clone(whole)
			flipped[at] ^= 1 << bit
			f(fmt.Sprintf("bit %d of byte %d", bit, at), flipped)
		}
	}
	_, r := need.Seed(t)
	noise := make([]byte, 32)
	for i := range noise {
		noise[i] = byte(r.Uint32())
	}
	f("32 bytes that are no base64", noise)
	f("zeros, as after a power cut", make([]byte, len(whole)))
	f("twice", append(bytes.Clone(whole), whole...))
	f("more than a file of a key", bytes.Repeat([]byte("A"), maxKeyFile+1))
	f("whole again", whole)
}

// TestKeyFilesThatAreNone puts other things where the key file should be.
func TestKeyFilesThatAreNone(t *testing.T) {
	p := open(t, t.TempDir())
	file := p.options().KeyFile
	aside := file + ".aside"
	check(t, os.Rename(file, aside))
	f := func(what string, want error, put func() error) {
		t.Helper()
		check(t, put())
		if _, err := Open(p.options()); !errors.Is(err, want) || want != nil && !strings.Contains(err.Error(), file) {
			t.Errorf("%s: %v, want %v", what, err, want)
		}
		check(t, os.Remove(file))
	}
	f("a folder", ErrKeyDamaged, func() error { return os.Mkdir(file, 0o700) })
	f("a named pipe", ErrKeyDamaged, func() error { return syscall.Mkfifo(file, 0o600) })
	f("a link to nothing", ErrKeyLost, func() error { return os.Symlink(file+".nothing", file) })
	f("a link to endless zeros", ErrKeyDamaged, func() error { return os.Symlink("/dev/zero", file) })
	f("a link to a private key", nil, func() error { return os.Symlink(aside, file) })
	check(t, os.Chmod(aside, 0o640))
	f("a link to an exposed key", ErrKeyExposed, func() error { return os.Symlink(aside, file) })
	f("an exposed key", ErrKeyExposed, func() error { return os.Link(aside, file) })
	check(t, os.Chmod(aside, 0o604))
	f("a key that all may read", ErrKeyExposed, func() error { return os.Link(aside, file) })
	check(t, os.Chmod(aside, 0o600))
	if os.Geteuid() == 0 {
		check(t, os.Chown(aside, 65534, -1))
		f("somebody else's key", ErrKeyExposed, func() error { return os.Link(aside, file) })
		check(t, os.Chown(aside, 0, -1))
	}
	check(t, os.Rename(aside, file))
	if _, err := asNobody(func() (secret.Text, error) { return ReadPrivate(file) }); !errors.Is(err, ErrKeyDamaged) || !strings.Contains(err.Error(), file) {
		t.Errorf("a key that may not be read: %v", err)
	}
	if _, err := Open(p.options()); err != nil {
		t.Error(err)
	}
}

// asNobody runs f with the file rights of the user nobody, where this is root;
// others have none on a key of mode 0600 that is not theirs in the first place.
func asNobody(f func() (secret.Text, error)) (text secret.Text, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // for good: the thread ends with the goroutine
		if _, err = unix.SetfsuidRetUid(65534); err == nil {
			text, err = f()
		}
	}()
	<-done
	return text, err
}

// A changed check record is no wrong key.
func TestChangedProofIsToldFromAWrongKey(t *testing.T) {
	p := open(t, t.TempDir())
	_, _, err := p.vault.checks.Update(checkName, func(c *checkRecord, _ bool) error { c.Box[0] ^= 1; return nil })
	check(t, err)
	if _, err := Open(p.options()); !errors.Is(err, ErrSealBroken) || errors.Is(err, ErrWrongKey) {
		t.Errorf("got %v", err)
	}
	check(t, p.vault.checks.Delete(checkName, 0))
	check(t, p.Vault().Put(t.Context(), System, "a", "ssh", credential{}))
	if _, err := Open(p.options()); err == nil || !strings.Contains(err.Error(), "vault-check/check") {
		t.Errorf("without a proof: %v", err)
	}
}
