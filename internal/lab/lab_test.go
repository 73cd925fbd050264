package lab

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"nocturne/internal/need"
)

func start(t *testing.T, o Options) *Lab {
	t.Helper()
	l, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	<-l.Ready()
	return l
}

func TestSeedDecides(t *testing.T) {
	seed, _ := need.Seed(t)
	one, two, other := start(t, Options{Seed: seed}), start(t, Options{Seed: seed}), start(t, Options{Seed: seed + 1})
	if d := cmp.Diff(one.Links(), two.Links()); d != "" {
		t.Errorf("one seed, two halls: %s", d)
	}
	if cmp.Equal(one.Links(), other.Links()) {
		t.Error("two seeds, one hall")
	}
	if n := len(one.Agents()); n != 40 {
		t.Errorf("%d agents, want 40", n)
	}
	if n := len(one.Hosts()); n != 24 {
		t.Errorf("%d hosts, want 24", n)
	}
	byRegion := map[string]int{}
	for _, h := range one.Hosts() {
		byRegion[h.Region]++
	}
	if len(byRegion) != 3 {
		t.Errorf("hosts in regions %v, want three", byRegion)
	}
}

func TestNothingStandsTwice(t *testing.T) {
	for seed := range uint64(20) {
		l, err := New(Options{Seed: seed, Racks: 1 + int(seed)*3, Hosts: 6 + int(seed)*18})
		if err != nil {
			t.Fatal(err)
		}
		taken, names := map[string]string{}, map[string]bool{}
		place := func(name string, p Place) {
			if names[name] {
				t.Errorf("seed %d: the name %s stands twice", seed, name)
			}
			names[name] = true
			for u := p.U; u < p.U+p.Height; u++ {
				key := fmt.Sprintf("%s U%d", p.Rack, u)
				if u < 1 || u > 42 || taken[key] != "" {
					t.Errorf("seed %d: %s at %s, where %q stands", seed, name, key, taken[key])
				}
				taken[key] = name
			}
		}
		for _, a := range l.Agents() {
			place(a.Name, a.Place)
		}
		for _, h := range l.Hosts() {
			place(h.Name, h.Place)
		}
		l.closeAll()
	}
}

func TestFullestHall(t *testing.T) {
	for seed := range uint64(10) {
		l, err := New(Options{Seed: seed, Racks: 3, Hosts: 36, Spines: 12})
		if err != nil {
			t.Fatal(err)
		}
		l.closeAll()
	}
	for _, o := range []Options{{Racks: 2, Hosts: 50}, {Spines: 13}, {Racks: 121}, {Spines: 1}} {
		if _, err := New(o); err == nil {
			t.Errorf("%+v was wired", o)
		}
	}
}

// TestAgentAgainstNetSNMP lets net-snmp's own commands read an agent.
func TestAgentAgainstNetSNMP(t *testing.T) {
	bulkwalk := need.Binary(t, "snmpbulkwalk", "snmp")
	snmpset := need.Binary(t, "snmpset", "snmp")
	seed, r := need.Seed(t)
	l := start(t, Options{Seed: seed})
	a := l.Agents()[r.IntN(len(l.Agents()))]
	read := func(root string) string {
		out, err := exec.Command(bulkwalk, "-v2c", "-c", a.Community, "-On", "-Oe", a.Address, root).CombinedOutput()
		if err != nil {
			t.Fatalf("walk %s of %s: %v: %s", root, a.Name, err, out)
		}
		return string(out)
	}
	if out := read(".1.3.6.1.2.1.1"); !strings.Contains(out, ".1.3.6.1.2.1.1.5.0 = STRING: "+`"`+a.Name+`"`) && !strings.Contains(out, ".1.3.6.1.2.1.1.5.0 = STRING: "+a.Name) {
		t.Errorf("no sysName %s in %s", a.Name, out)
	}
	for _, k := range l.Links() {
		if k.A != a.Name && k.B != a.Name {
			continue
		}
		remote := k.B
		if k.B == a.Name {
			remote = k.A
		}
		if out := read(".1.0.8802.1.1.2.1.4.1.1.9"); !strings.Contains(out, remote) {
			t.Errorf("%s does not see its neighbour %s: %s", a.Name, remote, out)
		}
	}
	if out, err := exec.Command(snmpset, "-v2c", "-c", a.Community, "-r0", "-t1", a.Address, ".1.3.6.1.2.1.1.5.0", "s", "x").CombinedOutput(); err == nil || !strings.Contains(string(out), "notWritable") {
		t.Errorf("a Set was not refused: %v %s", err, out)
	}
	if out, err := exec.Command(bulkwalk, "-v2c", "-c", "wrong", "-r0", "-t0.3", a.Address, ".1.3.6.1.2.1.1").CombinedOutput(); err == nil {
		t.Errorf("the wrong community got %s", out)
	}
}

// TestHostAgainstOpenSSH lets OpenSSH's client work on a host.
func TestHostAgainstOpenSSH(t *testing.T) {
	sshClient := need.Binary(t, "ssh", "openssh-client")
	seed, r := need.Seed(t)
	l := start(t, Options{Seed: seed})
	h := l.Hosts()[r.IntN(len(l.Hosts()))]
	dir := t.TempDir()
	key, known := filepath.Join(dir, "key"), filepath.Join(dir, "known_hosts")
	if err := os.WriteFile(key, []byte(l.SSHKey().Reveal()), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(known, l.KnownHosts(), 0o600); err != nil {
		t.Fatal(err)
	}
	host, port, err := net.SplitHostPort(h.Address)
	if err != nil {
		t.Fatal(err)
	}
	run := func(command string) (string, int) {
		c := exec.Command(sshClient, "-F", "none", "-i", key, "-o", "UserKnownHostsFile="+known, "-o", "StrictHostKeyChecking=yes", "-o", "BatchMode=yes", "-p", port, h.User+"@"+host, command)
		out, err := c.CombinedOutput()
		if err != nil && c.ProcessState == nil {
			t.Fatal(err)
		}
		return string(out), c.ProcessState.ExitCode()
	}
	unit := h.Services[0]
	if out, exit := run("systemctl is-active " + unit); exit != 0 || out != "active\n" {
		t.Fatalf("%s: %d %q", unit, exit, out)
	}
	if err := l.StopService(h.Name, unit); err != nil {
		t.Fatal(err)
	}
	if out, exit := run("systemctl is-active " + unit); exit != 3 || out != "failed\n" {
		t.Errorf("after the stop: %d %q", exit, out)
	}
	l.BreakRemedy(RemedyFails)
	if out, exit := run("systemctl restart " + unit); exit != 1 {
		t.Errorf("the broken restart: %d %q", exit, out)
	}
	l.BreakRemedy(RemedyLies)
	if out, exit := run("systemctl restart " + unit); exit != 0 {
		t.Errorf("the lying restart: %d %q", exit, out)
	}
	if s, _ := l.ServiceState(h.Name, unit); s != "failed" {
		t.Errorf("after the broken restarts: %s", s)
	}
	l.BreakRemedy(RemedyWorks)
	if out, exit := run("sudo -n systemctl restart " + unit + " && systemctl list-units --type=service --all --plain --no-legend | cat - 2>/dev/null; cat /proc/loadavg"); exit != 0 {
		t.Errorf("restart: %d %q", exit, out)
	}
	if s, _ := l.ServiceState(h.Name, unit); s != "active" {
		t.Errorf("after the restart: %s", s)
	}
	if out, exit := run("rm -rf /; /bin/rm x; echo $HOME > /etc/passwd"); exit == 0 {
		t.Errorf("a program of this machine ran: %q", out)
	}
	n := 0
	for _, e := range l.Journal() {
		if strings.HasPrefix(e.Command, "systemctl restart ") && !e.End.IsZero() {
			n++
		}
	}
	if n != 2 {
		t.Errorf("the journal has %d plain restarts, want 2", n)
	}
}

func TestHostOnlyWithItsKey(t *testing.T) {
	seed, _ := need.Seed(t)
	one, other := start(t, Options{Seed: seed}), start(t, Options{Seed: seed + 1})
	sshClient := need.Binary(t, "ssh", "openssh-client")
	key := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(key, []byte(other.SSHKey().Reveal()), 0o600); err != nil {
		t.Fatal(err)
	}
	host, port, _ := net.SplitHostPort(one.Hosts()[0].Address)
	out, err := exec.Command(sshClient, "-F", "none", "-i", key, "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "BatchMode=yes", "-p", port, "ops@"+host, "true").CombinedOutput()
	if err == nil {
		t.Errorf("another hall's key was let in: %s", out)
	}
}

func TestCountersNeverFall(t *testing.T) {
	seed, r := need.Seed(t)
	l := start(t, Options{Seed: seed})
	a := l.agents[r.IntN(len(l.agents))]
	var p *port
	for _, q := range a.ports {
		if q.peer != nil {
			p = q
		}
	}
	base := l.start
	for last, step := uint64(0), 0; step < 2000; step++ {
		l.start = base.Add(-time.Duration(step) * 3 * time.Second)
		now := p.count(inOctets)
		if now < last {
			t.Fatalf("step %d: %d after %d", step, now, last)
		}
		last = now
	}
	l.start = base
}
