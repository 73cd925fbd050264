package layout

import "math"

// grid is the cut of the map into cells for blocks and gutters between them.
// Links between sites run in the gutters, each in a lane of its own: up from
// the node to the gutter above its block, along it, and where the other block
// is in another row, through the gutter left of that block's column.
type grid struct {
	cols, rows    int
	cellW, cellH  float64
	above, beside []gutter // above each row, left of each column
}

type gutter struct {
	from, width float64
	lanes, used int
}

// next returns the place of the next lane.
func (g *gutter) next() float64 {
	g.used++
	return g.from + g.width*float64(g.used)/float64(g.lanes+1)
}

const (
	lane      = 9.0
	minGutter = 24.0
)

func newGrid(b *builder, cols, rows int) grid {
	g := grid{cols: cols, rows: rows, above: make([]gutter, rows), beside: make([]gutter, cols)}
	index := map[string]int{}
	for i, s := range b.sites {
		index[s.ID] = i
	}
	for _, l := range b.links {
		i, j := index[b.node[l.A].Site], index[b.node[l.B].Site]
		if i == j {
			continue
		}
		g.above[i/cols].lanes++
		if i/cols != j/cols {
			g.above[j/cols].lanes++
			g.beside[j%cols].lanes++
		}
	}
	w, h := b.out.Width-2*margin, b.out.Height-2*margin
	free := func(gs []gutter, total float64, first bool) float64 {
		for i := range gs {
			gs[i].width = minGutter
			if gs[i].lanes > 0 {
				gs[i].width = math.Max(minGutter, math.Min(lane*float64(gs[i].lanes+1), total/float64(4*len(gs))))
			} else if i == 0 && first {
				gs[i].width = 0
			}
			total -= gs[i].width
		}
		return total
	}
	g.cellW = free(g.beside, w, true) / float64(cols)
	g.cellH = free(g.above, h, true) / float64(rows)
	lay := func(gs []gutter, cell float64) {
		at := margin
		for i := range gs {
			gs[i].from = at
			at += gs[i].width + cell
		}
	}
	lay(g.beside, g.cellW)
	lay(g.above, g.cellH)
	return g
}

func (g *grid) cell(col, row int) Rect {
	c, r := g.beside[col], g.above[row]
	return Rect{c.from + c.width, r.from + r.width, g.cellW, g.cellH}
}

// paths draws all links.
func (b *builder) paths() {
	wan := map[string]int{}
	for _, l := range b.links {
		if b.node[l.A].Site != b.node[l.B].Site {
			wan[l.A]++
			wan[l.B]++
		}
	}
	drawn := map[string]int{}
	for _, l := range b.links {
		p, q := b.out.Nodes[b.at[l.A]], b.out.Nodes[b.at[l.B]]
		path := Path{ID: l.ID, A: l.A, B: l.B}
		if p.Site != q.Site {
			path.Kind = WAN
			path.Points = b.wan(p, q, port(p, &drawn, wan[p.ID]), port(q, &drawn, wan[q.ID]))
		} else {
			path.Kind, path.Points = within(p, q)
		}
		b.out.Links = append(b.out.Links, path)
	}
}

// port spreads the links of one node that leave its site over the node's top.
func port(p Placed, drawn *map[string]int, of int) Point {
	(*drawn)[p.ID]++
	return Point{p.X + p.W*float64((*drawn)[p.ID])/float64(of+1), p.Y}
}

func (b *builder) wan(p, q Placed, from, to Point) []Point {
	s, t := b.bySite[p.Site], b.bySite[q.Site]
	y := b.grid.above[s.row].next()
	if s.row == t.row {
		return []Point{from, {from.X, y}, {to.X, y}, to}
	}
	x, y2 := b.grid.beside[t.col].next(), b.grid.above[t.row].next()
	return []Point{from, {from.X, y}, {x, y}, {x, y2}, {to.X, y2}, to}
}

// within draws a link inside a site: straight between tiers; between peers
// along the line when they are next to each other's side, else in a low arch.
func within(p, q Placed) (string, []Point) {
	if p.Tier == q.Tier {
		l, r := p, q
		if l.X > r.X {
			l, r = r, l
		}
		a, z := Point{l.right(), l.Centre().Y}, Point{r.X, r.Centre().Y}
		if l.Y == r.Y && r.X-l.right() > 2*math.Max(l.Room, r.Room) {
			arch := l.Y - math.Min(24, 0.6*l.H)
			return Peer, []Point{{l.Centre().X, l.Y}, {l.Centre().X + l.W/4, arch}, {r.Centre().X - r.W/4, arch}, {r.Centre().X, r.Y}}
		}
		return Peer, []Point{a, z}
	}
	up, low := p, q
	if up.Tier > low.Tier {
		up, low = low, up
	}
	kind := Uplink
	if low.Tier == Host {
		kind = Drop
	}
	return kind, []Point{{up.Centre().X, up.bottom()}, {low.Centre().X, low.Y}}
}
