package main

import (
	"path/filepath"
	"strings"

	"nocturne/internal/access"
)

// MasterKeyConfig says where the master key comes from, and where the next
// one does in a rotation to another place. A single value is its file.
type MasterKeyConfig struct {
	KeySourceConfig `yaml:",inline"`

	Next *KeySourceConfig `yaml:"next"` // default: the same kind, by the name with .next behind it
}

// KeySourceConfig is one place that a key may come from. Exactly one is set.
type KeySourceConfig struct {
	File                 string `yaml:"file"`       // 32 bytes in base64, mode 0600; made when absent
	Credential           string `yaml:"credential"` // name of a systemd credential, like a file
	PassphraseFile       string `yaml:"passphrase_file"`
	PassphraseCredential string `yaml:"passphrase_credential"`
	PassphrasePrompt     bool   `yaml:"passphrase_prompt"` // asked for on the terminal at start
}

// ShortField lets `master_key: PATH` stand for its file.
func (c MasterKeyConfig) ShortField() string { return "file" }

// set names the fields that are set.
func (c KeySourceConfig) set() []string {
	var set []string
	for _, f := range []struct {
		name string
		set  bool
	}{
		{"file", c.File != ""}, {"credential", c.Credential != ""}, {"passphrase_file", c.PassphraseFile != ""},
		{"passphrase_credential", c.PassphraseCredential != ""}, {"passphrase_prompt", c.PassphrasePrompt},
	} {
		if f.set {
			set = append(set, f.name)
		}
	}
	return set
}

func (c *MasterKeyConfig) resolvePaths(abs func(*string)) {
	abs(&c.File)
	abs(&c.PassphraseFile)
	if c.Next != nil {
		abs(&c.Next.File)
		abs(&c.Next.PassphraseFile)
	}
}

const oneKeySource = "wants exactly one of file, credential, passphrase_file, passphrase_credential, passphrase_prompt"

func (c *MasterKeyConfig) validate(f *faults) {
	if n := len(c.set()); n > 1 {
		f.add("master_key", "%s; has %s", oneKeySource, strings.Join(c.set(), ", "))
	}
	c.validateNames(f, "master_key")
	if c.Next == nil {
		return
	}
	if len(c.Next.set()) != 1 {
		f.add("master_key.next", "%s", oneKeySource)
	}
	if *c.Next == c.KeySourceConfig {
		f.add("master_key.next", "is the same place as master_key itself")
	}
	c.Next.validateNames(f, "master_key.next")
}

func (c KeySourceConfig) validateNames(f *faults, path string) {
	for name, value := range map[string]string{"credential": c.Credential, "passphrase_credential": c.PassphraseCredential} {
		if value != "" && (value != filepath.Base(value) || value == "." || value == "..") {
			f.add(path+"."+name, "%q is no name of a systemd credential", value)
		}
	}
}

func (c KeySourceConfig) source() access.KeySource {
	s := access.KeySource{File: c.File, Credential: c.Credential, PassphraseFile: c.PassphraseFile, PassphraseCredential: c.PassphraseCredential}
	if c.PassphrasePrompt {
		s.Ask = askTerminal
	}
	return s
}

// masterKey is where the master key comes from.
func (c *Config) masterKey() access.KeySource {
	s := c.MasterKey.source()
	if len(c.MasterKey.set()) == 0 {
		s.File = filepath.Join(c.Data, "master.key")
	}
	if c.MasterKey.Next != nil {
		next := c.MasterKey.Next.source()
		s.Next = &next
	}
	return s
}
