package web

import (
	"errors"
	"net"
	"net/http"
	"time"

	"nocturne/internal/access"
	"nocturne/internal/secret"
	"nocturne/views/auth"
)

func (s *Server) loginPage(w http.ResponseWriter, r *http.Request) error {
	s.render(w, r, http.StatusOK, auth.LoginPage(auth.Login{Page: s.page(r, "Sign in"), Next: localPath(r.URL.Query().Get("next"))}))
	return nil
}

func (s *Server) login(w http.ResponseWriter, r *http.Request) error {
	name, next := r.PostFormValue("name"), localPath(r.PostFormValue("next"))
	session, err := s.Access.Login(r.Context(), name, secret.Text(r.PostFormValue("password")), remote(r))
	if err != nil {
		status, text := statusOf(err)
		switch {
		case status == http.StatusTooManyRequests:
		case errors.Is(err, access.ErrDenied):
			status, text = http.StatusUnauthorized, "the name or the password is wrong"
		default:
			return err
		}
		s.render(w, r, status, auth.LoginPage(auth.Login{Page: s.page(r, "Sign in"), Name: name, Next: next, Fault: text}))
		return nil
	}
	setSession(w, r, session.Reveal())
	return done(w, r, next)
}

func setSession(w http.ResponseWriter, r *http.Request, value string) {
	http.SetCookie(w, &http.Cookie{Name: sessionName(r), Value: value, Path: "/", Secure: secure(r), HttpOnly: true, SameSite: http.SameSiteLaxMode})
}

func remote(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}

func (s *Server) logout(w http.ResponseWriter, r *http.Request) error {
	if c, err := r.Cookie(sessionName(r)); err == nil {
		if err := s.Access.Logout(c.Value); err != nil {
			return err
		}
	}
	http.SetCookie(w, &http.Cookie{Name: sessionName(r), Path: "/", MaxAge: -1, Secure: secure(r), HttpOnly: true, SameSite: http.SameSiteLaxMode})
	return done(w, r, "/login")
}

func (s *Server) setupPage(w http.ResponseWriter, r *http.Request) error {
	// Whether the link still works shows when the form is sent: looking at
	// the page must not tell a guesser more.
	m := auth.Setup{Page: s.page(r, "Set up nocturne"), Token: r.URL.Query().Get("token")}
	people, err := s.Access.People()
	if err != nil {
		return err
	}
	m.Spent = len(people) > 0 || m.Token == ""
	s.render(w, r, http.StatusOK, auth.SetupPage(m))
	return nil
}

func (s *Server) setup(w http.ResponseWriter, r *http.Request) error {
	m := auth.Setup{Page: s.page(r, "Set up nocturne"), Token: r.PostFormValue("token"), Name: r.PostFormValue("name")}
	password := secret.Text(r.PostFormValue("password"))
	fault := func(status int, text string) error {
		m.Fault = text
		s.render(w, r, status, auth.SetupPage(m))
		return nil
	}
	if password.Reveal() != r.PostFormValue("again") {
		return fault(http.StatusBadRequest, "The two passwords differ.")
	}
	_, err := s.Access.Setup(r.Context(), m.Token, m.Name, password)
	switch {
	case errors.Is(err, access.ErrInvalid):
		return fault(http.StatusBadRequest, err.Error())
	case errors.Is(err, access.ErrDenied), errors.Is(err, access.ErrExpired):
		m.Spent = true
		return fault(http.StatusForbidden, "This link was used, or it is not the newest one: it changes at each start.")
	case err != nil:
		return err
	}
	session, err := s.Access.Login(r.Context(), m.Name, password, remote(r))
	if err != nil {
		return err
	}
	setSession(w, r, session.Reveal())
	return done(w, r, "/")
}

func (s *Server) setTheme(w http.ResponseWriter, r *http.Request) error {
	value := "dark"
	if r.PostFormValue("theme") == "light" {
		value = "light"
	}
	http.SetCookie(w, &http.Cookie{Name: "theme", Value: value, Path: "/", Expires: time.Now().AddDate(1, 0, 0), Secure: secure(r), SameSite: http.SameSiteLaxMode, HttpOnly: true})
	return done(w, r, r.PostFormValue("back"))
}
