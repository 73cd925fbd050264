package views

import (
	"fmt"
	"math/rand/v2"
	"time"

	"nocturne/views/ui"
	"nocturne/views/wall"
)

func randomState(r *rand.Rand) ui.State {
	switch n := r.IntN(100); {
	case n < 3:
		return ui.Critical
	case n < 5:
		return ui.Major
	case n < 8:
		return ui.Warning
	case n < 10:
		return ui.Unknown
	case n < 11:
		return ui.Maintenance
	}
	return ui.OK
}

// hall makes racks filled at random from a fixed seed.
func hall(count int, row func(i int) string) []wall.Rack {
	r := rand.New(rand.NewPCG(7, uint64(count)))
	kinds := []string{"srv", "sto", "db", "k8s"}
	var racks []wall.Rack
	n := 0
	for i := range count {
		name := fmt.Sprintf("%s%02d", row(i), i%20+1)
		rack := wall.Rack{ID: "rack/" + name, Name: name, Href: "/rack/rack/" + name, Row: row(i), Power: fmt.Sprintf("%.1f kW", 3+5*r.Float64()), AsOf: ago(3 * time.Second)}
		worst := ui.OK
		for u := 1; u < 41; {
			h := []int{1, 1, 1, 1, 2, 2, 4}[r.IntN(7)]
			if r.IntN(9) == 0 || u+h > 42 {
				u += h
				continue
			}
			n++
			s := randomState(r)
			if s.Rank() < worst.Rank() {
				worst = s
			}
			cell := fmt.Sprintf("%s%03d-%s", kinds[r.IntN(4)], n, name)
			rack.Cells = append(rack.Cells, wall.Cell{ID: "device/" + cell, Name: cell, Href: "/device/device/" + cell, Target: cell, U: u, Height: h, Face: []string{"", "front", "rear"}[r.IntN(3)], State: s})
			u += h
		}
		rack.State = worst
		if i == 5 {
			rack.AsOf = ago(10 * time.Minute)
		}
		racks = append(racks, rack)
	}
	return racks
}

func tallyOf(racks []wall.Rack) ui.Tally {
	t := ui.Tally{}
	for _, r := range racks {
		for _, c := range r.Cells {
			t[c.State]++
		}
	}
	return t
}

func rackWall(count int) wall.RackWall {
	racks := hall(count, func(i int) string { return string(rune('A' + i/20)) })
	m := wall.RackWall{Page: page("Hall 1", "/racks"), Racks: racks}
	m.Tally = tallyOf(racks)
	m.Subtitle = fmt.Sprintf("%d racks · %d devices", count, m.Tally.Total())
	return m
}

func elevation(face string) wall.Elevation {
	rack := hall(3, func(int) string { return "A" })[1]
	m := wall.Elevation{Page: page("Rack "+rack.Name, rack.Href), Rack: rack, Face: face, Highlight: "sto", Crumbs: []ui.Ref{{Label: "lab", Href: "/inventory/site/lab"}}, Tally: tallyOf([]wall.Rack{rack})}
	for i := len(rack.Cells) - 1; i >= 0; i-- {
		m.Rows = append(m.Rows, wall.ElevationRow{Cell: rack.Cells[i], Detail: "Simulated device", LastSeen: ago(3 * time.Second)})
	}
	m.Unplaced = []ui.Ref{{ID: "device/loose", Label: "loose-1", Href: "/device/device/loose-1", State: ui.OK}}
	m.Facts = []ui.Property{{Name: "Height", Value: "42 U"}, {Name: "Feeds", Value: "pdu-a, pdu-b"}}
	m.Siblings = []ui.Ref{{Label: "A01", Href: "/rack/rack/A01"}}
	return m
}

// fabric lays out a leaf-spine in two site blocks, as the layout room does.
func fabric(sites, leaves, hosts int) wall.Topology {
	r := rand.New(rand.NewPCG(3, uint64(sites*leaves)))
	m := wall.Topology{Page: page("Network", "/topology"), Width: 1900, Height: 900}
	cols := 1
	for cols*cols < sites {
		cols++
	}
	rows := (sites + cols - 1) / cols
	w, h := m.Width/float64(cols), m.Height/float64(rows)
	for s := range sites {
		b := wall.Block{ID: fmt.Sprintf("site/s%d", s), Label: fmt.Sprintf("LAB%d", s+1), X: float64(s%cols)*w + 10, Y: float64(s/cols)*h + 10, W: w - 20, H: h - 20, Tally: ui.Tally{}}
		k := b.H / 880
		node := func(id, shape, role string, x, y, nw, nh float64, s ui.State) wall.Node {
			n := wall.Node{ID: "device/" + id, Label: id, Href: "/device/device/" + id, X: x - nw/2, Y: y - nh/2, W: nw, H: nh, State: s, Shape: shape, Role: role, Block: b.ID}
			m.Nodes = append(m.Nodes, n)
			b.Tally[s]++
			return n
		}
		link := func(a, c wall.Node, s ui.State) {
			m.Links = append(m.Links, wall.Link{ID: "link/" + a.ID + "|" + c.ID, A: a.ID, B: c.ID, State: s, Label: a.Label + " to " + c.Label, Path: []wall.Point{{X: a.X + a.W/2, Y: a.Y + a.H}, {X: c.X + c.W/2, Y: c.Y}}})
		}
		var spines []wall.Node
		for i := range 2 {
			spines = append(spines, node(fmt.Sprintf("spine%d-%d", s+1, i+1), "box", "spine", b.X+b.W*(.3+.4*float64(i)), b.Y+170*k, 130*k, 40*k, ui.OK))
		}
		for l := range leaves {
			x := b.X + b.W*(float64(l)+.5)/float64(leaves)
			leaf := node(fmt.Sprintf("leaf%d-%02d", s+1, l+1), "box", "leaf", x, b.Y+440*k, min(118, b.W/float64(leaves)-14), 36*k, randomState(r))
			for _, sp := range spines {
				link(sp, leaf, ui.OK)
			}
			for i := range hosts {
				hn := node(fmt.Sprintf("h%d-%02d-%d", s+1, l+1, i+1), "dot", "host", x+float64(i%3-1)*b.W/float64(leaves)/3.3, b.Y+(600+80*float64(i/3))*k, 18*k+4, 18*k+4, randomState(r))
				link(leaf, hn, ui.OK)
			}
		}
		m.Blocks = append(m.Blocks, b)
	}
	m.Links[2].State = ui.Major
	m.Subtitle = fmt.Sprintf("%d nodes · %d links", len(m.Nodes), len(m.Links))
	return m
}

func wallPages() []shown {
	empty := wall.RackWall{Page: emptyPage("Racks", "/racks"), Subtitle: "0 racks"}
	lightWall := rackWall(8)
	lightWall.Page = light(lightWall.Page)
	return []shown{
		{name: "rack-wall-8", path: "/racks", page: wall.RackWallPage(rackWall(8)), wall: true},
		{name: "rack-wall-40", path: "/racks-40", page: wall.RackWallPage(rackWall(40)), wall: true},
		{name: "rack-wall-light", path: "/racks-light", page: wall.RackWallPage(lightWall), wall: true},
		{name: "rack-wall-empty", path: "/racks-empty", page: wall.RackWallPage(empty), wall: true},
		{name: "rack", path: "/rack/rack/A02", page: wall.ElevationPage(elevation("front"))},
		{name: "rack-both", path: "/rack/rack/A03", page: wall.ElevationPage(elevation("both"))},
		{name: "topology", path: "/topology", page: wall.TopologyPage(fabric(1, 10, 4)), wall: true},
		{name: "topology-200", path: "/topology-200", page: wall.TopologyPage(fabric(2, 12, 7)), wall: true},
		{name: "topology-2000", path: "/topology-2000", page: wall.TopologyPage(fabric(20, 12, 7)), wall: true},
		{name: "topology-empty", path: "/topology-empty", page: wall.TopologyPage(wall.Topology{Page: emptyPage("Network", "/topology")}), wall: true},
	}
}
