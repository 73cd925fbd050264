package lab

import (
	"crypto/rand"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"nocturne/internal/secret"
)

// The answers of a true control plane (release Zed), recorded as an
// administrator of it; see its sample in the acceptance notes.
//
//go:embed recorded/*.json
var recorded embed.FS

type answer struct {
	URL     string            `json:"url"`
	Status  int               `json:"status"`
	Headers map[string]string `json:"headers"`
	Body    json.RawMessage   `json:"body"`
}

// cloud replays the recorded answers behind a Keystone that wants the right
// password and a token that it issued.
type cloud struct {
	compute, identity map[string]answer
	password          secret.Text
	listener          net.Listener
	server            *http.Server

	mu     sync.Mutex
	tokens map[string]time.Time // mu guards it; until when each is good
}

// Cloud is what a collector needs to know of the OpenStack API.
type Cloud struct {
	AuthURL, Username, Project, Domain string
	Password                           secret.Text
}

func newCloud() (*cloud, error) {
	c := &cloud{tokens: map[string]time.Time{}, password: secret.Text(rand.Text())}
	for name, into := range map[string]*map[string]answer{"compute": &c.compute, "identity": &c.identity} {
		b, err := recorded.ReadFile("recorded/" + name + ".json")
		if err != nil {
			return nil, err
		}
		if err := json.Unmarshal(b, into); err != nil {
			return nil, fmt.Errorf("recorded answers of %s: %w", name, err)
		}
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v3/auth/tokens", c.issue)
	mux.HandleFunc("GET /v3/{path...}", c.replayIdentity)
	mux.HandleFunc("GET /{$}", c.versions)
	mux.HandleFunc("GET /v2.1/{path...}", c.replayCompute)
	c.server = &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	return c, nil
}

func (c *cloud) listen() error {
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("listen for the OpenStack API: %w", err)
	}
	c.listener = ln
	return nil
}

func (c *cloud) serve() error {
	if err := c.server.Serve(c.listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("OpenStack API: %w", err)
	}
	return nil
}

func (c *cloud) close() {
	_ = c.server.Close()
	if c.listener != nil {
		_ = c.listener.Close()
	}
}

// OpenStack says how to reach the cloud.
func (l *Lab) OpenStack() Cloud {
	return Cloud{AuthURL: "http://" + l.cloud.listener.Addr().String() + "/v3", Username: "admin", Project: "admin", Domain: "Default", Password: l.cloud.password}
}

func (c *cloud) versions(w http.ResponseWriter, _ *http.Request) {
	var v struct {
		Version json.RawMessage `json:"version"`
	}
	if err := json.Unmarshal(c.identity["GET /"].Body, &v); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusMultipleChoices)
	_ = json.NewEncoder(w).Encode(map[string]any{"versions": map[string]any{"values": []json.RawMessage{c.ours(v.Version)}}})
}

// issue answers a password login as Keystone's v3 does.
func (c *cloud) issue(w http.ResponseWriter, r *http.Request) {
	var q struct {
		Auth struct {
			Identity struct {
				Password struct {
					User struct {
						Name     string `json:"name"`
						Password string `json:"password"`
					} `json:"user"`
				} `json:"password"`
			} `json:"identity"`
		} `json:"auth"`
	}
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<16)).Decode(&q); err != nil {
		keystoneError(w, http.StatusBadRequest, "Expecting to find valid JSON in the request body.")
		return
	}
	if u := q.Auth.Identity.Password.User; u.Name != "admin" || u.Password != c.password.Reveal() {
		keystoneError(w, http.StatusUnauthorized, "The request you have made requires authentication.")
		return
	}
	var catalog struct {
		Catalog json.RawMessage `json:"catalog"`
	}
	if err := json.Unmarshal(c.identity["GET /auth/catalog"].Body, &catalog); err != nil {
		keystoneError(w, http.StatusInternalServerError, err.Error())
		return
	}
	token, until := rand.Text(), time.Now().Add(time.Hour).UTC()
	c.mu.Lock()
	c.tokens[token] = until
	c.mu.Unlock()
	w.Header().Set("X-Subject-Token", token)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusCreated)
	_ = json.NewEncoder(w).Encode(map[string]any{"token": map[string]any{
		"methods": []string{"password"}, "expires_at": until.Format("2006-01-02T15:04:05.000000Z"),
		"issued_at": time.Now().UTC().Format("2006-01-02T15:04:05.000000Z"),
		"user":      map[string]any{"name": "admin", "id": "admin", "domain": map[string]string{"id": "default", "name": "Default"}},
		"project":   map[string]any{"name": "admin", "id": "9deda592eee746e39957a8a4d29c573e", "domain": map[string]string{"id": "default", "name": "Default"}},
		"roles":     []map[string]string{{"id": "admin", "name": "admin"}}, "catalog": c.ours(catalog.Catalog),
	}})
}

func keystoneError(w http.ResponseWriter, code int, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(map[string]any{"error": map[string]any{"code": code, "message": message, "title": http.StatusText(code)}})
}

// ours turns the recorded services' addresses into this one's.
func (c *cloud) ours(b json.RawMessage) json.RawMessage {
	base := "http://" + c.listener.Addr().String()
	s := string(b)
	for _, port := range []string{"5000", "8774", "9696", "9292", "8776", "8778"} {
		s = strings.ReplaceAll(s, "http://127.0.0.1:"+port, base)
	}
	return json.RawMessage(s)
}

func (c *cloud) allowed(w http.ResponseWriter, r *http.Request) bool {
	c.mu.Lock()
	until, ok := c.tokens[r.Header.Get("X-Auth-Token")]
	c.mu.Unlock()
	if !ok || time.Now().After(until) {
		keystoneError(w, http.StatusUnauthorized, "The request you have made requires authentication.")
		return false
	}
	return true
}

// ExpireTokens makes every issued token worthless, as Keystone's expiry would.
func (l *Lab) ExpireTokens() {
	l.cloud.mu.Lock()
	defer l.cloud.mu.Unlock()
	clear(l.cloud.tokens)
}

func (c *cloud) replayIdentity(w http.ResponseWriter, r *http.Request) {
	if p := r.PathValue("path"); p != "" && !c.allowed(w, r) {
		return
	}
	c.replay(w, r, c.identity, "")
}

func (c *cloud) replayCompute(w http.ResponseWriter, r *http.Request) {
	if p := r.PathValue("path"); p != "" && !c.allowed(w, r) {
		return
	}
	version := r.Header.Get("X-OpenStack-Nova-API-Version")
	if v, ok := strings.CutPrefix(r.Header.Get("OpenStack-API-Version"), "compute "); ok {
		version = v
	}
	c.replay(w, r, c.compute, version)
}

// replay answers with what was recorded for the path at that microversion.
func (c *cloud) replay(w http.ResponseWriter, r *http.Request, from map[string]answer, version string) {
	key := "GET /" + r.PathValue("path")
	if q := r.URL.Query(); len(q) > 0 {
		if v := q.Get("all_tenants"); v == "true" {
			q.Set("all_tenants", "1")
		}
		key += "?" + q.Encode()
	}
	if version != "" && version != "2.1" {
		key = version + " " + key
	}
	a, ok := from[key]
	if !ok {
		keystoneError(w, http.StatusNotFound, "not recorded: "+key)
		return
	}
	for k, v := range a.Headers {
		w.Header().Set(k, v)
	}
	w.WriteHeader(a.Status)
	_, _ = w.Write(c.ours(a.Body))
}
