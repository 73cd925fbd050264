package web

import (
	"strings"
	"testing"

	"nocturne/internal/access"
	"nocturne/internal/secret"
)

// TestAPIRotatesTheKey looks at the master key, rotates it and checks all that
// it seals.
func TestAPIRotatesTheKey(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	if err := r.Access.Vault().Put(t.Context(), access.System, "core", "snmp", map[string]secret.Text{"community": "never-to-be-seen"}); err != nil {
		t.Fatal(err)
	}
	was := take[access.KeyStatus](r, "GET", "/key", nil)
	if len(was.ID) != 16 || was.Records < 1 || was.Others != 0 || was.Asks || !strings.HasPrefix(was.Source, "file ") {
		t.Errorf("key %+v", was)
	}
	done := take[access.Rotated](r, "POST", "/key/rotate", map[string]any{})
	if done.From != was.ID || done.Records != was.Records || done.Broken != nil {
		t.Errorf("rotated %+v", done)
	}
	if now := take[access.KeyStatus](r, "GET", "/key", nil); now.ID != done.To || now.Records != was.Records || now.To != "" {
		t.Errorf("key %+v", now)
	}
	if c := take[access.KeyCheck](r, "POST", "/key/check", nil); c.Good != was.Records || c.Broken != nil {
		t.Errorf("checked %+v", c)
	}
	if status, text := r.ask(r.admin, "POST", apiRoot+"/key/rotate", map[string]any{"passphrase": "never-to-be-seen"}); status != 409 || !strings.Contains(text, "passphrase") || strings.Contains(text, "never-to-be-seen") {
		t.Errorf("a passphrase for a file: %d %s", status, text)
	}
}
