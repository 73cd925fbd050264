package forward_test

import (
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"

	"nocturne/internal/need"
	"nocturne/tsdb/forward"
)

// number is a setting of a test's size.
func number(name string, otherwise int) int {
	if n, err := strconv.Atoi(os.Getenv(name)); err == nil {
		return n
	}
	return otherwise
}

// TestSixHours stores six hours of samples while two real receivers are dead
// for most of them, the head and the log are cut many times, and we are
// restarted. In the end each of them has every sample, and no other.
func TestSixHours(t *testing.T) {
	t.Parallel()
	n := number("NOCTURNE_FORWARD_SERIES", 60)
	if testing.Short() {
		n = 10
	}
	peers := []*peer{prometheus(t), victoria(t)}
	to := []forward.Receiver{
		{Name: "prometheus", URL: peers[0].write, Protocol: forward.Protocol2},
		{Name: "victoria", URL: peers[1].write, Protocol: forward.Protocol1},
	}
	for _, p := range peers {
		p.start(t)
	}
	dir := t.TempDir()
	h := openHouse(t, dir, to...)
	all := polls(n, hoursAgo(6), hoursAgo(5.5))
	h.append(t, all)
	h.settled(t)
	for _, p := range peers {
		p.stop(t)
		p.start(t)
		p.holds(t, all, 60*time.Second)
		p.stop(t)
	}
	had := segments(t, h.db.LogDir())
	more := polls(n, hoursAgo(5.5), hoursAgo(3))
	h.append(t, more)
	h.truncated(t, had)
	need.Within(t, 30*time.Second, func() error { // a request may be under way
		if s := h.f.Status(); !s[0].Failing || !s[1].Failing || s[0].Lag < 5*time.Hour {
			return fmt.Errorf("with dead receivers: %+v", s)
		}
		return nil
	})
	all = append(all, more...)
	h.stop()

	h = openHouse(t, dir, to...)
	had = segments(t, h.db.LogDir())
	more = polls(n, hoursAgo(3), hoursAgo(0))
	h.append(t, more)
	h.truncated(t, had)
	all = append(all, more...)
	for _, p := range peers {
		p.start(t)
	}
	h.settled(t)
	for _, p := range peers {
		p.holds(t, all, 60*time.Second)
	}
	for _, s := range h.f.Status() {
		t.Logf("%s: %d stored, %d sent since the restart, %d refused", s.Name, len(all), s.Sent, s.Refused)
		if s.Refused > 0 {
			t.Errorf("%s: %s", s.Name, s.LastError)
		}
	}
}

// settled waits until no receiver has anything waiting.
func (h *house) settled(t testing.TB) {
	t.Helper()
	_, newest, _ := h.db.Bounds()
	need.Within(t, 60*time.Second, func() error {
		for _, s := range h.f.Status() {
			if s.Lag != 0 || !s.CatchUpFrom.IsZero() || s.Failing || s.Position.UnixMilli() < newest {
				return fmt.Errorf("not settled: %+v", s)
			}
		}
		return nil
	})
}
