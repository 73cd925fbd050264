package access

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"time"

	"nocturne/internal/ledger"
	"nocturne/internal/secret"
	"nocturne/internal/state"
)

var (
	// ErrDenied says that name and password, session, token or role do not
	// allow it; it does not say which.
	ErrDenied = errors.New("not allowed")
	// ErrExpired says that the session or token was valid once.
	ErrExpired = errors.New("expired")
	// ErrLocked says that there were too many failed logins.
	ErrLocked = errors.New("too many failed attempts")
	// ErrExists says that the name is taken.
	ErrExists = errors.New("exists already")
	// ErrNotFound says that there is nothing of that name.
	ErrNotFound = errors.New("not found")
	// ErrInvalid says that a name, password, role or time cannot be used.
	ErrInvalid = errors.New("not valid")
	// ErrLastAdministrator says that nobody would be left to administer.
	ErrLastAdministrator = errors.New("the last enabled administrator must stay")
)

// Role is what a person or token may do.
type Role string

// The roles.
const (
	Administrator Role = "administrator" // everything
	Viewer        Role = "viewer"        // looks only
	Writer        Role = "writer"        // sends samples only; a token's
)

// Action is a kind of thing to do.
type Action string

// The actions.
const (
	View       Action = "view"       // see pages and data
	Ack        Action = "ack"        // acknowledge alerts
	Run        Action = "run"        // start jobs
	Configure  Action = "configure"  // inventory, maintenance, credentials
	Administer Action = "administer" // people and tokens, deletion of history
	Write      Action = "write"      // send samples; no person may
)

// Actor is who does something.
type Actor struct {
	Name  string
	Role  Role
	Token bool // an API token, not a person

	system bool
}

// System is the product itself, for what its own start-up does.
var System = Actor{Name: "system", Role: Administrator, system: true}

// String is the actor as the ledger names it: person:NAME, token:NAME, system.
func (a Actor) String() string {
	switch {
	case a.system:
		return a.Name
	case a.Token:
		return "token:" + a.Name
	}
	return "person:" + a.Name
}

// May tells whether the actor's role allows act.
func (a Actor) May(act Action) bool {
	switch act {
	case View:
		return a.Role == Viewer || a.Role == Administrator
	case Ack, Run, Configure, Administer:
		return a.Role == Administrator
	case Write:
		// A session's cookie goes with whatever a browser sends: not with this.
		return a.Token && (a.Role == Writer || a.Role == Administrator)
	}
	return false
}

// Options names what access stands on. State, Ledger and one of Key and
// KeyFile are needed.
type Options struct {
	State   *state.DB
	Ledger  *ledger.Chain
	Key     KeySource // of the vault's master key
	KeyFile string    // short for a Key that is a file
}

// Access is the register of people, sessions and tokens. It is safe for
// concurrent use.
type Access struct {
	ledger   *ledger.Chain
	people   *state.Table[person]
	sessions *state.Table[session]
	tokens   *state.Table[token]
	vault    *Vault
	limits   *limiter
	hasher   hasher

	// mu makes a change and the checks it rests on one step: the first
	// person, the last administrator, a token's name. It guards below.
	mu    sync.Mutex
	setup secret.Text // the set-up token, "" until asked for
	swept time.Time   // when expired sessions were last removed
}

// Open reads or makes the master key, finishes a rotation that was cut short,
// and returns the register.
func Open(o Options) (*Access, error) {
	if o.State == nil || o.Ledger == nil {
		return nil, errors.New("open access: needs state and ledger")
	}
	if o.KeyFile != "" {
		o.Key = KeySource{File: o.KeyFile}
	}
	a := &Access{
		ledger:   o.Ledger,
		people:   state.NewTable[person](o.State, "person", 1),
		sessions: state.NewTable[session](o.State, "session", 1),
		tokens:   state.NewTable[token](o.State, "token", 1),
		limits:   newLimiter(),
		hasher:   newHasher(),
	}
	var err error
	if a.vault, err = openVault(a, o.State, o.Key); err != nil {
		return nil, fmt.Errorf("open access: %w", err)
	}
	return a, nil
}

// Vault returns the sealed credentials.
func (a *Access) Vault() *Vault { return a.vault }

var validName = regexp.MustCompile(`^[a-z0-9][a-z0-9._@-]{0,63}$`)

// cleanName returns the name as it is stored: in lower case.
func cleanName(name string) (string, error) {
	name = strings.ToLower(strings.TrimSpace(name))
	if !validName.MatchString(name) {
		return "", fmt.Errorf("%w: a name has 1 to 64 letters, digits and . _ @ -, and begins with a letter or digit", ErrInvalid)
	}
	return name, nil
}

func (r Role) check() error {
	if r != Administrator && r != Viewer {
		return fmt.Errorf("%w: role %q: there are %s and %s", ErrInvalid, string(r), Administrator, Viewer)
	}
	return nil
}

// checkToken is check for a token, which may also be a writer.
func (r Role) checkToken() error {
	if r == Writer {
		return nil
	}
	return r.check()
}

func (a *Access) record(by, action, subject string, data any) error {
	e := ledger.Entry{Kind: ledger.Audit, Actor: by, Action: action, Subject: subject}
	if data != nil {
		raw, err := json.Marshal(data)
		if err != nil {
			return fmt.Errorf("audit %s of %s: %w", action, subject, err)
		}
		e.Data = raw
	}
	if _, err := a.ledger.Append(e); err != nil {
		return fmt.Errorf("audit %s of %s: %w", action, subject, err)
	}
	return nil
}

// change records and then does one change. Without the record there is no
// change; a change that fails is recorded as failed.
func (a *Access) change(ctx context.Context, by, action, subject string, data any, do func() error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := a.record(by, action, subject, data); err != nil {
		return err
	}
	if err := do(); err != nil {
		return errors.Join(err, a.record(by, action+" failed", subject, nil))
	}
	return nil
}
