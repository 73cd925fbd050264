package web

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"nocturne/internal/ledger"
	"nocturne/views/admin"
	"nocturne/views/ui"
)

// auditDepth is how many of the newest entries the page looks through; the
// whole chain is in the API.
const auditDepth = 5000

func (s *Server) audit(w http.ResponseWriter, r *http.Request) error {
	m := admin.Audit{Page: s.page(r, "Audit"), Query: ui.ParseQuery("/admin/audit", r.URL.Query(), "kind")}
	entries, err := s.Ledger.Latest(auditDepth, m.Query.Filter["kind"])
	if err != nil {
		return err
	}
	newest, err := s.Ledger.Latest(1, "")
	if err != nil {
		return err
	}
	if len(newest) > 0 {
		m.Length = newest[0].Seq
	}
	var found []ledger.Entry
	for _, e := range entries {
		if entryMatches(e, m.Query.Text) {
			found = append(found, e)
		}
	}
	found, m.Pager = paged(found, &m.Query)
	for _, e := range found {
		m.Rows = append(m.Rows, admin.Entry{
			Seq: e.Seq, At: e.At, Kind: e.Kind, Actor: e.Actor, Action: e.Action, Subject: e.Subject, Incident: e.Incident, Hash: e.Hash, Data: indented(e.Data),
		})
	}
	if v, ok := s.Ledger.LastVerdict(); ok {
		m.Checked, m.Verified = v.At, v.Entries
		if v.Err != nil {
			m.Broken = v.Err.Error()
		}
	}
	s.render(w, r, http.StatusOK, admin.AuditPage(m))
	return nil
}

func entryMatches(e ledger.Entry, text string) bool {
	text = strings.ToLower(text)
	return text == "" || strings.Contains(strings.ToLower(strings.Join([]string{e.Actor, e.Action, e.Subject, e.Incident, string(e.Data)}, " ")), text)
}

func indented(data json.RawMessage) string {
	var b bytes.Buffer
	if json.Indent(&b, data, "", "  ") != nil {
		return string(data)
	}
	return b.String()
}

// verifyLedger checks the whole chain. A broken one is a finding, not a fault
// of the request.
func (s *Server) verifyLedger(w http.ResponseWriter, r *http.Request) error {
	n, err := s.Ledger.Verify(r.Context())
	if err != nil && !errors.Is(err, ledger.ErrBroken) {
		return err
	}
	if err != nil {
		s.log.Error("the ledger's chain is broken", "entries", n, "err", err)
	}
	return done(w, r, "/admin/audit")
}
