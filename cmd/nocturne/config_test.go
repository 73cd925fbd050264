package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"nocturne/internal/secret"
	"nocturne/tsdb/live"
)

func writeConfig(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "nocturne.yaml")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestConfigFaults(t *testing.T) {
	f := func(text string, want ...string) {
		t.Helper()
		name := writeConfig(t, text)
		_, err := LoadConfig(name)
		if err == nil {
			t.Errorf("%q was taken", text)
			return
		}
		for _, w := range want {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%q: got %q, want %q in it", text, err, w)
			}
		}
		if !strings.Contains(err.Error(), name) {
			t.Errorf("%q: the error %q does not name the file", text, err)
		}
	}
	f("lissten: 127.0.0.1:1\n", ":1: lissten: unknown field")
	f("listen: 0.0.0.0:8080\ntls: {mode: off}\n", "listen:", "off loopback")
	f("listen: \"[::]:8080\"\ntls: {mode: off}\n", "off loopback")
	f("listen: 8080\n", "no address:port")
	f("log: {level: loud}\ncollector: {interval: 1s, timeout: 2s}\n", "log.level", "collector.timeout: 2s is not below the interval")
	f("collector: {interval: often}\n", ":1: collector.interval")
	f("targets:\n  snmp:\n  - {name: a, address: 127.0.0.1, credential: c}\n  - {name: a, address: 127.0.0.2, credential: c}\n",
		`targets.snmp[1].name: "a" is the name of targets.snmp[0] already`)
	f("targets:\n  linux:\n  - {name: a}\n", "targets.linux[0].address: is missing", "targets.linux[0].credential: is missing")
	f("credentials:\n- name: c\n  snmp: {version: 2c, community: public}\ntargets:\n  linux:\n  - {name: a, address: h, credential: c}\n",
		`targets.linux[0].credential: "c" is of kind snmp, not ssh`)
	f("credentials:\n- name: c\n", "credentials[0]: wants exactly one of snmp, ssh, openstack, http")
	f("credentials:\n- {name: c, ssh: {user: u}}\n", "credentials[0].ssh: wants exactly one of key and key_file")
	f("alerting:\n  webhooks:\n  - {name: w, url: nowhere}\n", "alerting.webhooks[0].url")
	f("automation:\n  regions:\n  - {name: a, prefixes: [10.0.0.0/8]}\n  - {name: b, prefixes: [10.1.0.0/8]}\n", "automation.regions[1].prefixes: 10.1.0.0/8 belongs to region a already")
	f("automation:\n  regions:\n  - {name: a, prefixes: [10.0.0.0/99]}\n", ":3: automation.regions[0].prefixes[0]")
	f("automation:\n  regions:\n  - {name: a, prefixes: [10.0.0.0/8]}\n  - {name: a, prefixes: [11.0.0.0/8], slots: -1}\n", `automation.regions[1].name: "a" stands here twice`, "automation.regions[1].slots")
	f("live: {max_series: -1}\n", "live.max_series")
	f("live: {max_bytes: 100KB}\n", "live.max_bytes: 100000 bytes are under 1MiB")
	f("live: {max_bytes: 0}\n", "live.max_bytes")
	f("live: {max_bytes: plenty}\n", ":1: live.max_bytes", "no amount of storage")
	f("targets:\n  linux:\n  - {name: localhost, address: h, credential: c}\n", `targets.linux[0].name: "localhost" is the name of this machine`)
	f("history: {retention: 5m}\n", "history.retention")
	f("history: {remote: {}}\n", "history.remote.url: is missing")
	f("history: {remote: {url: \"ftp://x\", timeout: -1s, buffer: 5m}}\n", "history.remote.url: is no http", "history.remote.timeout", "history.remote.buffer: 5m is under 30m")
	f("history: {remote: {url: \"http://u:hunter2@x\"}}\n", "history.remote.url: has a user")
	f("history: {retention: 1h, remote: {url: \"http://x\"}}\n", "history.remote.buffer: 2h is longer than history.retention of 1h")
	f("history: {remote: {url: \"http://x\", adress: y}}\n", "history.remote.adress: unknown field")
	f("credentials:\n- {name: c, snmp: {community: x}}\nhistory: {remote: {url: \"http://x\", credential: c}}\n", `history.remote.credential: "c" is of kind snmp, not http`)
	f("credentials:\n- {name: c, http: {user: u}}\n", "credentials[0].http: wants user and password together")
	f("credentials:\n- {name: c, http: {user: u, password: p, token: t}}\n", "credentials[0].http")
	f("history: {max_ahead: 0s, limits: {series: 0, labels: -1}}\n", "history.max_ahead", "history.limits.series: must", "history.limits.labels: must")
	f("listen: [\n", ":")
}

// TestLiveConfig says how the live window is bounded, and by default.
func TestLiveConfig(t *testing.T) {
	for text, want := range map[string]live.Options{
		"": {MaxSeries: 500, MaxBytes: 64 << 20},
		"live: {max_series: 2000, max_bytes: 256MiB}\n": {MaxSeries: 2000, MaxBytes: 256 << 20},
		"live: {max_bytes: 20MB}\n":                     {MaxSeries: 500, MaxBytes: 20_000_000},
	} {
		c, err := LoadConfig(writeConfig(t, text))
		if got := c.Live.options(); err != nil || got != want {
			t.Errorf("%q: %+v, %v, want %+v", text, got, err, want)
		}
	}
}

func TestConfigKeepsSecrets(t *testing.T) {
	name := writeConfig(t, "credentials:\n- name: c\n  snmp: {version: 2c, community: hunter2}\nalerting:\n  webhooks:\n  - {name: w, url: \"http://x/hunter2\"}\n")
	c, err := LoadConfig(name)
	if err != nil {
		t.Fatal(err)
	}
	said := fmt.Sprintf("%+v %v", c, c.Credentials[0].SNMP)
	if strings.Contains(said, "hunter2") || c.Credentials[0].SNMP.Community != secret.Text("hunter2") {
		t.Errorf("the configuration prints %s", said)
	}
}

func TestCheck(t *testing.T) {
	f := func(text string, files map[string]string, good bool, want ...string) {
		t.Helper()
		name := writeConfig(t, text)
		for file, data := range files {
			if err := os.WriteFile(filepath.Join(filepath.Dir(name), file), []byte(data), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		var out bytes.Buffer
		c := command()
		c.SetArgs([]string{"check", "-c", name})
		c.SetOut(&out)
		c.SetErr(&out)
		err := c.Execute()
		said := out.String()
		if err != nil {
			said += err.Error()
		}
		if (err == nil) != good {
			t.Errorf("%q: good is %v, said %q", text, err == nil, said)
		}
		for _, w := range want {
			if !strings.Contains(said, w) {
				t.Errorf("%q: said %q, want %q in it", text, said, w)
			}
		}
	}
	f("", nil, true, "good: 2 targets, 2 rule files, 1 runbooks, 0 remedies, 1 inspections")
	f("alerting: {rules: [r.yml]}\n", map[string]string{"r.yml": "groups:\n- name: g\n  rules:\n  - alert: A\n    expr: up ==\n"}, false, "r.yml", "A")
	f("alerting: {rules: [gone.yml]}\n", nil, false, "alerting.rules[0]", "gone.yml")
	f("automation: {runbooks: [b.yaml]}\n", map[string]string{"b.yaml": "name: x\nstepps: []\nsteps:\n- {name: s, shell: 'true'}\n"}, false, "b.yaml:2", "stepps")
	f("automation: {remedies: [m.yaml]}\n", map[string]string{"m.yaml": "remedies:\n- name: x\n  allert: A\n"}, false, "m.yaml:3", "allert")
	two := "name: x\nsteps:\n- {name: s, shell: 'true'}\n"
	f("automation: {runbooks: [b.yaml, c.yaml]}\n", map[string]string{"b.yaml": two, "c.yaml": two}, false, "runbook x stands in two files")
	f("automation: {remedies: [m.yaml]}\n", map[string]string{"m.yaml": "remedies:\n- {name: x, alert: A, runbook: gone, host: h}\n"}, false, `there is no runbook "gone"`)
	m := func(alert string) map[string]string {
		return map[string]string{"m.yaml": "remedies:\n- {name: x, alert: " + alert + ", runbook: restart-service, parameters: {service: s}}\n"}
	}
	f("automation: {remedies: [m.yaml]}\n", m("ServiceFailed"), true)
	f("automation: {remedies: [m.yaml]}\n", m("ServiceFialed"), false, "remedy x", `"ServiceFialed"`)
	f("inventory: [i.yaml]\n", map[string]string{"i.yaml": "sites:\n- name: lab\n  colour: red\n"}, false, "i.yaml:3", "sites[0].colour")
	f("inventory: [i.yaml]\n", map[string]string{"i.yaml": "applications:\n- {name: shop, depends_on: [host/discovered-later]}\n"}, true)
	const key = " ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ0C+Bd5fMvTCNz7yAcJNDSBEVSoEBpnZpBbzKzbPMfr\n"
	f("ssh: {known_hosts: kh}\n", map[string]string{"kh": "web-1" + key + "@cert-authority *.example" + key + "web-2 nonsense\n"}, false, "kh:2: the marker @cert-authority", "kh:3: ")
	f("ssh: {known_hosts: kh}\n", map[string]string{"kh": "web-1" + key}, true)
	f("ssh: {known_hosts: gone}\n", nil, false, "ssh.known_hosts", "gone")
	f("inspections: [i.yaml]\n", map[string]string{"i.yaml": "inspections:\n- name: x\n  schedule: now and then\n"}, false, "i.yaml", "schedule")
}

// TestDefaultsAreSound holds the embedded files against their own parsers.
func TestDefaultsAreSound(t *testing.T) {
	c := DefaultConfig()
	c.Automation.Remedies = nil
	got, err := readTexts(c)
	if err != nil || len(got.faults) > 0 {
		t.Fatal(err, got.faults)
	}
	if err := c.validate("defaults"); err != nil {
		t.Error(err)
	}
}

func TestOffLoopbackIsRefusedByFlag(t *testing.T) {
	c := command()
	c.SetArgs([]string{"serve", "-c", writeConfig(t, "tls: {mode: off}\n"), "--listen", "0.0.0.0:0", "--data", t.TempDir()})
	if err := c.Execute(); err == nil || !strings.Contains(err.Error(), "off loopback") {
		t.Errorf("got %v", err)
	}
}
