package web

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"nocturne/automation/remedy"
	"nocturne/internal/strictyaml"
	"nocturne/views/admin"
)

// Configuration is the configuration's file, beside what runs.
type Configuration interface {
	// Difference reads the file anew and says how it differs from what runs.
	Difference() (Difference, error)
	// Reload applies the file, all or nothing, and says what it changed. by is
	// who asks, for the ledger.
	Reload(ctx context.Context, by string) (Difference, error)
}

// Difference is how the configuration's files differ from what runs.
type Difference struct {
	File    string   `json:"file"`
	Changes []Change `json:"changes"`
}

// Change is one field that differs. Secrets are shown only as changed.
type Change struct {
	Field   string `json:"field"`
	Was     string `json:"was"`
	Is      string `json:"is"`
	Restart bool   `json:"restart" doc:"It cannot be applied while the program runs"`
}

// RefusedError says why a reload changed nothing.
type RefusedError struct{ Faults []string }

func (e *RefusedError) Error() string {
	return "nothing was changed: " + strings.Join(e.Faults, "; ")
}

// Replaceable is what a reload replaces of the Options.
type Replaceable struct {
	Remedies []remedy.Remedy
	Settings []Setting
	Faults   []string
}

// Replace shows these from now on.
func (s *Server) Replace(r Replaceable) { s.replaced.Store(&r) }

func (s *Server) difference() (Difference, error) {
	if s.Configuration == nil {
		return Difference{}, &RefusedError{[]string{"the program runs without a configuration file"}}
	}
	return s.Configuration.Difference()
}

func (s *Server) reload(ctx context.Context) (Difference, error) {
	if s.Configuration == nil {
		return s.difference()
	}
	return s.Configuration.Reload(ctx, actorOf(ctx).String())
}

// refusal is what a person can mend of a difference or a reload.
func refusal(err error) []string {
	if e, ok := errors.AsType[*RefusedError](err); ok {
		return e.Faults
	}
	if _, ok := errors.AsType[*strictyaml.Fault](err); ok {
		return strings.Split(err.Error(), "\n")
	}
	return nil
}

func (s *Server) configurationPage(w http.ResponseWriter, r *http.Request) error {
	m := admin.Configuration{Page: s.page(r, "Configuration")}
	if s.Configuration != nil {
		d, err := s.difference()
		if m.Faults = refusal(err); err != nil && m.Faults == nil {
			return err
		}
		showDifference(&m, d)
	}
	s.render(w, r, http.StatusOK, admin.ConfigurationPage(m))
	return nil
}

func showDifference(m *admin.Configuration, d Difference) {
	m.File = d.File
	for _, c := range d.Changes {
		m.Changes = append(m.Changes, admin.Change(c))
		if c.Restart {
			m.Restart = append(m.Restart, c.Field)
		}
	}
}

// reloadConfiguration answers with the page itself: what was applied is on no
// other.
func (s *Server) reloadConfiguration(w http.ResponseWriter, r *http.Request) error {
	m := admin.Configuration{Page: s.page(r, "Configuration"), Done: true}
	m.Path = "/admin/configuration"
	applied, err := s.reload(r.Context())
	if m.Faults = refusal(err); err != nil && m.Faults == nil {
		return err
	}
	status := http.StatusOK
	if err != nil {
		status = http.StatusConflict
		if d, err := s.difference(); err == nil {
			showDifference(&m, d)
		}
	}
	m.File = applied.File
	for _, c := range applied.Changes {
		m.Applied = append(m.Applied, admin.Change(c))
	}
	s.render(w, r, status, admin.ConfigurationPage(m))
	return nil
}

func (s *Server) apiDifference(context.Context, *struct{}) (*body[Difference], error) {
	d, err := s.difference()
	d.Changes = some(d.Changes)
	return reply(d), err
}

func (s *Server) apiReload(ctx context.Context, _ *struct{}) (*body[Difference], error) {
	d, err := s.reload(ctx)
	if err != nil {
		return nil, fmt.Errorf("reload the configuration: %w", err)
	}
	d.Changes = some(d.Changes)
	return reply(d), nil
}
