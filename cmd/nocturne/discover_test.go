package main

import (
	"cmp"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"nocturne/internal/lab"
)

// ends is a cable without a direction: two "device port" in order.
type ends [2]string

func between(a, b string) ends { return ends{min(a, b), max(a, b)} }

// wiring is every cable of the lab as a discovery can know it: a host's card is
// not an interface of the inventory, so its end is the host.
func wiring(l *lab.Lab) []ends {
	hosts := map[string]bool{}
	for _, h := range l.Hosts() {
		hosts[h.Name] = true
	}
	end := func(name, port string) string {
		if hosts[name] {
			return "host/" + name
		}
		return "interface/" + name + "/" + port
	}
	var out []ends
	for _, k := range l.Links() {
		out = append(out, between(end(k.A, k.APort), end(k.B, k.BPort)))
	}
	return sortedEnds(out)
}

func sortedEnds(e []ends) []ends {
	slices.SortFunc(e, func(a, b ends) int { return cmp.Or(strings.Compare(a[0], b[0]), strings.Compare(a[1], b[1])) })
	return e
}

func (h *hall) discovered() []ends {
	var out []ends
	for _, l := range h.graph.Links() {
		out = append(out, between(l.A, l.B))
	}
	return sortedEnds(out)
}

// TestTopologyIsTheWiring holds the discovered links against the lab's cables.
func TestTopologyIsTheWiring(t *testing.T) {
	h := startHall(t, lab.Options{})
	h.settled(t)
	want := wiring(h.lab)
	eventually(t, 20*time.Second, "as many links as cables", func() bool { return len(h.discovered()) >= len(want) })
	if d := gocmp.Diff(want, h.discovered()); d != "" {
		t.Errorf("cables (-) and discovered links (+): %s", d)
	}
}
