package web

import (
	"bytes"
	"context"
	"errors"
	"time"

	"nocturne/internal/access"
	"nocturne/internal/ledger"
	"nocturne/internal/secret"
)

type personJSON struct {
	Name     string      `json:"name"`
	Role     access.Role `json:"role" enum:"administrator,viewer"`
	Created  time.Time   `json:"created"`
	Disabled bool        `json:"disabled"`
}

type tokenJSON struct {
	Name     string      `json:"name"`
	Role     access.Role `json:"role" enum:"administrator,viewer,writer"`
	By       string      `json:"by"`
	Created  time.Time   `json:"created"`
	Expires  *time.Time  `json:"expires,omitempty"`
	LastUsed *time.Time  `json:"last_used,omitempty"`
}

// madeToken is the one answer that holds a token.
type madeToken struct {
	Name  string `json:"name"`
	Token string `json:"token" doc:"Shown this once"`
}

type importJSON struct {
	Created   []string `json:"created"`
	Changed   []string `json:"changed"`
	Unchanged int      `json:"unchanged"`
}

type verifiedJSON struct {
	Entries uint64 `json:"entries" doc:"How many hold, from the first"`
	Broken  string `json:"broken,omitempty" doc:"The first entry that does not, where there is one"`
}

// addKeeping adds the inventory's files and the ledger.
func (a *apiMux) addKeeping() {
	s := a.s
	add(a, op{id: "export-inventory", method: "GET", path: "/inventory", tag: "inventory", summary: "The whole inventory as YAML", right: access.View}, s.apiExport)
	add(a, op{id: "import-inventory", method: "POST", path: "/inventory", tag: "inventory", summary: "Take in an inventory file; with a fault anywhere nothing of it", right: access.Configure}, s.apiImport)
	add(a, op{id: "list-ledger", method: "GET", path: "/ledger", tag: "ledger", summary: "Entries of the ledger, oldest first", right: access.Administer}, s.apiLedger)
	add(a, op{id: "verify-ledger", method: "POST", path: "/ledger/verify", tag: "ledger", summary: "Check the ledger's whole chain", right: access.Administer}, s.apiVerify)
}

// addConfiguring adds the configuration's file.
func (a *apiMux) addConfiguring() {
	s := a.s
	add(a, op{id: "get-configuration-difference", method: "GET", path: "/configuration/difference", tag: "configuration", summary: "How the configuration's files differ from what runs", right: access.Administer}, s.apiDifference)
	add(a, op{id: "reload-configuration", method: "POST", path: "/configuration/reload", tag: "configuration", summary: "Read the configuration's files again and apply them, all or nothing", right: access.Administer}, s.apiReload)
}

// addAdministering adds people and tokens.
func (a *apiMux) addAdministering() {
	s := a.s
	add(a, op{id: "list-people", method: "GET", path: "/people", tag: "access", summary: "Who can sign in", right: access.Administer}, s.apiPeople)
	add(a, op{id: "add-person", method: "POST", path: "/people", tag: "access", summary: "Let somebody in", right: access.Administer, status: 201}, s.apiAddPerson)
	add(a, op{id: "change-person", method: "PATCH", path: "/people/{name}", tag: "access", summary: "Change a role or password, shut somebody out or let them in again", right: access.Administer}, s.apiChangePerson)
	add(a, op{id: "list-tokens", method: "GET", path: "/tokens", tag: "access", summary: "API tokens, without their secret", right: access.Administer}, s.apiTokens)
	add(a, op{id: "add-token", method: "POST", path: "/tokens", tag: "access", summary: "Make an API token", right: access.Administer, status: 201}, s.apiAddToken)
	add(a, op{id: "revoke-token", method: "DELETE", path: "/tokens/{name}", tag: "access", summary: "End a token", right: access.Administer}, s.apiRevokeToken)
}

// yamlFile is an answer that is a YAML file.
type yamlFile struct {
	ContentType string `header:"Content-Type"`
	Body        []byte
}

func (s *Server) apiExport(context.Context, *struct{}) (*yamlFile, error) {
	var b bytes.Buffer
	if err := s.Graph.ExportYAML(&b); err != nil {
		return nil, err
	}
	return &yamlFile{"application/yaml", b.Bytes()}, nil
}

func (s *Server) apiImport(ctx context.Context, in *struct {
	Name    string `query:"name" default:"inventory.yaml" maxLength:"200" doc:"The file's name, for its faults"`
	RawBody []byte `contentType:"application/yaml"`
}) (*body[importJSON], error) {
	report, err := s.Graph.ImportYAML(ctx, in.Name, in.RawBody, actorOf(ctx).String())
	if err != nil {
		return nil, err
	}
	err = s.record(ctx, "inventory.import", "inventory", map[string]any{"file": in.Name, "created": len(report.Created), "changed": len(report.Changed)})
	return reply(importJSON{some(report.Created), some(report.Changed), report.Unchanged}), err
}

func (s *Server) apiLedger(_ context.Context, in *struct {
	From  uint64 `query:"from" default:"1" minimum:"1" doc:"Number of the first entry"`
	Limit int    `query:"limit" default:"100" minimum:"1" maximum:"1000"`
	Kind  string `query:"kind" enum:"audit,alert,job,report"`
}) (*body[list[ledger.Entry]], error) {
	out := []ledger.Entry{}
	for e, err := range s.Ledger.Read(in.From) {
		if err != nil {
			return nil, err
		}
		if in.Kind == "" || e.Kind == in.Kind {
			out = append(out, e)
		}
		if len(out) == in.Limit {
			break
		}
	}
	newest, err := s.Ledger.Latest(1, "")
	if err != nil {
		return nil, err
	}
	total := 0
	if len(newest) > 0 {
		total = int(newest[0].Seq)
	}
	return reply(list[ledger.Entry]{out, total}), nil
}

// apiVerify answers with a finding where the chain is broken: the request was
// none the worse for it.
func (s *Server) apiVerify(ctx context.Context, _ *struct{}) (*body[verifiedJSON], error) {
	n, err := s.Ledger.Verify(ctx)
	switch {
	case err == nil:
		return reply(verifiedJSON{Entries: n}), nil
	case errors.Is(err, ledger.ErrBroken):
		s.log.Error("the ledger's chain is broken", "entries", n, "err", err)
		return reply(verifiedJSON{n, err.Error()}), nil
	}
	return nil, err
}

func (s *Server) apiPeople(context.Context, *struct{}) (*body[list[personJSON]], error) {
	all, err := s.Access.People()
	if err != nil {
		return nil, err
	}
	out := []personJSON{}
	for _, p := range all {
		out = append(out, personJSON(p))
	}
	return reply(list[personJSON]{out, len(out)}), nil
}

func (s *Server) person(name string) (*body[personJSON], error) {
	all, err := s.Access.People()
	if err != nil {
		return nil, err
	}
	for _, p := range all {
		if p.Name == name {
			return reply(personJSON(p)), nil
		}
	}
	return nil, notFound{"person " + name}
}

func (s *Server) apiAddPerson(ctx context.Context, in *struct {
	Body struct {
		Name     string      `json:"name"`
		Role     access.Role `json:"role" enum:"administrator,viewer"`
		Password string      `json:"password" writeOnly:"true"`
	}
}) (*body[personJSON], error) {
	if err := s.Access.AddPerson(ctx, actorOf(ctx), in.Body.Name, in.Body.Role, secret.Text(in.Body.Password)); err != nil {
		return nil, err
	}
	return s.person(in.Body.Name)
}

func (s *Server) apiChangePerson(ctx context.Context, in *struct {
	Name string `path:"name"`
	Body struct {
		Role     *access.Role `json:"role,omitempty" enum:"administrator,viewer"`
		Password *string      `json:"password,omitempty" writeOnly:"true"`
		Disabled *bool        `json:"disabled,omitempty"`
	}
}) (*body[personJSON], error) {
	by, change := actorOf(ctx), in.Body
	if change.Role != nil {
		if err := s.Access.SetRole(ctx, by, in.Name, *change.Role); err != nil {
			return nil, err
		}
	}
	if change.Password != nil {
		if err := s.Access.SetPassword(ctx, by, in.Name, secret.Text(*change.Password)); err != nil {
			return nil, err
		}
	}
	if change.Disabled != nil {
		set := s.Access.Enable
		if *change.Disabled {
			set = s.Access.Disable
		}
		if err := set(ctx, by, in.Name); err != nil {
			return nil, err
		}
	}
	return s.person(in.Name)
}

func (s *Server) apiTokens(context.Context, *struct{}) (*body[list[tokenJSON]], error) {
	all, err := s.Access.Tokens()
	if err != nil {
		return nil, err
	}
	out := []tokenJSON{}
	for _, t := range all {
		out = append(out, tokenJSON{t.Name, t.Role, t.By, t.Created, when(t.Expires), when(t.LastUsed)})
	}
	return reply(list[tokenJSON]{out, len(out)}), nil
}

func (s *Server) apiAddToken(ctx context.Context, in *struct {
	Body struct {
		Name    string      `json:"name"`
		Role    access.Role `json:"role" enum:"administrator,viewer,writer"`
		Expires time.Time   `json:"expires,omitzero" doc:"Left out: never"`
	}
}) (*body[madeToken], error) {
	made, err := s.Access.AddToken(ctx, actorOf(ctx), in.Body.Name, in.Body.Role, in.Body.Expires)
	if err != nil {
		return nil, err
	}
	return reply(madeToken{in.Body.Name, made.Reveal()}), nil
}

func (s *Server) apiRevokeToken(ctx context.Context, in *struct {
	Name string `path:"name"`
}) (*struct{}, error) {
	return nil, s.Access.RevokeToken(ctx, actorOf(ctx), in.Name)
}
