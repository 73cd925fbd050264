package web

import (
	"cmp"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"nocturne/alerting"
	"nocturne/views/devices"
)

func (s *Server) startMaintenance(w http.ResponseWriter, r *http.Request) error {
	id := r.PostFormValue("item")
	typed := devices.Maintenance{Minutes: r.PostFormValue("minutes"), Note: strings.TrimSpace(r.PostFormValue("note"))}
	minutes, err := strconv.Atoi(typed.Minutes)
	switch {
	case err != nil || minutes < 1 || minutes > 30*24*60:
		typed.Fault = "The minutes are a whole number from 1 to 43200, which is 30 days."
	case utf8.RuneCountInString(typed.Note) > maxNote:
		typed.Fault = "The note is longer than 1,000 characters."
	}
	if typed.Fault != "" {
		return s.devicePage(w, r, http.StatusBadRequest, id, typed)
	}
	if err := s.maintain(r, id, time.Duration(minutes)*time.Minute, typed.Note); err != nil {
		return err
	}
	return done(w, r, cmp.Or(r.PostFormValue("back"), itemHref(id)))
}

// maintain opens a window for an item, from now.
func (s *Server) maintain(r *http.Request, id string, length time.Duration, note string) error {
	if _, ok := s.Graph.Item(id); !ok {
		return notFound{"item " + id}
	}
	now := time.Now().UTC()
	return s.Alerts.Maintain(r.Context(), alerting.Maintenance{Item: id, From: now, To: now.Add(length), By: actorOf(r.Context()).String(), Note: note})
}

// endMaintenance closes the windows of an item that are open now.
func (s *Server) endMaintenance(w http.ResponseWriter, r *http.Request) error {
	id, now := r.PostFormValue("item"), time.Now().UTC()
	if m, ok := s.Alerts.Maintained(id, now); ok && m.Item != id {
		return invalid{"the maintenance is of " + s.label(m.Item) + ": end it there"}
	}
	for _, m := range s.Alerts.Maintenances() {
		if m.Item != id || now.Before(m.From) || !now.Before(m.To) {
			continue
		}
		m.To, m.By = now, actorOf(r.Context()).String()
		if err := s.Alerts.Maintain(r.Context(), m); err != nil {
			return err
		}
	}
	return done(w, r, cmp.Or(r.PostFormValue("back"), itemHref(id)))
}
