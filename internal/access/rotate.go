package access

import (
	"context"
	"errors"
	"fmt"
	"time"

	"nocturne/internal/secret"
	"nocturne/internal/state"
)

var (
	// ErrNextKey says that there is no key to rotate to, or none that can be
	// used. Nothing was changed.
	ErrNextKey = errors.New("the next master key cannot be used")
	// ErrRotating says that a rotation goes on.
	ErrRotating = errors.New("a rotation of the master key is under way")
)

const (
	rotationName = "rotation"
	rotationKind = "vault-rotation"
)

// rotation is the record that is there while a rotation goes on. Its key To
// is the one that counts: it opens Earlier, which holds the key From.
type rotation struct {
	From, To string
	KDF      *kdf `json:",omitempty"` // where To comes of a passphrase
	Earlier  sealed
	Started  time.Time
	By       string
	Keep     bool // the earlier key's file
}

// RotateOptions says how to rotate.
type RotateOptions struct {
	// Passphrase is the new one, where the source asks a person; else empty.
	Passphrase secret.Text
	// Keep leaves the file of the earlier key beside the new one, as
	// NAME.old-ID: backups of the state from before open with it.
	Keep bool
}

// Rotated says what a rotation did.
type Rotated struct {
	From    string   `json:"from"` // ids of the keys
	To      string   `json:"to"`
	Records int      `json:"records"`          // sealed anew
	Broken  []string `json:"broken,omitempty"` // credentials that no key opens; they were left as they are
}

// Rotate seals every record under the next key and retires the one in use;
// see the package comment. A rotation that was cut short is finished instead.
// by must be an administrator. What ctx ends is only what has not begun.
func (v *Vault) Rotate(ctx context.Context, by Actor, o RotateOptions) (Rotated, error) {
	if !by.May(Administer) {
		return Rotated{}, fmt.Errorf("rotate master key: %w", ErrDenied)
	}
	if !v.rotating.TryLock() {
		return Rotated{}, ErrRotating
	}
	defer v.rotating.Unlock()
	r, _, err := v.rotations.Get(rotationName)
	if errors.Is(err, state.ErrNotFound) {
		r, err = v.start(ctx, by, o)
	}
	if err != nil {
		return Rotated{}, fmt.Errorf("rotate master key: %w", err)
	}
	done, err := v.finish(r)
	v.mu.Lock()
	v.fault = err
	v.mu.Unlock()
	if err != nil {
		return done, fmt.Errorf("rotate master key from %s to %s: begun, and finished by the next rotation or start: %w", r.From, r.To, err)
	}
	return done, nil
}

// start makes the next key the one that counts.
func (v *Vault) start(ctx context.Context, by Actor, o RotateOptions) (rotation, error) {
	next, how, err := v.offered(o.Passphrase)
	if err != nil {
		return rotation{}, fmt.Errorf("%w: %w", ErrNextKey, err)
	}
	now := v.ring.current // only a rotation changes it
	r := rotation{From: now.id, To: next.id, KDF: how, Started: time.Now().UTC(), By: by.String(), Keep: o.Keep}
	r.Earlier = next.seal(Sealed{Name: now.id, Kind: rotationKind, Updated: r.Started, By: r.By}, now.raw[:])
	return r, v.access.change(ctx, r.By, "rotate master key", "master-key/"+r.To, map[string]string{"from": r.From}, func() error {
		if _, err := v.rotations.Put(rotationName, r, 0); err != nil {
			return err
		}
		v.mu.Lock()
		defer v.mu.Unlock()
		v.ring = ring{current: next, earlier: now}
		v.from = v.source.next()
		return nil
	})
}

// offered returns the next key. Whatever the source already holds as such is
// taken, so a rotation that was killed before it began leaves nothing over.
func (v *Vault) offered(passphrase secret.Text) (key, *kdf, error) {
	to := v.source.next()
	if to.Ask == nil && v.from.String() == to.String() {
		return key{}, nil, fmt.Errorf("the key in use is already the one of %s: put it in the place of %s and offer another", to, v.source)
	}
	if (to.Ask != nil) != (passphrase != "") {
		return key{}, nil, errors.New("a new passphrase is given with the request where the source asks for it, and only there")
	}
	next, how, err := v.offer(to, passphrase)
	if err != nil {
		return key{}, nil, err
	}
	if next.id == v.ring.current.id {
		return key{}, nil, fmt.Errorf("%s is the key in use: remove it, or offer another", to)
	}
	return next, how, nil
}

func (v *Vault) offer(to KeySource, passphrase secret.Text) (key, *kdf, error) {
	var err error
	if to.Ask == nil {
		if to.File != "" && v.source.Next == nil && !fileThere(to.File) {
			if err := writeKey(to.File, randomKey()); err != nil {
				return key{}, nil, fmt.Errorf("make %s: %w", to, err)
			}
		}
		if passphrase, err = to.read(); errors.Is(err, ErrKeyLost) {
			return key{}, nil, fmt.Errorf("offer it as %s%s", to, to.when())
		} else if err != nil {
			return key{}, nil, err
		}
	}
	if !to.derives() {
		next, err := to.keyOf(passphrase, nil)
		return next, nil, err
	}
	// With another salt the same passphrase is another key, and no rotation.
	held, _, err := v.checks.Get(checkName)
	if err != nil {
		return key{}, nil, err
	}
	if held.KDF != nil {
		same, err := to.keyOf(passphrase, held.KDF)
		if err != nil {
			return key{}, nil, err
		}
		if same.id == v.ring.current.id {
			return same, held.KDF, nil
		}
	}
	return to.fromPassphrase(passphrase)
}

// resume goes on with a rotation that was cut short. Without its key there is
// no start; what keeps it from being finished is told, and the start goes on,
// as both keys are at hand.
func (v *Vault) resume(r rotation) error {
	k, from, err := v.source.find(proof{record: r.Earlier, kdf: r.KDF, begun: true})
	if err != nil {
		return err
	}
	raw, err := k.unseal(r.Earlier)
	if err != nil || len(raw) != len(k.raw) {
		return fmt.Errorf("the earlier key in the record of a rotation: %w", ErrSealBroken)
	}
	v.ring, v.from = ring{current: k, earlier: newKey(raw)}, from
	clear(raw)
	_, v.fault = v.finish(r)
	return nil
}

// finish does all that follows the record of a rotation. Each step may have
// been done before.
func (v *Vault) finish(r rotation) (Rotated, error) {
	done := Rotated{From: r.From, To: r.To}
	if v.ring.current.id != r.To {
		// Its record came to be although the write of it had failed.
		return done, fmt.Errorf("%w: key %s is in use: a restart finishes it", ErrRotating, v.ring.current)
	}
	if err := v.resealAll(&done); err != nil {
		return done, err
	}
	if err := v.replaceCheck(r); err != nil {
		return done, err
	}
	if err := v.adopt(r); err != nil {
		return done, fmt.Errorf("put the new key in the earlier one's place: %w", err)
	}
	return done, v.forget(r, done)
}

// resealAll seals anew what an earlier key sealed, until nothing is left.
func (v *Vault) resealAll(done *Rotated) error {
	for {
		again, err := v.resealOnce(done)
		if err != nil || !again {
			return err
		}
	}
}

// resealOnce goes once over all records; again says that somebody changed one
// meanwhile.
func (v *Vault) resealOnce(done *Rotated) (again bool, err error) {
	done.Broken = nil
	for rec, err := range v.sealed.All("") {
		if errors.Is(err, state.ErrDamaged) {
			done.Broken = append(done.Broken, rec.ID)
			continue
		}
		if err != nil {
			return false, err
		}
		if rec.Value.KeyID == v.ring.current.id {
			continue
		}
		plain, err := v.ring.unseal(rec.Value)
		if err != nil {
			// It opened under no key before either.
			done.Broken = append(done.Broken, rec.ID)
			continue
		}
		_, err = v.sealed.Put(rec.ID, v.ring.current.seal(rec.Value.Sealed, plain), rec.Rev)
		clear(plain)
		switch {
		case errors.Is(err, state.ErrConflict):
			again = true
		case err != nil:
			return false, err
		default:
			done.Records++
		}
	}
	return again, nil
}

func (v *Vault) replaceCheck(r rotation) error {
	_, _, err := v.checks.Update(checkName, func(c *checkRecord, _ bool) error {
		if c.KeyID == r.To {
			return state.Skip
		}
		*c = newCheck(v.ring.current, r.KDF, r.By)
		return nil
	})
	return err
}

// adopt puts the file of the next key in the place of the earlier one's.
func (v *Vault) adopt(r rotation) error {
	path := v.source.ownFile()
	if path == "" {
		return nil
	}
	here, next := v.source, v.source.next()
	if k, err := here.key(r.KDF); err == nil && k.id == r.To {
		return v.settle(here, path)
	}
	k, err := next.key(r.KDF)
	if err == nil && k.id != r.To {
		err = fmt.Errorf("%w: %s holds another key than %s, which is in use", ErrWrongKey, next, r.To)
	}
	if errors.Is(err, ErrKeyLost) && here.File != "" {
		// Somebody took it away while it lives only here.
		err = writeKey(next.File, v.ring.current)
	}
	if err != nil {
		return err
	}
	old := ""
	if r.Keep {
		old = path + oldSuffix + r.From
	}
	if err := replaceFile(path, path+nextSuffix, old); err != nil {
		return err
	}
	return v.settle(here, path)
}

// settle says that the key in use comes from the first source again.
func (v *Vault) settle(here KeySource, path string) error {
	v.mu.Lock()
	v.from = here
	v.mu.Unlock()
	return errors.Join(sweep(path), sweep(path+nextSuffix))
}

// forget ends the rotation. A kill between entry and deletion leaves the entry
// twice.
func (v *Vault) forget(r rotation, done Rotated) error {
	if err := v.access.record(r.By, "master key rotated", "master-key/"+r.To, map[string]any{"from": r.From, "records": done.Records, "broken": len(done.Broken)}); err != nil {
		return err
	}
	if err := v.rotations.Delete(rotationName, 0); err != nil {
		return err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	clear(v.ring.earlier.raw[:])
	v.ring.earlier = key{}
	return nil
}
