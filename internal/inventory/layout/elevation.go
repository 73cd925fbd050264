package layout

import (
	"cmp"
	"math"
	"slices"
)

// Rack is what Elevation draws.
type Rack struct {
	Units         int     // 42 when zero
	Width, Height float64 // of the drawing; 240 by 16 a unit when zero
	Face          string  // front or rear: the side looked at; front when empty
	Slots         []Slot
}

// Slot is one thing in a rack. U is its lowest unit, counted from 1 at the
// bottom; U and Height go in half units. U 0 is a thing beside the units.
type Slot struct {
	ID        string
	U, Height float64
	Face      string // front or rear
}

// Drawing is a rack seen from one side.
type Drawing struct {
	Width, Height float64
	Unit          float64 // height of one unit
	Inside        Rect    // the area of the units
	Marks         []Mark  // one a unit, from the bottom
	Boxes         []Box   // what is behind first, then from the bottom up
}

// Mark is the upper edge of a unit.
type Mark struct {
	U int
	Y float64
}

// Box is a slot in the drawing.
type Box struct {
	ID string
	Rect
	Behind   bool // mounted on the other face: draw it hatched
	ZeroU    bool // beside the units
	Conflict bool // shares its place with another, or leaves the rack
}

const (
	rackRail  = 0.08 // width of a side rail, where zero-U things hang
	unitInset = 0.5
)

// Elevation draws a rack. Things that claim the same units on the same face
// are drawn side by side and flagged; what leaves the rack is cut at its edge.
func Elevation(r Rack) Drawing {
	units := cmp.Or(r.Units, 42)
	d := Drawing{Width: cmp.Or(r.Width, 240), Height: cmp.Or(r.Height, 16*float64(units))}
	face := cmp.Or(r.Face, "front")
	d.Unit = d.Height / float64(units)
	rail := d.Width * rackRail
	d.Inside = Rect{rail, 0, d.Width - 2*rail, d.Height}
	for u := 1; u <= units; u++ {
		d.Marks = append(d.Marks, Mark{u, d.Height - float64(u)*d.Unit})
	}
	slots := slices.Clone(r.Slots)
	for i := range slots {
		slots[i].Face = cmp.Or(slots[i].Face, "front")
		if slots[i].U != 0 && slots[i].Height <= 0 {
			slots[i].Height = 1
		}
	}
	slices.SortFunc(slots, func(a, b Slot) int { return cmp.Or(cmp.Compare(a.U, b.U), cmp.Compare(a.ID, b.ID)) })
	var zero, behind, before []Slot
	for _, s := range slots {
		switch {
		case s.U == 0:
			zero = append(zero, s)
		case s.Face == face:
			before = append(before, s)
		default:
			behind = append(behind, s)
		}
	}
	d.mount(behind, units, true)
	d.mount(before, units, false)
	d.hang(zero, face)
	return d
}

// mount draws the slots of one face.
func (d *Drawing) mount(slots []Slot, units int, behind bool) {
	cut := map[string]bool{}
	for i := range slots {
		s := &slots[i]
		top := float64(units) + 1
		lo := math.Min(math.Max(1, s.U), top-1)
		hi := math.Min(math.Max(s.U+s.Height, lo+0.5), top)
		cut[s.ID] = lo != s.U || hi != s.U+s.Height
		s.U, s.Height = lo, hi-lo
	}
	slices.SortFunc(slots, func(a, b Slot) int { return cmp.Or(cmp.Compare(a.U, b.U), cmp.Compare(a.ID, b.ID)) })
	for len(slots) > 0 {
		n := cluster(slots)
		lanes := lanesOf(slots[:n])
		width := slices.Max(lanes) + 1
		w := d.Inside.W / float64(width)
		for i, s := range slots[:n] {
			box := Rect{d.Inside.X + float64(lanes[i])*w, d.Height - (s.U+s.Height-1)*d.Unit, w, s.Height * d.Unit}
			d.Boxes = append(d.Boxes, Box{ID: s.ID, Rect: box.inset(unitInset), Behind: behind, Conflict: width > 1 || cut[s.ID]})
		}
		slots = slots[n:]
	}
}

// cluster counts the first slots that hang together by overlapping.
func cluster(slots []Slot) int {
	top := slots[0].U + slots[0].Height
	n := 1
	for n < len(slots) && slots[n].U < top {
		top = math.Max(top, slots[n].U+slots[n].Height)
		n++
	}
	return n
}

// lanesOf gives overlapping slots lanes beside each other.
func lanesOf(slots []Slot) []int {
	var tops []float64 // the top of each lane so far
	lanes := make([]int, len(slots))
	for i, s := range slots {
		j := slices.IndexFunc(tops, func(top float64) bool { return top <= s.U })
		if j < 0 {
			j = len(tops)
			tops = append(tops, 0)
		}
		tops[j], lanes[i] = s.U+s.Height, j
	}
	return lanes
}

// hang puts zero-U things on the rails, left and right in turn, one below the
// other. Those of the other face change sides, as the eye sees them.
func (d *Drawing) hang(slots []Slot, face string) {
	var side [2][]Slot
	for i, s := range slots {
		j := i % 2
		if face != "front" {
			j = 1 - j
		}
		side[j] = append(side[j], s)
	}
	for j, on := range side {
		h := d.Height / float64(max(len(on), 1))
		x := 0.0
		if j == 1 {
			x = d.Inside.right()
		}
		for i, s := range on {
			box := Rect{x, float64(i) * h, d.Inside.X, h}
			d.Boxes = append(d.Boxes, Box{ID: s.ID, Rect: box.inset(unitInset), ZeroU: true, Behind: s.Face != face})
		}
	}
}
