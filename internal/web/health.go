package web

import (
	"encoding/json"
	"net/http"
	"strings"
	"time"
)

const (
	syncWithin  = 10 * time.Second // it is done every half second
	evalAtLeast = 15 * time.Second // for groups of a second or two on a busy machine
	// startUp is the time that the parts have for their first turn.
	startUp = time.Minute
)

// healthz says that the process answers.
func (s *Server) healthz(w http.ResponseWriter, _ *http.Request) error {
	return answer(w, http.StatusOK, map[string]any{"status": "ok", "build": s.Build})
}

// readyz says whether the product does its work, and names what does not.
func (s *Server) readyz(w http.ResponseWriter, _ *http.Request) error {
	faults := s.notReady(time.Now())
	if len(faults) > 0 {
		return answer(w, http.StatusServiceUnavailable, map[string]any{"status": "not ready", "faults": faults})
	}
	return answer(w, http.StatusOK, map[string]any{"status": "ready"})
}

func (s *Server) notReady(now time.Time) []string {
	var faults []string
	for _, check := range []func(time.Time) string{s.stateFault, s.historyFault, s.engineFault, s.collectorFault, s.streamFault} {
		if f := check(now); f != "" {
			faults = append(faults, f)
		}
	}
	return faults
}

func (s *Server) stateFault(time.Time) string {
	if s.StateReadOnly == nil {
		return ""
	}
	if _, err := s.StateReadOnly(); err != nil {
		return "state: nothing is changed or run until there is room on its disk"
	}
	return ""
}

func (s *Server) historyFault(now time.Time) string {
	switch st := s.History.Stats(); {
	case st.SyncErr != nil:
		return "history: samples are not written: the log has the cause"
	case st.Remote != nil && st.Remote.Err != nil:
		return "history: the remote store at " + st.Remote.URL + " does not answer since " + st.Remote.ErrSince.UTC().Format(time.RFC3339)
	case st.ReadOnly != nil:
		return "history: no samples are taken until there is room on its disk"
	case now.Sub(st.LastSync) > syncWithin && now.Sub(s.Started) > startUp:
		return "history: nothing was synced for " + now.Sub(st.LastSync).Round(time.Second).String()
	}
	return ""
}

// engineFault looks for a rule that was not evaluated within three of its
// intervals. One that did not load has a page of its own.
func (s *Server) engineFault(now time.Time) string {
	if now.Sub(s.Started) <= startUp {
		return ""
	}
	for _, r := range s.Alerts.Rules() {
		if r.LastEval.IsZero() && r.Health == "err" {
			continue
		}
		last := r.LastEval
		if r.Loaded.After(last) {
			last = r.Loaded
		}
		if late := now.Sub(last); late > max(3*r.Interval, evalAtLeast) {
			return "alerting: the rules of group " + r.Group + " were not evaluated within three of their intervals"
		}
	}
	return ""
}

// collectorFault looks for any target that was polled in its time.
func (s *Server) collectorFault(now time.Time) string {
	all := s.Collector.Status()
	for _, t := range all {
		if t.Running || now.Sub(t.Last) <= 3*t.Target.Interval {
			return ""
		}
	}
	if len(all) == 0 || now.Sub(s.Started) <= startUp {
		return ""
	}
	return "collector: no target was polled within three of its intervals"
}

func (s *Server) streamFault(time.Time) string {
	select {
	case <-s.hub.done:
		return "web: the live stream has ended"
	default:
		return ""
	}
}

// answer writes JSON.
func answer(w http.ResponseWriter, status int, v any) error {
	var b strings.Builder
	if err := json.NewEncoder(&b).Encode(v); err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, err := w.Write([]byte(b.String()))
	return err
}
