package web

import (
	"context"
	"net/http"
	"time"

	"nocturne/internal/web/promapi"
)

// prometheus answers what a client of Prometheus asks for.
func (s *Server) prometheus() http.Handler {
	return promapi.New(promapi.Options{
		DB: s.History, Metadata: s.Metadata, Targets: s.Collector.Status, Metrics: s.Metrics,
		Rules: s.Alerts.Rules, Alerts: s.Alerts.Alerts, Interval: s.Interval, Build: s.Build, Started: s.Started,
		Record: func(ctx context.Context, action string, data any) error {
			return s.record(ctx, action, "history", data)
		},
	})
}

// healthy is healthz where a client of Prometheus looks for it.
func (s *Server) healthy(w http.ResponseWriter, _ *http.Request) error {
	return text(w, "text/plain; charset=utf-8", []byte("nocturne is Healthy.\n"), nil)
}

// ready is readyz in few words, which says no more than whether.
func (s *Server) ready(w http.ResponseWriter, _ *http.Request) error {
	if len(s.notReady(time.Now())) > 0 {
		http.Error(w, "Service Unavailable", http.StatusServiceUnavailable)
		return nil
	}
	return text(w, "text/plain; charset=utf-8", []byte("nocturne is Ready.\n"), nil)
}

// crossOrigin refuses what another site makes a browser send. Questions of the
// Prometheus API that are POSTed change nothing and may pass.
func crossOrigin() *http.CrossOriginProtection {
	c := http.NewCrossOriginProtection()
	for _, path := range []string{"query", "query_range", "query_exemplars", "format_query", "parse_query", "series", "labels"} {
		c.AddInsecureBypassPattern("POST /api/v1/" + path)
	}
	return c
}
