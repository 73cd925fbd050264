package web

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"nocturne/internal/access"
	"nocturne/internal/secret"
	"nocturne/views/admin"
)

// formFault is what a person can mend in a form of people and tokens.
func formFault(err error) (string, bool) {
	for _, is := range []error{access.ErrInvalid, access.ErrExists, access.ErrLastAdministrator} {
		if errors.Is(err, is) {
			return err.Error(), true
		}
	}
	return "", false
}

// administration leads to its first page that the reader may see.
func (s *Server) administration(w http.ResponseWriter, r *http.Request) error {
	if actorOf(r.Context()).May(access.Administer) {
		return done(w, r, "/admin/people")
	}
	return done(w, r, "/admin/targets")
}

func (s *Server) people(w http.ResponseWriter, r *http.Request) error {
	return s.peoplePage(w, r, http.StatusOK, "")
}

func (s *Server) peoplePage(w http.ResponseWriter, r *http.Request, status int, fault string) error {
	all, err := s.Access.People()
	if err != nil {
		return err
	}
	m := admin.People{Page: s.page(r, "People"), Fault: fault, New: string(access.Viewer)}
	if fault != "" {
		m.Name, m.New = r.PostFormValue("name"), r.PostFormValue("role")
	}
	by := actorOf(r.Context())
	for _, p := range all {
		m.Rows = append(m.Rows, admin.Person{Name: p.Name, Role: string(p.Role), Created: p.Created, Disabled: p.Disabled, Self: p.Name == by.Name && !by.Token})
	}
	s.render(w, r, status, admin.PeoplePage(m))
	return nil
}

// personForm does what a form of the people's page asks, and shows the page
// again with the fault where there is one.
func (s *Server) personForm(w http.ResponseWriter, r *http.Request, do func(ctx context.Context, by access.Actor, name string) error) error {
	err := do(r.Context(), actorOf(r.Context()), r.PathValue("name"))
	if fault, ok := formFault(err); ok {
		return s.peoplePage(w, r, http.StatusBadRequest, fault)
	}
	if err != nil {
		return err
	}
	return done(w, r, "/admin/people")
}

func (s *Server) addPerson(w http.ResponseWriter, r *http.Request) error {
	return s.personForm(w, r, func(ctx context.Context, by access.Actor, _ string) error {
		return s.Access.AddPerson(ctx, by, r.PostFormValue("name"), access.Role(r.PostFormValue("role")), secret.Text(r.PostFormValue("password")))
	})
}

func (s *Server) setRole(w http.ResponseWriter, r *http.Request) error {
	return s.personForm(w, r, func(ctx context.Context, by access.Actor, name string) error {
		return s.Access.SetRole(ctx, by, name, access.Role(r.PostFormValue("role")))
	})
}

func (s *Server) setPassword(w http.ResponseWriter, r *http.Request) error {
	return s.personForm(w, r, func(ctx context.Context, by access.Actor, name string) error {
		return s.Access.SetPassword(ctx, by, name, secret.Text(r.PostFormValue("password")))
	})
}

func (s *Server) disablePerson(w http.ResponseWriter, r *http.Request) error {
	return s.personForm(w, r, func(ctx context.Context, by access.Actor, name string) error {
		if r.PostFormValue("disabled") == "yes" {
			return s.Access.Disable(ctx, by, name)
		}
		return s.Access.Enable(ctx, by, name)
	})
}

func (s *Server) tokens(w http.ResponseWriter, r *http.Request) error {
	return s.tokensPage(w, r, http.StatusOK, "", "")
}

func (s *Server) tokensPage(w http.ResponseWriter, r *http.Request, status int, fault string, made secret.Text) error {
	all, err := s.Access.Tokens()
	if err != nil {
		return err
	}
	m := admin.Tokens{Page: s.page(r, "API tokens"), Fault: fault, Secret: made.Reveal()}
	if fault != "" {
		m.Name, m.Role, m.Days = r.PostFormValue("name"), r.PostFormValue("role"), r.PostFormValue("days")
	}
	for _, t := range all {
		m.Rows = append(m.Rows, admin.Token{Name: t.Name, Role: string(t.Role), By: t.By, Created: t.Created, Expires: t.Expires, LastUse: t.LastUsed})
	}
	s.render(w, r, status, admin.TokensPage(m))
	return nil
}

func (s *Server) addToken(w http.ResponseWriter, r *http.Request) error {
	days, err := strconv.Atoi(cmp.Or(strings.TrimSpace(r.PostFormValue("days")), "0"))
	if err != nil || days < 0 || days > 3650 {
		return s.tokensPage(w, r, http.StatusBadRequest, "The days are a whole number up to 3650; none is for ever.", "")
	}
	var expires time.Time
	if days > 0 {
		expires = time.Now().AddDate(0, 0, days)
	}
	// The answer to this form holds the token: it is shown once, and a reload
	// asks before it sends the form again.
	made, err := s.Access.AddToken(r.Context(), actorOf(r.Context()), r.PostFormValue("name"), access.Role(r.PostFormValue("role")), expires)
	if fault, ok := formFault(err); ok {
		return s.tokensPage(w, r, http.StatusBadRequest, fault, "")
	}
	if err != nil {
		return err
	}
	return s.tokensPage(w, r, http.StatusOK, "", made)
}

func (s *Server) revokeToken(w http.ResponseWriter, r *http.Request) error {
	if err := s.Access.RevokeToken(r.Context(), actorOf(r.Context()), r.PathValue("name")); err != nil {
		return err
	}
	return done(w, r, "/admin/tokens")
}
