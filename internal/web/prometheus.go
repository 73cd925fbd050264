package web

import (
	"fmt"
	"net/http"
	"time"

	"nocturne/internal/web/promapi"
)

// prometheus mounts what a client of Prometheus asks for, at the paths where
// it looks.
func (s *Server) prometheus(mux *http.ServeMux) {
	api := promapi.New(promapi.Options{
		DB: s.History, Metadata: s.Metadata, Targets: s.Collector.Status, Metrics: s.Metrics,
		Rules: s.Alerts.Rules, Alerts: s.Alerts.Alerts, Interval: s.Interval, Build: s.Build, Started: s.Started,
	})
	mux.Handle("/api/v1/", s.may("view", api))
	mux.Handle("GET /federate", s.may("view", api))
	mux.Handle("OPTIONS /api/v1/", api) // asked before a token is sent
	mux.HandleFunc("GET /-/healthy", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "nocturne is Healthy.") })
	mux.HandleFunc("GET /-/ready", func(w http.ResponseWriter, _ *http.Request) {
		if len(s.notReady(time.Now())) > 0 {
			http.Error(w, "nocturne is not ready; /readyz says why", http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "nocturne is Ready.")
	})
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
