package web

import (
	"cmp"
	"net/http"
	"slices"
	"strings"
	"time"

	"nocturne/alerting"
	"nocturne/collector"
	"nocturne/internal/inventory"
	"nocturne/views/devices"
	jobsview "nocturne/views/jobs"
	"nocturne/views/ui"
)

// device is the page of anything that can be looked at: a switch, a host, an
// instance, an interface.
func (s *Server) device(w http.ResponseWriter, r *http.Request) error {
	return s.devicePage(w, r, http.StatusOK, r.PathValue("id"), devices.Maintenance{})
}

func (s *Server) devicePage(w http.ResponseWriter, r *http.Request, status int, id string, typed devices.Maintenance) error {
	it, ok := s.Graph.Item(id)
	if !ok {
		return notFound{"item " + id}
	}
	st := s.Alerts.Status(id)
	m := devices.Device{
		Page: s.page(r, s.label(id), "chart:"+id), ID: id, Name: s.label(id), Kind: it.Kind, State: stateOf(st.State), Reasons: st.Reasons,
		Since: st.Since, LastSeen: st.LastSeen, Crumbs: s.crumbs(id), Target: s.targetOf(id), Properties: fieldsOf(it), Charts: s.panelsFor(id),
		Range: rangeOf(r), Typed: typed,
	}
	m.Path = itemHref(id)
	for _, name := range []string{"hour", "day", "week"} {
		m.Ranges = append(m.Ranges, ui.Ref{ID: name, Label: name, Href: itemHref(id) + "?range=" + name})
	}
	for i := range m.Charts {
		m.Charts[i].Src += "&range=" + m.Range
	}
	for _, t := range s.Collector.Status() {
		if t.Target.Name == m.Target {
			m.PollError = t.Err
		}
	}
	links := s.Graph.LinksOf(id)
	for _, l := range links {
		m.Links = append(m.Links, s.linkOf(id, l))
	}
	if sel := s.selectorOf(id, "snmp"); sel != "" && it.Kind != "interface" {
		m.Interfaces = s.interfaces(r, id, sel, m.Links)
	}
	if sel := s.selectorOf(id, "linux"); sel != "" {
		m.Services, m.Disks = s.services(r, id, sel), s.disks(r, id, sel)
	}
	s.deviceSurroundings(r, &m)
	s.render(w, r, status, devices.DevicePage(m))
	return nil
}

func rangeOf(r *http.Request) string {
	if v := r.URL.Query().Get("range"); v == "day" || v == "week" {
		return v
	}
	return "hour"
}

// deviceSurroundings fills in alerts, jobs, links, relations and maintenance.
func (s *Server) deviceSurroundings(r *http.Request, m *devices.Device) {
	below := append([]string{m.ID}, s.Graph.Dependents(m.ID)...)
	found := slices.DeleteFunc(s.Alerts.Alerts(), func(a alerting.Alert) bool {
		return a.Phase == alerting.Resolved || a.Item != m.ID && !(strings.HasPrefix(a.Item, "interface/") && slices.Contains(below, a.Item))
	})
	m.Alerts = s.alertRows(found)
	sortAlerts(m.Alerts, ui.Query{})
	if m.Kind == "host" {
		m.Jobs = s.jobsOn(m.Target)
	}
	for _, rel := range s.Graph.Relations(m.ID) {
		if !rel.Until.IsZero() || rel.Type == inventory.ConnectedTo || strings.HasPrefix(rel.From, "interface/") {
			continue
		}
		other, kind := rel.To, rel.Type
		if rel.To == m.ID {
			other, kind = rel.From, rel.Type+" (of)"
		}
		m.Relations = append(m.Relations, devices.Relation{Type: kind, Other: s.ref(other), Detail: pairs(rel.Fields)})
	}
	if s.overSSH(m.Target) && actorOf(r.Context()).May("run") {
		for _, rb := range s.Jobs.Runbooks() {
			m.Runbooks = append(m.Runbooks, ui.Ref{ID: rb.Name, Label: cmp.Or(rb.Title, rb.Name), Href: runHref(rb.Name, m.Target)})
		}
	}
	if w, ok := s.Alerts.Maintained(m.ID, time.Now()); ok {
		m.MaintenanceUntil, m.MaintenanceNote = w.To, w.Note
	}
}

// jobsOn are the last jobs on a host.
func (s *Server) jobsOn(host string) []jobsview.Row {
	var out []jobsview.Row
	for _, j := range s.Jobs.Jobs(manyJobs) {
		if slices.Contains(j.Hosts, host) {
			out = append(out, jobRow(j))
		}
		if len(out) == 10 {
			break
		}
	}
	return out
}

// overSSH tells whether runbooks can reach a target.
func (s *Server) overSSH(target string) bool {
	return slices.ContainsFunc(s.Collector.Status(), func(t collector.TargetStatus) bool {
		return t.Target.Name == target && t.Target.Kind == "linux"
	})
}

func (s *Server) linkOf(id string, l inventory.Link) devices.Link {
	near, far, device := l.A, l.B, l.DeviceB
	if l.DeviceB == id || l.B == id {
		near, far, device = l.B, l.A, l.DeviceA
	}
	return devices.Link{Port: portOf(near), Neighbour: s.ref(device), FarPort: portOf(far), Evidence: l.Evidence, LastSeen: l.LastSeen, State: s.linkState(l)}
}

// portOf is the last part of an interface's ID: the port's own name.
func portOf(id string) string {
	if !strings.HasPrefix(id, "interface/") {
		return ""
	}
	_, port, _ := strings.Cut(strings.TrimPrefix(id, "interface/"), "/")
	return port
}

func pairs(kv map[string]string) string {
	var out []string
	for _, p := range properties(kv) {
		out = append(out, p.Name+" "+p.Value)
	}
	return strings.Join(out, ", ")
}

func fieldsOf(it inventory.Item) []ui.Property {
	var out []ui.Property
	for _, p := range properties(valuesOf(it)) {
		f := it.Fields[p.Name]
		p.Source, p.At, p.Mono = f.Source, f.At, monospaced(p.Name)
		if v := parseUnit(p.Value); p.Name == "memory" && v > 0 {
			p.Value = metric(v/(1<<30)) + " GiB"
		}
		out = append(out, p)
	}
	return out
}

func valuesOf(it inventory.Item) map[string]string {
	out := map[string]string{}
	for k, f := range it.Fields {
		out[k] = f.Value
	}
	return out
}

func monospaced(field string) bool {
	f := strings.ToLower(field)
	return slices.ContainsFunc([]string{"id", "address", "mac", "uuid", "serial"}, func(p string) bool { return strings.HasSuffix(f, p) || strings.HasPrefix(f, p) })
}
