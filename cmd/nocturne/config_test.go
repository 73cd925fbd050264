package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"nocturne/internal/secret"
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
	f("listen: 0.0.0.0:8080\n", "listen:", "off loopback")
	f("listen: \"[::]:8080\"\n", "off loopback")
	f("listen: 8080\n", "no address:port")
	f("log: {level: loud}\ncollector: {interval: 1s, timeout: 2s}\n", "log.level", "collector.timeout: 2s is not below the interval")
	f("collector: {interval: often}\n", ":1: collector.interval")
	f("targets:\n  snmp:\n  - {name: a, address: 127.0.0.1, credential: c}\n  - {name: a, address: 127.0.0.2, credential: c}\n",
		`targets.snmp[1].name: "a" is the name of targets.snmp[0] already`)
	f("targets:\n  linux:\n  - {name: a}\n", "targets.linux[0].address: is missing", "targets.linux[0].credential: is missing")
	f("credentials:\n- name: c\n  snmp: {version: 2c, community: public}\ntargets:\n  linux:\n  - {name: a, address: h, credential: c}\n",
		`targets.linux[0].credential: "c" is of kind snmp, not ssh`)
	f("credentials:\n- name: c\n", "credentials[0]: wants exactly one of snmp, ssh, openstack")
	f("credentials:\n- {name: c, ssh: {user: u}}\n", "credentials[0].ssh: wants exactly one of key and key_file")
	f("alerting:\n  webhooks:\n  - {name: w, url: nowhere}\n", "alerting.webhooks[0].url")
	f("automation:\n  regions:\n  - {name: a, prefixes: [10.0.0.0/8]}\n  - {name: b, prefixes: [10.1.0.0/8]}\n", "automation.regions[1].prefixes: 10.1.0.0/8 belongs to region a already")
	f("automation:\n  regions:\n  - {name: a, prefixes: [10.0.0.0/99]}\n", ":3: automation.regions[0].prefixes[0]")
	f("automation:\n  regions:\n  - {name: a, prefixes: [10.0.0.0/8]}\n  - {name: a, prefixes: [11.0.0.0/8], slots: -1}\n", `automation.regions[1].name: "a" stands here twice`, "automation.regions[1].slots")
	f("live: {max_series: -1}\n", "live.max_series")
	f("targets:\n  linux:\n  - {name: localhost, address: h, credential: c}\n", `targets.linux[0].name: "localhost" is the name of this machine`)
	f("history: {retention: 5m}\n", "history.retention")
	f("history: {max_ahead: 0s, limits: {series: 0, labels: -1}}\n", "history.max_ahead", "history.limits.series: must", "history.limits.labels: must")
	f("listen: [\n", ":")
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
	f("", nil, true, "good: 1 targets, 1 rule files, 1 runbooks, 0 remedies, 1 inspections")
	f("alerting: {rules: [r.yml]}\n", map[string]string{"r.yml": "groups:\n- name: g\n  rules:\n  - alert: A\n    expr: up ==\n"}, false, "r.yml", "A")
	f("alerting: {rules: [gone.yml]}\n", nil, false, "alerting.rules[0]", "gone.yml")
	f("automation: {runbooks: [b.yaml]}\n", map[string]string{"b.yaml": "name: x\nstepps: []\nsteps:\n- {name: s, shell: 'true'}\n"}, false, "b.yaml:2", "stepps")
	f("automation: {remedies: [m.yaml]}\n", map[string]string{"m.yaml": "remedies:\n- name: x\n  allert: A\n"}, false, "m.yaml:3", "allert")
	two := "name: x\nsteps:\n- {name: s, shell: 'true'}\n"
	f("automation: {runbooks: [b.yaml, c.yaml]}\n", map[string]string{"b.yaml": two, "c.yaml": two}, false, "runbook x stands in two files")
	f("automation: {remedies: [m.yaml]}\n", map[string]string{"m.yaml": "remedies:\n- {name: x, alert: A, runbook: gone, host: h}\n"}, false, `there is no runbook "gone"`)
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
	c.SetArgs([]string{"serve", "--listen", "0.0.0.0:0", "--data", t.TempDir()})
	if err := c.Execute(); err == nil || !strings.Contains(err.Error(), "off loopback") {
		t.Errorf("got %v", err)
	}
}
