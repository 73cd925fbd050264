package web

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/a-h/templ"

	"nocturne/alerting"
	"nocturne/views/shell"
	"nocturne/views/ui"
)

// page is what every page knows of the request and of the whole.
func (s *Server) page(r *http.Request, title string, topics ...string) shell.Page {
	actor := actorOf(r.Context())
	p := shell.Page{
		Title: title, Path: r.URL.Path, User: actor.Name, Role: string(actor.Role), Build: s.Build,
		Now: time.Now(), Theme: theme(r), Topics: topics, Lab: s.Lab,
	}
	if actor.Name != "" {
		p.Tally, p.Alerts, p.ReadOnly = s.tally(), s.firing(), s.readOnlyWord()
	}
	return p
}

func theme(r *http.Request) string {
	if c, err := r.Cookie("theme"); err == nil && c.Value == "light" {
		return "light"
	}
	return "dark"
}

func (s *Server) firing() int {
	n := 0
	for _, a := range s.Alerts.Alerts() {
		if a.Phase == "firing" {
			n++
		}
	}
	return n
}

// stateOf turns the engine's state into the views' word for it.
func stateOf(st alerting.State) ui.State { return ui.State(st).Known() }

// render writes a page. It is rendered whole before the first byte goes out,
// so that an error can still become an error page.
func (s *Server) render(w http.ResponseWriter, r *http.Request, status int, c templ.Component) {
	var b bytes.Buffer
	if err := c.Render(r.Context(), &b); err != nil {
		s.fail(w, r, err)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes())
}

// handler is a page or an action; what it returns goes through the one table.
type handler func(w http.ResponseWriter, r *http.Request) error

func (s *Server) handle(h handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := h(w, r); err != nil {
			s.fail(w, r, err)
		}
	})
}

// fail answers with an error: a page for people, JSON for programs.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	status, text := statusOf(err)
	if status >= http.StatusInternalServerError {
		s.log.Error("request failed", "method", r.Method, "path", r.URL.Path, "err", err)
	}
	if strings.HasPrefix(r.URL.Path, "/api/") || r.URL.Path == "/live" {
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(map[string]any{"title": http.StatusText(status), "status": status, "detail": text})
		return
	}
	m := shell.Fault{Page: s.page(r, http.StatusText(status)), Status: status, Text: strings.ToUpper(text[:1]) + text[1:] + "."}
	var b bytes.Buffer
	if err := shell.FaultPage(m).Render(r.Context(), &b); err != nil {
		s.log.Error("render error page", "err", err)
		http.Error(w, text, status)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes())
}

// done sends the browser on after a form, so that a reload sends nothing twice.
func done(w http.ResponseWriter, r *http.Request, to string) error {
	http.Redirect(w, r, localPath(to), http.StatusSeeOther)
	return nil
}
