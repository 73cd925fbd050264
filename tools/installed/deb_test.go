package installed

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"nocturne/internal/need"
)

// upgrade packs the version newer, with another default configuration, of the
// same binary.
func upgrade(t *testing.T) string {
	t.Helper()
	dir := made(t)
	changed := filepath.Join(t.TempDir(), "nocturne.yaml")
	text := read(t, filepath.Join(root(), "tools", "packaging", "nocturne.yaml"))
	write(t, changed, text+"\n# A newer default.\n", 0o644)
	out := filepath.Join(t.TempDir(), "newer")
	if err := pack(root(), out, "--version", newer, "--binary", filepath.Join(dir, "nocturne"), "--config", changed); err != nil {
		t.Fatal(err)
	}
	return out
}

// installed holds what both packages put in place.
func (j *jail) installed(u unit) {
	t := j.t
	t.Helper()
	for path, want := range map[string]string{
		"/usr/bin/nocturne": "755 root root", "/etc/nocturne": "750 root nocturne", "/etc/nocturne/nocturne.yaml": "640 root nocturne",
		"/var/lib/nocturne": "700 nocturne nocturne", "/usr/lib/systemd/system/nocturne.service": "644 root root",
		"/usr/lib/sysusers.d/nocturne.conf": "644 root root", "/usr/share/man/man1/nocturne.1.gz": "644 root root",
		"/usr/share/doc/nocturne/nocturne.cdx.json": "644 root root", "/usr/share/doc/nocturne/LICENSES.txt": "644 root root",
		"/usr/share/bash-completion/completions/nocturne": "644 root root",
	} {
		if got := j.state(path); got != want {
			t.Errorf("%s is %q, want %q", path, got, want)
		}
	}
	account := strings.Split(strings.TrimSpace(j.run("getent", "passwd", "nocturne")), ":")
	if id, err := strconv.Atoi(account[2]); err != nil || id == 0 || id >= 1000 || account[5] != "/var/lib/nocturne" || account[6] != "/usr/sbin/nologin" {
		t.Errorf("the account is %v", account)
	}
	if shadow := read(t, j.path("/etc/shadow")); !regexp.MustCompile(`(?m)^nocturne:[!*]`).MatchString(shadow) {
		t.Error("the account has a password")
	}
	if out := j.run("setpriv", "--reuid", "nocturne", "--regid", "nocturne", "--clear-groups", "nocturne", "check", "-c", "/etc/nocturne/nocturne.yaml"); !strings.HasPrefix(out, "good:") {
		t.Errorf("check: %s", out)
	}
	program, _, _ := strings.Cut(u.one(t, "ExecStart"), " ")
	if st, err := os.Stat(j.path(program)); err != nil || st.Mode()&0o111 == 0 {
		t.Errorf("the unit starts %s, which is not there: %v", program, err)
	}
}

// visitor is the first administrator of a service in a jail.
type visitor struct {
	t    *testing.T
	base string
	http *http.Client
}

var setupLink = regexp.MustCompile(`(http://[0-9.:]+)/setup\?token=(\S+)`)

// visit makes the first administrator by the link that the service prints.
func (s *service) visit() *visitor {
	t := s.t
	t.Helper()
	var m []string
	need.Until(t, "it prints the set-up link", func() bool { m = setupLink.FindStringSubmatch(s.said()); return m != nil })
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	v := &visitor{t, m[1], &http.Client{Jar: jar, Timeout: time.Minute}} // hashing a password costs
	const password = "a hall of racks at night"
	v.post("/setup", url.Values{"token": {m[2]}, "name": {"ada"}, "password": {password}, "again": {password}})
	return v
}

func (v *visitor) post(path string, form url.Values) {
	v.t.Helper()
	resp, err := v.http.PostForm(v.base+path, form)
	if err != nil {
		v.t.Fatal(err)
	}
	defer resp.Body.Close()
	if b, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode != http.StatusOK {
		v.t.Fatalf("POST %s: %s, %v\n%.500s", path, resp.Status, err, b)
	}
}

// samples counts those of an expression's series: this machine's polls.
func (v *visitor) samples(at time.Time) int {
	v.t.Helper()
	resp, err := v.http.Get(v.base + "/api/v1/query?query=" + url.QueryEscape(`count_over_time(node_load1[1d])`) + fmt.Sprintf("&time=%d", at.Unix()))
	if err != nil {
		v.t.Fatal(err)
	}
	defer resp.Body.Close()
	var answer struct {
		Data struct {
			Result []struct{ Value [2]any }
		}
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil || resp.StatusCode != http.StatusOK {
		v.t.Fatalf("query: %s, %v", resp.Status, err)
	}
	if len(answer.Data.Result) == 0 {
		return 0
	}
	n, err := strconv.Atoi(answer.Data.Result[0].Value[1].(string))
	if err != nil {
		v.t.Fatal(err)
	}
	return n
}

// TestDebianPackage takes the package through its life in a Debian.
func TestDebianPackage(t *testing.T) {
	first := filepath.Join(made(t), "nocturne_"+older+"_amd64.deb")
	j, u := newJail(t), readUnit(t)
	if out := j.run("dpkg", "-i", j.put(first)); !strings.Contains(out, "systemctl enable --now nocturne") {
		t.Errorf("the installation does not say how to go on: %s", out)
	}
	if got := j.run("dpkg-query", "-W", "-f", "${Version} ${Status}", "nocturne"); got != older+" install ok installed" {
		t.Errorf("dpkg has %s", got)
	}
	if out := j.run("dpkg", "--verify", "nocturne"); out != "" {
		t.Errorf("dpkg --verify: %s", out)
	}
	if out := j.run("nocturne", "version"); !strings.HasPrefix(out, "nocturne "+older+",") {
		t.Errorf("version: %s", out)
	}
	j.installed(u)
	if got := j.state("/usr/share/doc/nocturne/copyright"); got != "644 root root" {
		t.Errorf("copyright is %q", got)
	}
	v, before := j.firstRun(u)

	second := filepath.Join(upgrade(t), "nocturne_"+newer+"_amd64.deb")
	out := j.run("dpkg", "-i", "--force-confdef", "--force-confold", j.put(second))
	if strings.Contains(out, "systemctl enable") {
		t.Errorf("the upgrade speaks as to a newcomer: %s", out)
	}
	if got := j.run("dpkg-query", "-W", "-f", "${Version}", "nocturne"); got != newer {
		t.Errorf("dpkg has %s", got)
	}
	j.edited(v.base)
	if text := read(t, j.path("/etc/nocturne/nocturne.yaml.dpkg-dist")); !strings.Contains(text, "A newer default") {
		t.Error("the newer default is not beside the edited file")
	}
	j.secondRun(u, v, before)

	j.run("dpkg", "-r", "nocturne")
	if j.state("/usr/bin/nocturne") != "" || j.state("/usr/lib/systemd/system/nocturne.service") != "" {
		t.Error("removed, and still there: " + inFolders(t, j, "/usr/bin/noc*", "/usr/lib/systemd/system/noc*"))
	}
	j.edited(v.base)
	j.keepsData()
	if out := j.run("dpkg", "-P", "nocturne"); !strings.Contains(out, "stays in /var/lib/nocturne") {
		t.Errorf("purging does not tell of the data: %s", out)
	}
	if got := j.state("/etc/nocturne/nocturne.yaml"); got != "" {
		t.Errorf("purged, and the configuration is %s", got)
	}
	j.keepsData()
}

// firstRun edits the configuration, runs the service, and leaves somebody who
// can sign in and samples behind: how many.
func (j *jail) firstRun(u unit) (*visitor, int) {
	t := j.t
	t.Helper()
	config := j.path("/etc/nocturne/nocturne.yaml")
	address := fmt.Sprintf("127.0.0.1:%d", free(t))
	text := strings.ReplaceAll(read(t, config), "listen: 127.0.0.1:8080", "listen: "+address)
	write(t, config, text+"collector: {interval: 1s, timeout: 900ms}\n", 0o640)
	s := j.start(u)
	v := s.visit()
	now := time.Now()
	need.Until(t, "this machine is polled three times", func() bool { now = time.Now(); return v.samples(now) >= 3 })
	if out := j.run("nocturne", "health", "-c", "/etc/nocturne/nocturne.yaml"); out != "ready\n" {
		t.Errorf("health: %s", out)
	}
	s.hearsWatchdog()
	before := v.samples(now)
	s.stop()
	for line := range strings.SplitSeq(s.said(), "\n") {
		if strings.Contains(line, "level=ERROR") {
			t.Errorf("it complains in its sandbox: %s", line)
		}
	}
	return v, before
}

// hearsWatchdog wants the first sign of life.
func (s *service) hearsWatchdog() { s.t.Helper(); s.hears("WATCHDOG=1") }

// secondRun wants what the first one left.
func (j *jail) secondRun(u unit, v *visitor, before int) {
	t := j.t
	t.Helper()
	s := j.start(u)
	if n := v.samples(time.Now()); n < before {
		t.Errorf("after the upgrade %d samples, before it %d", n, before)
	}
	if strings.Contains(s.said(), "/setup?token=") {
		t.Error("nobody can sign in any more")
	}
	s.stop()
}

// edited wants the configuration as the person left it.
func (j *jail) edited(base string) {
	j.t.Helper()
	if text := read(j.t, j.path("/etc/nocturne/nocturne.yaml")); !strings.Contains(text, strings.TrimPrefix(base, "http://")) || strings.Contains(text, "A newer default") {
		j.t.Error("the edit of the configuration is lost")
	}
	if got := j.state("/etc/nocturne/nocturne.yaml"); got != "640 root nocturne" {
		j.t.Errorf("the configuration is %s", got)
	}
}

func (j *jail) keepsData() {
	j.t.Helper()
	if got := j.state("/var/lib/nocturne/state"); got == "" {
		j.t.Error("the data are gone")
	}
	if got := j.state("/var/lib/nocturne"); got != "700 nocturne nocturne" {
		j.t.Errorf("the data folder is %q", got)
	}
}

// TestSandbox has a probe of its own in the place of the program: what the unit
// leaves works, what it takes does not.
func TestSandbox(t *testing.T) {
	dir := made(t)
	j, u := newJail(t), readUnit(t)
	j.run("dpkg", "-i", j.put(filepath.Join(dir, "nocturne_"+older+"_amd64.deb")))
	// The ports of a network of its own are free.
	need.Binary(t, "ip", "iproute2")
	cmd := j.asUnit(u, "/cage", probeArgument)
	cmd.Args = slices.Insert(cmd.Args, 1, "--net")
	cmd.Env = append(cmd.Env, "OWN_NETWORK=yes")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	var got probed
	if err := json.Unmarshal(out, &got); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	const two = "0000000000002400" // bits 10 and 13: CAP_NET_BIND_SERVICE and CAP_NET_RAW
	for key, want := range map[string]string{"CapEff": two, "CapPrm": two, "CapAmb": two, "CapBnd": two, "NoNewPrivs": "1", "Seccomp": "2"} {
		if got.Status[key] != want {
			t.Errorf("%s is %s, want %s", key, got.Status[key], want)
		}
	}
	if strings.HasPrefix(got.Status["Uid"], "0\t") || strings.HasPrefix(got.Status["Gid"], "0\t") || got.Status["Groups"] != "" {
		t.Errorf("it runs as %s, groups %s", got.Status["Uid"], got.Status["Groups"])
	}
	for _, try := range tries {
		if why, failed := got.Failed[try.name]; failed == try.works {
			t.Errorf("%s: works is %v, want %v: %s", try.name, !failed, try.works, why)
		}
	}
}
