package access

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"nocturne/internal/ledger"
	"nocturne/internal/secret"
	"nocturne/internal/state"
)

const password = secret.Text("correct horse battery")

// place is what access stands on in a test.
type place struct {
	dir    string
	log    *bytes.Buffer
	state  *state.DB
	ledger *ledger.Chain
	*Access
}

func (p *place) options() Options {
	return Options{State: p.state, Ledger: p.ledger, KeyFile: filepath.Join(p.dir, "keys", "master")}
}

func open(t *testing.T, dir string) *place {
	t.Helper()
	p := openState(t, dir)
	var err error
	if p.Access, err = Open(p.options()); err != nil {
		t.Fatal(err)
	}
	return p
}

// openState is a place without access.
func openState(t *testing.T, dir string) *place {
	t.Helper()
	p := &place{dir: dir, log: new(bytes.Buffer)}
	var err error
	if p.state, err = state.Open(state.Options{Dir: filepath.Join(dir, "state"), Log: slog.New(slog.NewTextHandler(p.log, nil))}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.state.Close(); err != nil {
			t.Error(err)
		}
	})
	if p.ledger, err = ledger.Open(p.state); err != nil {
		t.Fatal(err)
	}
	return p
}

// root makes the first administrator.
func (p *place) root(t *testing.T) Actor {
	t.Helper()
	token, needed, err := p.SetupToken()
	if err != nil || !needed {
		t.Fatalf("set-up needed: %v, %v", needed, err)
	}
	who, err := p.Setup(t.Context(), token, "Root", password)
	if err != nil {
		t.Fatal(err)
	}
	return Actor{Name: who.Name, Role: who.Role}
}

// audit is the ledger as "actor action subject data".
func (p *place) audit(t *testing.T) []string {
	t.Helper()
	var lines []string
	for e, err := range p.ledger.Read(1) {
		if err != nil {
			t.Fatal(err)
		}
		if e.Kind != ledger.Audit {
			t.Errorf("entry of kind %s", e.Kind)
		}
		lines = append(lines, strings.TrimSpace(fmt.Sprintf("%s %s %s %s", e.Actor, e.Action, e.Subject, e.Data)))
	}
	return lines
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestSetupHappensOnce(t *testing.T) {
	dir := t.TempDir()
	p := open(t, dir)
	if _, err := p.Setup(t.Context(), "", "eve", password); !errors.Is(err, ErrDenied) {
		t.Errorf("set up without a token: %v", err)
	}
	token, _, err := p.SetupToken()
	check(t, err)
	if again, needed, err := p.SetupToken(); again != token || !needed || err != nil {
		t.Error("asking for the token made the printed link invalid")
	}
	if _, err := p.Setup(t.Context(), token+"x", "eve", password); !errors.Is(err, ErrDenied) {
		t.Errorf("set up with a wrong token: %v", err)
	}
	if _, err := p.Setup(t.Context(), token, "eve", "short"); !errors.Is(err, ErrInvalid) {
		t.Errorf("set up with a short password: %v", err)
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	var made []string
	for i := range 4 {
		wg.Go(func() {
			who, err := p.Setup(t.Context(), token, fmt.Sprint("admin", i), password)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				made = append(made, who.Name)
			} else if !errors.Is(err, ErrDenied) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	people, err := p.People()
	if err != nil || len(made) != 1 || len(people) != 1 || people[0].Name != made[0] || people[0].Role != Administrator {
		t.Fatalf("%v were set up, there are %+v, %v", made, people, err)
	}
	check(t, p.state.Close())
	p = open(t, dir)
	if token, needed, err := p.SetupToken(); needed || token != "" || err != nil {
		t.Errorf("set-up needed again: %v, %v", needed, err)
	}
}

func TestSetupTokenChangesWithEachStart(t *testing.T) {
	dir := t.TempDir()
	p := open(t, dir)
	first, _, err := p.SetupToken()
	check(t, err)
	check(t, p.state.Close())
	p = open(t, dir)
	second, _, err := p.SetupToken()
	check(t, err)
	if first == second {
		t.Error("the token of an earlier start works")
	}
	if _, err := p.Setup(t.Context(), first, "eve", password); !errors.Is(err, ErrDenied) {
		t.Errorf("set up with the token of an earlier start: %v", err)
	}
}

func TestLoginSessionLogout(t *testing.T) {
	p := open(t, t.TempDir())
	root := p.root(t)
	s, err := p.Login(t.Context(), " ROOT ", password, "127.0.0.1:4711")
	check(t, err)
	who, err := p.Session(s.Reveal())
	if err != nil || who != root || who.String() != "person:root" || !who.May(Administer) {
		t.Fatalf("session of %v, %v", who, err)
	}
	check(t, p.promoteSecond(t, root))
	check(t, p.Logout(s.Reveal()))
	check(t, p.Logout(s.Reveal()))
	if _, err := p.Session(s.Reveal()); !errors.Is(err, ErrDenied) {
		t.Errorf("session after logout: %v", err)
	}
	for name, pw := range map[string]secret.Text{"root": "wrong password", "nobody": password, "not a name!": password, "": ""} {
		if _, err := p.Login(t.Context(), name, pw, "127.0.0.1"); !errors.Is(err, ErrDenied) || err.Error() != "log in: not allowed" {
			t.Errorf("login as %q: %v", name, err)
		}
	}
	got := p.audit(t)
	want := []string{
		`system set up person/root {"role":"administrator"}`,
		`person:root login person/root {"from":"127.0.0.1:4711"}`,
		`person:root add person person/second {"role":"viewer"}`,
		`person:root set role person/second {"role":"administrator"}`,
	}
	if d := cmp.Diff(want, got[:len(want)]); d != "" {
		t.Error(d)
	}
	failed := map[string]int{}
	for _, l := range got[len(want):] {
		failed[l]++
	}
	if d := cmp.Diff(map[string]int{
		`system login failed person/root {"from":"127.0.0.1"}`: 1,
		`system login failed  {"from":"127.0.0.1"}`:            3,
	}, failed); d != "" {
		t.Error(d)
	}
}

// promoteSecond adds a viewer and makes them an administrator.
func (p *place) promoteSecond(t *testing.T, by Actor) error {
	return errors.Join(
		p.AddPerson(t.Context(), by, "second", Viewer, password),
		p.SetRole(t.Context(), by, "second", Administrator))
}

// age moves a session's times back.
func (p *place) age(t *testing.T, s secret.Text, created, seen time.Duration) {
	t.Helper()
	_, _, err := p.sessions.Update(fingerprint(s.Reveal()), func(r *session, exists bool) error {
		if !exists {
			t.Fatal("no such session")
		}
		r.Created, r.Seen = time.Now().Add(-created), time.Now().Add(-seen)
		return nil
	})
	check(t, err)
}

func TestSessionsExpire(t *testing.T) {
	p := open(t, t.TempDir())
	p.root(t)
	s, err := p.Login(t.Context(), "root", password, "127.0.0.1")
	check(t, err)
	p.age(t, s, 13*time.Hour, 11*time.Hour)
	if _, err := p.Session(s.Reveal()); err != nil {
		t.Errorf("11 h after the last request: %v", err)
	}
	if r, _, err := p.sessions.Get(fingerprint(s.Reveal())); err != nil || time.Since(r.Seen) > time.Minute {
		t.Errorf("the request did not count: %+v, %v", r, err)
	}
	p.age(t, s, 6*24*time.Hour, 13*time.Hour)
	if _, err := p.Session(s.Reveal()); !errors.Is(err, ErrExpired) {
		t.Errorf("13 h after the last request: %v", err)
	}
	if _, err := p.Session(s.Reveal()); !errors.Is(err, ErrDenied) {
		t.Errorf("an expired session stays: %v", err)
	}
	s, err = p.Login(t.Context(), "root", password, "127.0.0.1")
	check(t, err)
	p.age(t, s, 7*24*time.Hour+time.Minute, 0)
	if _, err := p.Session(s.Reveal()); !errors.Is(err, ErrExpired) {
		t.Errorf("after a week: %v", err)
	}
}

func TestChangesOfPeopleActAtOnce(t *testing.T) {
	p := open(t, t.TempDir())
	ctx := t.Context()
	root := p.root(t)
	check(t, p.AddPerson(ctx, root, "ann", Viewer, password))
	if err := p.AddPerson(ctx, root, "Ann", Viewer, password); !errors.Is(err, ErrExists) {
		t.Errorf("a second ann: %v", err)
	}
	s, err := p.Login(ctx, "ann", password, "127.0.0.1")
	check(t, err)
	ann, err := p.Session(s.Reveal())
	check(t, err)
	if !ann.May(View) || ann.May(Ack) || ann.May(Run) || ann.May(Configure) || ann.May(Administer) || ann.May("fly") {
		t.Errorf("what a viewer may: %+v", ann)
	}
	for what, err := range map[string]error{
		"add":          p.AddPerson(ctx, ann, "eve", Administrator, password),
		"own role":     p.SetRole(ctx, ann, "ann", Administrator),
		"disable":      p.Disable(ctx, ann, "root"),
		"enable":       p.Enable(ctx, ann, "root"),
		"password":     p.SetPassword(ctx, ann, "root", "another password"),
		"revoke":       p.RevokeToken(ctx, ann, "x"),
		"seal":         p.Vault().Put(ctx, ann, "x", "ssh", struct{}{}),
		"delete":       p.Vault().Delete(ctx, ann, "x"),
		"token of ann": p.SetPassword(ctx, Actor{Name: "ann", Role: Viewer, Token: true}, "ann", "another password"),
	} {
		if !errors.Is(err, ErrDenied) {
			t.Errorf("%s by a viewer: %v", what, err)
		}
	}
	if _, err := p.AddToken(ctx, ann, "eve", Administrator, time.Time{}); !errors.Is(err, ErrDenied) {
		t.Errorf("token by a viewer: %v", err)
	}
	check(t, p.SetRole(ctx, root, "ann", Administrator))
	if ann, err = p.Session(s.Reveal()); err != nil || !ann.May(Administer) {
		t.Errorf("new role in an old session: %v, %v", ann, err)
	}
	check(t, p.SetPassword(ctx, ann, "ann", "another password"))
	if _, err := p.Session(s.Reveal()); !errors.Is(err, ErrDenied) {
		t.Errorf("session after a new password: %v", err)
	}
	if _, err := p.Login(ctx, "ann", password, "127.0.0.1"); !errors.Is(err, ErrDenied) {
		t.Errorf("old password: %v", err)
	}
	s, err = p.Login(ctx, "ann", "another password", "127.0.0.1")
	check(t, err)
	check(t, p.Disable(ctx, root, "ann"))
	if _, err := p.Session(s.Reveal()); !errors.Is(err, ErrDenied) {
		t.Errorf("session of a disabled person: %v", err)
	}
	if _, err := p.Login(ctx, "ann", "another password", "127.0.0.1"); !errors.Is(err, ErrDenied) {
		t.Errorf("login of a disabled person: %v", err)
	}
	check(t, p.Enable(ctx, root, "ann"))
	if _, err := p.Session(s.Reveal()); !errors.Is(err, ErrDenied) {
		t.Errorf("session from before disabling: %v", err)
	}
	if err := p.SetRole(ctx, root, "nobody", Viewer); !errors.Is(err, ErrNotFound) {
		t.Errorf("role of nobody: %v", err)
	}
	if err := p.SetRole(ctx, root, "ann", "king"); !errors.Is(err, ErrInvalid) {
		t.Errorf("role king: %v", err)
	}
}

// However disabling and demoting race, one enabled administrator is left.
func TestLastAdministratorStays(t *testing.T) {
	p := open(t, t.TempDir())
	ctx := t.Context()
	root := p.root(t)
	if err := p.Disable(ctx, root, "root"); !errors.Is(err, ErrLastAdministrator) {
		t.Errorf("disabling the only one: %v", err)
	}
	if err := p.SetRole(ctx, root, "root", Viewer); !errors.Is(err, ErrLastAdministrator) {
		t.Errorf("demoting the only one: %v", err)
	}
	for i := range 3 {
		check(t, p.AddPerson(ctx, root, fmt.Sprint("a", i), Administrator, password))
	}
	var wg sync.WaitGroup
	for i, name := range []string{"root", "a0", "a1", "a2"} {
		wg.Go(func() {
			var err error
			if i%2 == 0 {
				err = p.Disable(ctx, root, name)
			} else {
				err = p.SetRole(ctx, root, name, Viewer)
			}
			if err != nil && !errors.Is(err, ErrLastAdministrator) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	people, err := p.People()
	check(t, err)
	left := 0
	for _, who := range people {
		if who.Role == Administrator && !who.Disabled {
			left++
		}
	}
	if left != 1 {
		t.Errorf("%d administrators are left of %+v", left, people)
	}
}

func TestTokens(t *testing.T) {
	p := open(t, t.TempDir())
	ctx := t.Context()
	root := p.root(t)
	tok, err := p.AddToken(ctx, root, "ci", Viewer, time.Now().Add(time.Hour))
	check(t, err)
	if !strings.HasPrefix(tok.Reveal(), "noc_") || len(tok) < 40 {
		t.Errorf("a token of %d characters", len(tok))
	}
	if _, err := p.AddToken(ctx, root, "CI", Viewer, time.Time{}); !errors.Is(err, ErrExists) {
		t.Errorf("a second ci: %v", err)
	}
	if _, err := p.AddToken(ctx, root, "late", Viewer, time.Now().Add(-time.Second)); !errors.Is(err, ErrInvalid) {
		t.Errorf("an expired one: %v", err)
	}
	who, err := p.Token(tok.Reveal())
	if err != nil || who != (Actor{Name: "ci", Role: Viewer, Token: true}) || who.String() != "token:ci" {
		t.Errorf("token of %v, %v", who, err)
	}
	all, err := p.Tokens()
	if err != nil || len(all) != 1 || time.Since(all[0].LastUsed) > 2*time.Hour || all[0].By != "person:root" {
		t.Errorf("tokens: %+v, %v", all, err)
	}
	for _, s := range []string{"", "noc_", tok.Reveal() + "x", tok.Reveal()[4:], fingerprint(tok.Reveal()), "noc_" + fingerprint(tok.Reveal())} {
		if _, err := p.Token(s); !errors.Is(err, ErrDenied) {
			t.Errorf("no token: %v", err)
		}
	}
	_, _, err = p.tokens.Update(fingerprint(tok.Reveal()), func(r *token, _ bool) error {
		r.Expires = time.Now().Add(-time.Second)
		return nil
	})
	check(t, err)
	if _, err := p.Token(tok.Reveal()); !errors.Is(err, ErrExpired) {
		t.Errorf("expired: %v", err)
	}
	check(t, p.RevokeToken(ctx, root, "ci"))
	if _, err := p.Token(tok.Reveal()); !errors.Is(err, ErrDenied) {
		t.Errorf("revoked: %v", err)
	}
	if err := p.RevokeToken(ctx, root, "ci"); !errors.Is(err, ErrNotFound) {
		t.Errorf("revoked twice: %v", err)
	}
}
