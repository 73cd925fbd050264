package automation

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"nocturne/internal/need"
)

func prefixes(list ...string) (out []netip.Prefix) {
	for _, p := range list {
		out = append(out, netip.MustParsePrefix(p))
	}
	return out
}

// TestSlotsBounds takes and gives back at random and checks every bound after
// each step, against its own count.
func TestSlotsBounds(t *testing.T) {
	_, rng := need.Seed(t)
	regions := []Region{{Name: "a", Slots: 3}, {Name: "b", Slots: 8}, {Name: "c", Slots: 2}}
	s := newSlots(regions, 9, 3)
	var running []*ticket
	full := 0
	for n := range 20_000 {
		switch rng.IntN(3) {
		case 0:
			r := regions[rng.IntN(3)]
			s.add(Entry{Job: fmt.Sprint("j", n), Host: fmt.Sprint(r.Name, rng.IntN(12)), Region: r.Name}, "", time.Time{})
		case 1:
			if t, _ := s.pick(time.Now()); t != nil {
				running = append(running, t)
			}
		case 2:
			if len(running) > 0 {
				i := rng.IntN(len(running))
				s.release(running[i], time.Time{})
				running = append(running[:i], running[i+1:]...)
			}
		}
		hosts, byRegion := map[string]int{}, map[string]int{}
		for _, r := range running {
			hosts[r.Host]++
			byRegion[r.Region]++
			if hosts[r.Host] > 1 {
				t.Fatalf("step %d: two tasks on %s", n, r.Host)
			}
		}
		for _, r := range regions {
			if byRegion[r.Name] > r.Slots {
				t.Fatalf("step %d: %d in region %s", n, byRegion[r.Name], r.Name)
			}
		}
		if len(running) > 9 {
			t.Fatalf("step %d: %d in all", n, len(running))
		}
		if len(running) == 9 {
			full++
		}
	}
	if full == 0 {
		t.Error("the bound of the whole was never reached")
	}
}

func TestReserve(t *testing.T) {
	s := newSlots([]Region{{Name: "dead", Slots: 64}, {Name: "well", Slots: 64}}, 8, 5)
	for n := range 50 {
		s.add(Entry{Job: "j", Host: fmt.Sprint("d", n), Region: "dead"}, "", time.Time{})
	}
	n := 0
	for t, _ := s.pick(time.Now()); t != nil; t, _ = s.pick(time.Now()) {
		n++
	}
	if n != 6 { // 8 less the 2 that are reserved for the other
		t.Errorf("the dead region got %d of 8", n)
	}
	s.add(Entry{Job: "j", Host: "w1", Region: "well"}, "", time.Time{})
	if tk, _ := s.pick(time.Now()); tk == nil || tk.Host != "w1" {
		t.Errorf("the other region got %+v", tk)
	}
}

func TestBreaker(t *testing.T) {
	s := newSlots([]Region{{Name: "a", Slots: 16}}, 64, 3)
	for i := range 3 {
		if opened := s.connected("a", false); opened != (i == 2) {
			t.Errorf("failure %d: opened %v", i, opened)
		}
	}
	limits := []int{}
	for range 4 {
		st, _, _ := s.status()
		limits = append(limits, st[0].Limit)
		s.connected("a", true)
	}
	if fmt.Sprint(limits) != "[2 4 8 16]" {
		t.Errorf("limits %v", limits)
	}
	s.connected("a", false)
	s.connected("a", false)
	s.connected("a", true)
	if s.connected("a", false) {
		t.Error("opened although the failures were not in a row")
	}
}
