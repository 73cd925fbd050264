package web

import (
	"context"
	"encoding/json"
	"net/http"
	"reflect"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"nocturne/internal/access"
)

const apiRoot = "/api/nocturne/v1"

// api mounts the JSON API. Its operations use the services that the pages use
// and need the rights that the pages need; its document is written from them.
func (s *Server) api(mux *http.ServeMux) {
	inner := http.NewServeMux()
	c := huma.DefaultConfig("nocturne", s.Build)
	c.OpenAPIPath, c.DocsPath, c.SchemasPath, c.CreateHooks = "", "", "", nil
	c.Info.Description = "What the pages show and do, for programs. Errors are RFC 9457 problems. " +
		"Times are RFC 3339 in UTC. An item's id is kind/key, such as device/leaf1."
	c.Components.Schemas = huma.NewMapRegistry("#/components/schemas/", schemaName)
	c.Components.SecuritySchemes = map[string]*huma.SecurityScheme{
		"bearer": {Type: "http", Scheme: "bearer", Description: "An API token, made under Administration."},
		"cookie": {Type: "apiKey", In: "cookie", Name: sessionCookie, Description: "The session of a person who signed in; over HTTPS its name begins with __Host-."},
	}
	a := &apiMux{s: s, API: humago.NewWithPrefix(inner, apiRoot, c)}
	a.addLooking()
	a.addAlerting()
	a.addWorking()
	a.addReporting()
	a.addKeeping()
	a.addConfiguring()
	a.addHistory()
	a.addAdministering()
	a.addSupport()
	a.addKeys()
	a.addBackup()
	document := a.OpenAPI()
	mux.Handle("GET "+apiRoot+"/openapi.json", s.may("view", s.handle(func(w http.ResponseWriter, _ *http.Request) error {
		b, err := json.Marshal(document)
		return text(w, "application/openapi+json", b, err)
	})))
	mux.Handle("GET "+apiRoot+"/openapi.yaml", s.may("view", s.handle(func(w http.ResponseWriter, _ *http.Request) error {
		b, err := document.YAML()
		return text(w, "application/openapi+yaml", b, err)
	})))
	inner.Handle("/", s.handle(func(http.ResponseWriter, *http.Request) error { return notFound{"operation of that path and method"} }))
	mux.Handle(apiRoot+"/", inner)
}

// schemaName is the type's name without the suffix that tells it from the
// domain's own.
func schemaName(t reflect.Type, hint string) string {
	return strings.ReplaceAll(huma.DefaultSchemaNamer(t, hint), "JSON", "")
}

func text(w http.ResponseWriter, kind string, b []byte, err error) error {
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", kind)
	_, err = w.Write(b)
	return err
}

// apiMux is where operations are added.
type apiMux struct {
	huma.API
	s *Server
}

// op describes an operation: what it is, and the right it needs.
type op struct {
	id, method, path, tag, summary string
	right                          access.Action
	status                         int // of success, where it is not 200 or 204
}

type requestKey struct{}

// requestOf is the HTTP request that an operation answers.
func requestOf(ctx context.Context) *http.Request {
	r, _ := ctx.Value(requestKey{}).(*http.Request)
	return r
}

// add registers an operation. Its errors go through the one table.
func add[I, O any](a *apiMux, o op, h func(ctx context.Context, in *I) (*O, error)) {
	described := huma.Operation{
		OperationID: o.id, Method: o.method, Path: o.path, Summary: o.summary, Tags: []string{o.tag}, DefaultStatus: o.status,
		Description: "Needs the right to " + string(o.right) + ".",
		Security:    []map[string][]string{{"bearer": {}}, {"cookie": {}}},
		Errors:      []int{http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusConflict},
		Middlewares: huma.Middlewares{a.guard(o.right)}, MaxBodyBytes: a.s.MaxBody,
	}
	huma.Register(a.API, described, func(ctx context.Context, in *I) (*O, error) {
		out, err := h(ctx, in)
		if err != nil {
			return nil, a.s.problem(ctx, o.id, err)
		}
		return out, nil
	})
}

// guard lets those pass who have the right, before anything of the request is
// read.
func (a *apiMux) guard(right access.Action) func(huma.Context, func(huma.Context)) {
	return func(ctx huma.Context, next func(huma.Context)) {
		r, w := humago.Unwrap(ctx)
		a.s.may(right, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
			next(huma.WithValue(ctx, requestKey{}, r))
		})).ServeHTTP(w, r)
	}
}

// problem turns an error into its answer.
func (s *Server) problem(ctx context.Context, operation string, err error) error {
	status, text := statusOf(err)
	if status >= http.StatusInternalServerError {
		s.log.ErrorContext(ctx, "request failed", "operation", operation, "err", err)
	}
	return &huma.ErrorModel{Title: http.StatusText(status), Status: status, Detail: text}
}

// body is an answer that is one value.
type body[T any] struct{ Body T }

func reply[T any](v T) *body[T] { return &body[T]{v} }

// some is v, or an empty list in the place of null.
func some[T any](v []T) []T {
	if v == nil {
		return []T{}
	}
	return v
}
