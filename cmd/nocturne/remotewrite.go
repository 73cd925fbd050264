package main

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/relabel"

	"nocturne/internal/secret"
	"nocturne/tsdb/forward"
)

// RemoteWriteConfig is one receiver of all samples; see forward.Receiver.
type RemoteWriteConfig struct {
	Name               string                 `yaml:"name"`
	URL                string                 `yaml:"url"`
	Protocol           string                 `yaml:"protocol"`   // "1" or "2"
	Credential         string                 `yaml:"credential"` // of kind http
	ExternalLabels     map[string]string      `yaml:"external_labels"`
	WriteRelabel       []RelabelConfig        `yaml:"write_relabel"`
	Headers            map[string]secret.Text `yaml:"headers"`
	CAFile             string                 `yaml:"ca_file"`
	ServerName         string                 `yaml:"server_name"`
	InsecureSkipVerify bool                   `yaml:"insecure_skip_verify"`
	Timeout            time.Duration          `yaml:"timeout"`     // of one request
	Shards             int                    `yaml:"shards"`      // requests at once
	MaxSamples         int                    `yaml:"max_samples"` // in one request
	Backfill           model.Duration         `yaml:"backfill"`    // how much of the past a new receiver gets
}

// RelabelConfig is one of Prometheus' relabelling rules. What is absent has
// Prometheus' default.
type RelabelConfig struct {
	SourceLabels []string `yaml:"source_labels"`
	Separator    *string  `yaml:"separator"`
	Regex        *string  `yaml:"regex"`
	Modulus      uint64   `yaml:"modulus"`
	TargetLabel  string   `yaml:"target_label"`
	Replacement  *string  `yaml:"replacement"`
	Action       string   `yaml:"action"`
}

// HTTPCredential is a login to an HTTP service: a user, a bearer token, a client
// certificate.
type HTTPCredential struct {
	User     string      `yaml:"user"`
	Password secret.Text `yaml:"password"`
	Token    secret.Text `yaml:"token"` // sent as a bearer token
	CertFile string      `yaml:"cert_file"`
	KeyFile  string      `yaml:"key_file"`
}

func (h *HTTPCredential) validate(f *faults, path string) {
	user := h.User != "" || h.Password != ""
	if user && h.Token != "" {
		f.add(path, "wants a user or a token, not both")
	}
	if (h.User == "") != (h.Password == "") {
		f.add(path, "wants user and password together")
	}
	if (h.CertFile == "") != (h.KeyFile == "") {
		f.add(path, "wants cert_file and key_file together")
	}
	if !user && h.Token == "" && h.CertFile == "" {
		f.add(path, "is empty")
	}
}

func (h *HTTPCredential) credential() (kind string, value any, err error) {
	c := forward.Credential{Username: h.User, Password: h.Password, Bearer: h.Token}
	if h.CertFile != "" {
		cert, err := os.ReadFile(h.CertFile)
		if err != nil {
			return "", nil, fmt.Errorf("read certificate: %w", err)
		}
		key, err := os.ReadFile(h.KeyFile)
		if err != nil {
			return "", nil, fmt.Errorf("read key: %w", err)
		}
		c.Certificate, c.Key = string(cert), secret.Text(key)
	}
	return "http", c, nil
}

func (r RelabelConfig) rule() (*relabel.Config, error) {
	c := relabel.DefaultRelabelConfig
	for _, l := range r.SourceLabels {
		c.SourceLabels = append(c.SourceLabels, model.LabelName(l))
	}
	if r.Separator != nil {
		c.Separator = *r.Separator
	}
	if r.Replacement != nil {
		c.Replacement = *r.Replacement
	}
	if r.Action != "" {
		c.Action = relabel.Action(r.Action)
	}
	c.Modulus, c.TargetLabel = r.Modulus, r.TargetLabel
	if r.Regex == nil {
		return &c, nil
	}
	re, err := relabel.NewRegexp(*r.Regex)
	c.Regex = re
	return &c, err
}

// receiver is what a configuration says, without the credential's opener.
func (w RemoteWriteConfig) receiver(f *faults, path string) forward.Receiver {
	r := forward.Receiver{
		Name: w.Name, URL: w.URL, Protocol: w.Protocol, ExternalLabels: w.ExternalLabels, Headers: w.Headers,
		CAFile: w.CAFile, ServerName: w.ServerName, InsecureSkipVerify: w.InsecureSkipVerify,
		Timeout: w.Timeout, Shards: w.Shards, MaxSamples: w.MaxSamples, Backfill: time.Duration(w.Backfill),
	}
	for i, rule := range w.WriteRelabel {
		c, err := rule.rule()
		if err != nil {
			f.add(fmt.Sprintf("%s.write_relabel[%d].regex", path, i), "%v", err)
			continue
		}
		r.Relabel = append(r.Relabel, c)
	}
	return r
}

func (c *Config) validateRemoteWrite(f *faults, credentials map[string]string) {
	seen := map[string]int{}
	for i, w := range c.History.RemoteWrite {
		path := fmt.Sprintf("history.remote_write[%d]", i)
		r := w.receiver(f, path)
		for _, fault := range r.Faults() {
			f.add(path+"."+fault.Field, "%s", fault.Message)
		}
		if first, twice := seen[w.Name]; twice {
			f.add(path+".name", "%q is the name of history.remote_write[%d] already", w.Name, first)
		} else {
			seen[w.Name] = i
		}
		// A name that is not in the file may have been sealed by a page.
		if k, here := credentials[w.Credential]; here && k != "http" {
			f.add(path+".credential", "%q is of kind %s, not http", w.Credential, k)
		}
		if w.CAFile != "" {
			if _, err := os.Stat(w.CAFile); err != nil {
				f.add(path+".ca_file", "%v", err)
			}
		}
	}
}

func (h *house) openForward() (err error) {
	open := credentialOf[forward.Credential](h.access.Vault(), "http")
	o := forward.Options{Source: h.history, Dir: filepath.Join(h.cfg.Data, "forward"), Log: h.log}
	for i, w := range h.cfg.History.RemoteWrite {
		r := w.receiver(new(faults), fmt.Sprintf("history.remote_write[%d]", i))
		if w.Credential != "" {
			r.Credential = func() (forward.Credential, error) { return open(w.Credential) }
		}
		o.Receivers = append(o.Receivers, r)
	}
	if h.forward, err = forward.New(o); err != nil {
		return fmt.Errorf("wire forward: %w", err)
	}
	h.receivers.Store(h.forward)
	return nil
}

// forwardLag is how far the slowest receiver is behind: without end while the
// house opens and nobody knows, so that nothing unsent is deleted.
func (h *house) forwardLag() time.Duration {
	f := h.receivers.Load()
	if f == nil {
		return math.MaxInt64
	}
	var most time.Duration
	for _, s := range f.Status() {
		most = max(most, s.Lag)
	}
	return most
}
