package main

import (
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"time"
)

// TestClockWatch tells steps from suspends, from both at once, and from a
// process that stood still or a clock that is slewed.
func TestClockWatch(t *testing.T) {
	now := reading{time.Unix(1_800_000_000, 0), time.Hour, 2 * time.Hour}
	var noted []string
	c := newClockWatch(slog.New(slog.DiscardHandler), func() (reading, error) { return now, nil }, func(action string, by time.Duration) error {
		noted = append(noted, fmt.Sprintf("%s %v", action, by))
		return nil
	})
	steps := []uint64{c.forward.Get(), c.backward.Get(), c.suspends.Get()}
	after := func(wall, running, booted time.Duration, want ...string) {
		t.Helper()
		noted = nil
		now = reading{now.wall.Add(wall), now.running + running, now.booted + booted}
		if c.look(); !slices.Equal(noted, want) {
			t.Errorf("wall +%v, running +%v, booted +%v: noted %q, want %q", wall, running, booted, noted, want)
		}
	}
	const s, h = time.Second, time.Hour
	after(0, 0, 0)
	after(s, s, s)
	after(5*h, s, s, "clock.step 4h59m59s")
	after(-3*h, s, s, "clock.step -3h0m1s")
	after(s, s, s)
	after(8*h, s, 8*h, "clock.suspend 7h59m59s")
	after(10*h, s, 8*h, "clock.suspend 7h59m59s", "clock.step 2h0m0s")
	after(10*time.Minute, 10*time.Minute, 10*time.Minute) // stopped, as by a debugger
	after(s+500*time.Microsecond, s, s)                   // slewed at the kernel's most
	for i, n := range []uint64{c.forward.Get(), c.backward.Get(), c.suspends.Get()} {
		if want := []uint64{2, 1, 2}[i]; n-steps[i] != want {
			t.Errorf("counter %d grew by %d, want %d", i, n-steps[i], want)
		}
	}
	if want := (4*h + 59*time.Minute + 59*s) - (3*h + s) + 2*h; c.offset != want {
		t.Errorf("stepped by %v in all, want %v", c.offset, want)
	}
}

// TestClocksAreRead holds the kernel's clocks against Go's.
func TestClocksAreRead(t *testing.T) {
	a, err := readClocks()
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	<-time.After(50 * time.Millisecond)
	b, err := readClocks()
	if err != nil {
		t.Fatal(err)
	}
	took := time.Since(began)
	for name, d := range map[string]time.Duration{"running": b.running - a.running, "booted": b.booted - a.booted} {
		if d < 50*time.Millisecond || d > took+time.Second {
			t.Errorf("%s went on by %v in %v", name, d, took)
		}
	}
	if b.booted < b.running {
		t.Errorf("booted %v ago, running for %v", b.booted, b.running)
	}
}
