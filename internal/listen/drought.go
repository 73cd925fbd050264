package listen

import (
	"errors"
	"log/slog"
	"syscall"
	"time"
)

const (
	thinOut     = 16 // idle connections closed at each turn
	firstPause  = 10 * time.Millisecond
	lastPause   = time.Second
	remindEvery = 10 * time.Second
)

// starved tells an error of Accept after which it can succeed again: no file
// descriptor or no memory is left now.
func starved(err error) bool {
	for _, e := range []syscall.Errno{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// drought is a time without file descriptors. Accept alone uses it.
type drought struct {
	log         *slog.Logger
	since, last time.Time // first and last error of it; zero while there is none
	told        time.Time
	pause       time.Duration
}

// suffer says so, now and then, and waits a little; until ends the wait.
func (d *drought) suffer(err error, closed int, until <-chan struct{}) {
	acceptErrors.Inc()
	if d.since.IsZero() {
		d.since, d.pause = time.Now(), firstPause
	}
	if d.last = time.Now(); d.last.Sub(d.told) > remindEvery {
		d.told = d.last
		d.log.Error("connections wait: there is nothing left to take them with", "err", err,
			"idle_connections_closed", closed, "since", d.since.UTC())
	}
	if closed > 0 {
		d.pause = firstPause // there is something again
	}
	late := time.NewTimer(d.pause)
	defer late.Stop()
	select {
	case <-late.C:
	case <-until:
	}
	d.pause = min(2*d.pause, lastPause)
}

// taken is told of each connection. The drought is over with one that comes when
// it has not been felt for a while: between two errors some may slip in.
func (d *drought) taken() {
	if d.since.IsZero() || time.Since(d.last) < 2*lastPause {
		return
	}
	d.log.Warn("connections are taken again", "after", d.last.Sub(d.since).Round(time.Millisecond).String())
	*d = drought{log: d.log}
}
