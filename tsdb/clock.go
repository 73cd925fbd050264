package tsdb

import (
	"cmp"
	"math"
	"time"
)

// followClock widens the window for late samples by as much as the head is
// ahead of the clock. Samples that were taken while the clock was wrong would
// otherwise make every later one too old, until the clock has caught up. While
// the head is ahead by no more than a sample may be, the window is what Options
// say.
func (db *DB) followClock(now time.Time) {
	head, window := db.inner.Head(), settings(db.options).OutOfOrderTimeWindow
	allowed := cmp.Or(max(0, db.options.MaxAhead), defaultMaxAhead).Milliseconds()
	if newest := head.MaxTime(); newest != math.MinInt64 && newest-now.UnixMilli() > allowed {
		window += newest - now.UnixMilli()
	}
	was := db.lateWindow.Swap(window)
	head.SetOutOfOrderTimeWindow(window, nil) // it may be another head than before
	if grown := time.Duration(window-was) * time.Millisecond; was > 0 && grown > allowedDrift {
		db.log.Warn("the newest sample is ahead of the clock; samples from before it are taken as late ones",
			"ahead", time.Duration(head.MaxTime()-now.UnixMilli())*time.Millisecond)
	}
}

// allowedDrift keeps the log quiet about what the window follows by itself.
const allowedDrift = time.Minute
