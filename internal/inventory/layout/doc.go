// Package layout says where things stand on a map: pure functions from a graph
// to positions. The same input gives the same output to the last digit, and
// positions depend on as little as possible, so that a wall does not jump when
// something is added.
//
// Units are those of an SVG viewBox. A map is 1920 by 984 unless it is told
// otherwise: a 16:9 screen less the header.
package layout

// Point is a place on a map.
type Point struct{ X, Y float64 }

// Rect is a box by its upper left corner.
type Rect struct{ X, Y, W, H float64 }

func (r Rect) right() float64  { return r.X + r.W }
func (r Rect) bottom() float64 { return r.Y + r.H }

// inset shrinks r on all sides.
func (r Rect) inset(d float64) Rect { return Rect{r.X + d, r.Y + d, r.W - 2*d, r.H - 2*d} }

// Contains tells whether o lies wholly inside of r.
func (r Rect) Contains(o Rect) bool {
	const slack = 1e-6
	return o.X >= r.X-slack && o.Y >= r.Y-slack && o.right() <= r.right()+slack && o.bottom() <= r.bottom()+slack
}

// Overlaps tells whether r and o share more than an edge.
func (r Rect) Overlaps(o Rect) bool {
	const slack = 1e-6
	return r.X+slack < o.right() && o.X+slack < r.right() && r.Y+slack < o.bottom() && o.Y+slack < r.bottom()
}
