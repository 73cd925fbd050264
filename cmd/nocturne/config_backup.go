package main

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"strings"
	"time"

	"github.com/prometheus/common/model"

	"nocturne/internal/backup"
	"nocturne/internal/backup/bucket"
	"nocturne/internal/secret"
)

// BackupConfig says where and how often everything is backed up. Nothing is
// while To is empty.
type BackupConfig struct {
	To         string         `yaml:"to"`         // a folder, sftp://host:22/folder, s3://bucket/prefix?endpoint=https://host
	Credential string         `yaml:"credential"` // of kind ssh or s3
	Every      model.Duration `yaml:"every"`      // between whole generations
	StateEvery model.Duration `yaml:"state_every"`
	Keep       int            `yaml:"keep"` // whole generations
}

var defaultBackup = BackupConfig{Every: model.Duration(24 * time.Hour), StateEvery: model.Duration(5 * time.Minute), Keep: 14}

// S3Credential is the key to buckets.
type S3Credential struct {
	AccessKey string      `yaml:"access_key"`
	SecretKey secret.Text `yaml:"secret_key"`
}

func (c *S3Credential) validate(f *faults, path string) {
	if c.AccessKey == "" {
		f.add(path+".access_key", "is missing")
	}
	if c.SecretKey == "" {
		f.add(path+".secret_key", "is missing")
	}
}

func (c *S3Credential) credential() (kind string, value any, err error) {
	return "s3", bucket.Credential{AccessKey: c.AccessKey, SecretKey: c.SecretKey}, nil
}

// resolve makes a folder's path relative to the configuration's.
func (c *BackupConfig) resolve(abs func(*string)) {
	if !strings.Contains(c.To, "://") {
		abs(&c.To)
	}
}

func (c *BackupConfig) place() backup.Place {
	return backup.Place{To: c.To, Credential: c.Credential}
}

func (c *BackupConfig) validate(f *faults, data string, credentials map[string]string) {
	if c.Keep < 1 {
		f.add("backup.keep", "must be at least 1")
	}
	if c.Every < model.Duration(10*time.Minute) {
		f.add("backup.every", "%s is under ten minutes", c.Every)
	}
	if c.StateEvery != 0 && c.StateEvery < model.Duration(10*time.Second) {
		f.add("backup.state_every", "%s is under ten seconds; 0s makes no points between", c.StateEvery)
	}
	if c.To == "" {
		if c.Credential != "" {
			f.add("backup.to", "is missing, and there is a credential for it")
		}
		return
	}
	p, err := parsePlace(c.To)
	if err != nil {
		f.add("backup.to", "%s", err)
		return
	}
	if p.kind == "folder" && liesIn(p.folder, data) {
		f.add("backup.to", "lies within the data folder %s, and would be lost with it", data)
	}
	want := p.credentialKind()
	if (want == "") != (c.Credential == "") {
		f.add("backup.credential", "%s", map[bool]string{true: "is missing: one of kind " + want, false: "is not wanted for a folder"}[want != ""])
	}
	// A name that is not in the file may have been sealed by a page.
	if k, here := credentials[c.Credential]; here && want != "" && k != want {
		f.add("backup.credential", "%q is of kind %s, not %s", c.Credential, k, want)
	}
}

func liesIn(dir, root string) bool {
	d, err := filepath.Abs(dir)
	r, rerr := filepath.Abs(root)
	return err == nil && rerr == nil && (d == r || strings.HasPrefix(d, r+string(filepath.Separator)))
}

// storePlace is the address of a store, taken apart.
type storePlace struct {
	kind   string // folder, sftp, s3
	folder string
	host   string // host:port

	bucket, prefix, endpoint, region string
	plain                            bool // without TLS
}

func (p storePlace) credentialKind() string {
	return map[string]string{"sftp": "ssh", "s3": "s3"}[p.kind]
}

func parsePlace(to string) (storePlace, error) {
	if !strings.Contains(to, "://") {
		return storePlace{kind: "folder", folder: to}, nil
	}
	u, err := url.Parse(to)
	if err != nil {
		return storePlace{}, errors.New("is no address that can be read") // the parser's error quotes it all
	}
	if u.User != nil {
		return storePlace{}, errors.New("has a user, which belongs in a credential")
	}
	switch {
	case u.Scheme == "sftp" && u.Host != "" && strings.Trim(u.Path, "/") != "" && u.RawQuery == "":
		p := storePlace{kind: "sftp", host: u.Host, folder: u.Path}
		if u.Port() == "" {
			p.host = net.JoinHostPort(u.Hostname(), "22")
		}
		if home, ok := strings.CutPrefix(u.Path, "/~/"); ok {
			p.folder = home
		}
		return p, nil
	case u.Scheme == "s3" && u.Host != "":
		return parseBucket(u)
	case u.Scheme == "sftp":
		return storePlace{}, errors.New("is not of the form sftp://host:22/folder")
	}
	return storePlace{}, fmt.Errorf("is of scheme %q; known are a folder, sftp and s3", u.Scheme)
}

func parseBucket(u *url.URL) (storePlace, error) {
	p := storePlace{kind: "s3", bucket: u.Host, prefix: strings.Trim(u.Path, "/"), endpoint: "s3.amazonaws.com"}
	for key, values := range u.Query() {
		switch key {
		case "region":
			p.region = values[0]
		case "endpoint":
			e, err := url.Parse(values[0])
			if err != nil || e.Host == "" || e.Scheme != "https" && e.Scheme != "http" || strings.Trim(e.Path, "/") != "" || e.User != nil {
				return storePlace{}, errors.New("has an endpoint that is not of the form https://host:port")
			}
			p.endpoint, p.plain = e.Host, e.Scheme == "http"
		default:
			return storePlace{}, fmt.Errorf("has %q after the question mark; known are endpoint and region", key)
		}
	}
	return p, nil
}
