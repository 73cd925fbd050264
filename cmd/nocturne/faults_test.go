package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"nocturne/alerting"
	"nocturne/automation"
	"nocturne/internal/lab"
)

// TestOneBadInputStopsNothing starts with a line of known_hosts and files of the
// inventory that cannot be used: they are named, and the rest goes on. A host
// whose line could not be read is not believed at first contact.
func TestOneBadInputStopsNothing(t *testing.T) {
	sd := newSystemd(t)
	known, unread := sd.server(t), sd.server(t)
	dir := t.TempDir()
	write := func(name, text string) string {
		name = filepath.Join(dir, name)
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	var knownHosts string
	h := startReal(t, func(c *Config) {
		c.sshHost("known", known)
		c.sshHost("unread", unread)
		c.SSH.TrustFirstUse = true
		c.Collector.Interval, c.Collector.Timeout = 20*time.Second, 19*time.Second // a busy machine is not the matter here
		c.knownHosts(t, known.KnownHosts(), []byte("@cert-authority "), unread.KnownHosts())
		knownHosts = c.SSH.KnownHosts
		c.Inventory = []string{
			write("misspelt.yaml", "items:\n- {id: site/misspelt, nmae: x}\n"),
			write("nobody.yaml", "items:\n- {id: site/nobody, name: x}\nrelations:\n- {from: site/nobody, type: part-of, to: site/none}\n"),
			write("good.yaml", "items:\n- {id: site/real, name: Real}\n"),
		}
	})
	eventually(t, 60*time.Second, "the host whose line is good is seen", func() bool {
		ok, _ := h.status(t, "known")
		return ok
	})
	eventually(t, 60*time.Second, "the other is refused for the lines that were left out", func() bool {
		_, why := h.status(t, "unread")
		return strings.Contains(why, "hostkey-unknown") && strings.Contains(why, "known_hosts")
	})
	if strings.Contains(unread.Log.String(), "Accepted publickey") {
		t.Error("the host whose line could not be read took a login")
	}
	if _, ok := h.graph.Item("site/real"); !ok {
		t.Error("the good file was not imported")
	}
	for _, id := range []string{"site/misspelt", "site/nobody"} {
		if _, ok := h.graph.Item(id); ok {
			t.Errorf("%s of a faulty file is there", id)
		}
	}
	told := strings.Join(h.texts.faults, "\n")
	for _, want := range []string{knownHosts + ":2: ", "misspelt.yaml:2: ", "nmae", "nobody.yaml:4: ", "site/none"} {
		if !strings.Contains(told, want) {
			t.Errorf("%q is not among the faults:\n%s", want, told)
		}
	}
}

// TestRemedyWithoutHost: the host of the alert is that of the job.
func TestRemedyWithoutHost(t *testing.T) {
	whole(t)
	f, err := defaultFile("remedies.yaml")
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "remedies.yaml")
	text := strings.Replace(string(f.data), "  host: '{{ .Labels.instance }}'\n", "", 1)
	if strings.Contains(text, "host:") {
		t.Fatalf("the remedy still names its host:\n%s", text)
	}
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	h := startHall(t, lab.Options{Racks: 2, Hosts: 6}, func(c *Config) { c.Automation.Remedies = []string{name} })
	h.settled(t)
	host, _, a := h.fault(t)
	j := h.ended(t, a.Episode)
	if j.Phase != automation.JobSucceeded || len(j.Hosts) != 1 || j.Hosts[0] != host {
		t.Errorf("job %s on %q: %s; want it on %s", j.Phase, j.Hosts, j.Reason, host)
	}
	if _, ok := h.cfg.hostOf(alerting.Alert{Item: "device/leaf1"}); ok {
		t.Error("a switch is a host")
	}
}
