package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"nocturne/internal/access"
	"nocturne/internal/secret"
)

// answerWithin bounds the wait for an answer to begin: the longest, to seal
// thousands of credentials anew, takes seconds.
const answerWithin = 2 * time.Minute

// hereOf turns what the server listens on into an address to ask it at: a
// wildcard is this machine.
func hereOf(listen string) (string, error) {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return "", fmt.Errorf("listen: %q is no address:port", listen)
	}
	ip, err := netip.ParseAddr(host)
	switch {
	case host == "" || err == nil && ip == netip.IPv4Unspecified():
		host = "127.0.0.1"
	case err == nil && ip == netip.IPv6Unspecified():
		host = "::1"
	}
	return net.JoinHostPort(host, port), nil
}

// client asks a server of ours. No proxy stands between.
type client struct {
	http *http.Client
	base string
	here bool // on this machine: nobody is in between, whatever the certificate says
}

// newHere asks the server that listens on this machine.
func newHere(listen string) (*client, error) {
	address, err := hereOf(listen)
	if err != nil {
		return nil, err
	}
	t := &http.Transport{TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: true}, ResponseHeaderTimeout: answerWithin}
	return &client{&http.Client{Transport: t}, "https://" + address, true}, nil
}

// newThere asks the server at an address that may be elsewhere. Its certificate
// must be one that the system, or caFile, vouches for.
func newThere(base, caFile string) (*client, error) {
	u, err := url.Parse(base)
	switch {
	case err != nil || u.Host == "" || u.User != nil || u.Scheme != "http" && u.Scheme != "https":
		return nil, errors.New("--server: it is no http or https address")
	case u.Scheme == "http" && !loopback(u.Hostname()):
		return nil, fmt.Errorf("--server: %s would be sent the token in the clear; give its https address", u.Host)
	}
	t := &http.Transport{TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12}, ResponseHeaderTimeout: answerWithin}
	if caFile != "" {
		pem, err := os.ReadFile(caFile)
		if err != nil {
			return nil, fmt.Errorf("--ca-file: %w", err)
		}
		t.TLSClientConfig.RootCAs = x509.NewCertPool()
		if !t.TLSClientConfig.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("--ca-file: %s holds no certificate", caFile)
		}
	}
	return &client{&http.Client{Transport: t}, u.Scheme + "://" + u.Host, false}, nil
}

func loopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// do asks; a server of this machine that speaks no TLS is asked without.
func (c *client) do(r *http.Request) (*http.Response, error) {
	resp, err := c.http.Do(r)
	if c.here && errors.Is(err, http.ErrSchemeMismatch) {
		plain := r.Clone(r.Context())
		plain.URL.Scheme = "http"
		if r.GetBody != nil {
			if plain.Body, err = r.GetBody(); err != nil {
				return nil, err
			}
		}
		return c.http.Do(plain)
	}
	return resp, err
}

// serverFlags say which server is asked, and as whom.
type serverFlags struct {
	server, tokenFile, caFile string
}

func (f *serverFlags) addTo(flags *pflag.FlagSet) {
	flags.StringVar(&f.server, "server", "", "address of a server elsewhere, as https://nocturne.example (default: this machine's)")
	flags.StringVar(&f.caFile, "ca-file", "", "certificates that vouch for --server's, in PEM (default: the system's)")
	flags.StringVar(&f.tokenFile, "token-file", "", "file of mode 0600 with an administrator's API token")
}

// api is a server's API, asked with a token.
type api struct {
	*client
	token secret.Text
}

// api asks the server that --server names, else the one that listens here.
func (f *serverFlags) api(listen string) (*api, error) {
	open := func() (*client, error) { return newHere(listen) }
	if f.server != "" {
		open = func() (*client, error) { return newThere(f.server, f.caFile) }
	}
	ask, err := open()
	if err != nil {
		return nil, err
	}
	// The token goes nowhere else than to the address that was named.
	ask.http.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	if f.tokenFile == "" {
		return nil, errors.New("the server is asked with an administrator's token (Administration > Tokens): name its file with --token-file")
	}
	token, err := access.ReadPrivate(f.tokenFile)
	if err != nil {
		return nil, fmt.Errorf("--token-file: %w", err)
	}
	return &api{ask, secret.Text(strings.TrimSpace(token.Reveal()))}, nil
}

// call sends in as JSON and reads the answer into out.
func (a *api) call(ctx context.Context, method, path string, in, out any) error {
	body, err := a.open(ctx, method, path, in)
	if err != nil {
		return err
	}
	err = json.NewDecoder(io.LimitReader(body, 1<<20)).Decode(out)
	if err := errors.Join(err, body.Close()); err != nil {
		return fmt.Errorf("%s %s%s: it does not answer as a nocturne does: %w", method, a.base, path, err)
	}
	return nil
}

// open returns the body of a good answer. Another one is an error, with the
// reason that the server gives.
func (a *api) open(ctx context.Context, method, path string, in any) (io.ReadCloser, error) {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return nil, err
		}
		body = bytes.NewReader(b)
	}
	r, err := http.NewRequestWithContext(ctx, method, a.base+"/api/nocturne/v1"+path, body)
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w", a.base, err)
	}
	r.Header.Set("Authorization", "Bearer "+a.token.Reveal())
	r.Header.Set("Content-Type", "application/json")
	resp, err := a.do(r)
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w", a.base, err)
	}
	if resp.StatusCode < 300 {
		return resp.Body, nil
	}
	var problem struct{ Detail string }
	// What is no problem of ours has no detail; the status says enough.
	_ = json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(&problem)
	text := strings.TrimSuffix(fmt.Sprintf("%s answers %s: %s", a.base, resp.Status, problem.Detail), ": ")
	return nil, errors.Join(errors.New(text), resp.Body.Close())
}
