// Package cloudconn reaches OpenStack clouds: one authenticated connection a
// credential, shared by whoever reads and whoever acts.
//
// A token that has expired is replaced by one new login, however many requests
// notice at once. Every request has a deadline of its own below that of its
// context. Nova is asked at the newest microversion that both sides know, and
// not above 2.87: from 2.88 on it leaves the figures of hypervisors out.
package cloudconn

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack"
	"github.com/gophercloud/gophercloud/v2/openstack/utils"

	"nocturne/internal/secret"
)

// Credential is a login at a Keystone v3: a name and a password scoped to a
// project, or an application credential.
type Credential struct {
	AuthURL                     string // with or without /v3
	Username                    string
	Password                    secret.Text
	Project                     string
	UserDomain                  string // Default when empty
	ProjectDomain               string // that of the user when empty
	Region                      string // the only one when empty
	ApplicationCredentialID     string
	ApplicationCredentialSecret secret.Text
	CAFile                      string // PEM; the system's authorities when empty
}

// Validate names what is missing.
func (c Credential) Validate() error {
	var faults []error
	want := func(ok bool, what string) {
		if !ok {
			faults = append(faults, errors.New("openstack credential: "+what))
		}
	}
	want(strings.HasPrefix(c.AuthURL, "http://") || strings.HasPrefix(c.AuthURL, "https://"), "AuthURL wants http:// or https://")
	if c.ApplicationCredentialID != "" {
		want(c.ApplicationCredentialSecret != "", "ApplicationCredentialSecret is missing")
		want(c.Username == "" && c.Password == "", "an application credential goes without Username and Password")
	} else {
		want(c.Username != "", "Username is missing")
		want(c.Password != "", "Password is missing")
		want(c.Project != "", "Project is missing")
	}
	return errors.Join(faults...)
}

// identity is what tells one login from another, secrets aside.
func (c Credential) identity() string {
	return strings.Join([]string{c.AuthURL, c.Username, c.Project, c.UserDomain, c.ProjectDomain, c.Region, c.ApplicationCredentialID}, "\x00")
}

func (c Credential) authOptions() gophercloud.AuthOptions {
	o := gophercloud.AuthOptions{
		IdentityEndpoint: c.AuthURL,
		AllowReauth:      true,
	}
	if c.ApplicationCredentialID != "" {
		o.ApplicationCredentialID = c.ApplicationCredentialID
		o.ApplicationCredentialSecret = c.ApplicationCredentialSecret.Reveal()
		return o
	}
	user := cmp.Or(c.UserDomain, "Default")
	o.Username, o.Password, o.DomainName = c.Username, c.Password.Reveal(), user
	o.Scope = &gophercloud.AuthScope{ProjectName: c.Project, DomainName: cmp.Or(c.ProjectDomain, user)}
	return o
}

// Options bound the connections. The zero value is sensible.
type Options struct {
	Dial    time.Duration // to open a connection; 5 s
	Request time.Duration // for one request and its answer; 20 s
	PerHost int           // connections to one endpoint; 8
}

// Pool keeps a connection a credential. It is safe for concurrent use.
type Pool struct {
	o      Options
	mu     sync.Mutex // guards clouds
	clouds map[string]*entry
}

// entry is one login's place; mu is held while logging in, so that there is
// one login at a time.
type entry struct {
	mu         sync.Mutex
	credential Credential
	cloud      *Cloud
}

// New returns an empty pool.
func New(o Options) *Pool {
	o.Dial = cmp.Or(o.Dial, 5*time.Second)
	o.Request = cmp.Or(o.Request, 20*time.Second)
	o.PerHost = cmp.Or(o.PerHost, 8)
	return &Pool{o: o, clouds: map[string]*entry{}}
}

// Cloud is an authenticated connection.
type Cloud struct {
	AuthURL string
	Region  string

	provider *gophercloud.ProviderClient
	mu       sync.Mutex // guards compute
	compute  *gophercloud.ServiceClient
}

// Cloud returns the connection of a credential, logging in where there is
// none. A credential whose secret changed logs in anew.
func (p *Pool) Cloud(ctx context.Context, c Credential) (*Cloud, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	p.mu.Lock()
	e := p.clouds[c.identity()]
	if e == nil {
		e = &entry{}
		p.clouds[c.identity()] = e
	}
	p.mu.Unlock()

	e.mu.Lock()
	defer e.mu.Unlock()
	if e.cloud != nil && e.credential == c {
		return e.cloud, nil
	}
	cloud, err := p.login(ctx, c)
	if err != nil {
		return nil, Explain(fmt.Sprintf("log in at %s as %s", c.AuthURL, cmp.Or(c.Username, c.ApplicationCredentialID)), err)
	}
	if e.cloud != nil {
		e.cloud.provider.HTTPClient.CloseIdleConnections()
	}
	e.cloud, e.credential = cloud, c
	return cloud, nil
}

// Close drops all idle connections.
func (p *Pool) Close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, e := range p.clouds {
		e.mu.Lock()
		if e.cloud != nil {
			e.cloud.provider.HTTPClient.CloseIdleConnections()
			e.cloud = nil
		}
		e.mu.Unlock()
	}
}

func (p *Pool) login(ctx context.Context, c Credential) (*Cloud, error) {
	transport, err := p.transport(c)
	if err != nil {
		return nil, err
	}
	provider, err := openstack.NewClient(c.AuthURL)
	if err != nil {
		return nil, err
	}
	provider.UserAgent.Prepend("nocturne")
	provider.HTTPClient = http.Client{Transport: transport, Timeout: p.o.Request}
	if err := openstack.Authenticate(ctx, provider, c.authOptions()); err != nil {
		return nil, err
	}
	return &Cloud{AuthURL: c.AuthURL, Region: c.Region, provider: provider}, nil
}

func (p *Pool) transport(c Credential) (*http.Transport, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.CAFile != "" {
		pem, err := os.ReadFile(c.CAFile)
		if err != nil {
			return nil, fmt.Errorf("read the authorities: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("read the authorities: %s holds no certificate", c.CAFile)
		}
	}
	return &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: p.o.Dial, KeepAlive: 30 * time.Second}).DialContext,
		TLSHandshakeTimeout:   p.o.Dial,
		TLSClientConfig:       config,
		ForceAttemptHTTP2:     true,
		MaxConnsPerHost:       p.o.PerHost,
		MaxIdleConnsPerHost:   p.o.PerHost,
		IdleConnTimeout:       90 * time.Second,
		ResponseHeaderTimeout: p.o.Request,
	}, nil
}

// maxCompute is the newest microversion of Nova at which hypervisors still
// carry their figures.
const maxCompute = 87

// Compute returns a client for Nova with its microversion agreed on.
func (c *Cloud) Compute(ctx context.Context) (*gophercloud.ServiceClient, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.compute != nil {
		return c.compute, nil
	}
	client, err := openstack.NewComputeV2(c.provider, gophercloud.EndpointOpts{Region: c.Region})
	if err != nil {
		return nil, Explain("find the compute endpoint", err)
	}
	versions, err := utils.GetSupportedMicroversions(ctx, client)
	if err != nil {
		return nil, Explain("agree on a microversion with "+client.Endpoint, err)
	}
	if versions.MaxMajor == 2 && versions.MaxMinor > 1 {
		client.Microversion = fmt.Sprintf("2.%d", min(versions.MaxMinor, maxCompute))
	}
	c.compute = client
	return client, nil
}
