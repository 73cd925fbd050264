package tsdb

import "time"

// LostLog is a stretch of the log that could not be replayed.
type LostLog struct {
	File  string // the copy that is kept, in Dir; "" where nothing was left to keep
	Bytes int64  // that no record could be read from
	// Samples were read, but the record that names their series is lost.
	Samples int
	// From and To are the times of the samples before and after the stretch,
	// or of the Samples. What came late or early may lie outside.
	From, To time.Time
}

// add counts a sample.
func (l *LostLog) add(t int64) {
	at := time.UnixMilli(t).UTC()
	if l.Samples == 0 || at.Before(l.From) {
		l.From = at
	}
	if l.Samples == 0 || at.After(l.To) {
		l.To = at
	}
	l.Samples++
}
