package webhook

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"nocturne/alerting"
	"nocturne/internal/secret"
)

var update = flag.Bool("update", false, "write the golden file")

func notification() alerting.Notification {
	start := time.Date(2026, 11, 23, 3, 4, 5, 678e6, time.UTC)
	return alerting.Notification{
		Key: "inc-1", Incident: "inc-1", Item: "host/web-1", Firing: true, ExternalURL: "http://noc",
		GroupLabels:       map[string]string{"incident": "inc-1"},
		CommonLabels:      map[string]string{"instance": "web-1"},
		CommonAnnotations: map[string]string{},
		Alerts: []alerting.NotifiedAlert{
			{Firing: true, Labels: map[string]string{"alertname": "ServiceDown", "instance": "web-1", "severity": "critical"},
				Annotations: map[string]string{"summary": "shop.service is down"}, StartsAt: start,
				GeneratorURL: "http://noc/alerts/aa", Fingerprint: "aa"},
			{Labels: map[string]string{"alertname": "Load", "instance": "web-1"}, Annotations: map[string]string{},
				StartsAt: start.In(time.FixedZone("CET", 3600)), EndsAt: start.Add(time.Minute),
				GeneratorURL: "http://noc/alerts/bb", Fingerprint: "bb"},
		},
	}
}

type request struct {
	header http.Header
	body   []byte
}

func serve(t *testing.T, answer http.HandlerFunc) (url string, got <-chan request) {
	t.Helper()
	ch := make(chan request, 10)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		ch <- request{r.Header, body}
		answer(w, r)
	}))
	t.Cleanup(srv.Close)
	return srv.URL, ch
}

func hook(t *testing.T, o Options) *Webhook {
	t.Helper()
	w, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func TestBodyIsAlertmanagers(t *testing.T) {
	url, got := serve(t, func(http.ResponseWriter, *http.Request) {})
	w := hook(t, Options{Name: "noc", URL: secret.Text(url + "/hook?token=hunter2"), Headers: map[string]secret.Text{"Authorization": "Bearer x"}})
	if err := w.Notify(t.Context(), notification()); err != nil {
		t.Fatal(err)
	}
	r := <-got
	if r.header.Get("Content-Type") != "application/json" || r.header.Get("Authorization") != "Bearer x" {
		t.Errorf("header %v", r.header)
	}
	var body bytes.Buffer
	if err := json.Indent(&body, r.body, "", "  "); err != nil {
		t.Fatal(err)
	}
	const golden = "testdata/message.json"
	if *update {
		if err := os.WriteFile(golden, body.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), body.String()); diff != "" {
		t.Errorf("body (-want +got):\n%s", diff)
	}
}

func TestAnswers(t *testing.T) {
	f := func(status int, ok, rejected bool) {
		t.Helper()
		url, _ := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			if status == http.StatusFound {
				w.Header().Set("Location", "http://127.0.0.1:1/elsewhere")
			}
			w.WriteHeader(status)
		})
		err := hook(t, Options{Name: "noc", URL: secret.Text(url)}).Notify(t.Context(), notification())
		if (err == nil) != ok || errors.Is(err, alerting.ErrRejected) != rejected {
			t.Errorf("%d: %v", status, err)
		}
	}
	f(200, true, false)
	f(204, true, false)
	f(302, false, false) // not followed: the address may hold a token
	f(400, false, true)
	f(404, false, true)
	f(408, false, false)
	f(429, false, false)
	f(500, false, false)
	f(503, false, false)
}

func TestSecretsStayOutOfErrors(t *testing.T) {
	release := make(chan struct{})
	slow, _ := serve(t, func(http.ResponseWriter, *http.Request) { <-release })
	defer close(release)
	for _, url := range []string{slow + "/hunter2?token=hunter2", "http://hunter2.invalid./hunter2", "http://127.0.0.1:1/hunter2"} {
		w := hook(t, Options{Name: "noc", URL: secret.Text(url), Headers: map[string]secret.Text{"X-Token": "hunter2"}, Timeout: 50 * time.Millisecond})
		err := w.Notify(t.Context(), notification())
		if err == nil || errors.Is(err, alerting.ErrRejected) || !strings.Contains(err.Error(), "webhook noc") || strings.Contains(err.Error(), "/hunter2") || strings.Contains(err.Error(), "token") {
			t.Errorf("got %v", err)
		}
	}
	if _, err := New(Options{Name: "noc", URL: "hunter2"}); err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("got %v", err)
	}
}
