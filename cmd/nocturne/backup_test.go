package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"nocturne/alerting"
	"nocturne/internal/access"
	"nocturne/internal/backup/storetest"
	"nocturne/internal/need"
	"nocturne/internal/sshconn/sshdtest"
	"nocturne/tsdb"
)

// run executes one command of nocturne.
func runCommand(ctx context.Context, args ...string) (string, error) {
	var out, errs bytes.Buffer
	c := command()
	c.SetOut(&out)
	c.SetErr(&errs)
	c.SetArgs(args)
	err := c.ExecuteContext(ctx)
	return out.String() + errs.String(), err
}

func mustRun(t *testing.T, args ...string) string {
	t.Helper()
	out, err := runCommand(t.Context(), args...)
	if err != nil {
		t.Fatalf("nocturne %v: %v\n%s", args, err, out)
	}
	return out
}

// served runs a house of a configuration until stop is called.
func served(t *testing.T, config string) (h *house, stop func()) {
	t.Helper()
	cfg, err := LoadConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	if h, err = openHouse(cfg, logger(cfg.Log), false); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := h.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	stop = sync.OnceFunc(func() {
		cancel()
		wg.Wait()
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return h, stop
}

// planted is searched for in everything that a backup writes and says.
const planted = "PLANTED-SECRET"

// TestBackupOfARunningServer asks a running server for a backup by the command,
// restores it, tries a drill, and runs the copy: people, credentials and the
// ledger are there.
func TestBackupOfARunningServer(t *testing.T) {
	dir := t.TempDir()
	to := filepath.Join(dir, "backups")
	config := filepath.Join(dir, "nocturne.yaml")
	write := func(name, text string) string {
		t.Helper()
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return p
	}
	write("rules.yml", "groups: []\n")
	write("nocturne.yaml", "data: data\nlisten: 127.0.0.1:0\nlog: {level: error}\ncollector: {interval: 1s, timeout: 900ms}\n"+
		"alerting: {rules: [rules.yml]}\ncredentials:\n- name: core # is "+planted+"\n  snmp:\n    version: 2c\n    community: "+planted+"\n")
	h, stop := served(t, config)
	ann := access.Actor{Name: "ann", Role: access.Administrator}
	token, err := h.access.AddToken(t.Context(), ann, "robot", access.Administrator, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	viewer, err := h.access.AddToken(t.Context(), ann, "viewer", access.Viewer, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	tokenFile := write("token", token.Reveal()+"\n")
	need.Until(t, "samples are there", func() bool { return h.history.Stats().Series > 0 })

	if out, err := runCommand(t.Context(), "backup", "-c", config, "--to", to); err == nil || !strings.Contains(err.Error(), "--token-file") {
		t.Errorf("beside a server, without a token: %v\n%s", err, out)
	}
	viewerFile := write("viewer", viewer.Reveal())
	if out, err := runCommand(t.Context(), "backup", "-c", config, "--to", to, "--server", h.address(), "--token-file", viewerFile); err == nil || !strings.Contains(err.Error(), "403") {
		t.Errorf("as a viewer: %v\n%s", err, out)
	}
	api, err := (&serverFlags{server: h.address(), tokenFile: tokenFile}).api("127.0.0.1:1")
	if err != nil {
		t.Fatal(err)
	}
	for place, want := range map[string]string{"": "409", "somewhere": "whole path"} {
		if err := api.call(t.Context(), http.MethodPost, "/backup", askedBackup{To: place}, new(struct{})); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("to %q: %v", place, err)
		}
	}
	said := mustRun(t, "backup", "-c", config, "--to", to, "--server", h.address(), "--token-file", tokenFile, "--json")
	var made madeBackup
	if err := json.Unmarshal([]byte(said), &made); err != nil || made.Generation == "" || made.LedgerSeq == 0 {
		t.Fatalf("%v: %s", err, said)
	}
	said += mustRun(t, "backup", "list", "--from", to) + mustRun(t, "backup", "drill", "--from", to, "--in", dir)
	if !strings.Contains(said, "no differences") || !strings.Contains(said, made.Generation) {
		t.Errorf("list and drill say\n%s", said)
	}
	entries := ledgerOf(t, h)
	stop()

	copied := filepath.Join(dir, "copy")
	said += mustRun(t, "restore", "--from", to, "--data", copied)
	said += mustRun(t, "backup", "-c", config, "--to", filepath.Join(dir, "second")) // now the data are free
	for _, path := range append(treeOf(t, to), treeOf(t, filepath.Join(dir, "second"))...) {
		raw, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(raw, []byte(planted)) {
			t.Errorf("%s holds the secret", path)
		}
	}
	if strings.Contains(said, planted) || strings.Contains(said, token.Reveal()) {
		t.Errorf("a command told a secret:\n%s", said)
	}
	key, err := os.ReadFile(filepath.Join(dir, "data", "master.key"))
	if err != nil {
		t.Fatal(err)
	}
	write("copy/master.key", string(key))
	write("copy.yaml", "data: copy\nlisten: 127.0.0.1:0\nlog: {level: error}\n")
	second, _ := served(t, filepath.Join(dir, "copy.yaml"))
	c, err := credentialOf[struct{ Community string }](second.access.Vault(), "snmp")("core")
	if err != nil || c.Community != planted {
		t.Errorf("the credential in the copy: %v", err)
	}
	got := ledgerOf(t, second)
	if n := int(made.LedgerSeq); got[n-1] != made.LedgerHash || strings.Join(got[:n], " ") != strings.Join(entries[:n], " ") {
		t.Errorf("the copy's ledger differs before entry %d", n)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, second.address()+"/api/nocturne/v1/me", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token.Reveal())
	res, err := http.DefaultClient.Do(req)
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("the token at the copy: %v %+v", err, res)
	}
	res.Body.Close()
}

// ledgerOf returns the hashes of a ledger.
func ledgerOf(t *testing.T, h *house) (hashes []string) {
	t.Helper()
	for e, err := range h.ledger.Read(1) {
		if err != nil {
			t.Fatal(err)
		}
		hashes = append(hashes, e.Hash)
	}
	return hashes
}

func treeOf(t *testing.T, dir string) (files []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(p string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			files = append(files, p)
		}
		return err
	})
	if err != nil || len(files) == 0 {
		t.Fatalf("%d files in %s: %v", len(files), dir, err)
	}
	return files
}

// TestScheduledBackupOverSFTP runs the schedule of a configuration against a
// real sshd with a sealed key, restores with the key in a file, and sees the
// sample that the rule of a late backup reads.
func TestScheduledBackupOverSFTP(t *testing.T) {
	s := sshdtest.Start(t, need.Binary(t, "sshd", "openssh-server"), "Subsystem sftp internal-sftp")
	dir := t.TempDir()
	for name, text := range map[string]string{"key": s.Key, "known": string(s.KnownHosts()), "login.yaml": "ssh: {user: " + s.User + ", key_file: " + filepath.Join(dir, "key") + "}\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	place := "sftp://" + s.Address + dir + "/store"
	config := writeConfig(t, "data: data\nlisten: 127.0.0.1:0\nlog: {level: error}\ncollector: {interval: 1s, timeout: 900ms}\nssh: {known_hosts: "+dir+"/known}\n"+
		"credentials:\n- name: store\n  ssh: {user: "+s.User+", key_file: "+dir+"/key}\nbackup: {to: \""+place+"\", credential: store, state_every: 10s, keep: 2}\n")
	h, stop := served(t, config)
	need.Until(t, "a backup is made", func() bool { return !h.backup.Status().LastWhole.IsZero() })
	need.Until(t, "how late it is can be asked", func() bool {
		v, err := h.history.Query(t.Context(), "nocturne_backup_overdue_seconds < 0", time.Now())
		return err == nil && strings.Contains(fmt.Sprint(v), "nocturne_backup_overdue_seconds")
	})
	stop()
	into := filepath.Join(dir, "restored")
	out := mustRun(t, "restore", "--from", place, "--credential-file", filepath.Join(dir, "login.yaml"), "--known-hosts", filepath.Join(dir, "known"), "--data", into)
	if !strings.Contains(out, "verified") {
		t.Error(out)
	}
	_, err := runCommand(t.Context(), "restore", "--from", place, "--credential-file", filepath.Join(dir, "login.yaml"), "--data", into+"2")
	if err == nil || !strings.Contains(err.Error(), "hostkey-unknown") {
		t.Errorf("without the host's key: %v", err)
	}
}

// TestBackupToABucket goes through all commands with an S3 service, the key in
// the configuration, and then sealed alone.
func TestBackupToABucket(t *testing.T) {
	endpoint := storetest.Gateway(t, need.Versitygw(t), "key", planted, "nightly")
	place := "s3://nightly/site?endpoint=http://" + endpoint
	head, tail := "data: data\nlisten: 127.0.0.1:0\nlog: {level: error}\ncollector: {interval: 1s, timeout: 900ms}\n", "backup: {to: \""+place+"\", credential: s3}\n"
	config := writeConfig(t, head+"credentials:\n- name: s3\n  s3: {access_key: key, secret_key: "+planted+"}\n"+tail)
	h, stop := served(t, config)
	need.Until(t, "a backup is made", func() bool { return !h.backup.Status().LastWhole.IsZero() })
	stop()
	if err := os.WriteFile(config, []byte(head+tail), 0o600); err != nil {
		t.Fatal(err)
	}
	said := mustRun(t, "backup", "-c", config)
	if _, err := runCommand(t.Context(), "backup", "list", "-c", config); err == nil || !strings.Contains(err.Error(), "--credential-file") {
		t.Errorf("without the key: %v", err)
	}
	key := filepath.Join(t.TempDir(), "key.yaml")
	if err := os.WriteFile(key, []byte("s3: {access_key: key, secret_key: "+planted+"}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	from := []string{"-c", config, "--credential-file", key}
	said += mustRun(t, append([]string{"backup", "list"}, from...)...)
	said += mustRun(t, append([]string{"backup", "prune", "--keep", "1"}, from...)...)
	said += mustRun(t, append([]string{"backup", "drill", "--in", t.TempDir()}, from...)...)
	said += mustRun(t, append([]string{"restore", "--data", filepath.Join(t.TempDir(), "restored")}, from...)...)
	if !strings.Contains(said, "removed 1 generations") || !strings.Contains(said, "no differences") || strings.Contains(said, planted) {
		t.Error(said)
	}
	if err := os.WriteFile(key, []byte("s3: {access_key: key, secret_key: "+planted+"-not}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := runCommand(t.Context(), append([]string{"backup", "list"}, from...)...)
	if err == nil || !strings.Contains(err.Error(), "the secret key is not that of access key key") || strings.Contains(err.Error(), planted) {
		t.Errorf("with a wrong key: %v", err)
	}
}

// TestBackupLateAlerts gives the shipped rule what the server writes of a backup
// that is two minutes late.
func TestBackupLateAlerts(t *testing.T) {
	h, _ := served(t, writeConfig(t, "data: data\nlisten: 127.0.0.1:0\nlog: {level: error}\ncollector: {interval: 1s, timeout: 900ms}\nalerting: {interval: 1s}\n"))
	late := tsdb.Sample{Labels: labels.FromStrings("__name__", "nocturne_backup_overdue_seconds", "job", "nocturne", "instance", localName), T: time.Now().UnixMilli(), V: 120}
	if _, err := h.history.Append(t.Context(), []tsdb.Sample{late}); err != nil {
		t.Fatal(err)
	}
	need.Until(t, "the rule sees that it is late", func() bool {
		return slices.ContainsFunc(h.alerts.Alerts(), func(a alerting.Alert) bool {
			return a.Rule == "BackupLate" && a.Phase == alerting.Pending && strings.Contains(a.Annotations["summary"], "late by 2m")
		})
	})
}

func TestBackupFaults(t *testing.T) {
	f := func(text string, want ...string) {
		t.Helper()
		name := writeConfig(t, "credentials:\n- {name: c, snmp: {community: x}}\n- {name: k, ssh: {user: u, key: hunter2}}\nbackup: "+text+"\n")
		_, err := LoadConfig(name)
		if err == nil {
			t.Errorf("%q was taken", text)
			return
		}
		for _, w := range want {
			if !strings.Contains(err.Error(), w) || !strings.Contains(err.Error(), name) {
				t.Errorf("%q: got %q, want %q in it", text, err, w)
			}
		}
		if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: the fault tells a secret: %v", text, err)
		}
	}
	f("{too: x}", ":4: backup.too: unknown field")
	f("{to: data/x}", "backup.to: lies within the data folder")
	f("{to: ./x, keep: 0, every: 5m, state_every: 1s}", "backup.keep: must be at least 1", "backup.every: 5m is under", "backup.state_every: 1s is under")
	f("{credential: k}", "backup.to: is missing")
	f("{to: ./x, credential: k}", "backup.credential: is not wanted for a folder")
	f("{to: 'sftp://h/x'}", "backup.credential: is missing: one of kind ssh")
	f("{to: 'sftp://h/x', credential: c}", `backup.credential: "c" is of kind snmp, not ssh`)
	f("{to: 'sftp://u:hunter2@h/x', credential: k}", "backup.to: has a user, which belongs in a credential")
	f("{to: 'sftp://h', credential: k}", "backup.to: is not of the form sftp://host:22/folder")
	f("{to: 'ftp://h/x'}", `backup.to: is of scheme "ftp"`)
	f("{to: 's3://b/p?endpoint=nowhere', credential: x}", "backup.to: has an endpoint that is not")
	f("{to: 's3://b/p?secret=hunter', credential: x}", `backup.to: has "secret" after the question mark`)
	f("{to: 's3://b', credential: k}", `backup.credential: "k" is of kind ssh, not s3`)
	if _, err := LoadConfig(writeConfig(t, "credentials:\n- {name: b, s3: {access_key: a}}\n")); err == nil || !strings.Contains(err.Error(), "credentials[0].s3.secret_key: is missing") {
		t.Errorf("half a key: %v", err)
	}
}

func TestPlaces(t *testing.T) {
	f := func(to string, want storePlace) {
		t.Helper()
		if got, err := parsePlace(to); err != nil || got != want {
			t.Errorf("%s: %+v, %v", to, got, err)
		}
	}
	f("/var/backups/n", storePlace{kind: "folder", folder: "/var/backups/n"})
	f("sftp://h/a/b", storePlace{kind: "sftp", host: "h:22", folder: "/a/b"})
	f("sftp://[::1]:2222/~/b", storePlace{kind: "sftp", host: "[::1]:2222", folder: "b"})
	f("s3://b", storePlace{kind: "s3", bucket: "b", endpoint: "s3.amazonaws.com"})
	f("s3://b/p/q/?endpoint=http://127.0.0.1:9000&region=r", storePlace{kind: "s3", bucket: "b", prefix: "p/q", endpoint: "127.0.0.1:9000", region: "r", plain: true})
}

// TestSecretsAreStruckOut: a secret in every style that YAML may have it in.
func TestSecretsAreStruckOut(t *testing.T) {
	raw := "# key " + planted + "\na: {b: " + planted + ", c: \"" + planted + "\"} # " + planted + "\nd: |\n  " + planted + "\ne: other\n"
	out, err := struckOut([]byte(raw), map[string]bool{planted: true})
	if err != nil || strings.Contains(string(out), planted) || !strings.Contains(string(out), "other") || strings.Count(string(out), "<secret>") < 4 {
		t.Errorf("%v\n%s", err, out)
	}
}
