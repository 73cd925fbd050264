package cloudconn

import (
	"bytes"
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"nocturne/internal/secret"
)

// keystone takes any login and remembers what it was asked.
type keystone struct {
	server *httptest.Server
	max    string // Nova's newest microversion

	mu     sync.Mutex
	bodies []string
}

func newKeystone(t *testing.T, tls bool) *keystone {
	k := &keystone{max: "2.93"}
	k.server = httptest.NewUnstartedServer(k)
	if tls {
		k.server.StartTLS()
	} else {
		k.server.Start()
	}
	t.Cleanup(k.server.Close)
	return k
}

func (k *keystone) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if strings.HasPrefix(q.URL.Path, "/v2.1") {
		fmt.Fprintf(w, `{"version":{"id":"v2.1","status":"CURRENT","version":%q,"min_version":"2.1"}}`, k.max)
		return
	}
	var body bytes.Buffer
	_, _ = body.ReadFrom(q.Body)
	k.bodies = append(k.bodies, body.String())
	w.Header().Set("X-Subject-Token", "t")
	w.WriteHeader(http.StatusCreated)
	fmt.Fprintf(w, `{"token":{"expires_at":"2026-11-23T23:59:59.000000Z","catalog":[{"type":"compute","endpoints":[
		{"interface":"public","region":"one","region_id":"one","url":"%[1]s/v2.1"},{"interface":"public","region":"two","region_id":"two","url":"%[1]s/v2.1"}]}]}}`, k.server.URL)
}

func (k *keystone) credential() Credential {
	return Credential{AuthURL: k.server.URL + "/v3", Username: "ada", Password: "pw1", Project: "p", Region: "one"}
}

func newPool(t *testing.T, o Options) *Pool {
	p := New(o)
	t.Cleanup(p.Close)
	return p
}

func TestOneLoginForAll(t *testing.T) {
	k, p := newKeystone(t, false), newPool(t, Options{})
	var wg sync.WaitGroup
	var first sync.Map
	for range 16 {
		wg.Go(func() {
			c, err := p.Cloud(t.Context(), k.credential())
			if err != nil {
				t.Error(err)
			}
			first.Store(c, true)
		})
	}
	wg.Wait()
	n := 0
	first.Range(func(any, any) bool { n++; return true })
	if n != 1 || len(k.bodies) != 1 {
		t.Errorf("%d connections, %d logins", n, len(k.bodies))
	}
	changed := k.credential()
	changed.Password = "pw2"
	for range 2 {
		if _, err := p.Cloud(t.Context(), changed); err != nil {
			t.Fatal(err)
		}
	}
	if len(k.bodies) != 2 || !strings.Contains(k.bodies[1], "pw2") {
		t.Errorf("%d logins after the password changed", len(k.bodies))
	}
}

func TestScopes(t *testing.T) {
	k, p := newKeystone(t, false), newPool(t, Options{})
	f := func(c Credential, want string) {
		t.Helper()
		k.bodies = nil
		if _, err := p.Cloud(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		if k.bodies[0] != want {
			t.Errorf("got  %s\nwant %s", k.bodies[0], want)
		}
	}
	f(k.credential(), `{"auth":{"identity":{"methods":["password"],"password":{"user":{"domain":{"name":"Default"},"name":"ada","password":"pw1"}}},"scope":{"project":{"domain":{"name":"Default"},"name":"p"}}}}`)
	c := k.credential()
	c.UserDomain, c.ProjectDomain = "people", "things"
	f(c, `{"auth":{"identity":{"methods":["password"],"password":{"user":{"domain":{"name":"people"},"name":"ada","password":"pw1"}}},"scope":{"project":{"domain":{"name":"things"},"name":"p"}}}}`)
	f(Credential{AuthURL: k.server.URL + "/v3", ApplicationCredentialID: "id", ApplicationCredentialSecret: "sec"},
		`{"auth":{"identity":{"application_credential":{"id":"id","secret":"sec"},"methods":["application_credential"]}}}`)
}

func TestMicroversion(t *testing.T) {
	f := func(max, want string) {
		t.Helper()
		k, p := newKeystone(t, false), newPool(t, Options{})
		k.max = max
		c, err := p.Cloud(t.Context(), k.credential())
		if err != nil {
			t.Fatal(err)
		}
		nova, err := c.Compute(t.Context())
		if err != nil || nova.Microversion != want {
			t.Errorf("newest %s: %+v, error %v, want %q", max, nova, err, want)
		}
	}
	f("2.93", "2.87")
	f("2.96", "2.87")
	f("2.53", "2.53")
	f("2.1", "")
}

func TestTLS(t *testing.T) {
	k, p := newKeystone(t, true), newPool(t, Options{})
	c := k.credential()
	if _, err := p.Cloud(t.Context(), c); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("an unknown authority: %v", err)
	}
	c.CAFile = filepath.Join(t.TempDir(), "ca.pem")
	if _, err := p.Cloud(t.Context(), c); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	if err := os.WriteFile(c.CAFile, []byte("nothing"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Cloud(t.Context(), c); err == nil || !strings.Contains(err.Error(), "ca.pem holds no certificate") {
		t.Errorf("an empty file: %v", err)
	}
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: k.server.Certificate().Raw})
	if err := os.WriteFile(c.CAFile, ca, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Cloud(t.Context(), c); err != nil {
		t.Errorf("the right authority: %v", err)
	}
}

// TestSilentCloud: a cloud that takes connections and never answers.
func TestSilentCloud(t *testing.T) {
	stop := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, q *http.Request) {
		select {
		case <-stop:
		case <-q.Context().Done():
		}
	}))
	t.Cleanup(server.Close)
	t.Cleanup(func() { close(stop) })
	c := Credential{AuthURL: server.URL + "/v3", Username: "ada", Password: "pw", Project: "p"}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := newPool(t, Options{}).Cloud(ctx, c); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the context's deadline: %v", err)
	}
	begun := time.Now()
	_, err := newPool(t, Options{Request: 50 * time.Millisecond}).Cloud(t.Context(), c)
	if err == nil || time.Since(begun) > 10*time.Second {
		t.Errorf("the request's deadline: %v after %v", err, time.Since(begun))
	}
}

func TestValidate(t *testing.T) {
	f := func(c Credential, want string) {
		t.Helper()
		if _, err := New(Options{}).Cloud(t.Context(), c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	f(Credential{}, "AuthURL wants http")
	f(Credential{AuthURL: "http://x"}, "Username is missing")
	f(Credential{AuthURL: "http://x", Username: "u", Password: "p"}, "Project is missing")
	f(Credential{AuthURL: "http://x", ApplicationCredentialID: "i"}, "ApplicationCredentialSecret is missing")
	f(Credential{AuthURL: "http://x", ApplicationCredentialID: "i", ApplicationCredentialSecret: "s", Username: "u"}, "goes without")
}

func TestNothingSecretIsPrinted(t *testing.T) {
	c := Credential{AuthURL: "http://x", Username: "u", Password: secret.Text("hush1"), ApplicationCredentialSecret: "hush2"}
	if text := fmt.Sprintf("%v %+v", c, c); strings.Contains(text, "hush") {
		t.Error(text)
	}
}
