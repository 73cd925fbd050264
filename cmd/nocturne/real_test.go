package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/promql"

	"nocturne/alerting"
	"nocturne/automation"
	"nocturne/internal/need"
	"nocturne/internal/secret"
	"nocturne/internal/snmpconn/snmptest"
	"nocturne/internal/sshconn"
	"nocturne/internal/sshconn/sshdtest"
)

// startReal runs the product on what change configures: no lab, no targets,
// short intervals, a webhook.
func startReal(t *testing.T, change func(*Config)) *hall {
	t.Helper()
	dir := t.TempDir()
	cfg := DefaultConfig()
	cfg.Data, cfg.Listen = filepath.Join(dir, "data"), "127.0.0.1:0"
	cfg.Collector.Local = false
	cfg.Collector.Interval, cfg.Collector.Timeout = 3*time.Second, 2500*time.Millisecond
	cfg.Alerting.Interval = time.Second
	h := &hall{hook: newReceiver(t)}
	cfg.Alerting.Webhooks = []WebhookConfig{{Name: "noc", URL: secret.Text(h.hook.url)}}
	change(&cfg)
	if err := cfg.validate("the test's configuration"); err != nil {
		t.Fatal(err)
	}
	var err error
	if h.house, err = openHouse(cfg, testLog(t), false); err != nil {
		t.Fatal(err)
	}
	run(t, func(ctx context.Context) error { <-ctx.Done(); return nil }, h.house)
	return h
}

// sshHost adds a real sshd as a host. Each has a credential of its own.
func (c *Config) sshHost(name string, s *sshdtest.Server) {
	c.Credentials = append(c.Credentials, CredentialEntry{Name: "key-" + name, SSH: &SSHCredential{User: s.User, Key: secret.Text(s.Key)}})
	c.Targets.Linux = append(c.Targets.Linux, TargetConfig{Name: name, Address: s.Address, Site: "real", Credential: "key-" + name})
}

// knownHosts makes lines the configuration's known_hosts.
func (c *Config) knownHosts(t *testing.T, lines ...[]byte) {
	t.Helper()
	c.SSH.KnownHosts = filepath.Join(t.TempDir(), "known_hosts")
	var all []byte
	for _, l := range lines {
		all = append(all, l...)
	}
	if err := os.WriteFile(c.SSH.KnownHosts, all, 0o600); err != nil {
		t.Fatal(err)
	}
}

// fakeSystemctl stands before sshd's PATH, since a container has no systemd.
// The state of its one unit is a file, and so is its log of what it was asked.
const fakeSystemctl = `#!/bin/sh
dir=%s
echo "$*" >>$dir/log
now=$(cat $dir/state)
case $1 in
list-units) echo "web.service loaded $now some Web" ;;
is-active) echo $now; [ $now = active ] || exit 3 ;;
restart)
	[ $2 = web.service ] || { echo "Unit $2 not found." >&2; exit 5; }
	[ -e $dir/broken ] && { echo 'Job for web.service failed.' >&2; exit 1; }
	echo active >$dir/new; mv $dir/new $dir/state ;;
*) echo "Unknown command verb $1." >&2; exit 1 ;;
esac
`

// systemd is the fake's folder.
type systemd struct {
	t   *testing.T
	dir string
}

func newSystemd(t *testing.T) systemd {
	t.Helper()
	s := systemd{t, t.TempDir()}
	s.set("active")
	s.write("systemctl", fmt.Sprintf(fakeSystemctl, s.dir), 0o755)
	return s
}

func (s systemd) write(name, text string, mode os.FileMode) {
	s.t.Helper()
	// By rename: the fake never reads half a file.
	p := filepath.Join(s.dir, name)
	if err := os.WriteFile(p+"~", []byte(text), mode); err != nil {
		s.t.Fatal(err)
	}
	if err := os.Rename(p+"~", p); err != nil {
		s.t.Fatal(err)
	}
}

func (s systemd) set(state string) { s.t.Helper(); s.write("state", state+"\n", 0o644) }

func (s systemd) read(name string) string {
	s.t.Helper()
	b, err := os.ReadFile(filepath.Join(s.dir, name))
	if err != nil {
		s.t.Fatal(err)
	}
	return string(b)
}

// restarts counts what the witness saw.
func (s systemd) restarts() int { return strings.Count("\n"+s.read("log"), "\nrestart web.service\n") }

func (s systemd) server(t *testing.T) *sshdtest.Server {
	t.Helper()
	return sshdtest.Start(t, need.Binary(t, "sshd", "openssh-server"), "SetEnv PATH="+s.dir+":/usr/bin:/bin")
}

// realFault stops the service behind a real sshd and waits for the alert.
func realFault(t *testing.T, sd systemd) (*hall, alerting.Alert) {
	t.Helper()
	server := sd.server(t)
	h := startReal(t, func(c *Config) {
		c.sshHost("real-1", server)
		c.knownHosts(t, server.KnownHosts())
		shortProof(t, c)
	})
	h.settled(t)
	sd.set("failed")
	var a alerting.Alert
	eventually(t, 40*time.Second, "the alert fires", func() bool {
		var ok bool
		a, ok = h.alertOn("real-1", "web.service")
		return ok && a.Phase == alerting.Firing
	})
	return h, a
}

func TestLoopClosesOverRealSSHD(t *testing.T) {
	whole(t)
	sd := newSystemd(t)
	h, a := realFault(t, sd)
	j := h.ended(t, a.Episode)
	if j.Phase != automation.JobSucceeded {
		t.Fatalf("job %s: %s", j.Phase, j.Reason)
	}
	eventually(t, 30*time.Second, "the alert resolves", func() bool {
		e, err := h.alerts.Episode(a.Episode)
		return err == nil && e.Phase == alerting.Resolved
	})
	if got := strings.TrimSpace(sd.read("state")); got != "active" {
		t.Errorf("the unit is %s", got)
	}
	if n := sd.restarts(); n != 1 {
		t.Errorf("systemctl was told to restart %d times, want 1:\n%s", n, sd.read("log"))
	}
	// Job and alert each write of their own end: either may come first.
	var got []string
	eventually(t, 10*time.Second, "both ends are on record", func() bool {
		got = h.actions(t, a.Incident)
		return slices.Contains(got, "job.succeeded") && slices.Contains(got, "resolved")
	})
	inOrder(t, got, "firing", "job.queued", "step.sent", "step.ok", "job.verifying", "job.succeeded")
	inOrder(t, got, "firing", "step.sent", "resolved")
}

func TestBrokenRestartOverRealSSHD(t *testing.T) {
	whole(t)
	sd := newSystemd(t)
	sd.write("broken", "", 0o644)
	h, a := realFault(t, sd)
	j := h.ended(t, a.Episode)
	if j.Phase != automation.JobFailed || !strings.Contains(j.Reason, "exit status 1") {
		t.Errorf("job %s, reason %q; want failed with the exit status", j.Phase, j.Reason)
	}
	eventually(t, 20*time.Second, "the webhook is told of the escalation", func() bool {
		return h.hook.any(func(_ string, ls, _ map[string]string) bool {
			return ls["instance"] == "real-1" && ls["name"] == "web.service" && ls["escalation"] == "true"
		})
	})
	polls := h.pollsOf("real-1")
	eventually(t, 40*time.Second, "three more polls", func() bool { return h.pollsOf("real-1") >= polls+3 })
	if n := sd.restarts(); n != 1 {
		t.Errorf("systemctl was told to restart %d times, want 1", n)
	}
	if e, err := h.alerts.Episode(a.Episode); err != nil || e.Phase != alerting.Firing {
		t.Errorf("the alert is %s, %v; want firing", e.Phase, err)
	}
	lines, err := h.jobs.Output(j.ID, 0)
	if err != nil || len(lines) == 0 || !strings.Contains(lines[0].Text, "Job for web.service failed.") {
		t.Errorf("output %v, %v; want what systemctl printed", lines, err)
	}
}

// vector is an instant query's answer by one label.
func (h *hall) vector(t *testing.T, expr, by string) map[string]float64 {
	t.Helper()
	r, err := h.history.Query(t.Context(), expr, time.Now())
	if err != nil {
		t.Fatalf("%s: %v", expr, err)
	}
	out := map[string]float64{}
	for _, s := range r.Value.(promql.Vector) {
		out[s.Metric.Get(by)] = s.F
	}
	return out
}

// snmpget asks net-snmp for one object.
func snmpget(t *testing.T, address, oid string) string {
	t.Helper()
	out, err := exec.Command(need.Binary(t, "snmpget", "snmp"), "-v2c", "-c", snmptest.Community, "-Oqve", address, oid).Output() // what it says beside is no value
	if err != nil {
		t.Fatalf("snmpget %s: %v\n%s", oid, err, out)
	}
	return strings.Trim(strings.TrimSpace(string(out)), `"`)
}

func (c *Config) snmpTarget(name, address string, cred SNMPCredential) {
	c.Credentials = append(c.Credentials, CredentialEntry{Name: "snmp-" + name, SNMP: &cred})
	c.Targets.SNMP = append(c.Targets.SNMP, TargetConfig{Name: name, Address: address, Site: "real", Credential: "snmp-" + name})
}

// status is what the collector says of a target.
func (h *hall) status(t *testing.T, name string) (up bool, why string) {
	t.Helper()
	for _, s := range h.collector.Status() {
		if s.Target.Name == name {
			return !s.LastOK.IsZero(), s.Err
		}
	}
	t.Fatalf("no target %s", name)
	return false, ""
}

// pulse waits until every target was polled, and the good ones again after.
func (h *hall) pulse(t *testing.T, good ...string) {
	t.Helper()
	eventually(t, 60*time.Second, "every target is polled", func() bool {
		for _, s := range h.collector.Status() {
			if s.Last.IsZero() {
				return false
			}
		}
		return true
	})
	for _, name := range good {
		n := h.pollsOf(name)
		eventually(t, 30*time.Second, name+" is polled on", func() bool { return h.pollsOf(name) >= n+2 })
	}
}

// goesOn wants up of every target in the history: 1 of the good, 0 of the bad,
// whose errors name them.
func (h *hall) goesOn(t *testing.T, good []string, bad map[string][]string) {
	t.Helper()
	up := h.vector(t, "up", "instance")
	for _, name := range good {
		if v, seen := up[name]; !seen || v != 1 {
			t.Errorf("up of %s is %g, %v; want 1", name, v, seen)
		}
		if _, why := h.status(t, name); why != "" {
			t.Errorf("%s: %s", name, why)
		}
	}
	for name, says := range bad {
		if v, seen := up[name]; !seen || v != 0 {
			t.Errorf("up of %s is %g, %v; want 0", name, v, seen)
		}
		ok, why := h.status(t, name)
		if ok {
			t.Errorf("%s counts as seen", name)
		}
		t.Logf("%s: %s", name, why)
		for _, want := range append(says, name) {
			if !strings.Contains(why, want) {
				t.Errorf("the error of %s does not say %q: %s", name, want, why)
			}
		}
	}
}

func TestRealSnmpd(t *testing.T) {
	whole(t)
	agent := snmptest.Snmpd(t, need.Binary(t, "snmpd", "snmpd"))
	v2 := SNMPCredential{Version: "2c", Community: snmptest.Community}
	v3 := SNMPCredential{
		Version: "3", User: snmptest.User, AuthProtocol: "SHA", AuthPassphrase: snmptest.AuthPass,
		PrivProtocol: "AES", PrivPassphrase: snmptest.PrivPass,
	}
	wrong2, wrong3 := v2, v3
	wrong2.Community, wrong3.AuthPassphrase = "not-its-community", "not-its-passphrase"
	good := []string{"agent-v2c", "agent-v3"}
	h := startReal(t, func(c *Config) {
		c.snmpTarget("agent-v2c", agent, v2)
		c.snmpTarget("agent-v3", agent, v3)
		c.snmpTarget("wrong-community", agent, wrong2)
		c.snmpTarget("wrong-passphrase", agent, wrong3)
	})
	h.pulse(t, good...)
	h.goesOn(t, good, map[string][]string{"wrong-community": {agent, "community"}, "wrong-passphrase": {agent, "passphrase"}})
	for name := range map[string]string{"wrong-community": "", "wrong-passphrase": ""} {
		if _, why := h.status(t, name); strings.Contains(why, "not-its-") {
			t.Errorf("the error of %s tells the secret: %s", name, why)
		}
	}
	for _, name := range good {
		h.equalsAgent(t, name, agent)
	}
}

// equalsAgent holds what was stored of an agent against what snmpget reads.
func (h *hall) equalsAgent(t *testing.T, name, agent string) {
	t.Helper()
	if up := h.vector(t, fmt.Sprintf("sysUpTime{instance=%q}", name), "instance"); up[name] <= 0 {
		t.Errorf("%s: sysUpTime is %v", name, up)
	}
	item, ok := h.graph.Item("device/" + name)
	if want := snmpget(t, agent, "1.3.6.1.2.1.1.1.0"); !ok || item.Fields["sysDescr"].Value != want {
		t.Errorf("%s: sysDescr is %q, snmpget says %q", name, item.Fields["sysDescr"].Value, want)
	}
	octets := h.vector(t, fmt.Sprintf("ifHCInOctets{instance=%q}", name), "ifIndex")
	speeds := h.vector(t, fmt.Sprintf("ifHighSpeed{instance=%q}", name), "ifIndex")
	if len(octets) == 0 || len(speeds) == 0 {
		t.Fatalf("%s: %d interfaces with octets, %d with a speed", name, len(octets), len(speeds))
	}
	for index, got := range speeds {
		want, err := strconv.ParseFloat(snmpget(t, agent, "1.3.6.1.2.1.31.1.1.1.15."+index), 64)
		if err != nil || got != want {
			t.Errorf("%s: ifHighSpeed of %s is %g, snmpget says %g, %v", name, index, got, want, err)
		}
		ifName := snmpget(t, agent, "1.3.6.1.2.1.31.1.1.1.1."+index)
		i, ok := h.graph.Item("interface/" + name + "/" + ifName)
		if want := snmpget(t, agent, "1.3.6.1.2.1.2.2.1.3."+index); !ok || i.Fields["ifType"].Value != want {
			t.Errorf("%s: ifType of %s is %q, snmpget says %q", name, ifName, i.Fields["ifType"].Value, want)
		}
	}
}

// TestHostKeysAreHeld has one host show another key than the pinned one, and
// one whose key nobody pinned: neither is spoken to, the third goes on.
func TestHostKeysAreHeld(t *testing.T) {
	whole(t)
	sd := newSystemd(t)
	known, changed, unknown := sd.server(t), sd.server(t), sd.server(t)
	line := strings.Replace(string(changed.KnownHosts()), strings.Fields(string(changed.KnownHosts()))[2], strings.Fields(string(known.KnownHosts()))[2], 1)
	h := startReal(t, func(c *Config) {
		c.sshHost("known", known)
		c.sshHost("changed", changed)
		c.sshHost("unknown", unknown)
		c.knownHosts(t, known.KnownHosts(), []byte(line))
	})
	h.pulse(t, "known")
	h.goesOn(t, []string{"known"}, map[string][]string{
		"changed": {"hostkey-changed", sshconn.Fingerprint(changed.HostKey), sshconn.Fingerprint(known.HostKey)},
		"unknown": {"hostkey-unknown", sshconn.Fingerprint(unknown.HostKey)},
	})
	before := sd.restarts()
	for name, server := range map[string]*sshdtest.Server{"changed": changed, "unknown": unknown} {
		j, err := h.jobs.Submit(t.Context(), automation.Spec{
			ID: "try-" + name, Runbook: "restart-service", Parameters: map[string]string{"service": "web.service"}, Hosts: []string{name}, By: "person:test",
		})
		if err != nil {
			t.Fatal(err)
		}
		eventually(t, 30*time.Second, "the job on "+name+" ends", func() bool {
			j, err = h.jobs.Job(j.ID)
			return err == nil && automation.JobEnded(j.Phase)
		})
		if s := j.Tasks[0].Steps[0]; j.Phase != automation.JobFailed || s.Attempts != 0 || !strings.Contains(j.Reason, sshconn.Fingerprint(server.HostKey)) {
			t.Errorf("job on %s: %s, %d attempts, %q; want failed, none, and the fingerprint", name, j.Phase, s.Attempts, j.Reason)
		}
		if strings.Contains(server.Log.String(), "Accepted publickey") {
			t.Errorf("%s took a login", name)
		}
	}
	if n := sd.restarts(); n != before {
		t.Errorf("a command was run on a host that was refused")
	}
}
