package layout

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"nocturne/internal/need"
)

func TestElevation(t *testing.T) {
	d := Elevation(Rack{Units: 10, Width: 100, Height: 200, Slots: []Slot{
		{ID: "low", U: 1, Height: 2},
		{ID: "half", U: 3.5, Height: 0.5},
		{ID: "a", U: 5, Height: 2}, {ID: "b", U: 6, Height: 1},
		{ID: "rear", U: 1, Height: 1, Face: "rear"},
		{ID: "high", U: 10, Height: 3},
		{ID: "pdu-a"}, {ID: "pdu-b"},
	}})
	box := func(id string, x, y, w, h float64) Box { return Box{ID: id, Rect: Rect{x, y, w, h}.inset(unitInset)} }
	flag := func(b Box, set func(*Box)) Box { set(&b); return b }
	conflict := func(b *Box) { b.Conflict = true }
	zero := func(b *Box) { b.ZeroU = true }
	want := []Box{
		flag(box("rear", 8, 180, 84, 20), func(b *Box) { b.Behind = true }),
		box("low", 8, 160, 84, 40),
		box("half", 8, 140, 84, 10),
		flag(box("a", 8, 80, 42, 40), conflict), flag(box("b", 50, 80, 42, 20), conflict),
		flag(box("high", 8, 0, 84, 20), conflict),
		flag(box("pdu-a", 0, 0, 8, 200), zero), flag(box("pdu-b", 92, 0, 8, 200), zero),
	}
	if diff := cmp.Diff(want, d.Boxes); diff != "" {
		t.Error(diff)
	}
	if d.Marks[0] != (Mark{1, 180}) || d.Marks[9] != (Mark{10, 0}) || len(d.Marks) != 10 {
		t.Errorf("marks %v", d.Marks)
	}
}

func TestElevationProperties(t *testing.T) {
	_, r := need.Seed(t)
	for range 300 {
		k := Rack{Units: 1 + r.IntN(52), Face: []string{"", "front", "rear"}[r.IntN(3)]}
		for i := range r.IntN(60) {
			k.Slots = append(k.Slots, Slot{
				ID: fmt.Sprint(i), U: float64(r.IntN(120)) / 2, Height: float64(r.IntN(8)) / 2,
				Face: []string{"", "front", "rear"}[r.IntN(3)],
			})
		}
		d := Elevation(k)
		if len(d.Boxes) != len(k.Slots) {
			t.Fatalf("%d of %d are drawn", len(d.Boxes), len(k.Slots))
		}
		page := Rect{0, 0, d.Width, d.Height}
		for i, b := range d.Boxes {
			if !page.Contains(b.Rect) || b.W <= 0 || b.H <= 0 {
				t.Fatalf("%+v leaves the rack", b)
			}
			if !b.ZeroU && !d.Inside.Contains(b.Rect) {
				t.Fatalf("%+v lies on the rails", b)
			}
			for _, o := range d.Boxes[:i] {
				if b.Overlaps(o.Rect) && b.Behind == o.Behind {
					t.Fatalf("%+v and %+v overlap", b, o)
				}
			}
		}
	}
}
