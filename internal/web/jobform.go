package web

import (
	"cmp"
	"crypto/rand"
	"errors"
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
	m := jobsview.Form{Page: s.page(r, cmp.Or(rb.Title, rb.Name)), Runbook: rb.Name, Heading: cmp.Or(rb.Title, rb.Name), Text: rb.Description, Fault: fault}
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
	j, err := s.submit(r, name, hosts, values)
	if errors.Is(err, automation.ErrInvalid) {
		return s.jobFormPage(w, r, http.StatusBadRequest, name, hosts, values, err.Error())
	}
	if err != nil {
		return err
	}
	return done(w, r, jobHref(j.ID))
}

// submit starts a runbook for whoever asks.
func (s *Server) submit(r *http.Request, name string, hosts []string, values map[string]string) (automation.Job, error) {
	if _, err := s.runbook(name); err != nil {
		return automation.Job{}, err
	}
	return s.Jobs.Submit(r.Context(), automation.Spec{
		ID: "run-" + strings.ToLower(rand.Text()[:16]), Runbook: name, Parameters: values, Hosts: hosts, By: actorOf(r.Context()).String(),
	})
}
