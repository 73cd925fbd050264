package web

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"nocturne/internal/strictyaml"
	invview "nocturne/views/inventory"
)

func (s *Server) exportInventory(w http.ResponseWriter, _ *http.Request) error {
	var b bytes.Buffer
	if err := s.Graph.ExportYAML(&b); err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/yaml")
	w.Header().Set("Content-Disposition", `attachment; filename="inventory-`+time.Now().Format("2006-01-02")+`.yaml"`)
	_, err := w.Write(b.Bytes())
	return err
}

func (s *Server) importForm(w http.ResponseWriter, r *http.Request) error {
	s.render(w, r, http.StatusOK, invview.ImportPage(invview.Import{Page: s.page(r, "Import an inventory")}))
	return nil
}

func (s *Server) importInventory(w http.ResponseWriter, r *http.Request) error {
	m := invview.Import{Page: s.page(r, "Import an inventory")}
	name, text, err := s.uploaded(r)
	if err != nil {
		m.Faults = []invview.Fault{{File: name, Text: err.Error()}}
		s.render(w, r, http.StatusBadRequest, invview.ImportPage(m))
		return nil
	}
	m.Name = name
	status := http.StatusOK
	report, err := s.Graph.ImportYAML(r.Context(), name, text, actorOf(r.Context()).String())
	switch faults := faultsIn(err); {
	case err == nil:
		m.Result = &invview.Result{Added: len(report.Created), Changed: len(report.Changed), Unchanged: report.Unchanged}
		if err := s.record(r.Context(), "inventory.import", "inventory", map[string]any{"file": name, "created": len(report.Created), "changed": len(report.Changed)}); err != nil {
			return err
		}
	case len(faults) > 0:
		status, m.Text = http.StatusBadRequest, string(text)
		for _, f := range faults {
			m.Faults = append(m.Faults, invview.Fault{File: f.File, Line: f.Line, Path: f.Path, Text: f.Message})
		}
	default:
		return err
	}
	s.render(w, r, status, invview.ImportPage(m))
	return nil
}

// uploaded is the file of a form, or the text typed into it.
func (s *Server) uploaded(r *http.Request) (name string, text []byte, err error) {
	if err := r.ParseMultipartForm(s.MaxBody); err != nil && !errors.Is(err, http.ErrNotMultipart) {
		if _, over := errors.AsType[*http.MaxBytesError](err); over {
			return "the file", nil, invalid{fmt.Sprintf("it is larger than %.4g MiB", float64(s.MaxBody)/(1<<20))}
		}
		return "the form", nil, invalid{"it cannot be read"}
	}
	if f, head, err := r.FormFile("file"); err == nil && head.Size > 0 {
		defer f.Close()
		if text, err = io.ReadAll(f); err != nil {
			return head.Filename, nil, invalid{"it cannot be read"}
		}
		return head.Filename, text, nil
	}
	text = []byte(r.FormValue("text"))
	if len(bytes.TrimSpace(text)) == 0 {
		return "the form", nil, invalid{"choose a file, or type its text"}
	}
	return "typed text", text, nil
}

// faultsIn takes the faults out of a joined error.
func faultsIn(err error) []*strictyaml.Fault {
	if f, ok := err.(*strictyaml.Fault); ok {
		return []*strictyaml.Fault{f}
	}
	var out []*strictyaml.Fault
	switch e := err.(type) {
	case interface{ Unwrap() []error }:
		for _, x := range e.Unwrap() {
			out = append(out, faultsIn(x)...)
		}
	case interface{ Unwrap() error }:
		out = faultsIn(e.Unwrap())
	}
	return out
}
