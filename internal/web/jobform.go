package web

import (
	"cmp"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"nocturne/automation"
	jobsview "nocturne/views/jobs"
	"nocturne/views/ui"
)

func (s *Server) jobForm(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	return s.jobFormPage(w, r, http.StatusOK, q.Get("runbook"), q["host"], nil, "")
}

func (s *Server) runbook(name string) (automation.Runbook, error) {
	all := s.Jobs.Runbooks()
	i := slices.IndexFunc(all, func(rb automation.Runbook) bool { return rb.Name == name })
	if i < 0 {
		return automation.Runbook{}, notFound{"runbook " + name}
	}
	return all[i], nil
}

func (s *Server) jobFormPage(w http.ResponseWriter, r *http.Request, status int, name string, hosts []string, values map[string]string, fault string) error {
	rb, err := s.runbook(name)
	if err != nil {
		return err
	}
	m := jobsview.Form{Page: s.page(r, cmp.Or(rb.Title, rb.Name)), Key: rand.Text(), Runbook: rb.Name, Heading: cmp.Or(rb.Title, rb.Name), Text: rb.Description, Fault: fault}
	for _, p := range rb.Parameters {
		m.Parameters = append(m.Parameters, ui.Field{
			Name: p.Name, Label: p.Name, Value: cmp.Or(values[p.Name], r.URL.Query().Get("p."+p.Name), p.Default), Hint: p.Description, Required: p.Required,
		})
	}
	for _, t := range s.Collector.Status() {
		if t.Target.Kind == "linux" {
			m.Hosts = append(m.Hosts, ui.Option{
				Value: t.Target.Name, Label: t.Target.Name, Selected: slices.Contains(hosts, t.Target.Name), State: stateOf(s.Alerts.Status("host/" + t.Target.Name).State),
			})
		}
	}
	for _, st := range rb.Steps {
		m.Steps = append(m.Steps, jobsview.FormStep{Name: st.Name, Shell: st.Shell, Timeout: st.Timeout, Idempotent: st.Idempotent})
	}
	s.render(w, r, status, jobsview.FormPage(m))
	return nil
}

func (s *Server) startJob(w http.ResponseWriter, r *http.Request) error {
	if err := r.ParseForm(); err != nil {
		return invalid{"the form cannot be read"}
	}
	name, hosts, values := r.PostFormValue("runbook"), r.PostForm["host"], map[string]string{}
	for k, v := range r.PostForm {
		if p, ok := strings.CutPrefix(k, "p."); ok && len(v) > 0 && v[0] != "" {
			values[p] = v[0]
		}
	}
	key := r.PostFormValue("key")
	if key != "" {
		// A form that was gone back to and changed asks for something else.
		key = fmt.Sprintf("%s %q %q %q", key, name, hosts, values) // %q of a map is in order
	}
	j, err := s.submit(r, key, name, hosts, values)
	if errors.Is(err, automation.ErrInvalid) {
		return s.jobFormPage(w, r, http.StatusBadRequest, name, hosts, values, err.Error())
	}
	if err != nil {
		return err
	}
	return done(w, r, jobHref(j.ID))
}

// submit starts a runbook for whoever asks. The same key of the same person is
// the same job, however often it is asked for: a double click, a form that is
// sent again, a client that heard no answer. Without a key each is a job.
func (s *Server) submit(r *http.Request, key, name string, hosts []string, values map[string]string) (automation.Job, error) {
	if _, err := s.runbook(name); err != nil {
		return automation.Job{}, err
	}
	by := actorOf(r.Context()).String()
	// The hash keeps one from naming another's job.
	sum := sha256.Sum256([]byte(by + "\x00" + cmp.Or(key, rand.Text())))
	j, err := s.Jobs.Submit(r.Context(), automation.Spec{
		ID: "run-" + hex.EncodeToString(sum[:])[:20], Runbook: name, Parameters: values, Hosts: hosts, By: by,
	})
	if err == nil && (j.Runbook != name || !slices.Equal(j.Hosts, hosts) || !maps.Equal(j.Parameters, values)) {
		return automation.Job{}, errKeyReused{j.ID}
	}
	return j, err
}

// errKeyReused is a key that another job was started with.
type errKeyReused struct{ job string }

func (e errKeyReused) Error() string {
	return "this Idempotency-Key has started job " + e.job + ", which is another runbook, or has other hosts or parameters"
}
