package web

import (
	"bytes"
	"io"
	"net/http"
	"testing"
	"time"

	"nocturne/internal/access"
	"nocturne/internal/secret"
)

// TestOnlyTokensWrite sends samples as nobody, with tokens of each role and
// with the session of an administrator; only a writer's and an administrator's
// token come through, with a body larger than a form may be.
func TestOnlyTokensWrite(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	type got struct {
		sender string
		size   int64
	}
	var seen []got
	r.Write = func(w http.ResponseWriter, q *http.Request, sender string) {
		n, err := io.Copy(io.Discard, q.Body)
		if err != nil {
			t.Error(err)
		}
		seen = append(seen, got{sender, n})
		w.WriteHeader(http.StatusNoContent)
	}
	writer := must[secret.Text](t)(r.Access.AddToken(t.Context(), r.administrator, "prometheus", access.Writer, time.Time{})).Reveal()
	session := must[secret.Text](t)(r.Access.Login(t.Context(), "ann", "correct horse battery", "127.0.0.1")).Reveal()
	send := func(token, cookie string) int {
		q, err := http.NewRequestWithContext(t.Context(), http.MethodPost, r.http.URL+writePath, bytes.NewReader(make([]byte, maxBody+1)))
		if err != nil {
			t.Fatal(err)
		}
		if token != "" {
			q.Header.Set("Authorization", "Bearer "+token)
		}
		if cookie != "" {
			q.AddCookie(&http.Cookie{Name: sessionCookie, Value: cookie})
		}
		res, err := http.DefaultClient.Do(q)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		return res.StatusCode
	}
	for _, c := range []struct {
		name, token, cookie string
		want                int
	}{
		{"nobody", "", "", http.StatusUnauthorized},
		{"wrong token", "noc_x", "", http.StatusUnauthorized},
		{"viewer", r.viewer, "", http.StatusForbidden},
		{"session", "", session, http.StatusForbidden},
		{"writer", writer, "", http.StatusNoContent},
		{"administrator's token", r.admin, session, http.StatusNoContent},
	} {
		if code := send(c.token, c.cookie); code != c.want {
			t.Errorf("%s: %d, want %d", c.name, code, c.want)
		}
	}
	if len(seen) != 2 || seen[0] != (got{"prometheus", maxBody + 1}) || seen[1] != (got{"robot", maxBody + 1}) {
		t.Errorf("came through: %v", seen)
	}
	if code, _ := r.ask(writer, "GET", "/api/v1/query?query=up", nil); code != http.StatusForbidden {
		t.Errorf("a writer asks: %d", code)
	}
}
