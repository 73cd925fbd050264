package need

import (
	"errors"
	"testing"
	"time"
)

// patience is how long Until waits.
const patience = 30 * time.Second

// Until waits until ok holds, which other goroutines or processes bring about.
// After 30 s, or just before the test's own deadline, it fails with what was
// waited for.
func Until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	Within(t, patience, func() error {
		if !ok() {
			return errors.New(what)
		}
		return nil
	})
}

// Within is Until with a time of its own, for a condition that says itself
// what is still missing.
func Within(t testing.TB, d time.Duration, ok func() error) {
	t.Helper()
	if limited, is := t.(interface{ Deadline() (time.Time, bool) }); is {
		if end, set := limited.Deadline(); set {
			d = min(d, time.Until(end)-time.Second)
		}
	}
	over := time.After(d)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for err := ok(); err != nil; err = ok() {
		select {
		case <-over:
			t.Fatalf("not within %s: %v", d, err)
		case <-tick.C:
		}
	}
}
