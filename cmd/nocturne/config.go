package main

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/common/model"

	"nocturne/internal/cloudconn"
	"nocturne/internal/secret"
	"nocturne/internal/snmpconn"
	"nocturne/internal/strictyaml"
	"nocturne/tsdb"
)

// Config is the one configuration file. Every field has a default; paths are
// relative to the file's folder.
type Config struct {
	Data        string            `yaml:"data"`         // folder that holds everything stored
	Listen      string            `yaml:"listen"`       // address:port; off loopback only with TLS
	ExternalURL string            `yaml:"external_url"` // how people reach the pages; in notifications
	MasterKey   MasterKeyConfig   `yaml:"master_key"`   // of the vault of credentials; default the file DATA/master.key
	Log         LogConfig         `yaml:"log"`
	History     HistoryConfig     `yaml:"history"`
	Live        LiveConfig        `yaml:"live"`
	Collector   CollectorConfig   `yaml:"collector"`
	Targets     TargetsConfig     `yaml:"targets"`
	Credentials []CredentialEntry `yaml:"credentials"`
	SSH         SSHConfig         `yaml:"ssh"`
	Automation  AutomationConfig  `yaml:"automation"`
	Alerting    AlertingConfig    `yaml:"alerting"`
	Inspections []string          `yaml:"inspections"` // files; globs allowed
	Inventory   []string          `yaml:"inventory"`   // files imported at start; globs allowed
	Backup      BackupConfig      `yaml:"backup"`

	TLS            TLSConfig      `yaml:"tls"`
	HTTP           HTTPConfig     `yaml:"http"`
	TrustedProxies []netip.Prefix `yaml:"trusted_proxies"` // whose X-Forwarded-For, -Proto and -Host are believed

	dir  string // folder of the file
	file string
	raw  []byte // its content as it was read
}

// LogConfig says what is logged and how.
type LogConfig struct {
	Level  string `yaml:"level"`  // debug, info, warn, error
	Format string `yaml:"format"` // text, json
}

// HistoryConfig bounds the store of samples.
type HistoryConfig struct {
	Retention  model.Duration `yaml:"retention"`    // of raw samples
	Size       Bytes          `yaml:"size"`         // of raw samples on disk; 0 is no limit
	OutOfOrder model.Duration `yaml:"out_of_order"` // how late a sample may come
	Tiers      TiersConfig    `yaml:"tiers"`
	MaxAhead   model.Duration `yaml:"max_ahead"` // how far ahead of the clock it may be
	Limits     LimitsConfig   `yaml:"limits"`

	Remote      *RemoteHistoryConfig `yaml:"remote"`       // where samples are read, if not here
	RemoteWrite []RemoteWriteConfig  `yaml:"remote_write"` // where all samples are sent on to
}

// LimitsConfig bounds what may be appended.
type LimitsConfig struct {
	Series           int `yaml:"series"`            // in memory, of all sources together
	SeriesPerSource  int `yaml:"series_per_source"` // a token, or a kind of target
	Labels           int `yaml:"labels"`            // of one series
	LabelNameLength  int `yaml:"label_name_length"` // bytes
	LabelValueLength int `yaml:"label_value_length"`
}

func (c LimitsConfig) limits() tsdb.Limits {
	return tsdb.Limits{Series: c.Series, SeriesPerSource: c.SeriesPerSource, Labels: c.Labels,
		LabelNameLength: c.LabelNameLength, LabelValueLength: c.LabelValueLength}
}

func (c LimitsConfig) validate(f *faults) {
	for _, l := range []struct {
		name string
		n    int
	}{{"series", c.Series}, {"series_per_source", c.SeriesPerSource}, {"labels", c.Labels},
		{"label_name_length", c.LabelNameLength}, {"label_value_length", c.LabelValueLength}} {
		if l.n < 1 {
			f.add("history.limits."+l.name, "must be at least 1")
		}
	}
}

// CollectorConfig holds what targets do not say themselves.
type CollectorConfig struct {
	Local       bool          `yaml:"local"`    // monitor this machine
	Self        bool          `yaml:"self"`     // and this program
	Interval    time.Duration `yaml:"interval"` // between two polls of a target
	Timeout     time.Duration `yaml:"timeout"`  // of one poll, below the interval
	Concurrency int           `yaml:"concurrency"`
}

// TargetsConfig lists what is polled, by kind.
type TargetsConfig struct {
	SNMP      []TargetConfig `yaml:"snmp"`
	Linux     []TargetConfig `yaml:"linux"` // over SSH
	OpenStack []TargetConfig `yaml:"openstack"`
}

// TargetConfig is one device, host or cloud.
type TargetConfig struct {
	Name       string            `yaml:"name"`
	Address    string            `yaml:"address"` // host or host:port; none for a cloud
	Site       string            `yaml:"site"`
	Credential string            `yaml:"credential"`
	Interval   time.Duration     `yaml:"interval"`
	Timeout    time.Duration     `yaml:"timeout"`
	Labels     map[string]string `yaml:"labels"`
}

// CredentialEntry names one way in. Exactly one of SNMP, SSH, OpenStack, HTTP and
// S3 is set. It is sealed into the store when the program starts; a name that a page
// has sealed before is replaced by what stands here.
type CredentialEntry struct {
	Name      string               `yaml:"name"`
	SNMP      *SNMPCredential      `yaml:"snmp"`
	SSH       *SSHCredential       `yaml:"ssh"`
	OpenStack *OpenStackCredential `yaml:"openstack"`
	HTTP      *HTTPCredential      `yaml:"http"`
	S3        *S3Credential        `yaml:"s3"`
}

// SNMPCredential is a community (v1, v2c) or a USM user (v3).
type SNMPCredential struct {
	Version        string      `yaml:"version"`
	Community      secret.Text `yaml:"community"`
	User           string      `yaml:"user"`
	AuthProtocol   string      `yaml:"auth_protocol"`
	AuthPassphrase secret.Text `yaml:"auth_passphrase"`
	PrivProtocol   string      `yaml:"priv_protocol"`
	PrivPassphrase secret.Text `yaml:"priv_passphrase"`
	Context        string      `yaml:"context"`
}

// SSHCredential is a user and a private key, in place or in a file.
type SSHCredential struct {
	User       string      `yaml:"user"`
	Key        secret.Text `yaml:"key"`
	KeyFile    string      `yaml:"key_file"`
	Passphrase secret.Text `yaml:"passphrase"`
}

// OpenStackCredential is a login to one cloud.
type OpenStackCredential struct {
	AuthURL                     string      `yaml:"auth_url"`
	Username                    string      `yaml:"username"`
	Password                    secret.Text `yaml:"password"`
	Project                     string      `yaml:"project"`
	UserDomain                  string      `yaml:"user_domain"`
	ProjectDomain               string      `yaml:"project_domain"`
	Region                      string      `yaml:"region"`
	ApplicationCredentialID     string      `yaml:"application_credential_id"`
	ApplicationCredentialSecret secret.Text `yaml:"application_credential_secret"`
	CAFile                      string      `yaml:"ca_file"`
}

// SSHConfig says which host keys are believed.
type SSHConfig struct {
	KnownHosts    string `yaml:"known_hosts"`     // file in OpenSSH's format; its keys are pinned
	TrustFirstUse bool   `yaml:"trust_first_use"` // pin an unknown host's key at the first contact
}

// AutomationConfig says what may be run and how wide.
type AutomationConfig struct {
	Runbooks    []string       `yaml:"runbooks"` // files; globs allowed
	Remedies    []string       `yaml:"remedies"`
	Regions     []RegionConfig `yaml:"regions"`
	GlobalSlots int            `yaml:"global_slots"`
}

// RegionConfig is a part of the network with slots of its own.
type RegionConfig struct {
	Name     string         `yaml:"name"`
	Prefixes []netip.Prefix `yaml:"prefixes"`
	Slots    int            `yaml:"slots"`
}

// AlertingConfig names rules and receivers.
type AlertingConfig struct {
	Interval  time.Duration   `yaml:"interval"`  // of groups that name none
	Rules     []string        `yaml:"rules"`     // files in Prometheus' format; globs allowed
	Appliance bool            `yaml:"appliance"` // beside those, the rules about this program itself
	Webhooks  []WebhookConfig `yaml:"webhooks"`
}

// WebhookConfig is one receiver of Alertmanager's JSON. The address may hold a
// token and is treated as a secret.
type WebhookConfig struct {
	Name string      `yaml:"name"`
	URL  secret.Text `yaml:"url"`
}

// DefaultConfig is what runs when no file says otherwise.
func DefaultConfig() Config {
	return Config{
		Data:   "data",
		Listen: "127.0.0.1:8080",
		Log:    LogConfig{Level: "info", Format: "text"},
		History: HistoryConfig{Retention: model.Duration(30 * 24 * time.Hour), OutOfOrder: model.Duration(30 * time.Minute),
			Tiers:    defaultTiers,
			MaxAhead: model.Duration(10 * time.Minute),
			Limits:   LimitsConfig{Series: 2_000_000, SeriesPerSource: 500_000, Labels: 64, LabelNameLength: 1024, LabelValueLength: 4096}},
		Live:       LiveConfig{MaxSeries: 500, MaxBytes: 64 << 20},
		Collector:  CollectorConfig{Local: true, Self: true, Interval: 15 * time.Second, Timeout: 10 * time.Second, Concurrency: 64},
		Automation: AutomationConfig{GlobalSlots: 256},
		Alerting:   AlertingConfig{Interval: 15 * time.Second, Appliance: true},
		TLS:        defaultTLS, HTTP: defaultHTTP,
		Backup: defaultBackup,
	}
}

// LoadConfig reads the file over the defaults; an empty path is the defaults
// alone. The error joins every fault, each with file, line and field.
func LoadConfig(path string) (Config, error) {
	c := DefaultConfig()
	if path == "" {
		return c, nil
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return c, fmt.Errorf("read configuration: %w", err)
	}
	if err := strictyaml.Decode(path, data, &c); err != nil {
		return c, err
	}
	c.dir, c.file, c.raw = filepath.Dir(path), path, data
	c.resolvePaths()
	return c, c.validateFile(&faults{file: path, lines: strictyaml.LinesOf(data)})
}

// resolvePaths makes the paths of a file relative to its folder.
func (c *Config) resolvePaths() {
	abs := func(p *string) {
		if *p != "" && !filepath.IsAbs(*p) {
			*p = filepath.Join(c.dir, *p)
		}
	}
	abs(&c.Data)
	c.MasterKey.resolvePaths(abs)
	abs(&c.TLS.CertFile)
	abs(&c.TLS.KeyFile)
	abs(&c.TLS.ACME.CAFile)
	abs(&c.SSH.KnownHosts)
	c.Backup.resolve(abs)
	for _, list := range [][]string{c.Inspections, c.Inventory, c.Automation.Runbooks, c.Automation.Remedies, c.Alerting.Rules} {
		for i := range list {
			abs(&list[i])
		}
	}
	for i := range c.History.RemoteWrite {
		abs(&c.History.RemoteWrite[i].CAFile)
	}
	for _, e := range c.Credentials {
		if e.SSH != nil {
			abs(&e.SSH.KeyFile)
		}
		if e.OpenStack != nil {
			abs(&e.OpenStack.CAFile)
		}
		if e.HTTP != nil {
			abs(&e.HTTP.CertFile)
			abs(&e.HTTP.KeyFile)
		}
	}
}

// faults gathers what validation finds, by field path.
type faults struct {
	file  string
	lines strictyaml.Lines // of the file's fields
	errs  []error
}

func (f *faults) add(path, format string, args ...any) {
	f.errs = append(f.errs, &strictyaml.Fault{File: f.file, Line: f.lines.Of(path), Path: path, Message: fmt.Sprintf(format, args...)})
}

func (c *Config) validate(file string) error { return c.validateFile(&faults{file: file}) }

func (c *Config) validateFile(f *faults) error {
	c.validateListen(f)
	c.validateTLS(f)
	c.validateProxies(f)
	c.HTTP.validate(f)
	if !slices.Contains([]string{"debug", "info", "warn", "error"}, c.Log.Level) {
		f.add("log.level", "%q is none of debug, info, warn, error", c.Log.Level)
	}
	if !slices.Contains([]string{"text", "json"}, c.Log.Format) {
		f.add("log.format", "%q is neither text nor json", c.Log.Format)
	}
	if c.History.MaxAhead <= 0 {
		f.add("history.max_ahead", "must be above zero")
	}
	c.MasterKey.validate(f)
	c.History.Limits.validate(f)
	c.History.validateTiers(f)
	c.Live.validate(f)
	if c.Collector.Concurrency < 1 {
		f.add("collector.concurrency", "must be at least 1")
	}
	checkInterval(f, "collector", c.Collector.Interval, c.Collector.Timeout)
	if c.Alerting.Interval < time.Second {
		f.add("alerting.interval", "%s is under a second", c.Alerting.Interval)
	}
	names := c.validateCredentials(f)
	c.History.Remote.validate(f, c.History.Retention, names)
	c.validateTargets(f, names)
	c.validateRemoteWrite(f, names)
	c.Backup.validate(f, c.Data, names)
	c.validateRegions(f)
	for i, w := range c.Alerting.Webhooks {
		u, err := url.Parse(w.URL.Reveal())
		if w.Name == "" {
			f.add(fmt.Sprintf("alerting.webhooks[%d].name", i), "is missing")
		}
		if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
			f.add(fmt.Sprintf("alerting.webhooks[%d].url", i), "is no http or https address")
		}
	}
	c.validateTexts(f)
	checkBounds(f, "", reflect.ValueOf(c).Elem())
	return errors.Join(f.errs...)
}

func checkInterval(f *faults, path string, interval, timeout time.Duration) {
	switch {
	case interval < time.Second:
		f.add(path+".interval", "%s is under a second", interval)
	case timeout <= 0:
		f.add(path+".timeout", "must be above zero")
	case timeout >= interval:
		f.add(path+".timeout", "%s is not below the interval of %s", timeout, interval)
	}
}

func (c *Config) validateCredentials(f *faults) map[string]string {
	kinds := map[string]string{}
	for i, e := range c.Credentials {
		path := fmt.Sprintf("credentials[%d]", i)
		if e.Name == "" {
			f.add(path+".name", "is missing")
		}
		if _, twice := kinds[e.Name]; twice {
			f.add(path+".name", "%q stands here twice", e.Name)
		}
		var set []string
		if e.SNMP != nil {
			set = append(set, "snmp")
			f.addAll(path+".snmp", snmpconn.Credential(*e.SNMP).Validate())
		}
		if e.SSH != nil {
			set = append(set, "ssh")
			if (e.SSH.Key == "") == (e.SSH.KeyFile == "") {
				f.add(path+".ssh", "wants exactly one of key and key_file")
			}
		}
		if e.OpenStack != nil {
			set = append(set, "openstack")
			f.addAll(path+".openstack", cloudconn.Credential(*e.OpenStack).Validate())
		}
		if e.HTTP != nil {
			set = append(set, "http")
			e.HTTP.validate(f, path+".http")
		}
		if e.S3 != nil {
			set = append(set, "s3")
			e.S3.validate(f, path+".s3")
		}
		if len(set) != 1 {
			f.add(path, "wants exactly one of snmp, ssh, openstack, http, s3")
			continue
		}
		kinds[e.Name] = set[0]
	}
	return kinds
}

func (c *Config) validateTargets(f *faults, credentials map[string]string) {
	seen := map[string]string{}
	if c.Collector.Local {
		seen[localName] = "this machine (collector.local)"
	}
	if c.Collector.Self {
		seen[selfName] = "this program (collector.self)"
	}
	check := func(kind, credential string, list []TargetConfig, needAddress bool) {
		for i, t := range list {
			path := fmt.Sprintf("targets.%s[%d]", kind, i)
			if t.Name == "" {
				f.add(path+".name", "is missing")
			}
			if strings.ContainsAny(t.Name, "/|\n") {
				f.add(path+".name", "must not contain / | or a line break")
			}
			if first, twice := seen[t.Name]; twice {
				f.add(path+".name", "%q is the name of %s already", t.Name, first)
			}
			seen[t.Name] = path
			if needAddress && t.Address == "" {
				f.add(path+".address", "is missing")
			}
			// A name that is not in the file may have been sealed by a page.
			if k, here := credentials[t.Credential]; here && k != credential {
				f.add(path+".credential", "%q is of kind %s, not %s", t.Credential, k, credential)
			}
			if t.Credential == "" {
				f.add(path+".credential", "is missing")
			}
			checkInterval(f, path, cmp.Or(t.Interval, c.Collector.Interval), t.timeout(c.Collector))
		}
	}
	check("snmp", "snmp", c.Targets.SNMP, true)
	check("linux", "ssh", c.Targets.Linux, true)
	check("openstack", "openstack", c.Targets.OpenStack, false)
}

// timeout is the target's own, else the collector's, held below an interval
// that the target shortened.
func (t TargetConfig) timeout(c CollectorConfig) time.Duration {
	if t.Timeout != 0 {
		return t.Timeout
	}
	if t.Interval != 0 && c.Timeout >= t.Interval {
		return t.Interval * 4 / 5
	}
	return c.Timeout
}

func (c *Config) validateRegions(f *faults) {
	seen, names := map[netip.Prefix]string{}, map[string]bool{}
	for i, r := range c.Automation.Regions {
		path := fmt.Sprintf("automation.regions[%d]", i)
		if names[r.Name] {
			f.add(path+".name", "%q stands here twice", r.Name)
		}
		names[r.Name] = true
		if r.Slots < 0 {
			f.add(path+".slots", "cannot be negative")
		}
		if r.Name == "" {
			f.add(path+".name", "is missing")
		}
		if len(r.Prefixes) == 0 {
			f.add(path+".prefixes", "is missing")
		}
		for _, p := range r.Prefixes {
			if other, twice := seen[p.Masked()]; twice {
				f.add(path+".prefixes", "%s belongs to region %s already", p, other)
			}
			seen[p.Masked()] = r.Name
		}
	}
	if c.Automation.GlobalSlots < 1 {
		f.add("automation.global_slots", "must be at least 1")
	}
}
