package access

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"nocturne/internal/secret"
)

// TestRotateOtherSources rotates what the program cannot make: the next secret
// has to be offered, and one that is cut short ends with the new secret alone.
func TestRotateOtherSources(t *testing.T) {
	for name := range sources("") {
		if name == "file" {
			continue
		}
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			p := bare(t, dir)
			k := sources(dir)[name]
			write(t, k.path, k.nth(0))
			var err error
			if p.Access, err = p.reopen(k.source); err != nil {
				t.Fatal(err)
			}
			p.fill(t, 3)
			old := copyOf(p.vault.ring.current)
			refused := func(what, words string) {
				t.Helper()
				before := p.records(t)
				_, err := p.Vault().Rotate(t.Context(), System, RotateOptions{})
				if !errors.Is(err, ErrNextKey) || !strings.Contains(err.Error(), words) || strings.Contains(err.Error(), strings.TrimSpace(k.nth(0))) {
					t.Errorf("%s: %v", what, err)
				}
				if p.records(t) != before {
					t.Errorf("%s: records were changed", what)
				}
			}
			refused("nothing is offered", ".next")
			write(t, k.path+nextSuffix, k.nth(0))
			refused("the same is offered", "is the key in use")
			write(t, k.path+nextSuffix, "\n")
			refused("nothing is in it", ".next")
			write(t, k.path+nextSuffix, k.nth(1))
			_, err = p.vault.start(t.Context(), System, RotateOptions{})
			check(t, err)

			dead := p.image(t)
			k = sources(dead.dir)[name]
			check(t, os.Remove(k.path))
			if dead.Access, err = dead.reopen(k.source); err != nil {
				t.Fatal(err)
			}
			opensAll(t, dead.Vault(), 3)
			dead.opensNothing(t, old)
			if strings.Contains(name, "credential") {
				// Only a person can put it in its place.
				if s, err := dead.Vault().Key(); err != nil || !strings.HasSuffix(s.Source, nextSuffix) {
					t.Errorf("status %+v, %v", s, err)
				}
				if _, err := dead.Vault().Rotate(t.Context(), System, RotateOptions{}); !errors.Is(err, ErrNextKey) || !strings.Contains(err.Error(), "put it in the place of") {
					t.Errorf("rotated to the key in use: %v", err)
				}
				check(t, os.Rename(k.path+nextSuffix, k.path))
			}
			if _, err := os.Stat(k.path + nextSuffix); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the next one: %v", err)
			}
			if held, err := os.ReadFile(k.path); err != nil || string(held) != k.nth(1) {
				t.Errorf("the one in use: %v", err)
			}
			a, err := dead.reopen(k.source)
			check(t, err)
			opensAll(t, a.Vault(), 3)
		})
	}
}

// TestRotateToAnotherKind goes from a file to a passphrase that a person gives,
// and on to a credential.
func TestRotateToAnotherKind(t *testing.T) {
	dir := t.TempDir()
	p := bare(t, dir)
	ask := func() (secret.Text, error) { return passphrase, nil }
	asked := KeySource{memory: cheap, Ask: func(string) (secret.Text, error) { return ask() }}
	all := sources(dir)
	file := all["file"].source
	file.Next = &asked
	var err error
	if p.Access, err = p.reopen(file); err != nil {
		t.Fatal(err)
	}
	p.fill(t, 2)
	if _, err := p.Vault().Rotate(t.Context(), System, RotateOptions{}); !errors.Is(err, ErrNextKey) || !strings.Contains(err.Error(), "passphrase") {
		t.Errorf("no passphrase: %v", err)
	}
	if s, err := p.Vault().Key(); err != nil || !s.Asks {
		t.Errorf("status %+v, %v", s, err)
	}
	ask = func() (secret.Text, error) { return "", errors.New("asked while it runs") }
	_, err = p.Vault().Rotate(t.Context(), System, RotateOptions{Passphrase: passphrase})
	check(t, err)
	opensAll(t, p.Vault(), 2)
	ask = func() (secret.Text, error) { return passphrase, nil }
	if p.Access, err = p.reopen(file); err != nil { // the configuration as it was
		t.Fatal(err)
	}
	if s, err := p.Vault().Key(); err != nil || s.Source != asked.String() {
		t.Errorf("status %+v, %v", s, err)
	}
	asked.Next = new(all["credential"].source)
	if p.Access, err = p.reopen(asked); err != nil {
		t.Fatal(err)
	}
	write(t, all["credential"].path, all["credential"].nth(3))
	if _, err := p.Vault().Rotate(t.Context(), System, RotateOptions{Passphrase: passphrase}); !errors.Is(err, ErrNextKey) {
		t.Errorf("a passphrase for a credential: %v", err)
	}
	_, err = p.Vault().Rotate(t.Context(), System, RotateOptions{})
	check(t, err)
	if p.Access, err = p.reopen(all["credential"].source); err != nil {
		t.Fatal(err)
	}
	opensAll(t, p.Vault(), 2)
}

// A wrong key is told where the right one was kept.
func TestKeptKeyIsPointedTo(t *testing.T) {
	p := open(t, t.TempDir())
	before := p.image(t)
	r, err := p.Vault().Rotate(t.Context(), System, RotateOptions{Keep: true})
	check(t, err)
	// The state of a backup beside the key files of now.
	check(t, os.RemoveAll(filepath.Join(before.dir, "keys")))
	copyAll(t, filepath.Join(before.dir, "keys"), filepath.Join(p.dir, "keys"))
	_, err = Open(before.options())
	if kept := before.options().KeyFile + oldSuffix + r.From; !errors.Is(err, ErrWrongKey) || !strings.Contains(err.Error(), "move it to") || !strings.Contains(err.Error(), kept) {
		t.Errorf("got %v", err)
	}
	files, err := before.options().source().Files()
	if err != nil || len(files) != 2 {
		t.Errorf("files of keys: %v, %v", files, err)
	}
}

func (o Options) source() KeySource { return KeySource{File: o.KeyFile} }

// The key's file may be a link to a private place: that is where the new key
// goes.
func TestRotateBehindALink(t *testing.T) {
	p := openState(t, t.TempDir())
	at := filepath.Join(p.dir, "elsewhere", "real")
	write(t, at, keyText('r'))
	check(t, os.MkdirAll(filepath.Dir(p.options().KeyFile), 0o700))
	check(t, os.Symlink(at, p.options().KeyFile))
	var err error
	if p.Access, err = Open(p.options()); err != nil {
		t.Fatal(err)
	}
	p.fill(t, 2)
	_, err = p.Vault().Rotate(t.Context(), System, RotateOptions{})
	check(t, err)
	if to, err := os.Readlink(p.options().KeyFile); err != nil || to != at {
		t.Errorf("the link leads to %s, %v", to, err)
	}
	if held, err := os.ReadFile(at); err != nil || string(held) == keyText('r') {
		t.Errorf("the key there was not replaced: %v", err)
	}
	if p.Access, err = Open(p.options()); err != nil {
		t.Fatal(err)
	}
	opensAll(t, p.Vault(), 2)
}
