package wall

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

func racksOf(n int, row func(int) string) []Rack {
	var rs []Rack
	for i := range n {
		rs = append(rs, Rack{ID: fmt.Sprint(i), Row: row(i)})
	}
	return rs
}

func TestRowsFillTheWall(t *testing.T) {
	f := func(n int, row func(int) string, want ...int) {
		t.Helper()
		var got []int
		for _, r := range rows(racksOf(n, row)) {
			got = append(got, len(r.racks))
			if r.columns > 60 {
				t.Errorf("%d racks: %d columns have no class", n, r.columns)
			}
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%d racks: rows %v, want %v", n, got, want)
		}
	}
	none := func(int) string { return "" }
	f(1, none, 1)
	f(8, none, 8)
	f(8, func(i int) string { return string(rune('A' + i/4)) }, 8)
	f(40, none, 20, 20)
	f(40, func(i int) string { return string(rune('A' + i/20)) }, 20, 20)
	f(41, none, 21, 20)
	f(120, none, 30, 30, 30, 30)
	f(400, none, 60, 60, 60, 60, 60, 60, 40)
}

func TestRackIsStaleOnlyWithSomethingToSee(t *testing.T) {
	now := time.Now()
	if (Rack{}).stale(now) {
		t.Error("an empty rack is stale")
	}
	r := Rack{Cells: []Cell{{U: 1, Height: 1}}}
	if !r.stale(now) {
		t.Error("a rack whose devices were never seen is fresh")
	}
	r.AsOf = now.Add(-time.Minute)
	if r.stale(now) {
		t.Error("a minute is old")
	}
}

func TestCellsOutsideTheRackAreNotDrawn(t *testing.T) {
	r := Rack{Height: 10, Cells: []Cell{{ID: "a", U: 1, Height: 1}, {ID: "b", U: 10, Height: 2}, {ID: "c", U: 0}, {ID: "d", U: 9, Height: 2}}}
	var got strings.Builder
	for _, c := range r.sorted() {
		got.WriteString(c.ID)
	}
	if got.String() != "da" {
		t.Errorf("drawn from the top: %q, want da", got.String())
	}
}

func TestLabelsThatWouldMeetAreTight(t *testing.T) {
	m := Topology{Width: 1900, Height: 900, Nodes: []Node{
		{ID: "a", Label: "server-one", X: 0, W: 20, H: 20, Shape: "dot"},
		{ID: "b", Label: "server-two", X: 40, W: 20, H: 20, Shape: "dot"},
		{ID: "c", Label: "server-three", X: 300, W: 20, H: 20, Shape: "dot"},
		{ID: "d", Label: "leaf1", X: 30, W: 150, H: 40},
	}}
	got := m.tight()
	if !got["a"] || !got["b"] || got["c"] || got["d"] {
		t.Errorf("tight: %v, want a and b", got)
	}
}
