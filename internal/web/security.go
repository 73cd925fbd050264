package web

import (
	"context"
	"net/http"
	"net/url"
	"strings"

	"nocturne/internal/access"
)

const (
	sessionCookie = "nocturne_session"
	maxBody       = 4 << 20 // where Options.MaxBody says nothing else
)

// The policies of ui.md: nothing inline, nothing from elsewhere; walls also
// run under Trusted Types.
const (
	appPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; " +
		"connect-src 'self'; form-action 'self'; frame-ancestors 'self'; base-uri 'none'"
	wallPolicy = appPolicy + "; require-trusted-types-for 'script'"
)

func (s *Server) secured(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", appPolicy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "same-origin")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")
		if r.URL.Path != writePath { // it has bounds of its own
			r.Body = http.MaxBytesReader(w, r.Body, s.MaxBody)
		}
		next.ServeHTTP(w, r)
	})
}

type actorKey struct{}

// actorOf returns who asks; nobody has the zero Actor.
func actorOf(ctx context.Context) access.Actor {
	a, _ := ctx.Value(actorKey{}).(access.Actor)
	return a
}

// authenticated puts who asks into the context: a token first, else the
// session cookie. A token that is wrong is refused at once; a session that is
// over is nobody.
func (s *Server) authenticated(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		actor, err := s.authenticate(r)
		if err != nil {
			w.Header().Set("WWW-Authenticate", `Bearer realm="nocturne"`)
			s.fail(w, r, err)
			return
		}
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), actorKey{}, actor)))
	})
}

func (s *Server) authenticate(r *http.Request) (access.Actor, error) {
	if token, ok := tokenOf(r); ok {
		a, err := s.Access.Token(token)
		if err != nil {
			return access.Actor{}, unauthorized{"the token is unknown, revoked or expired"}
		}
		return a, nil
	}
	if c, err := r.Cookie(sessionName(r)); err == nil {
		if a, err := s.Access.Session(c.Value); err == nil {
			return a, nil
		}
	}
	return access.Actor{}, nil
}

// tokenOf reads a bearer token (RFC 6750), or one that stands as the password
// of HTTP basic authentication (RFC 7617): some clients send nothing else. The
// name beside it is not looked at.
func tokenOf(r *http.Request) (string, bool) {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if strings.EqualFold(scheme, "Bearer") {
		return strings.TrimSpace(token), true
	}
	_, password, ok := r.BasicAuth()
	return password, ok
}

// may wraps a handler with the right that it needs. Nobody is sent to the
// sign-in page, or told 401 where no page was asked for.
func (s *Server) may(action access.Action, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		actor := actorOf(r.Context())
		switch {
		case actor.Name == "" && wantsPage(r) && r.Method != http.MethodGet && r.Method != http.MethodHead:
			http.Redirect(w, r, "/login", http.StatusSeeOther) // a form cannot be sent again
		case actor.Name == "" && wantsPage(r):
			http.Redirect(w, r, "/login?next="+url.QueryEscape(r.URL.RequestURI()), http.StatusSeeOther)
		case actor.Name == "":
			w.Header().Set("WWW-Authenticate", `Bearer realm="nocturne"`)
			s.fail(w, r, unauthorized{"sign in, or send a token"})
		case !actor.May(action):
			s.fail(w, r, access.ErrDenied)
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// unauthorized is a request by nobody.
type unauthorized struct{ text string }

func (e unauthorized) Error() string { return e.text }

func wantsPage(r *http.Request) bool {
	return !strings.HasPrefix(r.URL.Path, "/api/") && r.URL.Path != "/live" && r.URL.Path != "/federate" && r.Header.Get("Authorization") == ""
}

// localPath holds a path given by a client to this site.
func localPath(p string) string {
	if u, err := url.Parse(p); err != nil || u.IsAbs() || u.Host != "" || !strings.HasPrefix(p, "/") || strings.HasPrefix(p, "//") || strings.ContainsAny(p, "\\\r\n") {
		return "/"
	}
	return p
}
