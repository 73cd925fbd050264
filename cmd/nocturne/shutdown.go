package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"
)

// The whole end takes less than ten seconds: what a service manager waits for.
const (
	// drainJobs is for commands that were sent; what has not ended then is
	// recorded as unknown.
	drainJobs = 3 * time.Second
	// drainPages is for answers under way.
	drainPages = time.Second
	// endWithin is for all phases together. The stores close after it.
	endWithin = 9 * time.Second
)

// part is something that runs until its context ends.
type part struct {
	name string
	run  func(context.Context) error
}

// phase is parts that are told to end together, and how long the next phase
// waits for them.
type phase struct {
	name  string
	limit time.Duration
	parts []part
}

// phases are the parts of the house in the order of their end: what takes up
// work before what judges, what people see before what it shows, the stores
// last.
func (h *house) phases() []phase {
	pages := []part{{"web", h.web.Run}, {"http", h.listener.Run}}
	if h.certs != nil {
		pages = append(pages, part{"certificate", h.certs.Run})
	}
	if h.redirect != nil {
		pages = append(pages, part{"plain http", h.redirect.Run})
	}
	return []phase{
		{"work", drainJobs + 500*time.Millisecond, []part{
			{"service manager", h.tellService}, {"reload", h.onHangup}, {"collector", h.collector.Run}, {"bursts", h.runBursts}, {"remedies", h.remedies.Run},
			{"inspections", h.inspector.Run}, {"backup", h.backup.Run}, {"automation", h.jobs.Run},
		}},
		{"alerting", 500 * time.Millisecond, []part{{"alerting", h.alerts.Run}}},
		{"pages", 1500 * time.Millisecond, pages},
		{"forward", 2 * time.Second, []part{{"forward", h.forward.Run}}},
		{"stores", time.Second, []part{
			{"ssh connections", h.ssh.Run}, {"clock", h.clock.run}, {"live window", h.live.Run}, {"inventory", h.graph.Run},
			{"ledger", func(ctx context.Context) error { return h.ledger.Run(ctx, h.log) }},
			{"history", h.history.Run}, {"state", h.state.Run},
		}},
	}
}

// Run runs everything until ctx ends or a part fails, and then ends it in order.
func (h *house) Run(ctx context.Context) error {
	return runPhases(ctx, h.log.With("component", "nocturne"), h.phases(), endWithin)
}

// running is a part that was started.
type running struct {
	part
	cancel context.CancelFunc
	done   chan struct{}
	err    error // of its end; read after done
}

// runPhases runs all parts at once. When ctx ends or a part fails they are told
// to end, phase by phase; one that does not within its phase's limit is named
// and waited for no longer than within in all.
func runPhases(ctx context.Context, log *slog.Logger, phases []phase, within time.Duration) error {
	failed := make(chan struct{}, 1)
	started := make([][]*running, len(phases))
	for i, p := range slices.Backward(phases) { // the stores first
		for _, x := range p.parts {
			started[i] = append(started[i], start(context.WithoutCancel(ctx), x, failed))
		}
	}
	select {
	case <-ctx.Done():
		log.Info("ending")
	case <-failed:
		log.Error("a part failed; ending")
	}
	began := time.Now()
	for i, p := range phases {
		at := time.Now()
		for _, r := range started[i] {
			r.cancel()
		}
		if late := wait(started[i], p.limit); late != nil {
			log.Warn("a phase goes on beyond its time", "phase", p.name, "waits_for", strings.Join(late, ", "), "after", p.limit)
		} else {
			log.Info("ended", "phase", p.name, "after", time.Since(at).Round(time.Millisecond))
		}
	}
	all := slices.Concat(started...)
	late := wait(all, within-time.Since(began))
	var errs []error
	if late != nil {
		errs = append(errs, fmt.Errorf("not ended within %s: %s", within, strings.Join(late, ", ")))
	}
	for _, r := range all {
		if !slices.Contains(late, r.name) && r.err != nil && !errors.Is(r.err, context.Canceled) {
			errs = append(errs, fmt.Errorf("%s: %w", r.name, r.err))
		}
	}
	return errors.Join(errs...)
}

func start(ctx context.Context, p part, failed chan<- struct{}) *running {
	ctx, cancel := context.WithCancel(ctx)
	r := &running{part: p, cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(r.done)
		if r.err = p.run(ctx); r.err == nil || errors.Is(r.err, context.Canceled) {
			return
		}
		select {
		case failed <- struct{}{}:
		default:
		}
	}()
	return r
}

// wait returns the names of those that have not ended within limit.
func wait(list []*running, limit time.Duration) (late []string) {
	timer := time.NewTimer(max(0, limit))
	defer timer.Stop()
	over := false
	for _, r := range list {
		if !over {
			select {
			case <-r.done:
				continue
			case <-timer.C:
				over = true
			}
		}
		select {
		case <-r.done:
		default:
			late = append(late, r.name)
		}
	}
	return late
}
