package main

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"nocturne/internal/access"
	"nocturne/internal/secret"
	"nocturne/internal/snmpconn"
)

// plants puts a secret into every place that takes one, and returns them.
func plants(t *testing.T, c *Config) []string {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(private, "")
	if err != nil {
		t.Fatal(err)
	}
	key := string(pem.EncodeToMemory(block))
	nobody := "127.0.0.1:9" // discard: nobody listens, and every error is logged
	c.Credentials = []CredentialEntry{
		{Name: "v2", SNMP: &SNMPCredential{Version: "2c", Community: "planted-community"}},
		{Name: "v3", SNMP: &SNMPCredential{Version: "3", User: "ops", AuthProtocol: "SHA", AuthPassphrase: "planted-authpass", PrivProtocol: "AES", PrivPassphrase: "planted-privpass"}},
		{Name: "ssh", SSH: &SSHCredential{User: "ops", Key: secret.Text(key)}},
		{Name: "cloud", OpenStack: &OpenStackCredential{AuthURL: "http://" + nobody + "/v3", Username: "ops", Password: "planted-cloudpass", Project: "admin"}},
		{Name: "http", HTTP: &HTTPCredential{Token: "planted-httptoken"}},
	}
	c.Targets.SNMP = []TargetConfig{{Name: "sw-2", Address: nobody, Credential: "v2"}, {Name: "sw-3", Address: nobody, Credential: "v3"}}
	c.Targets.Linux = []TargetConfig{{Name: "host", Address: nobody, Credential: "ssh"}}
	c.Targets.OpenStack = []TargetConfig{{Name: "cloud", Credential: "cloud"}}
	hook := secret.Text("http://ann:planted-hookpass@" + nobody + "/services/planted-hookpath?token=planted-hooktoken")
	c.Alerting.Webhooks = append(c.Alerting.Webhooks, WebhookConfig{Name: "gone", URL: hook})
	rules := filepath.Join(t.TempDir(), "rules.yml")
	if err := os.WriteFile(rules, []byte("groups:\n- name: g\n  rules:\n  - {alert: TargetDown, expr: up == 0}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c.Alerting.Rules = []string{rules}
	c.History.RemoteWrite = []RemoteWriteConfig{{Name: "central", URL: "http://" + nobody + "/write", Credential: "http",
		Headers: map[string]secret.Text{"X-Key": "planted-header"}}}
	lines := strings.Split(strings.TrimSpace(key), "\n")
	return append([]string{"planted-"}, lines[1:len(lines)-1]...)
}

// untar reads a bundle.
func untar(t *testing.T, path string) map[string]string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		out[strings.TrimPrefix(h.Name, "nocturne-support/")] = string(b)
	}
}

// admitted makes a person, who mistypes her password too, and two tokens.
func (h *hall) admitted(t *testing.T) (admin, viewer string) {
	t.Helper()
	ctx := t.Context()
	if err := h.access.AddPerson(ctx, access.System, "ann", access.Administrator, "planted-password"); err != nil {
		t.Fatal(err)
	}
	if _, err := h.access.Login(ctx, "ann", "planted-mistyped", "127.0.0.1"); err == nil {
		t.Fatal("a wrong password lets in")
	}
	for role, into := range map[access.Role]*string{access.Administrator: &admin, access.Viewer: &viewer} {
		token, err := h.access.AddToken(ctx, access.System, "robot-"+string(role), role, time.Time{})
		if err != nil {
			t.Fatal(err)
		}
		*into = filepath.Join(t.TempDir(), "token")
		if err := os.WriteFile(*into, []byte(token.Reveal()+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return admin, viewer
}

// TestSupportBundleHasNoSecret plants secrets in every place, lets everything
// fail that uses them, and searches each file of the bundle.
func TestSupportBundleHasNoSecret(t *testing.T) {
	var planted []string
	h := startReal(t, func(c *Config) { planted = plants(t, c) })
	admin, viewer := h.admitted(t)
	sealed := snmpconn.Credential{Version: "2c", Community: "planted-onpage"}
	if err := h.access.Vault().Put(t.Context(), access.System, "by-page", "snmp", sealed); err != nil {
		t.Fatal(err)
	}
	h.log.Error("a careless line", "component", "test", "err", fmt.Errorf("refused planted-onpage for planted-community: %w", context.Canceled))
	eventually(t, 40*time.Second, "every target failed, and the webhook", func() bool {
		failed := 0
		for _, s := range h.collector.Status() {
			if s.Err != "" {
				failed++
			}
		}
		var log strings.Builder
		return failed == 4 && h.recent.copyTo(&log) == nil && strings.Contains(log.String(), "gone")
	})
	listen, out := h.listener.Addr().String(), filepath.Join(t.TempDir(), "bundle.tar.gz")
	if said, err := cli("support", "--listen", listen, "--token-file", admin, "--out", out); err != nil || !strings.Contains(said, out) {
		t.Fatalf("%q, %v", said, err)
	}
	if st, err := os.Stat(out); err != nil || st.Mode() != 0o600 {
		t.Errorf("the bundle has mode %v, %v", st.Mode(), err)
	}
	files := untar(t, out)
	for name, text := range files {
		for _, p := range planted {
			if at := strings.Index(text, p); at >= 0 {
				t.Errorf("%s: %q", name, text[max(0, at-100):min(len(text), at+100)])
			}
		}
		if strings.Contains(text, "[not whole") {
			t.Errorf("%s is not whole: %.300s", name, text)
		}
	}
	supportHas(t, files)
	h.supportIsRefused(t, listen, viewer, out)
}

// supportHas wants to see in the bundle what somebody looks for first.
func supportHas(t *testing.T, files map[string]string) {
	t.Helper()
	for name, want := range map[string]string{
		"README.txt": "nocturne " + version, "build.txt": "github.com/prometheus/prometheus", "configuration.yaml": "community: <secret>",
		"log.txt": "a careless line", "metrics.txt": "nocturne_", "goroutines.txt": "nocturne/collector", "heap.txt": "heap profile",
		"history.json": "Series", "targets.json": "sw-3", "rules.json": "TargetDown", "alerts.json": "TargetDown", "receivers.json": "central",
		"jobs.json": "{}", "ledger.txt": "the newest entry", "disk.txt": "in state", "faults.json": "not_ready", "proc/self/status": "VmRSS",
		"proc/meminfo": "MemTotal",
	} {
		if !strings.Contains(files[name], want) {
			t.Errorf("%s has no %q: %.300s", name, want, files[name])
		}
	}
	if !strings.Contains(files["log.txt"], "refused <secret> for <secret>") {
		t.Errorf("the careless line is not struck out: %.2000s", files["log.txt"])
	}
}

// supportIsRefused asks without the right, and for a file that is there.
func (h *hall) supportIsRefused(t *testing.T, listen, viewer, out string) {
	t.Helper()
	other := filepath.Join(t.TempDir(), "other.tar.gz")
	if _, err := cli("support", "--listen", listen, "--token-file", viewer, "--out", other); err == nil || !strings.Contains(err.Error(), "403") {
		t.Errorf("a viewer: %v", err)
	}
	if _, err := os.Stat(other); err == nil {
		t.Error("a viewer's refusal left a file")
	}
	if _, err := cli("support", "--listen", listen, "--token-file", viewer, "--out", out); err == nil {
		t.Error("a file that is there was written over")
	}
	resp, err := http.Get(h.address() + "/api/nocturne/v1/support")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("nobody: %s", resp.Status)
	}
}
