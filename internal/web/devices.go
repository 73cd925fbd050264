package web

import (
	"cmp"
	"net/http"
	"slices"
	"strings"

	"nocturne/internal/inventory"
	"nocturne/views/devices"
	"nocturne/views/ui"
)

// devices lists what can be polled or runs on it.
func (s *Server) devices(w http.ResponseWriter, r *http.Request) error {
	m := devices.List{Page: s.page(r, "Devices"), Query: ui.ParseQuery("/devices", r.URL.Query(), "kind", "rack")}
	rows := s.deviceRows()
	m.Known = len(rows)
	m.Kinds = options(rows, m.Query.Filter["kind"], func(row devices.Row) (string, string) { return row.Kind, row.Kind })
	m.Racks = options(rows, m.Query.Filter["rack"], func(row devices.Row) (string, string) { return row.Rack.ID, row.Rack.Label })
	rows = slices.DeleteFunc(rows, func(row devices.Row) bool { return !deviceMatches(row, m.Query) })
	sortDevices(rows, m.Query)
	m.Rows, m.Pager = paged(rows, &m.Query)
	s.render(w, r, http.StatusOK, devices.ListPage(m))
	return nil
}

func (s *Server) deviceRows() []devices.Row {
	states := s.Alerts.Statuses(s.walledIDs())
	addresses := map[string]string{}
	for _, t := range s.Collector.Status() {
		addresses[t.Target.Name] = t.Target.Address
	}
	places := s.places()
	var rows []devices.Row
	for _, kind := range walled {
		for _, it := range s.Graph.Items(kind) {
			st := states[it.ID]
			row := devices.Row{
				ID: it.ID, Name: nameOf(it), Href: itemHref(it.ID), State: stateOf(st.State), Since: st.Since, Kind: kind,
				Role: it.Value("role"), Address: cmp.Or(addresses[it.Key()], it.Value("addresses")), Model: model(it), LastSeen: st.LastSeen, Alerts: len(st.Alerts),
			}
			if at := places.of(it.ID); at.rack != "" {
				row.Rack, row.U = ui.Ref{ID: at.rack, Label: cmp.Or(at.name, at.rack), Href: itemHref(at.rack)}, int(at.u)
			}
			rows = append(rows, row)
		}
	}
	return rows
}

// model says in a few words what the thing is.
func model(it inventory.Item) string {
	return cmp.Or(it.Value("model"), it.Value("os"), it.Value("sysDescr"), it.Value("flavor"), it.Value("type"))
}

func deviceMatches(row devices.Row, q ui.Query) bool {
	text := strings.ToLower(strings.Join([]string{row.Name, row.Role, row.Address, row.Model, row.Rack.Label}, " "))
	return (q.Text == "" || strings.Contains(text, strings.ToLower(q.Text))) && (q.State == "" || row.State == q.State) &&
		(q.Filter["kind"] == "" || row.Kind == q.Filter["kind"]) && (q.Filter["rack"] == "" || row.Rack.ID == q.Filter["rack"])
}

func sortDevices(rows []devices.Row, q ui.Query) {
	slices.SortStableFunc(rows, func(a, b devices.Row) int {
		c := 0
		switch q.Sort {
		case "name":
		case "kind":
			c = cmp.Compare(a.Kind, b.Kind)
		case "rack":
			c = cmp.Or(cmp.Compare(a.Rack.Label, b.Rack.Label), cmp.Compare(b.U, a.U))
		case "address":
			c = cmp.Compare(a.Address, b.Address)
		case "seen":
			c = b.LastSeen.Compare(a.LastSeen)
		default:
			c = cmp.Compare(a.State.Rank(), b.State.Rank())
		}
		c = cmp.Or(c, cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID))
		if q.Desc {
			return -c
		}
		return c
	})
}

// options are the values that rows have, for a filter.
func options[T any](rows []T, chosen string, of func(T) (value, label string)) []ui.Option {
	labels := map[string]string{}
	for _, row := range rows {
		if v, l := of(row); v != "" {
			labels[v] = l
		}
	}
	var out []ui.Option
	for v, l := range labels {
		out = append(out, ui.Option{Value: v, Label: l, Selected: v == chosen})
	}
	slices.SortFunc(out, func(a, b ui.Option) int { return cmp.Compare(a.Label, b.Label) })
	return out
}
