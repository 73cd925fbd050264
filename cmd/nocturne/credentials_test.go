package main

import (
	"io"
	"log/slog"
	"testing"

	"nocturne/internal/secret"
)

// TestCredentialsAreSealedOnce starts three times: only a change of the
// configuration leaves an entry.
func TestCredentialsAreSealedOnce(t *testing.T) {
	cfg := DefaultConfig()
	cfg.Data, cfg.Listen = t.TempDir(), "127.0.0.1:0"
	start := func(community string) uint64 {
		t.Helper()
		cfg.Credentials = []CredentialEntry{{Name: "ro", SNMP: &SNMPCredential{Version: "2c", Community: secret.Text(community)}}}

		h, err := openHouse(cfg, slog.New(slog.NewTextHandler(io.Discard, nil)), false)
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := h.Close(); err != nil {
				t.Error(err)
			}
		}()
		last, err := h.ledger.Latest(1, "")
		if err != nil || len(last) == 0 {
			t.Fatal(last, err)
		}
		return last[0].Seq
	}
	first, again, changed := start("public"), start("public"), start("other")
	if again != first || changed <= first {
		t.Errorf("the ledger ended at %d, then %d, after a change at %d", first, again, changed)
	}
}
