package certs

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/crypto/acme"
)

// Authority says who issues, for which names and how it asks whether they are
// ours.
type Authority struct {
	Directory string // its address; empty is Let's Encrypt
	CAFile    string // whom to believe that it is the authority; empty is the system's
	Email     string // where it may write to
	Domains   []string
	// OverHTTP has it ask over plain HTTP on port 80 (HTTP-01), which
	// Source.Challenges answers; else it asks this listener as port 443
	// (TLS-ALPN-01).
	OverHTTP bool
}

const (
	orderWithin = 5 * time.Minute
	firstRetry  = time.Minute
	lastRetry   = 6 * time.Hour // authorities count failed orders
)

// authority is an ACME authority (RFC 8555) and what it has issued. It is asked
// step by step: autocert would issue within a stranger's handshake, and keep to
// itself why an authority refuses.
type authority struct {
	Authority
	dir        string
	http       *http.Client
	challenges *challenges
}

func newAuthority(o Authority, dir string) (*authority, error) {
	if len(o.Domains) == 0 {
		return nil, errors.New("certificates: ACME needs a domain")
	}
	a := &authority{Authority: o, dir: filepath.Join(dir, "acme"), challenges: newChallenges()}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	a.http = &http.Client{Timeout: 30 * time.Second, Transport: transport}
	if o.CAFile == "" {
		return a, nil
	}
	text, err := os.ReadFile(o.CAFile)
	if err != nil {
		return nil, fmt.Errorf("ca_file: %w", err)
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		return nil, fmt.Errorf("certificates of the system: %w", err)
	}
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("ca_file: %s holds no certificate in PEM", o.CAFile)
	}
	transport.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	return a, nil
}

func (a *authority) path() string { return filepath.Join(a.dir, "issued.pem") }

// stored is what was issued before, unless it is over or for other names.
func (a *authority) stored() (*held, error) {
	c, err := readOwn(a.path())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("issued certificate: %w; remove the file to have a new one issued", err)
	}
	if time.Now().After(c.Leaf.NotAfter) || slices.ContainsFunc(a.Domains, func(d string) bool { return c.Leaf.VerifyHostname(d) != nil }) {
		return nil, nil
	}
	return &held{c, ACME}, nil
}

// due is when a certificate is to be renewed: with a third of its life left.
func due(h *held) time.Time {
	if h.kind != ACME {
		return time.Time{}
	}
	return h.Leaf.NotAfter.Add(-h.Leaf.NotAfter.Sub(h.Leaf.NotBefore) / 3)
}

func (a *authority) wait(h *held, failed int) time.Duration {
	if failed > 0 {
		return min(firstRetry<<min(failed-1, 20), lastRetry)
	}
	return max(0, min(time.Until(due(h)), lookAgain))
}

func (a *authority) next(ctx context.Context, now *held) (*held, error) {
	if time.Now().Before(due(now)) {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, orderWithin)
	defer cancel()
	defer a.http.CloseIdleConnections()
	c, err := a.order(ctx)
	if err != nil {
		return nil, fmt.Errorf("tls.acme: %w", err)
	}
	return &held{c, ACME}, nil
}

// order asks for one certificate with all domains.
func (a *authority) order(ctx context.Context) (*tls.Certificate, error) {
	client, err := a.account(ctx)
	if err != nil {
		return nil, err
	}
	order, err := client.AuthorizeOrder(ctx, acme.DomainIDs(a.Domains...))
	if err != nil {
		return nil, fmt.Errorf("order a certificate for %q: %w", a.Domains, err)
	}
	for _, u := range order.AuthzURLs {
		if err := a.prove(ctx, client, u); err != nil {
			return nil, err
		}
	}
	if order, err = client.WaitOrder(ctx, order.URI); err != nil {
		return nil, fmt.Errorf("wait for the order: %w", err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	request, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{DNSNames: a.Domains}, key)
	if err != nil {
		return nil, fmt.Errorf("make a certificate request: %w", err)
	}
	chain, _, err := client.CreateCertFromOrder(ctx, order, request, true)
	if err != nil {
		return nil, fmt.Errorf("fetch the certificate: %w", err)
	}
	return a.keep(key, chain)
}

// keep stores what was issued, once it is seen to be what was asked for.
func (a *authority) keep(key *ecdsa.PrivateKey, chain [][]byte) (*tls.Certificate, error) {
	leaf, err := x509.ParseCertificate(chain[0])
	if err != nil {
		return nil, fmt.Errorf("issued certificate: %w", err)
	}
	for _, d := range a.Domains {
		for _, wrong := range judge(leaf, d, time.Now()) {
			return nil, fmt.Errorf("issued certificate: %w", wrong)
		}
	}
	c, err := writeOwn(a.path(), key, chain)
	if err != nil {
		return nil, fmt.Errorf("store the issued certificate: %w", err)
	}
	return c, nil
}

// account is the client of this machine's account there, which is made at the
// first order: who configures an authority agrees to its terms.
func (a *authority) account(ctx context.Context) (*acme.Client, error) {
	key, err := a.accountKey()
	if err != nil {
		return nil, fmt.Errorf("account key: %w", err)
	}
	client := &acme.Client{Key: key, HTTPClient: a.http, DirectoryURL: a.Directory, UserAgent: "nocturne"}
	if client.DirectoryURL == "" {
		client.DirectoryURL = acme.LetsEncryptURL
	}
	who := &acme.Account{}
	if a.Email != "" {
		who.Contact = []string{"mailto:" + a.Email}
	}
	if _, err := client.Register(ctx, who, acme.AcceptTOS); err != nil && !errors.Is(err, acme.ErrAccountAlreadyExists) {
		return nil, fmt.Errorf("register at %s: %w", client.DirectoryURL, err)
	}
	return client, nil
}

func (a *authority) accountKey() (*ecdsa.PrivateKey, error) {
	path := filepath.Join(a.dir, "account.pem")
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return nil, err
		}
		if text, err = encodeKey(key); err != nil {
			return nil, err
		}
		return key, writeFile(path, text)
	}
	if err != nil {
		return nil, err
	}
	if b, _ := pem.Decode(text); b != nil {
		if key, err := x509.ParsePKCS8PrivateKey(b.Bytes); err == nil {
			if key, ok := key.(*ecdsa.PrivateKey); ok {
				return key, nil
			}
		}
	}
	return nil, fmt.Errorf("%s holds no ECDSA key in PEM; remove the file to have a new account made", path)
}

// prove shows the authority that a domain is ours.
func (a *authority) prove(ctx context.Context, client *acme.Client, url string) error {
	z, err := client.GetAuthorization(ctx, url)
	if err != nil {
		return fmt.Errorf("read what is to be proved: %w", err)
	}
	if z.Status == acme.StatusValid {
		return nil
	}
	domain, kind := z.Identifier.Value, "tls-alpn-01"
	if a.OverHTTP {
		kind = "http-01"
	}
	i := slices.IndexFunc(z.Challenges, func(c *acme.Challenge) bool { return c.Type == kind })
	if i < 0 {
		return fmt.Errorf("prove %s: the authority offers no %s", domain, kind)
	}
	remove, err := a.challenges.put(client, z.Challenges[i], domain)
	if err != nil {
		return fmt.Errorf("prove %s: %w", domain, err)
	}
	defer remove()
	if _, err := client.Accept(ctx, z.Challenges[i]); err != nil {
		return fmt.Errorf("prove %s by %s: %w", domain, kind, err)
	}
	if _, err := client.WaitAuthorization(ctx, z.URI); err != nil {
		return fmt.Errorf("prove %s by %s: %w", domain, kind, err)
	}
	return nil
}
