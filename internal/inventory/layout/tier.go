package layout

import (
	"cmp"
	"maps"
	"slices"
	"strings"
)

// Tier is the height at which a node is drawn.
type Tier int

// The tiers, from above.
const (
	Core   Tier = iota // core, spine, router, firewall
	Leaf               // leaf, distribution
	Access             // access, top of rack
	Host               // whatever hangs on a switch
)

func (t Tier) String() string { return [...]string{"core", "leaf", "access", "host"}[t] }

var roles = map[string]Tier{
	"core": Core, "spine": Core, "super-spine": Core, "router": Core, "firewall": Core, "border": Core, "wan": Core,
	"leaf": Leaf, "dist": Leaf, "distribution": Leaf, "aggregation": Leaf, "border-leaf": Leaf, "management": Leaf, "oob": Leaf,
	"access": Access, "tor": Access, "edge": Access,
	"host": Host, "server": Host, "hypervisor": Host, "storage": Host, "pdu": Host, "console": Host,
}

// switchRoles are no role at all: the links decide.
var switchRoles = []string{"", "switch", "device", "network"}

// tiers gives every node its tier, by its role or by a guess. A guess reads
// the links: who carries hosts is at the bottom, who carries those is above.
func tiers(nodes map[string]Node, near map[string][]string) map[string]Tier {
	out := map[string]Tier{}
	var open []string
	for _, id := range slices.Sorted(maps.Keys(nodes)) {
		role := strings.ToLower(nodes[id].Role)
		if t, ok := roles[role]; ok {
			out[id] = t
		} else if slices.Contains(switchRoles, role) {
			open = append(open, id)
		} else {
			out[id] = Host
		}
	}
	maps.Copy(out, guess(open, out, near))
	return out
}

// guess finds the tiers of switches whose role nobody said.
func guess(open []string, known map[string]Tier, near map[string][]string) map[string]Tier {
	isOpen := map[string]bool{}
	for _, id := range open {
		isOpen[id] = true
	}
	dist := map[string]int{}
	for _, id := range open {
		if slices.ContainsFunc(near[id], func(o string) bool { t, ok := known[o]; return ok && t == Host }) {
			dist[id] = 0
		}
	}
	if len(dist) == 0 {
		for _, id := range bottom(open, isOpen, near) {
			dist[id] = 0
		}
	}
	spread(slices.Sorted(maps.Keys(dist)), dist, isOpen, near)
	var count [3]int
	for _, id := range open {
		dist[id] = min(dist[id], 2) // unreachable ones are 0: alone at the bottom
		count[dist[id]]++
	}
	// As many above the middle as in it or more: leaves without hosts, no core.
	flat := count[2] == 0 || count[2] > count[1]
	out := map[string]Tier{}
	for _, id := range open {
		switch d := dist[id]; {
		case flat && d == 1:
			out[id] = Core
		case flat:
			out[id] = Leaf
		default:
			out[id] = Access - Tier(d)
		}
	}
	return out
}

// spread fills in distances breadth first.
func spread(queue []string, dist map[string]int, in map[string]bool, near map[string][]string) {
	for ; len(queue) > 0; queue = queue[1:] {
		for _, o := range near[queue[0]] {
			if _, known := dist[o]; in[o] && !known {
				dist[o] = dist[queue[0]] + 1
				queue = append(queue, o)
			}
		}
	}
}

// bottom picks the lowest switches where no host tells: of a graph in two
// colours the larger side, or that with fewer links each; else those with no
// more links than the median.
func bottom(open []string, in map[string]bool, near map[string][]string) []string {
	degree := func(id string) int {
		n := 0
		for _, o := range near[id] {
			if in[o] {
				n++
			}
		}
		return n
	}
	colour := map[string]int{}
	for _, start := range open {
		if _, done := colour[start]; done {
			continue
		}
		colour[start] = 0
		spread([]string{start}, colour, in, near)
	}
	var side [2][]string
	even := true
	for _, id := range open {
		c := colour[id] % 2
		side[c] = append(side[c], id)
		for _, o := range near[id] {
			even = even && (!in[o] || colour[o]%2 != c)
		}
	}
	if even && len(side[1]) > 0 {
		if len(side[0]) >= len(side[1]) {
			return side[0]
		}
		return side[1]
	}
	byDegree := slices.Clone(open)
	slices.SortStableFunc(byDegree, func(a, b string) int { return cmp.Compare(degree(a), degree(b)) })
	var out []string
	for _, id := range byDegree {
		if degree(id) <= degree(byDegree[len(byDegree)/2]) && degree(id) < degree(byDegree[len(byDegree)-1]) {
			out = append(out, id)
		}
	}
	return out
}

// natural compares labels as people do: leaf2 before leaf10.
func natural(a, b string) int {
	for a != "" && b != "" {
		na, nb := digits(a), digits(b)
		if na > 0 && nb > 0 {
			x, y := strings.TrimLeft(a[:na], "0"), strings.TrimLeft(b[:nb], "0")
			if c := cmp.Or(cmp.Compare(len(x), len(y)), cmp.Compare(x, y), cmp.Compare(na, nb)); c != 0 {
				return c
			}
			a, b = a[na:], b[nb:]
			continue
		}
		if a[0] != b[0] {
			return cmp.Compare(a[0], b[0])
		}
		a, b = a[1:], b[1:]
	}
	return cmp.Compare(len(a), len(b))
}

func digits(s string) int {
	n := 0
	for n < len(s) && s[n] >= '0' && s[n] <= '9' {
		n++
	}
	return n
}
