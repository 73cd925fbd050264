package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"nocturne/alerting"
)

// living runs a house until the returned function ends it.
func living(t *testing.T, cfg Config) (h *house, stop func()) {
	t.Helper()
	h, err := openHouse(cfg, testLog(t), false)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- h.Run(ctx) }()
	return h, func() {
		t.Helper()
		cancel()
		if err := errors.Join(<-done, h.Close()); err != nil {
			t.Error(err)
		}
	}
}

// TestTargetTakenOutWhileDown: a target that does not answer is taken out of
// the configuration, and the program started again. Its alert ends; that of
// the target which stays goes on.
func TestTargetTakenOutWhileDown(t *testing.T) {
	dir := t.TempDir()
	rules := filepath.Join(dir, "rules.yml")
	if err := os.WriteFile(rules, []byte("groups: [{name: g, rules: [{alert: Down, expr: up == 0}]}]"), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := DefaultConfig()
	cfg.Data, cfg.Listen = filepath.Join(dir, "data"), "127.0.0.1:0"
	cfg.Collector.Local = false
	cfg.Collector.Interval, cfg.Collector.Timeout = 2*time.Second, time.Second
	cfg.Alerting.Interval, cfg.Alerting.Rules = time.Second, []string{rules}
	cfg.Credentials = []CredentialEntry{{Name: "c", SNMP: &SNMPCredential{Version: "2c", Community: "any"}}}
	stays := TargetConfig{Name: "stays", Address: "127.0.0.1:9", Credential: "c"}
	goes := TargetConfig{Name: "goes", Address: "127.0.0.1:9", Credential: "c"}
	cfg.Targets.SNMP = []TargetConfig{stays, goes}
	if err := cfg.validate("the test's configuration"); err != nil {
		t.Fatal(err)
	}
	h, stop := living(t, cfg)
	eventually(t, 30*time.Second, "both alerts fire", func() bool { return len(h.alerts.Alerts()) == 2 })
	episode := map[string]string{}
	for _, a := range h.alerts.Alerts() {
		episode[a.Labels.Get("instance")] = a.Episode
	}
	stop()

	cfg.Targets.SNMP = []TargetConfig{stays}
	for range 2 { // once is enough, twice does no harm
		h, stop = living(t, cfg)
		eventually(t, 30*time.Second, "the alert of what is gone ends", func() bool {
			a, err := h.alerts.Episode(episode["goes"])
			return err == nil && a.Phase == alerting.Resolved && strings.Contains(a.Reason, "target removed: goes")
		})
		if a, err := h.alerts.Episode(episode["stays"]); err != nil || a.Phase != alerting.Firing {
			t.Errorf("the alert of what stays: %+v, %v", a, err)
		}
		stop()
	}
}
