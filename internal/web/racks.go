package web

import (
	"cmp"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"nocturne/internal/inventory"
	"nocturne/views/ui"
	"nocturne/views/wall"
)

func parseUnit(s string) float64 {
	u, err := strconv.ParseFloat(s, 64)
	if err != nil {
		return 0
	}
	return u
}

// walls run under the stricter policy.
func onWall(w http.ResponseWriter) { w.Header().Set("Content-Security-Policy", wallPolicy) }

func (s *Server) rackWall(w http.ResponseWriter, r *http.Request) error {
	racks := s.Graph.Racks()
	m := wall.RackWall{Page: s.page(r, "Racks")}
	every := s.intervals()
	things := 0
	for _, k := range racks {
		m.Racks = append(m.Racks, s.rackModel(k, every))
		things += len(k.Contents)
	}
	if len(racks) > 0 {
		if room, ok := s.Graph.Item(racks[0].Room); ok && sameRoom(racks) {
			m.Title = nameOf(room)
		}
	}
	m.Subtitle = ui.Count(len(racks), "rack", "racks") + " · " + ui.Count(things, "device", "devices")
	onWall(w)
	s.render(w, r, http.StatusOK, wall.RackWallPage(m))
	return nil
}

func sameRoom(racks []inventory.RackView) bool {
	return !slices.ContainsFunc(racks, func(k inventory.RackView) bool { return k.Room != racks[0].Room })
}

// rackModel fills in a rack. every is how often each target is polled.
func (s *Server) rackModel(k inventory.RackView, every map[string]time.Duration) wall.Rack {
	ids := []string{k.ID}
	for _, p := range k.Contents {
		ids = append(ids, p.Item)
	}
	states := s.Alerts.Statuses(ids)
	out := wall.Rack{
		ID: k.ID, Name: k.Name, Href: itemHref(k.ID), Row: k.Row, Height: k.Units, State: stateOf(states[k.ID].State),
	}
	longest := time.Duration(0)
	for _, p := range k.Contents {
		it, _ := s.Graph.Item(p.Item)
		target := s.targetOf(p.Item)
		longest = max(longest, every[target])
		out.Cells = append(out.Cells, wall.Cell{
			ID: p.Item, Name: nameOf(it), Href: itemHref(p.Item), Target: target,
			U: int(math.Floor(p.U)), Height: int(math.Ceil(p.Height)), Face: p.Face, Role: cmp.Or(it.Value("role"), p.Kind),
			State: stateOf(states[p.Item].State),
		})
		if seen := states[p.Item].LastSeen; seen.After(out.AsOf) {
			out.AsOf = seen
		}
	}
	// A rack is old when its contents missed three polls, as in alerting.
	out.StaleAfter = 3 * longest
	return out
}

// intervals is how often each target is polled.
func (s *Server) intervals() map[string]time.Duration {
	out := map[string]time.Duration{}
	for _, t := range s.Collector.Status() {
		out[t.Target.Name] = t.Target.Interval
	}
	return out
}

func (s *Server) rack(w http.ResponseWriter, r *http.Request) error {
	id := r.PathValue("id")
	k, ok := s.Graph.Rack(id)
	if !ok {
		return notFound{"rack " + id}
	}
	m := wall.Elevation{
		Page: s.page(r, "Rack "+k.Name), Rack: s.rackModel(k, s.intervals()), Face: faceOf(r.URL.Query().Get("face")),
		Highlight: r.URL.Query().Get("highlight"), Crumbs: s.crumbs(id),
	}
	m.Rack.Cells = slices.DeleteFunc(m.Rack.Cells, func(c wall.Cell) bool { return c.U == 0 })
	var ids []string
	for _, p := range k.Contents {
		ids = append(ids, p.Item)
		if p.U == 0 {
			m.Unplaced = append(m.Unplaced, s.ref(p.Item))
		}
	}
	m.Tally = tallyOf(s.Alerts.Tally(ids))
	m.Rows = s.elevationRows(k, m.Rack)
	m.Facts = s.rackFacts(k)
	for _, other := range s.Graph.Racks() {
		if other.Room == k.Room && other.ID != k.ID {
			m.Siblings = append(m.Siblings, s.ref(other.ID))
		}
	}
	onWall(w)
	s.render(w, r, http.StatusOK, wall.ElevationPage(m))
	return nil
}

func faceOf(s string) string {
	if s == "rear" || s == "both" {
		return s
	}
	return "front"
}

func (s *Server) elevationRows(k inventory.RackView, m wall.Rack) []wall.ElevationRow {
	var rows []wall.ElevationRow
	for _, c := range m.Cells {
		st := s.Alerts.Status(c.ID)
		row := wall.ElevationRow{Cell: c, LastSeen: st.LastSeen}
		if len(st.Reasons) > 0 {
			row.Detail = st.Reasons[0]
		} else if it, ok := s.Graph.Item(c.ID); ok {
			row.Detail = model(it)
		}
		if i := slices.IndexFunc(k.Contents, func(p inventory.Placement) bool { return p.Item == c.ID }); i >= 0 && k.Contents[i].Conflict != "" {
			row.Detail = strings.TrimPrefix(row.Detail+"; "+k.Contents[i].Conflict, "; ")
		}
		rows = append(rows, row)
	}
	slices.SortStableFunc(rows, func(a, b wall.ElevationRow) int { return b.U - a.U })
	return rows
}

func (s *Server) rackFacts(k inventory.RackView) []ui.Property {
	taken := map[int]bool{} // half units; front and rear take a unit once
	for _, p := range k.Contents {
		for half := int(2 * p.U); p.U > 0 && half < int(2*(p.U+p.Height)); half++ {
			taken[half] = true
		}
	}
	used := float64(len(taken)) / 2
	out := []ui.Property{
		{Name: "Height", Value: fmt.Sprintf("%d U", k.Units)},
		{Name: "In use", Value: fmt.Sprintf("%g U", used)},
	}
	if k.Row != "" {
		out = append(out, ui.Property{Name: "Row", Value: k.Row})
	}
	return out
}

// crumbs lead from the site down to what carries the item.
func (s *Server) crumbs(id string) []ui.Ref {
	var out []ui.Ref
	for _, p := range s.Graph.Parents(id) {
		out = append(out, s.ref(p))
	}
	slices.Reverse(out)
	return out
}
