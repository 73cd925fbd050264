package web

import (
	"cmp"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"nocturne/internal/inventory"
	"nocturne/internal/inventory/layout"
	"nocturne/views/ui"
	"nocturne/views/wall"
)

func (s *Server) topology(w http.ResponseWriter, r *http.Request) error {
	site := r.URL.Query().Get("site")
	found := s.Graph.Links()
	g := s.topologyGraph(found, site)
	if site != "" && len(g.Nodes) == 0 {
		return notFound{"site " + site}
	}
	drawn := layout.Blocks(g)
	m := wall.Topology{Page: s.page(r, "Network"), Width: drawn.Width, Height: drawn.Height, Site: site}
	m.Subtitle = ui.Count(len(drawn.Nodes), "node", "nodes") + " · " + ui.Count(len(drawn.Links), "discovered link", "discovered links")
	members := map[string][]string{}
	var ids []string
	for _, n := range drawn.Nodes {
		members[n.Site] = append(members[n.Site], n.ID)
		ids = append(ids, n.ID)
	}
	states := s.Alerts.Statuses(ids)
	for _, n := range drawn.Nodes {
		shape := "box"
		if strings.HasPrefix(n.ID, "host/") {
			shape = "dot"
		}
		m.Nodes = append(m.Nodes, wall.Node{
			ID: n.ID, Label: n.Label, Href: itemHref(n.ID), X: n.X, Y: n.Y, W: n.W, H: n.H,
			State: stateOf(states[n.ID].State), Shape: shape, Role: n.Role, Block: n.Site,
		})
	}
	for _, b := range drawn.Blocks {
		m.Blocks = append(m.Blocks, wall.Block{
			ID: b.Site, Label: b.Label, Href: "/topology?site=" + url.QueryEscape(b.Site), X: b.X, Y: b.Y, W: b.W, H: b.H,
			Tally: tallyOf(s.Alerts.Tally(members[b.Site])),
		})
	}
	links := map[string]inventory.Link{}
	for _, l := range found {
		links[l.ID] = l
	}
	for _, p := range drawn.Links {
		m.Links = append(m.Links, s.linkModel(links[p.ID], p))
	}
	onWall(w)
	s.render(w, r, http.StatusOK, wall.TopologyPage(m))
	return nil
}

func (s *Server) linkModel(l inventory.Link, p layout.Path) wall.Link {
	out := wall.Link{ID: p.ID, A: p.A, B: p.B, Wide: p.Kind == layout.WAN, State: s.linkState(l), Label: s.label(l.A) + " - " + s.label(l.B)}
	for _, at := range p.Points {
		out.Path = append(out.Path, wall.Point(at))
	}
	return out
}

// linkState is the worse of the two ends, and not seen where no end sees the
// link any more.
func (s *Server) linkState(l inventory.Link) ui.State {
	a, b := stateOf(s.Alerts.Status(l.A).State), stateOf(s.Alerts.Status(l.B).State)
	worst := a
	if b.Rank() < a.Rank() {
		worst = b
	}
	if l.Missing && !worst.Fault() {
		return ui.Unknown
	}
	return worst
}

// central are roles that serve the whole site: they stand by name, all others
// by the rack that they serve.
var central = []string{"core", "spine", "border", "router", "firewall", "management"}

// topologyGraph is what the layout draws: devices that have links or a role,
// and hosts.
func (s *Server) topologyGraph(links []inventory.Link, only string) layout.Graph {
	var g layout.Graph
	linked := map[string]bool{}
	for _, l := range links {
		linked[l.DeviceA], linked[l.DeviceB] = true, true
		g.Links = append(g.Links, layout.Link{ID: l.ID, A: l.DeviceA, B: l.DeviceB})
	}
	places := s.places()
	sites := map[string]bool{}
	for _, kind := range []string{"device", "host"} {
		for _, it := range s.Graph.Items(kind) {
			if !linked[it.ID] && kind != "device" {
				continue
			}
			site := s.siteOf(it.ID)
			if only != "" && site != only {
				continue
			}
			role := it.Value("role")
			if kind == "host" {
				role = "host"
			}
			sites[site] = true
			n := layout.Node{ID: it.ID, Site: site, Role: role, Label: nameOf(it)}
			if !slices.Contains(central, role) {
				n.Order = 1 + places.of(it.ID).order
			}
			g.Nodes = append(g.Nodes, n)
		}
	}
	for site := range sites {
		g.Sites = append(g.Sites, layout.Site{ID: site, Label: cmp.Or(s.siteLabel(site), "No site")})
	}
	slices.SortFunc(g.Sites, func(a, b layout.Site) int { return cmp.Compare(a.ID, b.ID) })
	return g
}

func (s *Server) siteOf(id string) string {
	for _, p := range s.Graph.Parents(id) {
		if strings.HasPrefix(p, "site/") {
			return p
		}
	}
	return ""
}

func (s *Server) siteLabel(id string) string {
	if id == "" {
		return ""
	}
	return s.label(id)
}
