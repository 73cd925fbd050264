package forward

import (
	"errors"
	"os"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestPositionSurvivesDamage flips a bit of each byte of the newer copy, and
// cuts it at each length: the older one is found, never a wrong one.
func TestPositionSurvivesDamage(t *testing.T) {
	dir := t.TempDir()
	f := newPositionFile(dir, "one")
	older := position{Segment: 3, Offset: 4711, Print: 7, Low: -5, Newest: 12, From: 1}
	newer := position{Segment: 4, Offset: 0, First: 8, Repairs: 9, Low: 5, Newest: 13, From: 2, To: 9}
	for _, p := range []position{{}, older, newer} {
		if err := f.save(p); err != nil {
			t.Fatal(err)
		}
	}
	older.Seq, newer.Seq = 2, 3
	path := f.paths[newer.Seq%2]
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	load := func(data []byte) (position, error) {
		t.Helper()
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		p, _, err := newPositionFile(dir, "one").load()
		return p, err
	}
	if p, err := load(good); err != nil || p != newer {
		t.Fatalf("%+v %v", p, err)
	}
	for i := range good {
		if p, err := load(good[:i]); err != nil || p != older {
			t.Fatalf("cut at %d: %+v %v", i, p, err)
		}
		bad := slices.Clone(good)
		bad[i] ^= 1 << (i % 8)
		// Padding may be flipped into other padding.
		if p, err := load(bad); err != nil || p != older && p != newer {
			t.Fatalf("byte %d bit %d: %+v %v", i, i%8, p, err)
		}
	}
	// The next save goes over the damaged copy, not over the only good one.
	if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	again := newPositionFile(dir, "one")
	if _, faults, err := again.load(); err != nil || len(faults) != 1 {
		t.Fatalf("%v %v", faults, err)
	}
	if err := again.save(newer); err != nil {
		t.Fatal(err)
	}
	p, faults, err := newPositionFile(dir, "one").load()
	if err != nil || len(faults) != 0 || p != newer {
		t.Errorf("after the repair: %+v %v %v", p, faults, err)
	}
}

func TestNoPosition(t *testing.T) {
	if _, _, err := newPositionFile(t.TempDir(), "one").load(); !errors.Is(err, errNoPosition) {
		t.Error(err)
	}
}

func TestOwe(t *testing.T) {
	f := func(want [2]int64, ranges ...[2]int64) {
		t.Helper()
		p := beginning()
		for _, r := range ranges {
			p.owe(r[0], r[1])
		}
		if diff := cmp.Diff(want, [2]int64{p.From, p.To}); diff != "" {
			t.Errorf("%v (-want +got):\n%s", ranges, diff)
		}
	}
	f([2]int64{1, 0})
	f([2]int64{1, 0}, [2]int64{9, 5})
	f([2]int64{3, 5}, [2]int64{3, 5}, [2]int64{9, 8})
	f([2]int64{-3, 9}, [2]int64{3, 5}, [2]int64{-3, 9})
}
