package state

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func receive[T any](t *testing.T, c <-chan Change[T]) Change[T] {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	select {
	case v, ok := <-c:
		if !ok {
			t.Fatal("watch ended")
		}
		return v
	case <-ctx.Done():
		t.Fatal("no change came")
	}
	panic("unreachable")
}

func TestWatchSeesChangesInOrder(t *testing.T) {
	racks := NewTable[rack](open(t, t.TempDir()), "rack", 1)
	ctx, cancel := context.WithCancel(t.Context())
	changes := racks.Watch(ctx, "a/")
	rev := must[Rev](t)(racks.Put("a/1", rack{Units: 1}, 0))
	must[Rev](t)(racks.Put("b/1", rack{Units: 9}, 0))
	rev2 := must[Rev](t)(racks.Put("a/1", rack{Units: 2}, rev))
	if err := racks.Delete("a/1", 0); err != nil {
		t.Fatal(err)
	}
	for i, want := range []Change[rack]{
		{ID: "a/1", Rev: rev, Value: rack{Units: 1}},
		{ID: "a/1", Rev: rev2, Value: rack{Units: 2}},
		{ID: "a/1", Rev: rev2 + 1, Deleted: true},
	} {
		if d := cmp.Diff(want, receive(t, changes)); d != "" {
			t.Errorf("change %d: %s", i, d)
		}
	}
	cancel()
	for range changes {
	}
}

// A reader that listens again after a while is told so, and after the listing
// that it then makes misses nothing.
func TestWatchResync(t *testing.T) {
	racks := NewTable[rack](open(t, t.TempDir()), "rack", 1)
	changes := racks.Watch(t.Context(), "")
	var recs []Record[rack]
	for i := range 4 * watchBuffer {
		recs = append(recs, Record[rack]{ID: fmt.Sprintf("%05d", i), Value: rack{Units: i}})
	}
	if err := racks.PutMany(recs); err != nil {
		t.Fatal(err)
	}
	must[Rev](t)(racks.Put("last", rack{}, 0))
	seen := map[string]bool{}
	resyncs := 0
	for !seen["last"] {
		c := receive(t, changes)
		seen[c.ID] = true
		if !c.Resync {
			continue
		}
		resyncs++
		for r, err := range racks.All("") {
			if err != nil {
				t.Fatal(err)
			}
			seen[r.ID] = true
		}
	}
	if resyncs == 0 {
		t.Error("a reader far behind was not told")
	}
	for _, r := range recs {
		if !seen[r.ID] {
			t.Errorf("%s never seen", r.ID)
		}
	}
	// A reader that was behind twice gets a second Resync, which covers what
	// was written meanwhile; then changes come one by one again.
	rev := must[Rev](t)(racks.Put("after", rack{}, 0))
	for {
		switch c := receive(t, changes); {
		case c.ID == "after" && c.Rev == rev:
			return
		case c.Resync:
			rev = must[Rev](t)(racks.Put("after", rack{}, rev))
		}
	}
}
