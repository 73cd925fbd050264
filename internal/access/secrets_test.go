package access

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"nocturne/internal/secret"
)

type credential struct {
	User  string
	Key   secret.Text
	Inner *credential `json:"inner,omitempty"`
}

// Everything secret goes through every door, and is then looked for in all
// files, in the log, in the ledger and in the errors.
func TestSecretsAreNowhere(t *testing.T) {
	dir := t.TempDir()
	p := open(t, dir)
	ctx := t.Context()
	var errs []error
	setup, _, err := p.SetupToken()
	check(t, err)
	root := p.root(t)
	session, err := p.Login(ctx, "root", password, "127.0.0.1")
	check(t, err)
	tok, err := p.AddToken(ctx, root, "ci", Viewer, time.Time{})
	check(t, err)
	cred := credential{User: "ops", Key: "PRIVATE-key-material", Inner: &credential{Key: "community-string-x"}}
	check(t, p.Vault().Put(ctx, root, "leafs", "snmp", cred))
	const typo = "password-typed-as-name"
	for _, f := range []func() error{
		func() error { _, err := p.Login(ctx, typo, "wrong-password-1", "127.0.0.1"); return err },
		func() error { _, err := p.Login(ctx, "root", "wrong-password-1", "127.0.0.1"); return err },
		func() error { return p.AddPerson(ctx, root, "bob", Viewer, "2short!") },
		func() error { _, err := p.Setup(ctx, setup, "eve", password); return err },
		func() error { _, err := p.Token(tok.Reveal() + "x"); return err },
		func() error { _, err := p.Session(session.Reveal() + "x"); return err },
		func() error { _, err := p.Vault().Open("leafs", new([]int)); return err },
		func() error { _, err := p.Vault().Open("leafs", &struct{ User int }{}); return err },
	} {
		err := f()
		if err == nil {
			t.Error("something went well that should not")
		}
		errs = append(errs, err)
	}
	var got credential
	kind, err := p.Vault().Open("Leafs", &got)
	if err != nil || kind != "snmp" || got.Key != cred.Key || got.Inner.Key != cred.Inner.Key {
		t.Fatalf("opened a %s, %v", kind, err)
	}
	key, err := os.ReadFile(p.options().KeyFile)
	check(t, err)
	audit := strings.Join(p.audit(t), "\n")
	people, err := p.People()
	check(t, err)
	shown, err := json.Marshal(people)
	check(t, err)
	for _, sec := range []string{
		password.Reveal(), "wrong-password-1", "2short!", typo, setup, session.Reveal(), tok.Reveal(),
		cred.Key.Reveal(), cred.Inner.Key.Reveal(), strings.TrimSpace(string(key)),
	} {
		for where, text := range map[string]string{
			"log": p.log.String(), "errors": fmt.Sprint(errs), "audit": audit, "people": string(shown),
		} {
			if strings.Contains(text, sec) {
				t.Errorf("%q stands in the %s: %s", sec, where, text)
			}
		}
	}
	// Once as the process dies, once after all is flushed into tables.
	lookFor := func(when string) {
		find(t, filepath.Join(dir, "state"), when, []string{
			password.Reveal(), "wrong-password-1", typo, setup, session.Reveal(), tok.Reveal(),
			cred.Key.Reveal(), cred.Inner.Key.Reveal(), strings.TrimSpace(string(key)),
		})
	}
	lookFor("while open")
	check(t, p.state.Close())
	lookFor("after closing")
}

// find reports which of secrets stand in a file below dir. So that it can
// find at all, it must find the word "leafs", which is no secret.
func find(t *testing.T, dir, when string, secrets []string) {
	t.Helper()
	known := false
	check(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		known = known || bytes.Contains(b, []byte("leafs"))
		for _, sec := range secrets {
			if bytes.Contains(b, []byte(sec)) {
				t.Errorf("%s: %q stands in %s", when, sec, path)
			}
		}
		return nil
	}))
	if !known {
		t.Errorf("%s: the records were not among the files looked at", when)
	}
}
