package tsdb

import (
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"nocturne/internal/need"
)

// TestClockSetBackByHours takes samples under a clock that is three hours
// ahead, sets it right, and wants every sample from then on, at once, over a
// restart, and answered beside those that were there.
func TestClockSetBackByHours(t *testing.T) {
	o := Options{Dir: t.TempDir(), MaxAhead: -1}
	db, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { db.Close() }()
	now := time.Now().Truncate(time.Second)
	put := func(at time.Time, v float64) AppendResult {
		t.Helper()
		got, err := db.Append(t.Context(), []Sample{{labels.FromStrings("__name__", "m"), at.UnixMilli(), v}})
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	for i := range 60 {
		at := now.Add(3*time.Hour + time.Duration(i-60)*15*time.Second)
		if got := put(at, float64(i)); got.Appended != 1 {
			t.Fatalf("under the wrong clock: %+v", got)
		}
	}
	if got := put(now.Add(-time.Second), -1); got.Appended != 0 {
		t.Fatalf("nothing has looked at the clock yet: %+v", got)
	}
	stop := running(t, db)
	need.Until(t, "samples are taken under the right clock", func() bool { return put(now, 1000).Appended == 1 })
	stop()
	if got := put(now.Add(time.Second), 1001); got.Appended != 1 {
		t.Errorf("the next one: %+v", got)
	}
	db = reopenWith(t, db, o)
	if got := put(now.Add(2*time.Second), 1002); got.Appended != 1 {
		t.Errorf("after a restart: %+v", got)
	}
	if got := put(now.Add(-time.Hour), 5); got.Appended != 0 {
		t.Errorf("a sample that is late by the right clock: %+v", got)
	}
	all, err := readAll(t, db)
	if err != nil || len(all) != 63 {
		t.Errorf("%d samples are held, %v; want 63", len(all), err)
	}
	// The clock catches up: the window is the usual one again.
	db.followClock(now.Add(3 * time.Hour))
	if got, want := db.lateWindow.Load(), settings(o).OutOfOrderTimeWindow; got != want {
		t.Errorf("the window is %d ms, want %d", got, want)
	}
}
