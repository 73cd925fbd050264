package main

import (
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/common/model"

	"nocturne/alerting"
	"nocturne/alerting/webhook"
	"nocturne/automation"
	"nocturne/automation/inspection"
	"nocturne/automation/remedy"
	"nocturne/collector"
	"nocturne/collector/self"
	"nocturne/internal/inventory"
	"nocturne/internal/web"
)

// texts are the files that people write, parsed. A file that does not parse is
// left out and named in faults; the rest goes on.
type texts struct {
	rules       []alerting.File
	runbooks    []automation.Runbook
	remedies    []remedy.Remedy
	inspections []inspection.Inspection
	inventory   []textFile
	known       *knownHosts
	faults      []string

	files map[string]sum // by field and name
}

// sum tells one content of a file from another.
type sum [sha256.Size]byte

func readTexts(c Config) (texts, error) {
	t := texts{files: map[string]sum{}}
	load := func(field string, patterns []string, fallback string, each func(textFile) error) error {
		files, err := readFiles(field, patterns)
		if err != nil {
			return err
		}
		if len(patterns) == 0 && fallback != "" {
			f, err := defaultFile(fallback)
			if err != nil {
				return err
			}
			files = []textFile{f}
		}
		for _, f := range files {
			t.files[field+" "+f.name] = sha256.Sum256(f.data)
			if err := each(f); err != nil {
				t.faults = append(t.faults, err.Error())
			}
		}
		return nil
	}
	rules := func(f textFile) error {
		t.rules = append(t.rules, alerting.File{Name: f.name, Data: f.data})
		return alerting.ParseRules([]alerting.File{{Name: f.name, Data: f.data}})
	}
	if c.Alerting.Appliance {
		if f, err := defaultFile("appliance.yml"); err != nil {
			return t, err
		} else if err := rules(f); err != nil {
			return t, err
		}
	}
	err := errors.Join(
		load("alerting.rules", c.Alerting.Rules, "rules.yml", rules),
		load("automation.runbooks", c.Automation.Runbooks, "restart-service.yaml", func(f textFile) error {
			rb, err := automation.ParseRunbook(f.name, f.data)
			if err == nil {
				t.runbooks = append(t.runbooks, rb)
			}
			return err
		}),
		// Nothing repairs by itself unless the configuration says so.
		load("automation.remedies", c.Automation.Remedies, "", func(f textFile) error {
			list, err := remedy.Parse(f.name, f.data)
			t.remedies = append(t.remedies, list...)
			return err
		}),
		load("inspections", c.Inspections, "inspections.yaml", func(f textFile) error {
			list, err := inspection.Parse(f.name, f.data)
			t.inspections = append(t.inspections, list...)
			return err
		}),
		load("inventory", c.Inventory, "", func(f textFile) error {
			err := inventory.CheckYAML(f.name, f.data)
			if err == nil {
				t.inventory = append(t.inventory, f)
			}
			return err
		}),
		t.readKnownHosts(c.SSH.KnownHosts),
	)
	return t, err
}

// readKnownHosts names the lines that cannot be used as a fault.
func (t *texts) readKnownHosts(file string) (err error) {
	if t.known, err = readKnownHosts(file); err == nil && t.known.fault != nil {
		t.faults = append(t.faults, t.known.fault.Error())
	}
	return err
}

// settle leaves out what stands twice and names what leads nowhere.
func (t *texts) settle() {
	t.runbooks = unique(t, "runbook", t.runbooks, func(r automation.Runbook) string { return r.Name })
	t.remedies = unique(t, "remedy", t.remedies, func(r remedy.Remedy) string { return r.Name })
	t.inspections = unique(t, "inspection", t.inspections, func(i inspection.Inspection) string { return i.Name })
	for _, m := range t.remedies {
		if !slices.ContainsFunc(t.runbooks, func(r automation.Runbook) bool { return r.Name == m.Runbook }) {
			t.faults = append(t.faults, fmt.Sprintf("remedy %s: there is no runbook %q; its alerts will escalate", m.Name, m.Runbook))
		}
		if !slices.Contains(alerting.AlertNames(t.rules), m.Alert) {
			t.faults = append(t.faults, fmt.Sprintf("remedy %s: no rule that loaded is named %q, so it answers nothing", m.Name, m.Alert))
		}
	}
}

// unique keeps the first of each name.
func unique[T any](t *texts, what string, list []T, name func(T) string) []T {
	seen := map[string]bool{}
	return slices.DeleteFunc(list, func(x T) bool {
		n := name(x)
		twice := seen[n]
		if seen[n] = true; twice {
			t.faults = append(t.faults, fmt.Sprintf("%s %s stands in two files or twice in one; the first is taken", what, n))
		}
		return twice
	})
}

// localName is the target that stands for this machine.
const localName = "localhost"

func (c *Config) targets() []collector.Target {
	var out []collector.Target
	if c.Collector.Local {
		out = append(out, collector.Target{Name: localName, Kind: "local", Interval: c.Collector.Interval, Timeout: c.Collector.Timeout})
	}
	if c.Collector.Self {
		out = append(out, collector.Target{Name: selfName, Kind: self.Kind, Interval: c.Collector.Interval, Timeout: c.Collector.Timeout})
	}
	add := func(kind, port string, list []TargetConfig) {
		for _, t := range list {
			out = append(out, collector.Target{
				Name: t.Name, Kind: kind, Address: withPort(t.Address, port), Site: t.Site, Credential: t.Credential,
				Interval: cmp.Or(t.Interval, c.Collector.Interval), Timeout: t.timeout(c.Collector), Labels: t.Labels,
			})
		}
	}
	add("snmp", "161", c.Targets.SNMP)
	add("linux", "22", c.Targets.Linux)
	add("openstack", "", c.Targets.OpenStack)
	return out
}

func withPort(address, port string) string {
	if port == "" {
		return address
	}
	if _, _, err := net.SplitHostPort(address); err == nil {
		return address
	}
	return net.JoinHostPort(address, port)
}

// host resolves the name of a host that jobs may run on: one that is polled
// over SSH.
func (c *Config) host(name string) (automation.Host, bool) {
	for _, t := range c.Targets.Linux {
		if t.Name == name {
			return automation.Host{Name: name, Address: withPort(t.Address, "22"), Credential: t.Credential}, true
		}
	}
	return automation.Host{}, false
}

// hostOf is the host of an alert whose remedy names none: the one that the alert
// is about, else the target that its samples came from.
func (c *Config) hostOf(a alerting.Alert) (string, bool) {
	item, _ := strings.CutPrefix(a.Item, "host/")
	for _, name := range []string{item, a.Labels.Get("instance")} {
		if _, known := c.host(name); known {
			return name, true
		}
	}
	return "", false
}

func (c *Config) regions() []automation.Region {
	var out []automation.Region
	for _, r := range c.Automation.Regions {
		out = append(out, automation.Region{Name: r.Name, Prefixes: r.Prefixes, Slots: r.Slots})
	}
	return out
}

func (c *Config) notifiers() ([]alerting.Notifier, error) {
	var out []alerting.Notifier
	for i, w := range c.Alerting.Webhooks {
		n, err := webhook.New(webhook.Options{Name: w.Name, URL: w.URL})
		if err != nil {
			return nil, fmt.Errorf("alerting.webhooks[%d]: %w", i, err)
		}
		out = append(out, n)
	}
	return out, nil
}

func (c *Config) externalURL() string { return cmp.Or(c.ExternalURL, c.addressOf(c.Listen)) }

func (c *Config) settings() []web.Setting {
	data, err := filepath.Abs(c.Data)
	if err != nil {
		data = c.Data
	}
	kept := web.Setting{Name: "History kept", Value: c.History.Retention.String()}
	if r := c.History.Remote; r != nil {
		kept.Value = fmt.Sprintf("%s here, read from %s", model.Duration(r.buffer()), r.URL)
	}
	return []web.Setting{
		{Name: "Data", Value: data}, {Name: "Listens on", Value: c.Listen}, kept,
		{Name: "Polling interval", Value: c.Collector.Interval.Round(time.Second).String()},
	}
}
