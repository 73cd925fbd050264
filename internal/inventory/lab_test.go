package inventory_test

import (
	"testing"

	"nocturne/internal/inventory"
	"nocturne/internal/lab"
	"nocturne/internal/need"
	"nocturne/internal/state"
)

// TestLabInventory: what the lab's person wrote of the hall is taken whole, and
// nothing stands where something else does.
func TestLabInventory(t *testing.T) {
	seed, _ := need.Seed(t)
	l, err := lab.New(lab.Options{Seed: seed})
	if err != nil {
		t.Fatal(err)
	}
	db, err := state.Open(state.Options{InMemory: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	g, err := inventory.Open(db)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := g.ImportYAML(t.Context(), "lab.yaml", l.Inventory(), "person:ada"); err != nil {
		t.Fatal(err)
	}
	if got, want := len(g.Racks()), len(l.Racks()); got != want {
		t.Errorf("%d racks, want %d", got, want)
	}
	placed := 0
	for _, k := range g.Racks() {
		for _, p := range k.Contents {
			placed++
			if p.Conflict != "" {
				t.Errorf("%s %s: %s", k.ID, p.Item, p.Conflict)
			}
		}
	}
	if want := len(l.Agents()) + len(l.Hosts()); placed != want {
		t.Errorf("%d things in racks, want %d", placed, want)
	}
	for _, h := range l.Hosts() {
		if up := g.Parents("host/" + h.Name); len(up) != 3 {
			t.Errorf("%s stands in %v", h.Name, up)
		}
	}
}
