package layout

import (
	"cmp"
	"math"
	"slices"
)

// Graph is what Blocks draws.
type Graph struct {
	Sites         []Site // in the order of drawing; sites only nodes name follow by ID
	Nodes         []Node
	Links         []Link
	Width, Height float64 // 1920 by 984 when zero
}

// Site is a block of the map.
type Site struct{ ID, Label string }

// Node is a device or a host. An empty Role is guessed from the links.
type Node struct {
	ID, Site, Role, Label string
	Order                 float64 // among its like: rack unit, port; then by label
	// Under is the switch to draw a host below where no link tells, such as
	// that of its rack.
	Under string
}

// Link joins two nodes. Links to unknown nodes and to oneself are left out.
type Link struct{ ID, A, B string }

// Map is a drawing of a Graph.
type Map struct {
	Width, Height float64
	Blocks        []Block
	Nodes         []Placed
	Links         []Path
}

// Block is the area of a site.
type Block struct {
	Site, Label string
	Rect
}

// Placed is a node with its box.
type Placed struct {
	ID, Site, Role, Label string
	Tier                  Tier
	Rect
	Room float64 // how wide a label below may be
}

// Centre is the middle of the node's box.
func (p Placed) Centre() Point { return Point{p.X + p.W/2, p.Y + p.H/2} }

// Kinds of path.
const (
	Uplink = "uplink" // between tiers of a site
	Peer   = "peer"   // within a tier
	Drop   = "drop"   // from a switch to a host
	WAN    = "wan"    // between sites
)

// Path is a link as a polyline.
type Path struct {
	ID, A, B string
	Kind     string
	Points   []Point
}

const (
	defaultWidth, defaultHeight = 1920, 984

	margin      = 24.0
	blockHeader = 44.0 // the site's name
	blockPad    = 16.0
	minColumn   = 40.0 // a switch with its label
	hostWeight  = 1.2  // height of the host band against a tier of switches
	looseShare  = 0.2  // width for hosts without a switch beside those with one
)

// Blocks lays the sites out as blocks, each with its tiers from the core above
// to the hosts below, hosts under their switch; hosts without a switch stand
// together. Where a site has hosts under switches, adding one more moves nothing
// but hosts of that site, and none of them out of the area below its switch.
func Blocks(in Graph) Map {
	b := newBuilder(in)
	b.siteBlocks()
	for _, s := range b.sites {
		b.site(s)
	}
	b.paths()
	return b.out
}

type builder struct {
	in     Graph
	out    Map
	sites  []*site
	bySite map[string]*site
	tier   map[string]Tier
	node   map[string]Node
	links  []Link // valid ones, by ID
	near   map[string][]string
	at     map[string]int // node ID -> index in out.Nodes
	grid   grid
}

type site struct {
	Site
	rect     Rect
	col, row int
	nodes    []Node
}

func newBuilder(in Graph) *builder {
	b := &builder{in: in, bySite: map[string]*site{}, node: map[string]Node{}, near: map[string][]string{}, at: map[string]int{}}
	b.out.Width, b.out.Height = cmp.Or(in.Width, defaultWidth), cmp.Or(in.Height, defaultHeight)
	for _, s := range in.Sites {
		b.addSite(s)
	}
	nodes := slices.Clone(in.Nodes)
	slices.SortStableFunc(nodes, func(a, c Node) int { return cmp.Compare(a.Site, c.Site) })
	for _, n := range nodes {
		if _, twice := b.node[n.ID]; twice {
			continue
		}
		b.node[n.ID] = n
		s := b.addSite(Site{ID: n.Site, Label: n.Site})
		s.nodes = append(s.nodes, n)
	}
	for _, l := range in.Links {
		_, okA := b.node[l.A]
		_, okB := b.node[l.B]
		if okA && okB && l.A != l.B {
			b.links = append(b.links, l)
			b.near[l.A] = append(b.near[l.A], l.B)
			b.near[l.B] = append(b.near[l.B], l.A)
		}
	}
	slices.SortFunc(b.links, func(x, y Link) int {
		return cmp.Or(cmp.Compare(x.ID, y.ID), cmp.Compare(x.A, y.A), cmp.Compare(x.B, y.B))
	})
	b.tier = tiers(b.node, b.near)
	return b
}

func (b *builder) addSite(s Site) *site {
	if have := b.bySite[s.ID]; have != nil {
		return have
	}
	n := &site{Site: s}
	n.Label = cmp.Or(n.Label, n.ID)
	b.bySite[s.ID] = n
	b.sites = append(b.sites, n)
	return n
}

// siteBlocks cuts the map into a grid of blocks with gutters for the links
// between them.
func (b *builder) siteBlocks() {
	n := len(b.sites)
	if n == 0 {
		return
	}
	cols := 1
	for best := 0.0; cols <= n; cols++ {
		rows := (n + cols - 1) / cols
		w, h := b.out.Width/float64(cols), b.out.Height/float64(rows)
		if score := math.Min(w, h*1.5) * float64(n) / float64(cols*rows); score <= best {
			break
		} else {
			best = score
		}
	}
	cols--
	b.grid = newGrid(b, cols, (n+cols-1)/cols)
	for i, s := range b.sites {
		s.col, s.row = i%cols, i/cols
		s.rect = b.grid.cell(s.col, s.row)
		b.out.Blocks = append(b.out.Blocks, Block{Site: s.ID, Label: s.Label, Rect: s.rect})
	}
}

// site places the nodes of one block.
func (b *builder) site(s *site) {
	var byTier [Host + 1][]Node
	for _, n := range s.nodes {
		byTier[b.tier[n.ID]] = append(byTier[b.tier[n.ID]], n)
	}
	inner := Rect{s.rect.X + blockPad, s.rect.Y + blockHeader, s.rect.W - 2*blockPad, s.rect.H - blockHeader - blockPad}
	var upper []Tier // the tiers of switches that are there
	for t := range Host {
		b.order(byTier[t])
		if len(byTier[t]) > 0 {
			upper = append(upper, t)
		}
	}
	hosts := byTier[Host]
	b.order(hosts)
	if len(upper) == 0 {
		b.hostGrid(inner, hosts, capacity(len(hosts)))
		return
	}
	last := upper[len(upper)-1]
	columns, loose := b.columns(byTier[last], hosts)
	hung := len(hosts) > len(loose)
	if hung && len(loose) > 0 {
		strip := inner.W * looseShare
		b.hostGrid(Rect{inner.right() - strip, inner.Y, strip, inner.H}, loose, capacity(len(loose)))
		inner.W -= strip
	}
	shelves := int(math.Ceil(float64(len(columns)) * minColumn / inner.W))
	perShelf := (len(columns) + shelves - 1) / shelves
	shelf, below := 1.0, 0.0
	if hung {
		shelf += hostWeight
	} else if len(loose) > 0 {
		below = hostWeight
	}
	unit := inner.H / (float64(len(upper)-1) + float64(shelves)*shelf + below)
	y := inner.Y
	for _, t := range upper[:len(upper)-1] {
		b.row(Rect{inner.X, y, inner.W, unit}, byTier[t])
		y += unit
	}
	for len(columns) > 0 {
		n := min(perShelf, len(columns))
		b.shelf(Rect{inner.X, y, inner.W, unit * shelf}, unit, perShelf, columns[:n])
		columns = columns[n:]
		y += unit * shelf
	}
	if !hung {
		b.hostGrid(Rect{inner.X, y, inner.W, unit * below}, loose, capacity(len(loose)))
	}
}

// order sorts nodes by what they hang on, their own order, and their label.
func (b *builder) order(nodes []Node) {
	slices.SortFunc(nodes, func(x, y Node) int {
		return cmp.Or(cmp.Compare(x.Order, y.Order), natural(x.Label, y.Label), cmp.Compare(x.ID, y.ID))
	})
}

// column is a switch with the hosts below it.
type column struct {
	head  Node
	hosts []Node
}

// columns hangs each host below the first switch of the lowest tier that it is
// linked to, or else below the one it is said to be under.
func (b *builder) columns(heads, hosts []Node) (columns []column, loose []Node) {
	index := map[string]int{}
	for i, n := range heads {
		index[n.ID] = i
		columns = append(columns, column{head: n})
	}
	for _, h := range hosts {
		first := -1
		for _, id := range b.near[h.ID] {
			if i, ok := index[id]; ok && (first < 0 || i < first) {
				first = i
			}
		}
		if i, ok := index[h.Under]; ok && first < 0 {
			first = i
		}
		if first < 0 {
			loose = append(loose, h)
			continue
		}
		columns[first].hosts = append(columns[first].hosts, h)
	}
	return columns, loose
}

// row spreads one tier over the width of a band.
func (b *builder) row(band Rect, nodes []Node) {
	w := band.W / float64(len(nodes))
	for i, n := range nodes {
		b.device(Rect{band.X + float64(i)*w, band.Y, w, band.H}, 0.3, n)
	}
}

// shelf draws switches with their hosts below.
func (b *builder) shelf(r Rect, headHeight float64, slots int, columns []column) {
	w := r.W / float64(slots)
	for i, c := range columns {
		x := r.X + float64(i)*w
		b.device(Rect{x, r.Y, w, headHeight}, 0.55, c.head)
		b.hostGrid(Rect{x, r.Y + headHeight, w, r.H - headHeight}, c.hosts, capacity(len(c.hosts)))
	}
}

// device puts a switch into its area, at a share of the free height from above.
func (b *builder) device(area Rect, at float64, n Node) {
	w := math.Min(64, area.W*0.72)
	h := math.Min(math.Min(36, w*0.62), area.H*0.4)
	b.place(n, Rect{area.X + (area.W-w)/2, area.Y + (area.H-h)*at, w, h}, area.W)
}

// hostGrid fills an area with hosts, row by row, in a grid that has room for
// more of them.
func (b *builder) hostGrid(area Rect, hosts []Node, room int) {
	cols, rows := shape(room, area.W, area.H)
	w, h := area.W/float64(cols), area.H/float64(rows)
	d := math.Min(math.Min(w*0.8, h*0.6), 22)
	for i, n := range hosts {
		x, y := area.X+float64(i%cols)*w, area.Y+float64(i/cols)*h
		b.place(n, Rect{x + (w-d)/2, y + (h-d)/2, d, d}, w)
	}
}

// capacity is for how many hosts room is made: the next power of two, so that
// one more host seldom changes the grid.
func capacity(n int) int {
	c := 2
	for c < n {
		c *= 2
	}
	return c
}

// shape is the grid with the largest cells, a little wider than high.
func shape(n int, w, h float64) (cols, rows int) {
	best := -1.0
	for c := 1; c <= n; c++ {
		r := (n + c - 1) / c
		if s := math.Min(w/float64(c), h/float64(r)*1.3); s > best {
			best, cols, rows = s, c, r
		}
	}
	return cols, rows
}

func (b *builder) place(n Node, r Rect, room float64) {
	b.at[n.ID] = len(b.out.Nodes)
	b.out.Nodes = append(b.out.Nodes, Placed{
		ID: n.ID, Site: n.Site, Role: n.Role, Label: cmp.Or(n.Label, n.ID), Tier: b.tier[n.ID], Rect: r, Room: room,
	})
}
