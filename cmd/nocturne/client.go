package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
)

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
	t := &http.Transport{TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: true}}
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
	t := &http.Transport{TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12}}
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
		return c.http.Do(plain)
	}
	return resp, err
}
