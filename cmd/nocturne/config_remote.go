package main

import (
	"cmp"
	"encoding/base64"
	"net/http"
	"net/url"
	"time"

	"github.com/prometheus/common/model"

	"nocturne/internal/access"
	"nocturne/internal/secret"
	"nocturne/tsdb"
)

const (
	shortestBuffer = 30 * time.Minute
	defaultBuffer  = 2 * time.Hour
)

// RemoteHistoryConfig names a store that speaks Prometheus' query API. All
// samples are then read there; this machine keeps a buffer of what it wrote.
type RemoteHistoryConfig struct {
	URL        string         `yaml:"url"`        // before /api/v1/
	Credential string         `yaml:"credential"` // of kind http; none where none is needed
	Timeout    time.Duration  `yaml:"timeout"`    // of one request (30 s)
	Buffer     model.Duration `yaml:"buffer"`     // what is kept here (2 h)
}

// HTTPCredential lets a request in: by a bearer token, or a user and password.
type HTTPCredential struct {
	Token    secret.Text `yaml:"token" json:"token"`
	User     string      `yaml:"user" json:"user"`
	Password secret.Text `yaml:"password" json:"password"`
}

func (c *HTTPCredential) validate(f *faults, path string) {
	if (c.Token == "") == (c.User == "") || (c.User == "") != (c.Password == "") {
		f.add(path, "wants either token, or user and password")
	}
}

// header is what the credential sends (RFC 6750, RFC 7617).
func (c HTTPCredential) header() http.Header {
	if c.Token != "" {
		return http.Header{"Authorization": {"Bearer " + c.Token.Reveal()}}
	}
	pair := base64.StdEncoding.EncodeToString([]byte(c.User + ":" + c.Password.Reveal()))
	return http.Header{"Authorization": {"Basic " + pair}}
}

func (c *RemoteHistoryConfig) validate(f *faults, retention model.Duration, credentials map[string]string) {
	if c == nil {
		return
	}
	u, err := url.Parse(c.URL)
	switch {
	case c.URL == "":
		f.add("history.remote.url", "is missing")
	case err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https"):
		f.add("history.remote.url", "is no http or https address")
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		f.add("history.remote.url", "has a user, query or fragment; what lets us in belongs in a credential")
	}
	// A name that is not in the file may have been sealed by a page.
	if k, here := credentials[c.Credential]; here && c.Credential != "" && k != "http" {
		f.add("history.remote.credential", "%q is of kind %s, not http", c.Credential, k)
	}
	if c.Timeout < 0 {
		f.add("history.remote.timeout", "cannot be negative")
	}
	if c.Buffer != 0 && time.Duration(c.Buffer) < shortestBuffer {
		f.add("history.remote.buffer", "%s is under %s", c.Buffer, model.Duration(shortestBuffer))
	}
	if c.buffer() > time.Duration(retention) {
		f.add("history.remote.buffer", "%s is longer than history.retention of %s", model.Duration(c.buffer()), retention)
	}
}

func (c *RemoteHistoryConfig) buffer() time.Duration {
	return cmp.Or(time.Duration(c.Buffer), defaultBuffer)
}

// apply has the history read there. history.retention then bounds what is kept
// here of what that store has not got yet. The vault is asked when the first
// request is sent, by when it is open.
func (c *RemoteHistoryConfig) apply(o *tsdb.Options, vault func() *access.Vault, behind func() time.Duration) {
	if c == nil {
		return
	}
	o.RetentionBehind, o.Retention = o.Retention, c.buffer()
	o.Remote = &tsdb.Remote{URL: c.URL, Timeout: c.Timeout, Behind: behind}
	if c.Credential != "" {
		o.Remote.Header = func() (http.Header, error) {
			held, err := credentialOf[HTTPCredential](vault(), "http")(c.Credential)
			return held.header(), err
		}
	}
}
