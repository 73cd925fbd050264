package access

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"nocturne/internal/secret"
)

const (
	nextSuffix = ".next" // of the key that a rotation goes to
	oldSuffix  = ".old-" // of an earlier one that was kept, before its id

	credentialsVariable = "CREDENTIALS_DIRECTORY"

	minPassphrase = 12
	// askTimes is how often a passphrase is asked for that is wrong.
	askTimes = 3
)

// KeySource is where the master key comes from. Exactly one of the fields
// before Next is set.
type KeySource struct {
	File                 string // 32 bytes in base64; made with mode 0600 when absent
	Credential           string // a systemd credential of that name, like a file
	PassphraseFile       string
	PassphraseCredential string
	// Ask asks a person for a passphrase; it is never asked on anybody's
	// behalf while the program runs.
	Ask func(question string) (secret.Text, error)

	// Next is where a rotation goes to, instead of the same kind of source by
	// the name with .next behind it.
	Next *KeySource

	memory uint32 // KiB that a new passphrase costs; 0 is argonMemory
}

// String names the source, for people.
func (s KeySource) String() string {
	switch {
	case s.File != "":
		return "file " + s.File
	case s.Credential != "":
		return "systemd credential " + s.Credential
	case s.PassphraseFile != "":
		return "passphrase in file " + s.PassphraseFile
	case s.PassphraseCredential != "":
		return "passphrase in systemd credential " + s.PassphraseCredential
	}
	return "passphrase asked for"
}

// when says, of a key that is to be offered, what else it takes.
func (s KeySource) when() string {
	if s.Credential+s.PassphraseCredential != "" {
		return ", which systemd hands over at the next start"
	}
	return ""
}

func (s KeySource) check() error {
	n := 0
	for _, set := range []bool{s.File != "", s.Credential != "", s.PassphraseFile != "", s.PassphraseCredential != "", s.Ask != nil} {
		if set {
			n++
		}
	}
	if n != 1 {
		return fmt.Errorf("%w: the master key wants exactly one source, has %d", ErrInvalid, n)
	}
	if s.Next != nil {
		if s.Next.Next != nil {
			return fmt.Errorf("%w: the next source of the master key has a next one itself", ErrInvalid)
		}
		return s.Next.check()
	}
	return nil
}

// Files names the files that hold a key or a passphrase and are there: a
// backup leaves them out unless it is asked for them.
func (s KeySource) Files() ([]string, error) {
	var all []string
	for _, c := range s.candidates() {
		for _, path := range []string{c.File, c.PassphraseFile} {
			if path == "" {
				continue
			}
			found, err := keyFilesOf(path)
			if err != nil {
				return nil, err
			}
			all = append(all, found...)
		}
	}
	return all, nil
}

// derives tells whether the key is made of a passphrase.
func (s KeySource) derives() bool { return s.File == "" && s.Credential == "" }

// ownFile is the file that the program may replace, "" without one.
func (s KeySource) ownFile() string {
	if path := s.File + s.PassphraseFile; path != "" && s.Next == nil {
		return target(path)
	}
	return ""
}

// next is where a rotation goes to. A passphrase that is asked for has none
// but itself.
func (s KeySource) next() KeySource {
	switch {
	case s.Next != nil:
		return *s.Next
	case s.File != "":
		return KeySource{File: target(s.File) + nextSuffix}
	case s.Credential != "":
		return KeySource{Credential: s.Credential + nextSuffix}
	case s.PassphraseFile != "":
		return KeySource{PassphraseFile: target(s.PassphraseFile) + nextSuffix, memory: s.memory}
	case s.PassphraseCredential != "":
		return KeySource{PassphraseCredential: s.PassphraseCredential + nextSuffix, memory: s.memory}
	}
	return s
}

// candidates are the sources that may hold the key in use: a rotation that was
// cut short, or one to a source that only a person can put in the other's
// place, leaves it in the next one.
func (s KeySource) candidates() []KeySource {
	if s.Ask != nil && s.Next == nil {
		return []KeySource{s}
	}
	return []KeySource{s, s.next()}
}

// read returns what the source holds, and an error that names it: ErrKeyLost
// where there is nothing.
func (s KeySource) read() (secret.Text, error) {
	text, err := s.readFile()
	if errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("%w: %s is not there", ErrKeyLost, s)
	}
	if err != nil {
		return "", fmt.Errorf("%s: %w", s, err)
	}
	if !s.derives() {
		return text, nil
	}
	// A line as an editor writes it; whatever else is in it belongs to it.
	text = secret.Text(strings.TrimSuffix(strings.TrimSuffix(text.Reveal(), "\n"), "\r"))
	if text == "" {
		return "", fmt.Errorf("%w: %s is empty", ErrKeyDamaged, s)
	}
	return text, nil
}

func (s KeySource) readFile() (secret.Text, error) {
	if path := s.File + s.PassphraseFile; path != "" {
		return ReadPrivate(path)
	}
	name := s.Credential + s.PassphraseCredential
	dir := os.Getenv(credentialsVariable)
	switch {
	case dir == "":
		return "", fmt.Errorf("%w: $%s is not set: start nocturne by a unit with LoadCredential=%s:FILE or LoadCredentialEncrypted=%s:FILE", ErrCredential, credentialsVariable, name, name)
	case name != filepath.Base(name) || name == "." || name == "..":
		return "", fmt.Errorf("%w: %q is no name of a credential", ErrCredential, name)
	}
	if st, err := os.Stat(dir); err != nil || !st.IsDir() {
		return "", fmt.Errorf("%w: $%s is %s, which is no folder that can be read", ErrCredential, credentialsVariable, dir)
	}
	// systemd guards the folder, and lets the service's user in by an access
	// list that shows in the file's mode as its group's.
	text, _, err := readSmall(filepath.Join(dir, name))
	return text, err
}

// key returns the key that the source holds. k is nil where it is none of a
// passphrase.
func (s KeySource) key(k *kdf) (key, error) {
	text, err := s.read()
	if err != nil {
		return key{}, err
	}
	return s.keyOf(text, k)
}

func (s KeySource) keyOf(text secret.Text, k *kdf) (made key, err error) {
	if s.derives() {
		made, err = k.derive(text)
	} else {
		made, err = parseKey(text)
	}
	if err != nil {
		return key{}, fmt.Errorf("%s: %w", s, err)
	}
	return made, nil
}

// proof is what a key must open to be the vault's.
type proof struct {
	record sealed
	kdf    *kdf
	begun  bool // a rotation to this key
}

func (p proof) of(k key) error {
	if p.record.KeyID != "" && p.record.KeyID != k.id {
		return fmt.Errorf("%w: the vault is sealed by key %s, this is key %s", ErrWrongKey, p.record.KeyID, k)
	}
	_, err := k.unseal(p.record)
	switch {
	case err != nil && p.record.KeyID == "":
		return fmt.Errorf("%w: this is key %s", ErrWrongKey, k)
	case err != nil:
		return fmt.Errorf("%w: the record that proves key %s was changed: restore the state", err, k)
	}
	return nil
}

// find returns the key that p proves, and which source has it.
func (s KeySource) find(p proof) (key, KeySource, error) {
	var errs []error
	for i, c := range s.candidates() {
		k, err := c.prove(p)
		if err == nil {
			return k, c, nil
		}
		// A next key is seldom there, which says nothing about the first.
		if i == 0 || !errors.Is(err, ErrKeyLost) && !errors.Is(err, ErrCredential) {
			errs = append(errs, err)
		}
	}
	err := errors.Join(errs...)
	if errors.Is(err, ErrKeyLost) || errors.Is(err, ErrWrongKey) || errors.Is(err, ErrKeyDamaged) {
		err = fmt.Errorf("%w\n%s", err, s.remedy(p))
	}
	return key{}, s, err
}

// remedy says what a person can do about a key that was not found.
func (s KeySource) remedy(p proof) string {
	if p.begun {
		return "A rotation to key " + p.record.KeyID + " had begun: the start needs that one, the earlier does not matter any more. Nothing was changed."
	}
	if path := s.ownFile(); path != "" && p.record.KeyID != "" {
		if kept := path + oldSuffix + p.record.KeyID; fileThere(kept) {
			return "The key that is wanted was kept as " + kept + ": move it to " + path + ". Nothing was changed."
		}
	}
	return "The sealed credentials open with that key alone: put it back from where you keep it, beside your backups. Nothing was changed."
}

func fileThere(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// prove returns the source's key when p proves it.
func (s KeySource) prove(p proof) (key, error) {
	if s.derives() != (p.kdf != nil) {
		sealedBy := "a key, not under a passphrase"
		if p.kdf != nil {
			sealedBy = "a key made of a passphrase"
		}
		return key{}, fmt.Errorf("%w: %s: the vault is sealed by %s", ErrWrongKey, s, sealedBy)
	}
	if s.Ask != nil {
		return s.askAndProve(p)
	}
	k, err := s.key(p.kdf)
	if err != nil {
		return key{}, err
	}
	if err := p.of(k); err != nil {
		return key{}, fmt.Errorf("%s: %w", s, err)
	}
	return k, nil
}

func (s KeySource) askAndProve(p proof) (k key, err error) {
	question := "Passphrase of the master key"
	if p.begun {
		question = "A rotation had begun; the new passphrase of the master key"
	}
	for range askTimes {
		text, err := s.Ask(question)
		if err != nil {
			return key{}, fmt.Errorf("%s: %w", s, err)
		}
		if k, err = s.keyOf(text, p.kdf); err != nil {
			return key{}, err
		}
		if err = p.of(k); err == nil || !errors.Is(err, ErrWrongKey) {
			return k, err
		}
		question = "That is not it. Passphrase of the master key"
	}
	return key{}, fmt.Errorf("%w: %s: not the passphrase of this vault, %d times", ErrWrongKey, s, askTimes)
}

// first returns the key of an empty vault; a key file is made.
func (s KeySource) first() (key, *kdf, error) {
	if s.Ask != nil {
		text, err := s.askTwice()
		if err != nil {
			return key{}, nil, fmt.Errorf("%s: %w", s, err)
		}
		return s.fromPassphrase(text)
	}
	text, err := s.read()
	switch {
	case errors.Is(err, ErrKeyLost) && s.File != "":
		k := randomKey()
		if err := writeKey(s.File, k); err != nil {
			return key{}, nil, fmt.Errorf("make key %s: %w", s, err)
		}
		return k, nil, nil
	case errors.Is(err, ErrKeyLost) && s.Credential+s.PassphraseCredential != "":
		return key{}, nil, fmt.Errorf("%w: %s is not among those in $%s: name it in the unit, as LoadCredential= or LoadCredentialEncrypted=", ErrCredential, s, credentialsVariable)
	case errors.Is(err, ErrKeyLost):
		return key{}, nil, fmt.Errorf("%w: %s is not there, write it with mode 0600", ErrInvalid, s)
	case err != nil:
		return key{}, nil, err
	case s.derives():
		return s.fromPassphrase(text)
	}
	k, err := s.keyOf(text, nil)
	return k, nil, err
}

func (s KeySource) askTwice() (secret.Text, error) {
	one, err := s.Ask("A passphrase for the master key")
	if err != nil {
		return "", err
	}
	two, err := s.Ask("The same again")
	if err != nil {
		return "", err
	}
	if one != two {
		return "", fmt.Errorf("%w: the two passphrases differ", ErrInvalid)
	}
	return one, nil
}

// fromPassphrase makes a key of a new passphrase.
func (s KeySource) fromPassphrase(text secret.Text) (key, *kdf, error) {
	if n := len(text); n < minPassphrase || n > maxPassword {
		return key{}, nil, fmt.Errorf("%s: %w: a passphrase has %d to %d characters", s, ErrInvalid, minPassphrase, maxPassword)
	}
	k := newKDF(cmp.Or(s.memory, argonMemory))
	made, err := s.keyOf(text, k)
	return made, k, err
}
