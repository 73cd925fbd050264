package main

import (
	"context"
	"log/slog"
	"time"

	"github.com/VictoriaMetrics/metrics"
	"golang.org/x/sys/unix"
)

const (
	clockEvery = time.Second
	// clockStep is what the clock may gain or lose between two looks before it
	// counts as set: a correction that slews stays far below.
	clockStep = 2 * time.Second
)

// reading is what three clocks say at one moment. wall may be set; running
// stands still while the machine is suspended; booted does not.
type reading struct {
	wall            time.Time
	running, booted time.Duration
}

func readClocks() (reading, error) {
	var r reading
	var running, booted unix.Timespec
	// In this order: the one that never stands still is then not behind.
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &running); err != nil {
		return r, err
	}
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &booted); err != nil {
		return r, err
	}
	r.running, r.booted = time.Duration(running.Nano()), time.Duration(booted.Nano())
	r.wall = time.Now().Round(0)
	return r, nil
}

// clockWatch sees the clock being set and the machine being suspended.
type clockWatch struct {
	log    *slog.Logger
	read   func() (reading, error)
	record func(action string, by time.Duration) error

	last   reading
	offset time.Duration // of all steps since the start

	forward, backward, suspends *metrics.Counter
	offsetGauge                 *metrics.Gauge
	suspended                   *metrics.FloatCounter
}

// watchClock notes in log, metrics and ledger what happens to the clock.
func (h *house) watchClock() *clockWatch {
	return newClockWatch(h.log, readClocks, func(action string, by time.Duration) error {
		return h.audit(action, "clock", map[string]float64{"seconds": by.Round(time.Millisecond).Seconds()})
	})
}

func newClockWatch(log *slog.Logger, read func() (reading, error), record func(action string, by time.Duration) error) *clockWatch {
	return &clockWatch{
		log: log.With("component", "clock"), read: read, record: record,
		forward:     metrics.GetOrCreateCounter(`nocturne_clock_steps_total{direction="forward"}`),
		backward:    metrics.GetOrCreateCounter(`nocturne_clock_steps_total{direction="backward"}`),
		suspends:    metrics.GetOrCreateCounter(`nocturne_clock_suspends_total`),
		offsetGauge: metrics.GetOrCreateGauge(`nocturne_clock_stepped_seconds`, nil),
		suspended:   metrics.GetOrCreateFloatCounter(`nocturne_clock_suspended_seconds_total`),
	}
}

// run looks at the clocks until ctx ends.
func (c *clockWatch) run(ctx context.Context) error {
	tick := time.NewTicker(clockEvery)
	defer tick.Stop()
	for {
		c.look()
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// look compares the clocks with what they said before. A process that stood
// still sees all of them go on alike.
func (c *clockWatch) look() {
	now, err := c.read()
	if err != nil {
		c.log.Error("the clocks cannot be read", "err", err)
		return
	}
	last := c.last
	c.last = now
	if last.wall.IsZero() {
		return
	}
	slept := (now.booted - last.booted) - (now.running - last.running)
	stepped := now.wall.Sub(last.wall) - (now.booted - last.booted)
	if slept >= clockStep {
		c.suspends.Inc()
		c.suspended.Add(slept.Seconds())
		c.note("clock.suspend", "the machine was suspended; nothing was seen meanwhile", slept)
	}
	if stepped.Abs() < clockStep {
		return
	}
	counter := c.forward
	if stepped < 0 {
		counter = c.backward
	}
	counter.Inc()
	c.offset += stepped
	c.offsetGauge.Set(c.offset.Seconds())
	c.note("clock.step", "the clock was set", stepped)
}

func (c *clockWatch) note(action, text string, by time.Duration) {
	c.log.Warn(text, "by", by.Round(time.Millisecond))
	if err := c.record(action, by); err != nil {
		c.log.Error("what happened to the clock is not in the ledger", "action", action, "err", err)
	}
}
