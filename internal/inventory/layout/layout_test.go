package layout

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"nocturne/internal/need"
)

// leafSpine is a site with its switches and hosts; named gives the roles.
func leafSpine(g *Graph, site string, spines, leaves int, hosts func(leaf int) int, named bool) {
	role := func(r string) string {
		if named {
			return r
		}
		return ""
	}
	link := func(a, b string) { g.Links = append(g.Links, Link{a + "|" + b, a, b}) }
	for l := range leaves {
		leaf := fmt.Sprintf("%s/leaf%d", site, l+1)
		g.Nodes = append(g.Nodes, Node{ID: leaf, Site: site, Role: role("leaf"), Label: fmt.Sprintf("leaf%d", l+1)})
		for s := range spines {
			link(fmt.Sprintf("%s/spine%d", site, s+1), leaf)
		}
		for h := range hosts(l) {
			id := fmt.Sprintf("%s/h%d-%d", site, l+1, h)
			g.Nodes = append(g.Nodes, Node{ID: id, Site: site, Role: "host", Label: id})
			link(leaf, id)
		}
	}
	for s := range spines {
		g.Nodes = append(g.Nodes, Node{ID: fmt.Sprintf("%s/spine%d", site, s+1), Site: site, Role: role("spine"), Label: fmt.Sprintf("spine%d", s+1)})
	}
}

func randomGraph(r *rand.Rand) Graph {
	var g Graph
	for s := range 1 + r.IntN(9) {
		site := fmt.Sprintf("s%d", s)
		g.Sites = append(g.Sites, Site{ID: site})
		per := 1 + r.IntN(40)
		leafSpine(&g, site, r.IntN(5), r.IntN(60/len(g.Sites)+2), func(int) int { return r.IntN(per) }, r.IntN(2) == 0)
	}
	for i := range r.IntN(30) { // anything else: loose hosts, odd roles
		site := fmt.Sprintf("s%d", r.IntN(len(g.Sites)+1))
		g.Nodes = append(g.Nodes, Node{ID: fmt.Sprintf("x%d", i), Site: site, Role: []string{"host", "pdu", "", "router", "access", "odd"}[r.IntN(6)]})
	}
	for i := range r.IntN(40) {
		if len(g.Nodes) > 0 {
			a, b := g.Nodes[r.IntN(len(g.Nodes))].ID, g.Nodes[r.IntN(len(g.Nodes))].ID
			g.Links = append(g.Links, Link{fmt.Sprintf("l%d", i), a, b})
		}
	}
	g.Links = append(g.Links, Link{"dangling", "nobody", "x0"})
	return g
}

func TestBlocksProperties(t *testing.T) {
	_, r := need.Seed(t)
	for range 50 {
		g := randomGraph(r)
		checkMap(t, g, Blocks(g))
		shuffled := g
		shuffled.Nodes, shuffled.Links = slices.Clone(g.Nodes), slices.Clone(g.Links)
		r.Shuffle(len(shuffled.Nodes), func(i, j int) {
			shuffled.Nodes[i], shuffled.Nodes[j] = shuffled.Nodes[j], shuffled.Nodes[i]
		})
		r.Shuffle(len(shuffled.Links), func(i, j int) {
			shuffled.Links[i], shuffled.Links[j] = shuffled.Links[j], shuffled.Links[i]
		})
		if d := cmp.Diff(byID(Blocks(g)), byID(Blocks(shuffled))); d != "" {
			t.Fatalf("the order of the input matters: %s", d)
		}
		if t.Failed() {
			return
		}
	}
}

func byID(m Map) map[string]Placed {
	out := map[string]Placed{}
	for _, n := range m.Nodes {
		out[n.ID] = n
	}
	return out
}

// checkMap holds what must be true of every map.
func checkMap(t *testing.T, g Graph, m Map) {
	t.Helper()
	page := Rect{0, 0, m.Width, m.Height}
	blocks := map[string]Rect{}
	for i, b := range m.Blocks {
		blocks[b.Site] = b.Rect
		if !page.Contains(b.Rect) {
			t.Errorf("block %s leaves the page: %+v", b.Site, b.Rect)
		}
		for _, o := range m.Blocks[:i] {
			if b.Overlaps(o.Rect) {
				t.Errorf("blocks %s and %s overlap", b.Site, o.Site)
			}
		}
	}
	if len(m.Nodes) != len(g.Nodes) {
		t.Errorf("%d of %d nodes are placed", len(m.Nodes), len(g.Nodes))
	}
	nodes := byID(m)
	for i, n := range m.Nodes {
		if !blocks[n.Site].Contains(n.Rect) || n.W <= 0 || n.H <= 0 {
			t.Errorf("%s is not inside its block: %+v in %+v", n.ID, n.Rect, blocks[n.Site])
		}
		for _, o := range m.Nodes[:i] {
			if n.Overlaps(o.Rect) {
				t.Errorf("%s and %s overlap", n.ID, o.ID)
			}
		}
	}
	valid := 0
	for _, l := range g.Links {
		_, a := nodes[l.A]
		_, b := nodes[l.B]
		if a && b && l.A != l.B {
			valid++
		}
	}
	if len(m.Links) != valid {
		t.Errorf("%d of %d links are drawn", len(m.Links), valid)
	}
	for _, p := range m.Links {
		checkPath(t, p, nodes, blocks, page)
	}
}

func checkPath(t *testing.T, p Path, nodes map[string]Placed, blocks map[string]Rect, page Rect) {
	t.Helper()
	touches := func(id string, at Point) bool {
		return nodes[id].inset(-1e-6).Contains(Rect{at.X, at.Y, 0, 0})
	}
	first, last := p.Points[0], p.Points[len(p.Points)-1]
	if !(touches(p.A, first) && touches(p.B, last)) && !(touches(p.A, last) && touches(p.B, first)) {
		t.Errorf("link %s %s ends beside its nodes: %v to %v", p.ID, p.Kind, first, last)
	}
	for i := 1; i < len(p.Points); i++ {
		a, z := p.Points[i-1], p.Points[i]
		leg := Rect{math.Min(a.X, z.X), math.Min(a.Y, z.Y), math.Abs(a.X - z.X), math.Abs(a.Y - z.Y)}
		if !page.Contains(leg) {
			t.Errorf("link %s leaves the page: %+v", p.ID, leg)
		}
		for site, b := range blocks {
			if p.Kind == WAN && site != nodes[p.A].Site && site != nodes[p.B].Site && b.inset(1e-3).Overlaps(Rect{leg.X, leg.Y, leg.W + 1e-5, leg.H + 1e-5}) {
				t.Errorf("link %s runs through the block of %s", p.ID, site)
			}
		}
	}
}

// TestLanes: no two links between sites share a lane of a gutter.
func TestLanes(t *testing.T) {
	var g Graph
	for s := range 6 {
		leafSpine(&g, fmt.Sprintf("s%d", s), 2, 4, func(int) int { return 3 }, true)
		for o := range s {
			g.Links = append(g.Links, Link{fmt.Sprintf("w%d-%d", s, o), fmt.Sprintf("s%d/spine1", s), fmt.Sprintf("s%d/spine2", o)})
		}
	}
	used := map[float64]string{}
	for _, p := range Blocks(g).Links {
		if p.Kind != WAN {
			continue
		}
		for i := 2; i < len(p.Points)-1; i++ {
			a, z := p.Points[i-1], p.Points[i]
			if a.Y == z.Y {
				if o := used[a.Y]; o != "" {
					t.Errorf("%s and %s share the lane at y=%v", p.ID, o, a.Y)
				}
				used[a.Y] = p.ID
			}
		}
	}
	if len(used) == 0 {
		t.Error("no lanes")
	}
}

// TestAddingAHost: where hosts hang on switches, one more moves no switch and
// no block, no host of another site, and no host out of its switch's area.
func TestAddingAHost(t *testing.T) {
	_, r := need.Seed(t)
	moved, steps := 0, 0
	for range 40 {
		var g Graph
		for s := range 1 + r.IntN(4) {
			leafSpine(&g, fmt.Sprintf("s%d", s), 1+r.IntN(4), 2+r.IntN(30), func(int) int { return 1 + r.IntN(12) }, r.IntN(2) == 0)
		}
		site := fmt.Sprintf("s%d", r.IntN(len(Blocks(g).Blocks)))
		before := byID(Blocks(g))
		bigger := g
		last := r.IntN(2) == 0
		label := "a"
		if last {
			label = "z"
		}
		bigger.Nodes = append(slices.Clone(g.Nodes), Node{ID: "new", Site: site, Role: "host", Label: label})
		bigger.Links = append(slices.Clone(g.Links), Link{"new", site + "/leaf2", "new"})
		m := Blocks(bigger)
		after := byID(m)
		changed := false
		for id, was := range before {
			now := after[id]
			if was.Rect == now.Rect {
				continue
			}
			changed = true
			if was.Tier != Host || was.Site != site {
				t.Fatalf("%s moved from %+v to %+v", id, was.Rect, now.Rect)
			}
			if dx := math.Abs(was.Centre().X - now.Centre().X); dx > columnWidth(m, was.Site) {
				t.Errorf("%s moved by %.0f out of its column", id, dx)
			}
		}
		steps++
		if changed {
			moved++
		}
		if hosts := hostsBelow(g, site, "leaf2"); changed && last && hosts+1 <= capacity(hosts) {
			t.Errorf("a host was added after the others where there was room, and something moved")
		}
	}
	t.Logf("hosts moved in %d of %d additions", moved, steps)
}

// hostsBelow counts the hosts below one leaf of a site.
func hostsBelow(g Graph, site, leaf string) int {
	n := 0
	for _, l := range g.Links {
		if l.A == site+"/"+leaf && slices.ContainsFunc(g.Nodes, func(n Node) bool { return n.ID == l.B && n.Role == "host" }) {
			n++
		}
	}
	return n
}

func columnWidth(m Map, site string) float64 {
	for _, n := range m.Nodes {
		if n.Site == site && n.Tier == Leaf {
			return n.Room
		}
	}
	return 0
}

// TestUsesTheHeight: the lowest node of a block stands in its lower third.
func TestUsesTheHeight(t *testing.T) {
	for hosts := range 40 {
		for _, sites := range []int{1, 2, 4} {
			var g Graph
			for s := range sites {
				leafSpine(&g, fmt.Sprintf("s%d", s), 2, 8, func(int) int { return hosts }, true)
			}
			m := Blocks(g)
			for _, b := range m.Blocks {
				low := 0.0
				for _, n := range m.Nodes {
					if n.Site == b.Site {
						low = math.Max(low, n.bottom())
					}
				}
				if share := (low - b.Y) / b.H; share < 2.0/3 {
					t.Errorf("%d sites with %d hosts a leaf: only %.0f %% of the height is used", sites, hosts, 100*share)
				}
			}
		}
	}
}

func TestGuessedTiers(t *testing.T) {
	f := func(name string, g Graph, want map[string]Tier) {
		t.Helper()
		got := byID(Blocks(g))
		for id, tier := range want {
			if got[id].Tier != tier {
				t.Errorf("%s: %s is guessed %v, want %v", name, id, got[id].Tier, tier)
			}
		}
	}
	var withHosts, bare, mixed, three Graph
	leafSpine(&withHosts, "s", 3, 9, func(int) int { return 4 }, false)
	leafSpine(&bare, "s", 3, 9, func(int) int { return 0 }, false)
	leafSpine(&mixed, "s", 2, 9, func(l int) int { return l % 2 }, false)
	flat := map[string]Tier{"s/spine1": Core, "s/spine2": Core, "s/leaf1": Leaf, "s/leaf2": Leaf, "s/leaf9": Leaf}
	f("leaf-spine with hosts", withHosts, flat)
	f("leaf-spine without hosts", bare, flat)
	f("leaf-spine with hosts on some leaves", mixed, flat)
	link := func(a, b string) { three.Links = append(three.Links, Link{a + b, a, b}) }
	for _, n := range []string{"core1", "core2", "dist1", "dist2", "dist3", "dist4"} {
		three.Nodes = append(three.Nodes, Node{ID: n})
	}
	link("core1", "core2")
	for i := range 12 {
		acc, host := fmt.Sprintf("acc%d", i), fmt.Sprintf("host%d", i)
		three.Nodes = append(three.Nodes, Node{ID: acc}, Node{ID: host, Role: "host"})
		link(acc, host)
		link(acc, fmt.Sprintf("dist%d", i%4+1))
	}
	for i := range 4 {
		link("core1", fmt.Sprintf("dist%d", i+1))
		link("core2", fmt.Sprintf("dist%d", i+1))
	}
	f("three tiers", three, map[string]Tier{"core1": Core, "core2": Core, "dist1": Leaf, "dist4": Leaf, "acc0": Access, "acc11": Access, "host3": Host})
	f("one alone", Graph{Nodes: []Node{{ID: "a"}}}, map[string]Tier{"a": Leaf})
	f("a ring", Graph{Nodes: []Node{{ID: "a"}, {ID: "b"}, {ID: "c"}}, Links: []Link{{"1", "a", "b"}, {"2", "b", "c"}, {"3", "c", "a"}}}, nil)
}

func TestNaturalOrder(t *testing.T) {
	in := []string{"leaf10", "leaf2", "leaf1", "leaf02", "leaf", "a9b2", "a9b10", "a09b1"}
	slices.SortFunc(in, natural)
	if d := cmp.Diff([]string{"a9b2", "a9b10", "a09b1", "leaf", "leaf1", "leaf2", "leaf02", "leaf10"}, in); d != "" {
		t.Error(d)
	}
}

func BenchmarkBlocks2000(b *testing.B) {
	var g Graph
	for s := range 20 {
		leafSpine(&g, fmt.Sprintf("s%d", s), 2, 10, func(int) int { return 9 }, true)
	}
	b.ReportMetric(float64(len(g.Nodes)), "nodes")
	for b.Loop() {
		Blocks(g)
	}
}
