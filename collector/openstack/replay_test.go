package openstack

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"nocturne/collector"
	"nocturne/internal/cloudconn"
	"nocturne/internal/need"
	"nocturne/internal/secret"
)

// replay is a Keystone with one user in front of the answers that a true Nova
// once gave to an administrator, a reader or a member.
type replay struct {
	t       *testing.T
	server  *httptest.Server
	answers map[string]answer

	mu       sync.Mutex
	token    string // the one that is good
	logins   int
	asked    map[string]int // by path
	broken   map[string]int // path -> status to answer instead
	noCloud  bool           // the catalog holds no compute endpoint
	paged    bool           // an old Nova that answers ten servers a page
	circling bool           // each page's next page is itself
	refuse   bool           // no password is right
	abort    bool           // Keystone breaks logins off
}

type answer struct {
	Status  int               `json:"status"`
	Headers map[string]string `json:"headers"`
	Body    json.RawMessage   `json:"body"`
}

// newReplay serves compute<as>.json: "" for the administrator, whose answers
// the lab embeds, "@reader", "@web".
func newReplay(t *testing.T, as string) *replay {
	t.Helper()
	dir := filepath.Join("..", "..", "internal", "lab", "recorded")
	if as != "" {
		dir = need.Shared(t, "openstack", "recorded")
	}
	b, err := os.ReadFile(filepath.Join(dir, "compute"+as+".json"))
	if err != nil {
		t.Fatal(err)
	}
	r := &replay{t: t, asked: map[string]int{}, broken: map[string]int{}}
	if err := json.Unmarshal(b, &r.answers); err != nil {
		t.Fatal(err)
	}
	r.server = httptest.NewServer(r)
	t.Cleanup(r.server.Close)
	return r
}

func (r *replay) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case q.URL.Path == "/v3/auth/tokens" && q.Method == http.MethodPost:
		r.login(w, q)
	case strings.HasPrefix(q.URL.Path, "/v2.1/"):
		r.nova(w, q)
	default:
		http.NotFound(w, q)
	}
}

func (r *replay) login(w http.ResponseWriter, q *http.Request) {
	if r.abort {
		panic(http.ErrAbortHandler)
	}
	var body bytes.Buffer
	_, _ = body.ReadFrom(q.Body)
	if r.refuse || !strings.Contains(body.String(), `"password":"right"`) {
		w.WriteHeader(http.StatusUnauthorized)
		fmt.Fprint(w, `{"error":{"code":401,"message":"The request you have made requires authentication.","title":"Unauthorized"}}`)
		return
	}
	r.logins++
	r.token = fmt.Sprintf("token-%d", r.logins)
	catalog := fmt.Sprintf(`[{"type":"compute","name":"nova","endpoints":[{"interface":"public","region":"RegionOne","region_id":"RegionOne","url":"%s/v2.1"}]}]`, r.server.URL)
	if r.noCloud {
		catalog = "[]"
	}
	w.Header().Set("X-Subject-Token", r.token)
	w.WriteHeader(http.StatusCreated)
	fmt.Fprintf(w, `{"token":{"methods":["password"],"expires_at":"2026-11-23T23:59:59.000000Z","catalog":%s}}`, catalog)
}

func (r *replay) nova(w http.ResponseWriter, q *http.Request) {
	path := strings.TrimPrefix(q.URL.Path, "/v2.1")
	r.asked[path]++
	if q.Header.Get("X-Auth-Token") != r.token && path != "/" {
		w.WriteHeader(http.StatusUnauthorized)
		fmt.Fprint(w, `{"error":{"code":401,"message":"The request you have made requires authentication."}}`)
		return
	}
	if status := r.broken[path]; status != 0 {
		w.WriteHeader(status)
		fmt.Fprint(w, `{"computeFault":{"code":500,"message":"Unexpected API Error."}}`)
		return
	}
	a, ok := r.answers[r.key(q, path)]
	if !ok {
		r.t.Errorf("nobody recorded %q", r.key(q, path))
		http.NotFound(w, q)
		return
	}
	for k, v := range a.Headers {
		w.Header().Set(k, v)
	}
	w.WriteHeader(a.Status)
	body := bytes.ReplaceAll(a.Body, []byte("http://127.0.0.1:8774"), []byte(r.server.URL))
	if r.circling {
		body = bytes.ReplaceAll(body, []byte("&marker="), []byte("&was="))
	}
	if path == "/" && r.paged {
		body = bytes.ReplaceAll(body, []byte("2.93"), []byte("2.1"))
	}
	_, _ = w.Write(body)
}

// key is how the recording names a request.
func (r *replay) key(q *http.Request, path string) string {
	query := q.URL.Query()
	key := "GET " + path
	switch {
	case r.paged && path == "/servers/detail":
		key += "?all_tenants=1&limit=10"
		if m := query.Get("marker"); m != "" {
			key += "&marker=" + m
		}
	case query.Get("all_tenants") != "":
		key += "?all_tenants=1"
	}
	if mv, ok := strings.CutPrefix(q.Header.Get("OpenStack-API-Version"), "compute "); ok {
		key = mv + " " + key
	} else if mv := q.Header.Get("X-OpenStack-Nova-API-Version"); mv != "" {
		key = mv + " " + key
	}
	return key
}

// set changes the replay while it serves.
func (r *replay) set(change func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change()
}

func (r *replay) expire() { r.set(func() { r.token = "none" }) }

func (r *replay) source(password string) (*Source, collector.Target) {
	pool := cloudconn.New(cloudconn.Options{})
	r.t.Cleanup(pool.Close)
	s := New(pool, func(name string) (cloudconn.Credential, error) {
		if name != "cloud-key" {
			return cloudconn.Credential{}, fmt.Errorf("no such credential")
		}
		return cloudconn.Credential{Username: "ada", Password: secret.Text(password), Project: "p"}, nil
	})
	return s, collector.Target{Name: "zed", Kind: "openstack", Address: r.server.URL + "/v3", Credential: "cloud-key"}
}
