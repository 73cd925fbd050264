package access

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"nocturne/internal/need"
	"nocturne/internal/secret"
	"nocturne/internal/state"
)

// records is all that the vault has stored, as text.
func (p *place) records(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	for _, kind := range []string{"sealed", checkKind} {
		for r, err := range state.NewTable[json.RawMessage](p.state, kind, 2, unnamedKey).All("") {
			check(t, err)
			fmt.Fprintf(&b, "%s/%s %d %s\n", kind, r.ID, r.Rev, r.Value)
		}
	}
	for r, err := range state.NewTable[json.RawMessage](p.state, rotationKind, 1).All("") {
		check(t, err)
		fmt.Fprintf(&b, "%s/%s %d %s\n", rotationKind, r.ID, r.Rev, r.Value)
	}
	return b.String()
}

// image copies the state and the keys as they lie there when the process dies,
// and opens the state of the copy.
func (p *place) image(t *testing.T) *place {
	t.Helper()
	dir := t.TempDir()
	copyAll(t, dir, p.dir)
	t.Setenv(credentialsVariable, filepath.Join(dir, "credentials"))
	return openState(t, dir)
}

// copyAll copies a folder; nobody else may read what comes of it.
func copyAll(t *testing.T, to, from string) {
	t.Helper()
	check(t, os.CopyFS(to, os.DirFS(from)))
	check(t, filepath.WalkDir(to, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		return os.Chmod(path, 0o600)
	}))
}

// copyOf keeps a key that the vault will forget.
func copyOf(k key) key { return newKey(k.raw[:]) }

// fill seals n credentials whose values their names tell.
func (p *place) fill(t *testing.T, n int) {
	t.Helper()
	for i := range n {
		name := fmt.Sprint("leafs-", i)
		check(t, p.Vault().Put(t.Context(), System, name, "snmp", credential{User: "ops", Key: secret.Text("PLANTED-" + name)}))
	}
}

// opensAll wants just the n credentials of fill, each with its value.
func opensAll(t *testing.T, v *Vault, n int) {
	t.Helper()
	all, err := v.List()
	if err != nil || len(all) != n {
		t.Errorf("%d credentials of %d, %v", len(all), n, err)
	}
	for i := range n {
		name := fmt.Sprint("leafs-", i)
		var got credential
		kind, err := v.Open(name, &got)
		if err != nil || kind != "snmp" || got.User != "ops" || got.Key.Reveal() != "PLANTED-"+name {
			t.Errorf("%s: a %s, %v", name, kind, err)
		}
	}
}

// opensNothing wants no record of the vault to open with k.
func (p *place) opensNothing(t *testing.T, k key) {
	t.Helper()
	tried := 0
	f := func(s sealed) {
		t.Helper()
		tried++
		if _, err := k.unseal(s); !errors.Is(err, ErrSealBroken) || s.KeyID == k.id || s.KeyID == "" {
			t.Errorf("%s/%s, sealed by %q, and the retired key %s: %v", s.Kind, s.Name, s.KeyID, k, err)
		}
	}
	for r, err := range p.vault.sealed.All("") {
		check(t, err)
		f(r.Value)
	}
	c, _, err := p.vault.checks.Get(checkName)
	check(t, err)
	f(c.sealed)
	if _, _, err := p.vault.rotations.Get(rotationName); !errors.Is(err, state.ErrNotFound) {
		t.Errorf("the record of the rotation: %v", err)
	}
	if tried < 2 {
		t.Error("no record to try the key on")
	}
}

func TestRotate(t *testing.T) {
	for _, keep := range []bool{false, true} {
		p := open(t, t.TempDir())
		p.fill(t, 5)
		file := p.options().KeyFile
		before, err := os.ReadFile(file)
		check(t, err)
		old, err := parseKey(secret.Text(before))
		check(t, err)
		listed, err := p.Vault().List()
		check(t, err)
		r, err := p.Vault().Rotate(t.Context(), System, RotateOptions{Keep: keep})
		check(t, err)
		if r.From != old.id || r.To == r.From || r.Records != 5 || r.Broken != nil {
			t.Errorf("rotated %+v", r)
		}
		opensAll(t, p.Vault(), 5)
		p.opensNothing(t, old)
		after, err := os.ReadFile(file)
		check(t, err)
		if now, err := parseKey(secret.Text(after)); err != nil || now.id != r.To {
			t.Errorf("the file holds key %s, %v", now, err)
		}
		// Who sealed a credential and when is not the rotation's.
		if again, err := p.Vault().List(); err != nil || !cmp.Equal(again, listed) {
			t.Errorf("listed %s, %v", cmp.Diff(listed, again), err)
		}
		want := []string{"master"}
		if keep {
			want = append(want, "master.old-"+old.id)
			if kept, err := os.ReadFile(file + oldSuffix + old.id); err != nil || string(kept) != string(before) {
				t.Errorf("kept: %v", err)
			}
		}
		p.keyFolder(t, want...)
		lines := p.audit(t)
		if d := cmp.Diff([]string{
			fmt.Sprintf(`system rotate master key master-key/%s {"from":"%s"}`, r.To, r.From),
			fmt.Sprintf(`system master key rotated master-key/%s {"broken":0,"from":"%s","records":5}`, r.To, r.From),
		}, lines[len(lines)-2:]); d != "" {
			t.Error(d)
		}
		s, err := p.Vault().Key()
		if err != nil || s.ID != r.To || s.Records != 5 || s.Others != 0 || s.To != "" || s.Fault != "" || s.Source != "file "+file {
			t.Errorf("status %+v, %v", s, err)
		}
		if c, err := p.Vault().Verify(); err != nil || c.Good != 5 || c.Broken != nil {
			t.Errorf("verified %+v, %v", c, err)
		}
		check(t, p.Vault().Put(t.Context(), System, "leafs-5", "snmp", credential{User: "ops", Key: "PLANTED-leafs-5"}))
		check(t, p.state.Close())
		opensAll(t, open(t, p.dir).Vault(), 6)
	}
}

// keyFolder wants just these files beside the key.
func (p *place) keyFolder(t *testing.T, want ...string) {
	t.Helper()
	files, err := os.ReadDir(filepath.Dir(p.options().KeyFile))
	check(t, err)
	var names []string
	for _, f := range files {
		names = append(names, f.Name())
	}
	if d := cmp.Diff(want, names); d != "" {
		t.Errorf("files of keys: %s", d)
	}
}

// sealedV1 is how version 1 stored a record.
type sealedV1 struct {
	Sealed
	Nonce, Box []byte
}

// TestVaultOfVersion1 opens and rotates a vault whose records name no key.
func TestVaultOfVersion1(t *testing.T) {
	p := open(t, t.TempDir())
	p.fill(t, 3)
	old := copyOf(p.vault.ring.current)
	back := func(s sealed) sealedV1 { return sealedV1{s.Sealed, s.Nonce, s.Box} }
	c, _, err := p.vault.checks.Get(checkName)
	check(t, err)
	all := map[string]sealedV1{}
	for r, err := range p.vault.sealed.All("") {
		check(t, err)
		all[r.ID] = back(r.Value)
	}
	// A place of its own: no record goes back to an earlier version.
	one := openState(t, t.TempDir())
	write(t, one.options().KeyFile, old.text().Reveal())
	_, err = state.NewTable[sealedV1](one.state, checkKind, 1).Put(checkName, back(c.sealed), 0)
	check(t, err)
	for id, s := range all {
		_, err := state.NewTable[sealedV1](one.state, "sealed", 1).Put(id, s, 0)
		check(t, err)
	}
	check(t, one.state.Close())
	one = open(t, one.dir)
	opensAll(t, one.Vault(), 3)
	if s, err := one.Vault().Key(); err != nil || s.Records != 3 || s.Others != 0 {
		t.Errorf("status %+v, %v", s, err)
	}
	if r, err := one.Vault().Rotate(t.Context(), System, RotateOptions{}); err != nil || r.Records != 3 || r.From != old.id {
		t.Errorf("rotated %+v, %v", r, err)
	}
	opensAll(t, one.Vault(), 3)
	one.opensNothing(t, old)
	// Another key is still told from this one.
	write(t, one.options().KeyFile, keyText('x'))
	if _, err := Open(one.options()); !errors.Is(err, ErrWrongKey) {
		t.Errorf("another key: %v", err)
	}
}

// TestDyingAtEachStep takes the picture that a dying process leaves after each
// step of a rotation, and opens it: nothing is lost, and after the first step
// the rotation is finished.
func TestDyingAtEachStep(t *testing.T) {
	const n = 4
	p := open(t, t.TempDir())
	p.fill(t, n)
	v, file := p.vault, p.options().KeyFile
	old := copyOf(v.ring.current)
	dies := func(when string, begun bool) {
		t.Helper()
		dead := p.image(t)
		var err error
		if dead.Access, err = Open(dead.options()); err != nil {
			t.Errorf("%s: %v", when, err)
			return
		}
		opensAll(t, dead.Vault(), n)
		if !begun {
			// The key that is offered already is the one that comes next.
			held, err := os.ReadFile(dead.options().KeyFile + nextSuffix)
			check(t, err)
			next, err := parseKey(secret.Text(held))
			check(t, err)
			if r, err := dead.Vault().Rotate(t.Context(), System, RotateOptions{}); err != nil || r.To != next.id {
				t.Errorf("%s: rotated again: %+v to %s, %v", when, r, next, err)
			}
		}
		dead.opensNothing(t, old)
		dead.keyFolder(t, "master")
		if s, err := dead.Vault().Key(); err != nil || s.Fault != "" || s.To != "" || s.Records != n {
			t.Errorf("%s: %+v, %v", when, s, err)
		}
		lines := strings.Join(dead.audit(t), "\n")
		if !strings.Contains(lines, "rotate master key") || !strings.Contains(lines, "master key rotated") {
			t.Errorf("%s: the ledger tells %s", when, lines)
		}
	}
	check(t, os.WriteFile(filepath.Join(filepath.Dir(file), ".master.next-new-1"), []byte(keyText('t')), 0o600)) // a killed writeKey
	next, _, err := v.offered("")
	check(t, err)
	dies("a key is offered", false)
	r, err := v.start(t.Context(), System, RotateOptions{})
	check(t, err)
	if r.To != next.id {
		t.Errorf("offered %s, taken %s", next, r.To)
	}
	dies("the rotation is recorded", true)
	for i := range n {
		name := fmt.Sprint("leafs-", i)
		s, rev, err := v.sealed.Get(name)
		check(t, err)
		plain, err := v.ring.unseal(s)
		check(t, err)
		_, err = v.sealed.Put(name, v.ring.current.seal(s.Sealed, plain), rev)
		check(t, err)
		dies(fmt.Sprint(i+1, " records are sealed anew"), true)
	}
	check(t, v.replaceCheck(r))
	dies("the check is sealed anew", true)
	check(t, v.adopt(r))
	dies("the key is in its place", true)
	check(t, v.access.record(r.By, "master key rotated", "master-key/"+r.To, nil))
	dies("the ledger has it", true)
	check(t, v.forget(r, Rotated{}))
	dies("all is done", true)
}

// After the record of a rotation its key suffices, and without it nothing does.
func TestRotationNeedsItsKey(t *testing.T) {
	p := open(t, t.TempDir())
	p.fill(t, 2)
	_, err := p.vault.start(t.Context(), System, RotateOptions{})
	check(t, err)
	without := p.image(t)
	file := without.options().KeyFile
	check(t, os.Rename(file+nextSuffix, file+".aside"))
	before := without.records(t)
	if _, err := Open(without.options()); !errors.Is(err, ErrWrongKey) || !strings.Contains(err.Error(), "A rotation to key") {
		t.Errorf("with the earlier key alone: %v", err)
	}
	write(t, file+nextSuffix, keyText('x')[:20])
	if _, err := Open(without.options()); !errors.Is(err, ErrKeyDamaged) || !strings.Contains(err.Error(), file+nextSuffix) {
		t.Errorf("with the next key damaged: %v", err)
	}
	if after := without.records(t); after != before {
		t.Errorf("records were changed:\n%s\n%s", before, after)
	}
	check(t, os.Remove(file+nextSuffix))
	check(t, os.Rename(file+".aside", file))
	if without.Access, err = Open(without.options()); err != nil {
		t.Fatal(err)
	}
	opensAll(t, without.Vault(), 2)
}

func TestRotationIsRefused(t *testing.T) {
	p := open(t, t.TempDir())
	p.fill(t, 1)
	before := p.records(t)
	f := func(what string, want error, by Actor) {
		t.Helper()
		if _, err := p.Vault().Rotate(t.Context(), by, RotateOptions{}); !errors.Is(err, want) {
			t.Errorf("%s: %v", what, err)
		}
		if p.records(t) != before {
			t.Errorf("%s: records were changed", what)
		}
	}
	f("a viewer", ErrDenied, Actor{Name: "ann", Role: Viewer})
	f("nobody", ErrDenied, Actor{})
	p.vault.rotating.Lock()
	f("while one goes on", ErrRotating, System)
	p.vault.rotating.Unlock()
	next := p.options().KeyFile + nextSuffix
	write(t, next, keyText('x'))
	check(t, os.Chmod(next, 0o644))
	f("a next key that others may read", ErrKeyExposed, System)
	write(t, next, "half a k")
	check(t, os.Chmod(next, 0o600))
	f("a damaged next key", ErrKeyDamaged, System)
	check(t, os.Remove(next))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := p.Vault().Rotate(ctx, System, RotateOptions{}); !errors.Is(err, context.Canceled) || p.records(t) != before {
		t.Errorf("called off: %v", err)
	}
	opensAll(t, p.Vault(), 1)
}

// What no key opens is named, and stops no rotation.
func TestRotationPassesOverBrokenSeals(t *testing.T) {
	p := open(t, t.TempDir())
	p.fill(t, 3)
	_, _, err := p.vault.sealed.Update("leafs-1", func(s *sealed, _ bool) error { s.Box[0] ^= 1; return nil })
	check(t, err)
	r, err := p.Vault().Rotate(t.Context(), System, RotateOptions{})
	if err != nil || r.Records != 2 || !cmp.Equal(r.Broken, []string{"leafs-1"}) {
		t.Errorf("rotated %+v, %v", r, err)
	}
	if c, err := p.Vault().Verify(); err != nil || c.Good != 2 || !cmp.Equal(c.Broken, []string{"leafs-1"}) {
		t.Errorf("verified %+v, %v", c, err)
	}
	if s, err := p.Vault().Key(); err != nil || s.Records != 2 || s.Others != 1 {
		t.Errorf("status %+v, %v", s, err)
	}
	check(t, p.Vault().Put(t.Context(), System, "leafs-1", "snmp", credential{User: "ops", Key: "PLANTED-leafs-1"}))
	opensAll(t, p.Vault(), 3)
}

// TestRotationUnderUse puts, opens and deletes while keys are rotated: no call
// fails and no value is another than the last that was put.
func TestRotationUnderUse(t *testing.T) {
	p := open(t, t.TempDir())
	v := p.Vault()
	ctx := t.Context()
	check(t, v.Put(ctx, System, "leafs", "ssh", credential{Key: "stays"}))
	var wg sync.WaitGroup
	var stop atomic.Bool
	var puts atomic.Int64
	for w := range 4 {
		wg.Go(func() {
			name := fmt.Sprint("leafs-", w)
			for i := 0; !stop.Load(); i++ {
				value := credential{Key: secret.Text(fmt.Sprint(w, "/", i))}
				if err := v.Put(ctx, System, name, "ssh", value); err != nil {
					t.Errorf("put: %v", err)
					return
				}
				puts.Add(1)
				var got credential
				if _, err := v.Open(name, &got); err != nil || got.Key != value.Key {
					t.Errorf("opened: %v", err)
					return
				}
				if i%5 == 4 {
					if err := v.Delete(ctx, System, name); err != nil {
						t.Errorf("delete: %v", err)
						return
					}
				}
			}
		})
	}
	rounds := 6
	if testing.Short() {
		rounds = 3
	}
	for i := range rounds {
		old := copyOf(v.ring.current)
		seen := puts.Load()
		if _, err := v.Rotate(ctx, System, RotateOptions{Keep: i%2 == 0}); err != nil {
			t.Error(err)
			break
		}
		p.opensNothing(t, old)
		need.Until(t, "more is put", func() bool { return puts.Load() >= seen+8 || t.Failed() })
	}
	stop.Store(true)
	wg.Wait()
}
