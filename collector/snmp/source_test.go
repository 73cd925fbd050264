package snmp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"nocturne/collector"
	"nocturne/internal/need"
	"nocturne/internal/snmpconn"
	"nocturne/internal/snmpconn/snmptest"
)

var credentials = map[string]snmpconn.Credential{
	"v1":  {Version: "1", Community: snmptest.Community},
	"v2c": {Version: "2c", Community: snmptest.Community},
	"v3": {Version: "3", User: snmptest.User, AuthProtocol: "SHA", AuthPassphrase: snmptest.AuthPass,
		PrivProtocol: "AES", PrivPassphrase: snmptest.PrivPass},
	"wrong":    {Version: "2c", Community: "wrongwrong"},
	"wrongkey": {Version: "3", User: snmptest.User, AuthProtocol: "SHA", AuthPassphrase: "wrongwrong"},
}

// snmpd starts Debian's agent.
func snmpd(t testing.TB) string {
	t.Helper()
	return snmptest.Snmpd(t, need.Binary(t, "snmpd", "snmpd"))
}

// simulator starts the shared simulator on a folder of walks.
func simulator(t testing.TB, walks string, args ...string) snmptest.Agents {
	t.Helper()
	return snmptest.Simulator(t, need.Shared(t, "snmp", "simulator"), walks, args...)
}

func newSource() *Source {
	return New(snmpconn.New(snmpconn.Options{Timeout: 500 * time.Millisecond}), func(name string) (snmpconn.Credential, error) {
		c, ok := credentials[name]
		if !ok {
			return c, errors.New("not in the vault")
		}
		return c, nil
	})
}

func target(name, address, credential string) collector.Target {
	return collector.Target{Name: name, Kind: "snmp", Address: address, Credential: credential, Site: "lab"}
}

func pollOnce(t *testing.T, s *Source, tg collector.Target) (collector.Result, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	return s.Poll(ctx, tg)
}

// series returns the sample of a name whose labels contain all pairs.
func series(r collector.Result, name string, pairs ...string) (float64, bool) {
	for _, s := range r.Samples {
		ok := s.Labels.Get("__name__") == name
		for i := 0; ok && i+1 < len(pairs); i += 2 {
			ok = s.Labels.Get(pairs[i]) == pairs[i+1]
		}
		if ok {
			return s.V, true
		}
	}
	return 0, false
}

func fact(r collector.Result, kind, key string) *collector.Fact {
	for i, f := range r.Facts {
		if f.Kind == kind && f.Key == key {
			return &r.Facts[i]
		}
	}
	return nil
}

// snmpget asks net-snmp for one object.
func snmpget(t *testing.T, addr, oid string) string {
	t.Helper()
	out, err := exec.Command(need.Binary(t, "snmpget", "snmp"), "-v2c", "-c", snmptest.Community, "-Oqve", addr, oid).Output()
	if err != nil {
		t.Fatalf("snmpget %s: %v", oid, err)
	}
	return strings.Trim(strings.TrimSpace(string(out)), `"`)
}

func TestPollOfSnmpd(t *testing.T) {
	addr := snmpd(t)
	for _, version := range []string{"v1", "v2c", "v3"} {
		r, err := pollOnce(t, newSource(), target("box", addr, version))
		if err != nil || len(r.Partial) > 0 {
			t.Fatalf("%s: %v, %v", version, err, r.Partial)
		}
		d := fact(r, "device", "box")
		if d == nil || d.Fields["sysName"] != "nocturne-test" || d.Fields["sysDescr"] != snmpget(t, addr, "1.3.6.1.2.1.1.1.0") ||
			d.Fields["sysLocation"] != "row 7" || d.Fields["sysContact"] != "night@example.org" {
			t.Fatalf("%s: device is %+v", version, d)
		}
		if v, ok := series(r, "sysUpTime", "job", "snmp", "instance", "box"); !ok || v <= 0 {
			t.Errorf("%s: sysUpTime %v, %v", version, v, ok)
		}
		lo := fact(r, "interface", "box/lo")
		if lo == nil {
			t.Fatalf("%s: no interface lo in %+v", version, r.Facts)
		}
		index := lo.Fields["ifIndex"]
		if want := snmpget(t, addr, "1.3.6.1.2.1.2.2.1.2."+index); want != lo.Fields["ifDescr"] || want != "lo" {
			t.Errorf("%s: ifDescr %q, snmpget says %q", version, lo.Fields["ifDescr"], want)
		}
		for name, oid := range map[string]string{
			"ifOperStatus": "1.3.6.1.2.1.2.2.1.8.", "ifAdminStatus": "1.3.6.1.2.1.2.2.1.7.", "ifHighSpeed": "1.3.6.1.2.1.31.1.1.1.15.",
			"ifInErrors": "1.3.6.1.2.1.2.2.1.14.",
		} {
			v, ok := series(r, name, "instance", "box", "ifName", "lo", "ifIndex", index, "ifDescr", "lo")
			if want := snmpget(t, addr, oid+index); !ok || strconv.FormatFloat(v, 'f', -1, 64) != want {
				t.Errorf("%s: %s is %v (%v), snmpget says %s", version, name, v, ok, want)
			}
		}
		octets := "ifHCInOctets"
		if version == "v1" { // which has no Counter64
			octets = "ifInOctets"
		}
		if v, ok := series(r, octets, "ifName", "lo"); !ok || v <= 0 {
			t.Errorf("%s: %s is %v, %v", version, octets, v, ok)
		}
		if _, both := series(r, "ifInOctets", "ifName", "lo"); both && version != "v1" {
			t.Errorf("%s: 32-bit counters beside 64-bit ones", version)
		}
	}
}

func TestPollErrors(t *testing.T) {
	addr := snmpd(t)
	for name, tc := range map[string]struct{ addr, cred, says string }{
		"community":     {addr, "wrong", "wrong community"},
		"key":           {addr, "wrongkey", "wrong authentication passphrase"},
		"nobody there":  {"127.0.0.1:9", "v2c", "no agent listens"},
		"no credential": {addr, "none", `credential "none": not in the vault`},
	} {
		r, err := pollOnce(t, newSource(), target("box", tc.addr, tc.cred))
		if err == nil || !strings.Contains(err.Error(), tc.says) || len(r.Samples)+len(r.Facts) > 0 {
			t.Errorf("%s: %v, %d samples", name, err, len(r.Samples))
		}
	}
}

// Names are not read with every poll, but at once when there are others; an
// SNMPv3 engine that counts its boots on is followed.
func TestIdentityIsReadSeldom(t *testing.T) {
	agents := simulator(t, need.Shared(t, "snmp", "bench"), "-devices", "1", "-live", "-fault", "0:reboot=3s,reindex")
	for _, cred := range []string{"v2c", "v3"} {
		t.Run(cred, func(t *testing.T) {
			t.Parallel()
			threeLives(t, newSource(), target("sw", agents.Address(0), cred))
		})
	}
}

func threeLives(t *testing.T, s *Source, tg collector.Target) {
	named, indexes := 0, map[string]bool{}
	last := -1.0
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end) && named < 3; {
		r, err := pollOnce(t, s, tg)
		if err != nil {
			t.Fatal(err)
		}
		up, _ := series(r, "sysUpTime")
		if len(r.Facts) > 0 {
			named++
			if named > 1 && up >= last && up < 250 { // else the restart came in the middle of the poll
				t.Errorf("names are read again without a restart: sysUpTime %v after %v", up, last)
			}
			if f := fact(r, "interface", "sw/Gi1/0/1"); f != nil {
				indexes[f.Fields["ifIndex"]] = true
			}
		} else if up < last {
			t.Errorf("sysUpTime went from %v to %v and the names were not read again", last, up)
		}
		last = up
		if _, ok := series(r, "ifHCInOctets", "ifName", "Gi1/0/1"); !ok && up < 250 {
			t.Errorf("no series of Gi1/0/1 at sysUpTime %v", up)
		}
	}
	if named < 3 || len(indexes) != 2 {
		t.Errorf("names were read %d times in three lives, Gi1/0/1 had the indexes %v", named, indexes)
	}
}

// keys lists what a poll says there is: its series, items and links.
func keys(r collector.Result) []string {
	var out []string
	for _, s := range r.Samples {
		out = append(out, s.Labels.String())
	}
	for _, f := range r.Facts {
		out = append(out, f.Kind+"/"+f.Key)
		if f.Neighbour != nil {
			out = append(out, fmt.Sprintf("%s/%s hears %+v", f.Kind, f.Key, *f.Neighbour))
		}
	}
	slices.Sort(out)
	return out
}

// A poll that missed something says so: else what it did not see would be
// taken for gone.
func TestAPollIsWholeOrSaysSo(t *testing.T) {
	faults := []string{"loop", "stuck", "generr=0.05", "generr=0.5", "drop=0.1", "drop=0.5", "truncate=0.3", "garbage=0.3", "nobulk", "maxrep=2", "dead", "wrongid=0.2"}
	args := []string{"-devices", strconv.Itoa(len(faults) + 1)}
	for i, f := range faults {
		args = append(args, "-fault", strconv.Itoa(i+1)+":"+f)
	}
	agents := simulator(t, need.Shared(t, "snmp", "walks"), append(args, "-only", "vrp_5720")...)
	good, err := pollOnce(t, newSource(), target("sw", agents.Address(0), "v2c"))
	if err != nil || len(good.Partial) > 0 || len(good.Facts) < 60 {
		t.Fatalf("%d facts, %v, %v", len(good.Facts), err, good.Partial)
	}
	want := keys(good)
	var all sync.WaitGroup
	defer all.Wait()
	run := func(f string, body func(t *testing.T)) { all.Go(func() { t.Run(f, body) }) } // they mostly wait
	for i, f := range faults {
		run(f, func(t *testing.T) {
			s := newSource()
			for range 2 {
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
				r, err := s.Poll(ctx, target("sw", agents.Address(i+1), "v2c"))
				cancel()
				got := keys(r)
				for _, k := range got {
					if _, ok := slices.BinarySearch(want, k); !ok {
						t.Errorf("%s is not there", k)
					}
				}
				if err == nil && len(r.Partial) == 0 && len(r.Facts) > 0 && !slices.Equal(got, want) {
					t.Errorf("%d of %d series and items, and not a word", len(got), len(want))
				}
				if f == "dead" && err == nil || f == "maxrep=2" && len(r.Partial) > 0 {
					t.Errorf("%v, %v", err, r.Partial)
				}
			}
		})
	}
}

// expect is what LibreNMS found in a recorded walk.
type expect struct {
	Device struct{ SysName, SysDescr, SysObjectID string }
	Ports  []struct {
		IfIndex       int
		IfName        string
		IfDescr       string
		IfOperStatus  string
		IfAdminStatus string
		IfPhysAddress string
	}
	Links []struct {
		Protocol       string
		IfName         string
		RemoteHostname string `json:"remote_hostname"`
		RemotePort     string `json:"remote_port"`
	}
}

var ifStatus = map[string]float64{"up": 1, "down": 2, "testing": 3, "unknown": 4, "dormant": 5, "notPresent": 6, "lowerLayerDown": 7}

func TestRecordedDevices(t *testing.T) {
	dir := need.Shared(t, "snmp", "walks")
	agents := simulator(t, dir)
	s := newSource()
	ports, links := 0, 0
	for i, file := range snmptest.Walks(t, dir) {
		name := strings.TrimSuffix(filepath.Base(file), ".snmprec")
		data, err := os.ReadFile(filepath.Join(dir, name+".expect.json"))
		if err != nil {
			t.Fatal(err)
		}
		var want expect
		if err := json.Unmarshal(data, &want); err != nil {
			t.Fatal(err)
		}
		r, err := pollOnce(t, s, target(name, agents.Address(i), "v2c"))
		if err != nil || len(r.Partial) > 0 {
			t.Errorf("%s: %v, %v", name, err, r.Partial)
			continue
		}
		ports += checkPorts(t, name, r, want)
		links += checkLinks(t, name, r, want)
	}
	t.Logf("%d ports and %d LLDP links found", ports, links)
}

func checkPorts(t *testing.T, name string, r collector.Result, want expect) (found int) {
	if d := fact(r, "device", name); d == nil || "."+d.Fields["sysObjectID"] != want.Device.SysObjectID {
		t.Errorf("%s: device %+v, want %s", name, d, want.Device.SysObjectID)
	}
	for _, p := range want.Ports {
		index := strconv.Itoa(p.IfIndex)
		at := slices.IndexFunc(r.Facts, func(f collector.Fact) bool { return f.Kind == "interface" && f.Fields["ifIndex"] == index })
		if at < 0 {
			t.Errorf("%s: no interface %s (%s)", name, index, p.IfName)
			continue
		}
		f := r.Facts[at]
		if f.Name != p.IfName && f.Name != p.IfDescr {
			t.Errorf("%s: interface %s is %q, want %q", name, index, f.Name, p.IfName)
			continue
		}
		if got := strings.ReplaceAll(f.Fields["physAddress"], ":", ""); p.IfPhysAddress != "" && got != p.IfPhysAddress {
			t.Errorf("%s: interface %s has address %s, want %s", name, index, got, p.IfPhysAddress)
		}
		if v, ok := series(r, "ifOperStatus", "ifIndex", index); p.IfOperStatus != "" && (!ok || v != ifStatus[p.IfOperStatus]) {
			t.Errorf("%s: interface %s has status %v (%v), want %s", name, index, v, ok, p.IfOperStatus)
		}
		found++
	}
	return found
}

func checkLinks(t *testing.T, name string, r collector.Result, want expect) (found int) {
	for _, l := range want.Links {
		if l.Protocol != "lldp" {
			continue
		}
		f := fact(r, "interface", name+"/"+l.IfName)
		if f == nil || f.Neighbour == nil {
			t.Errorf("%s: no neighbour at %s (want %s)", name, l.IfName, l.RemoteHostname)
			continue
		}
		n := f.Neighbour
		port, _, _ := strings.Cut(l.RemotePort, " (")
		if n.SysName != l.RemoteHostname || n.PortID != port && n.PortDescr != port {
			t.Errorf("%s: at %s is %+v, want %s at %s", name, l.IfName, *n, l.RemoteHostname, l.RemotePort)
			continue
		}
		found++
	}
	return found
}
