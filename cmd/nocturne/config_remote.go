package main

import (
	"cmp"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/prometheus/common/model"

	"nocturne/internal/access"
	"nocturne/tsdb"
	"nocturne/tsdb/forward"
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

// authorization is what a credential sends in a header (RFC 6750, RFC 7617).
func authorization(c forward.Credential) (http.Header, error) {
	switch {
	case c.Bearer != "":
		return http.Header{"Authorization": {"Bearer " + c.Bearer.Reveal()}}, nil
	case c.Username != "":
		pair := base64.StdEncoding.EncodeToString([]byte(c.Username + ":" + c.Password.Reveal()))
		return http.Header{"Authorization": {"Basic " + pair}}, nil
	}
	return nil, errors.New("has neither a token nor a user, which reading needs")
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
			held, err := credentialOf[forward.Credential](vault(), "http")(c.Credential)
			if err != nil {
				return nil, err
			}
			header, err := authorization(held)
			if err != nil {
				return nil, fmt.Errorf("credential %q: %w", c.Credential, err)
			}
			return header, nil
		}
	}
}
