package certs

import (
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"

	"golang.org/x/crypto/acme"
)

// challenges are the answers that an authority is waiting for.
type challenges struct {
	mu    sync.Mutex // guards below
	certs map[string]*tls.Certificate
	paths map[string]string
}

func newChallenges() *challenges {
	return &challenges{certs: map[string]*tls.Certificate{}, paths: map[string]string{}}
}

// put holds the answer to a challenge ready until remove is called.
func (c *challenges) put(client *acme.Client, asked *acme.Challenge, domain string) (remove func(), err error) {
	if asked.Type == "http-01" {
		text, err := client.HTTP01ChallengeResponse(asked.Token)
		if err != nil {
			return nil, err
		}
		return hold(&c.mu, c.paths, client.HTTP01ChallengePath(asked.Token), text), nil
	}
	cert, err := client.TLSALPN01ChallengeCert(asked.Token, domain)
	if err != nil {
		return nil, err
	}
	return hold(&c.mu, c.certs, strings.ToLower(domain), &cert), nil
}

func hold[V any](mu *sync.Mutex, in map[string]V, key string, v V) (remove func()) {
	mu.Lock()
	defer mu.Unlock()
	in[key] = v
	return func() {
		mu.Lock()
		defer mu.Unlock()
		delete(in, key)
	}
}

// certificate answers TLS-ALPN-01 (RFC 8737).
func (c *challenges) certificate(name string) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if cert := c.certs[strings.ToLower(strings.TrimSuffix(name, "."))]; cert != nil {
		return cert, nil
	}
	return nil, fmt.Errorf("no challenge is open for %q", name)
}

// ServeHTTP answers HTTP-01.
func (c *challenges) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	text, open := c.paths[r.URL.Path]
	c.mu.Unlock()
	if !open {
		http.Error(w, "no challenge is open there", http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Type", "text/plain")
	_, _ = io.WriteString(w, text) // the authority asks again
}
