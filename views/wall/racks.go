package wall

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"time"
)

type hallRow struct {
	columns int
	racks   []Rack
}

// rows divides the racks among rows of the wall: by the hall's own rows when
// they are few and not too long, else evenly, so that racks stay readable.
func rows(racks []Rack) []hallRow {
	var named [][]Rack
	for _, r := range racks {
		if n := len(named); n > 0 && named[n-1][0].Row == r.Row {
			named[n-1] = append(named[n-1], r)
		} else {
			named = append(named, []Rack{r})
		}
	}
	longest := 0
	for _, row := range named {
		longest = max(longest, len(row))
	}
	if len(named) > 1 && len(named) <= 3 && longest <= 24 && len(racks) > 12 {
		return asRows(named, longest)
	}
	n := 1
	switch {
	case len(racks) > 96:
		n = 4
	case len(racks) > 60:
		n = 3
	case len(racks) > 14:
		n = 2
	}
	per := min(60, (len(racks)+n-1)/n)
	return asRows(slices.Collect(slices.Chunk(racks, per)), per)
}

func asRows(groups [][]Rack, columns int) []hallRow {
	out := make([]hallRow, len(groups))
	for i, g := range groups {
		out[i] = hallRow{columns: columns, racks: g}
	}
	return out
}

// height is the rack's height in U, 42 when nobody said; the style sheet knows
// up to 60.
func (r Rack) height() int {
	if r.Height <= 0 {
		return 42
	}
	return min(60, r.Height)
}

func (r Rack) staleAfter() time.Duration {
	return cmp.Or(r.StaleAfter, 90*time.Second)
}

func (r Rack) staleSeconds() string {
	return strconv.Itoa(int(r.staleAfter().Seconds()))
}

// stale says whether the rack's contents were not seen in time. A rack without
// devices has nothing to see.
func (r Rack) stale(now time.Time) bool {
	return len(r.Cells) > 0 && now.Sub(r.AsOf) > r.staleAfter()
}

// sorted lists the cells from the top, so that the keyboard walks downwards.
// Cells that do not fit into the rack are left to its own page.
func (r Rack) sorted() []Cell {
	cells := slices.DeleteFunc(slices.Clone(r.Cells), func(c Cell) bool {
		return c.U < 1 || c.U+max(1, c.Height)-1 > r.height()
	})
	slices.SortStableFunc(cells, func(a, b Cell) int { return cmp.Compare(b.U, a.U) })
	return cells
}

// flanks lists what stands at no unit, by name.
func (r Rack) flanks() []Cell {
	cells := slices.DeleteFunc(slices.Clone(r.Cells), func(c Cell) bool { return c.U >= 1 })
	slices.SortFunc(cells, func(a, b Cell) int { return cmp.Compare(a.Name, b.Name) })
	return cells
}

// other says whether the device is mounted on the face that is not shown.
func (c Cell) other(face string) bool {
	return face != "" && c.Face != "" && c.Face != face
}

func (c Cell) matches(highlight string) bool {
	if highlight == "" {
		return false
	}
	h := strings.ToLower(highlight)
	return strings.Contains(strings.ToLower(c.Name), h) || strings.Contains(strings.ToLower(c.Role), h)
}
