package need

import (
	"errors"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// failing is a test that keeps what it fails with.
type failing struct {
	testing.TB
	end time.Time // its deadline; zero is none

	mu   sync.Mutex // guards below
	said string
}

func (f *failing) Helper() {}

func (f *failing) Deadline() (time.Time, bool) { return f.end, !f.end.IsZero() }

func (f *failing) Fatalf(format string, args ...any) {
	f.mu.Lock()
	f.said = fmt.Sprintf(format, args...)
	f.mu.Unlock()
	runtime.Goexit()
}

func (f *failing) failure() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.said
}

// TestWaitingEnds waits for what holds after a while, and for what never does.
func TestWaitingEnds(t *testing.T) {
	f := func(deadline time.Duration, wait func(testing.TB), after time.Duration, said string) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			start, x := time.Now(), &failing{TB: t}
			if deadline > 0 {
				x.end = start.Add(deadline)
			}
			go wait(x)
			synctest.Wait()
			for took := time.Duration(0); took < after; took += time.Millisecond {
				time.Sleep(time.Millisecond) // the bubble's clock
				synctest.Wait()
				if is := x.failure(); is != "" && took+time.Millisecond < after {
					t.Fatalf("said %q after %s", is, took)
				}
			}
			if is := x.failure(); is != said {
				t.Errorf("said %q after %s, want %q", is, after, said)
			}
		})
	}
	never := func() bool { return false }
	f(0, func(t testing.TB) { Until(t, "rain", never) }, 30*time.Second, "not within 30s: rain")
	f(time.Hour, func(t testing.TB) { Until(t, "rain", never) }, 30*time.Second, "not within 30s: rain")
	f(11*time.Second, func(t testing.TB) { Until(t, "rain", never) }, 10*time.Second, "not within 10s: rain")
	f(0, func(t testing.TB) { Within(t, 0, func() error { return errors.New("2 of 3") }) }, 0, "not within 0s: 2 of 3")
	f(0, func(t testing.TB) {
		start := time.Now()
		Until(t, "a second", func() bool { return time.Since(start) >= time.Second })
		t.Fatalf("it holds after %s", time.Since(start))
	}, time.Second, "it holds after 1s")
	f(0, func(t testing.TB) {
		Within(t, 0, func() error { return nil })
		t.Fatalf("it holds at once")
	}, 0, "it holds at once")
}
