package web

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/prometheus/promql"

	"nocturne/alerting"
	"nocturne/internal/inventory"
	"nocturne/views/devices"
	"nocturne/views/ui"
)

// vector answers an instant query. An error is logged, and what it would have
// said is then not seen.
func (s *Server) vector(ctx context.Context, query string) promql.Vector {
	res, err := s.History.Query(ctx, query, time.Now())
	if err == nil {
		var v promql.Vector
		if v, err = res.Vector(); err == nil {
			return v
		}
	}
	s.log.Error("query for a page", "query", query, "err", err)
	return nil
}

// values answers an instant query by one label.
func (s *Server) values(r *http.Request, query, label string) map[string]float64 {
	out := map[string]float64{}
	for _, x := range s.vector(r.Context(), query) {
		out[x.Metric.Get(label)] = x.F
	}
	return out
}

// loads are the last hour of each interface, both directions together.
func (s *Server) loads(r *http.Request, sel string) map[string]*ui.Spark {
	const step = 2 * time.Minute
	to := time.Now()
	from := to.Add(-time.Hour)
	query := expr(`8 * sum by (ifName) (rate(ifHCInOctets{$sel}[$w]) + rate(ifHCOutOctets{$sel}[$w]) or rate(ifInOctets{$sel}[$w]) + rate(ifOutOctets{$sel}[$w]))`, sel, "", 2*step)
	res, err := s.History.QueryRange(r.Context(), query, from, to, step)
	if err == nil {
		m, merr := res.Matrix()
		if err = merr; err == nil {
			out := map[string]*ui.Spark{}
			for _, x := range m {
				spark := sparkOf(x.Floats, from, step, int(time.Hour/step)+1)
				name := x.Metric.Get("ifName")
				spark.Label, spark.Last = "Load of "+name+" in the last hour", "not seen"
				if last := spark.Points[len(spark.Points)-1]; !math.IsNaN(last) {
					spark.Last = quantity(last, "bit/s")
				}
				out[name] = spark
			}
			return out
		}
	}
	s.log.Error("query for a page", "query", query, "err", err)
	return nil
}

func (s *Server) interfaces(r *http.Request, device, sel string, links []devices.Link) []devices.Interface {
	in := s.values(r, `rate(ifHCInOctets{`+sel+`}[1m]) * 8 or rate(ifInOctets{`+sel+`}[1m]) * 8`, "ifName")
	out := s.values(r, `rate(ifHCOutOctets{`+sel+`}[1m]) * 8 or rate(ifOutOctets{`+sel+`}[1m]) * 8`, "ifName")
	oper, admin := s.values(r, `ifOperStatus{`+sel+`}`, "ifName"), s.values(r, `ifAdminStatus{`+sel+`}`, "ifName")
	errs := s.values(r, `sum by (ifName) (increase(ifInErrors{`+sel+`}[1h]) + increase(ifOutErrors{`+sel+`}[1h]))`, "ifName")
	loads := s.loads(r, sel)
	far := map[string]devices.Link{}
	for _, l := range links {
		far[l.Port] = l
	}
	var items []inventory.Item
	var ids []string
	for _, rel := range s.Graph.Relations(device) {
		if rel.Type != inventory.PartOf || rel.To != device || !strings.HasPrefix(rel.From, "interface/") {
			continue
		}
		if it, ok := s.Graph.Item(rel.From); ok {
			items, ids = append(items, it), append(ids, it.ID)
		}
	}
	states := s.Alerts.Statuses(ids)
	var rows []devices.Interface
	for _, it := range items {
		name := portOf(it.ID)
		row := devices.Interface{
			ID: it.ID, Name: name, Alias: it.Value("ifAlias"), State: stateOf(states[it.ID].State), Admin: word(ifStatus, admin, name), Oper: word(ifStatus, oper, name),
			Speed: speed(it.Value("speed")), InRate: rate(in, name), OutRate: rate(out, name), Load: loads[name],
			Neighbour: far[name].Neighbour, NeighbourPort: far[name].FarPort,
		}
		if n, ok := errs[name]; ok && !math.IsNaN(n) {
			row.Errors = fmt.Sprintf("%.0f", n)
		}
		rows = append(rows, row)
	}
	slices.SortFunc(rows, func(a, b devices.Interface) int { return cmp.Or(naturally(a.Name, b.Name), cmp.Compare(a.ID, b.ID)) })
	return rows
}

// ifStatus are the words of IF-MIB's ifOperStatus and ifAdminStatus (RFC 2863).
var ifStatus = map[float64]string{1: "up", 2: "down", 3: "testing", 4: "unknown", 5: "dormant", 6: "notPresent", 7: "lowerLayerDown"}

func word(words map[float64]string, values map[string]float64, key string) string {
	v, ok := values[key]
	if !ok {
		return ""
	}
	return cmp.Or(words[v], fmt.Sprint(v))
}

func rate(values map[string]float64, key string) string {
	v, ok := values[key]
	if !ok || math.IsNaN(v) {
		return ""
	}
	return quantity(v, "bit/s")
}

func speed(bits string) string {
	v := parseUnit(bits)
	if v <= 0 {
		return ""
	}
	return quantity(v, "bit/s")
}

// naturally orders Ethernet2 before Ethernet10.
func naturally(a, b string) int {
	for a != "" && b != "" {
		na, nb := digits(a), digits(b)
		if na > 0 && nb > 0 {
			x, y := strings.TrimLeft(a[:na], "0"), strings.TrimLeft(b[:nb], "0")
			if c := cmp.Or(cmp.Compare(len(x), len(y)), strings.Compare(x, y)); c != 0 {
				return c
			}
			a, b = a[na:], b[nb:]
			continue
		}
		if a[0] != b[0] {
			return cmp.Compare(a[0], b[0])
		}
		a, b = a[1:], b[1:]
	}
	return cmp.Compare(len(a), len(b))
}

func digits(s string) int {
	n := 0
	for n < len(s) && s[n] >= '0' && s[n] <= '9' {
		n++
	}
	return n
}

// said are the states that rules give to parts of an item that are no items
// themselves, by the value of a label of what fires: a unit, a file system.
func (s *Server) said(id, label string) map[string]ui.State {
	out := map[string]ui.State{}
	for _, a := range s.Alerts.Alerts() {
		part, st := a.Labels.Get(label), ui.State(a.Severity()).Known()
		if a.Item != id || a.Phase != alerting.Firing || part == "" {
			continue
		}
		if was, ok := out[part]; !ok || st.Rank() < was.Rank() {
			out[part] = st
		}
	}
	return out
}

// services lists a host's units. A unit has a state only where a rule says so.
func (s *Server) services(r *http.Request, id, sel string) []devices.Service {
	said := s.said(id, "name")
	var rows []devices.Service
	for _, x := range s.vector(r.Context(), `node_systemd_unit_state{`+sel+`} == 1`) {
		name := x.Metric.Get("name")
		rows = append(rows, devices.Service{ID: name, Name: name, Active: x.Metric.Get("state"), State: said[name]})
	}
	slices.SortFunc(rows, func(a, b devices.Service) int {
		return cmp.Or(boolFirst(a.State != "", b.State != ""), boolFirst(a.Active == "failed", b.Active == "failed"),
			boolFirst(a.Active == "active", b.Active == "active"), cmp.Compare(a.Name, b.Name))
	})
	return rows
}

func (s *Server) disks(r *http.Request, id, sel string) []devices.Disk {
	avail := s.values(r, `node_filesystem_avail_bytes{`+sel+`}`, "mountpoint")
	said := s.said(id, "mountpoint")
	var rows []devices.Disk
	for _, x := range s.vector(r.Context(), `node_filesystem_size_bytes{`+sel+`}`) {
		mount, total := x.Metric.Get("mountpoint"), x.F
		row := devices.Disk{Mount: mount, Device: x.Metric.Get("device"), Size: quantity(total, "B"), Percent: -1, State: said[mount]}
		if free, ok := avail[mount]; ok && total > 0 {
			row.Used, row.Percent = quantity(total-free, "B"), 100*(total-free)/total
		}
		rows = append(rows, row)
	}
	slices.SortFunc(rows, func(a, b devices.Disk) int {
		return cmp.Or(cmp.Compare(a.Mount, b.Mount), cmp.Compare(a.Device, b.Device))
	})
	return rows
}
